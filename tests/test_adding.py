"""Adding a claim: what `new` writes and what docs/adding-a-claim.md shows run as they are, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.claims.claim import claims_in
from harness.claims.claim_template import draft
from harness.inputs.errors import AssayError
from harness.inputs.places import DATA

ROOT = DATA.parent
PAGE = ROOT / "docs" / "adding-a-claim.md"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project, without claims of its own."""
    shutil.copytree(ROOT / "harness", tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pytest.ini"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data").symlink_to(DATA)
    (tmp_path / "hypotheses").mkdir()
    return tmp_path


def here(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder), "COLUMNS": "200"},
    )


@pytest.mark.slow
def test_what_is_written_and_what_is_copied_is_supported(copy: Path) -> None:
    done = here(copy, "harness", "new", "my-claim")
    assert done.returncode == 0, done.stderr
    assert "hypotheses/test_my_claim.py: edit it" in done.stdout
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(block.splitlines()) <= 14
    (copy / "hypotheses" / "test_copied.py").write_text(block)
    listed = here(copy, "harness", "claims")
    assert "my-claim: Removing one direction everywhere" in listed.stdout
    assert "hypotheses/test_copied.py:6" in listed.stdout
    # A quarter of the organism's own pairs decides it as well.
    few = copy / "few.jsonl"
    few.write_text("".join((DATA / "organisms" / "pairs.jsonl").read_text().splitlines(keepends=True)[::5]))
    judged = here(copy, "pytest", "hypotheses", "--model", "organism:reference", "--pairs", str(few))
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert judged.stdout.count("SUPPORTED  ") == 2


def test_a_test_that_forgets_to_be_a_claim_is_one_sentence(copy: Path) -> None:
    (copy / "hypotheses" / "test_bare.py").write_text("\n\ndef test_bare(model, pairs):\n    assert model\n")
    done = here(copy, "pytest", "hypotheses", "--model", "recorded:llama-2-7b-chat-hf")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_bare.py, line 3: test_bare uses a model but is no claim" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("My Claim", "such as my-claim"),
        ("a_b", "such as a-b"),
        ("9lives", "such as lives"),
        ("../etc", "such as etc"),
        ("", "give words of a to z"),
        ("a--b", "such as a-b"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(AssayError, match=re.escape(sentence)):
        draft(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_no_name_is_taken_twice(tmp_path: Path) -> None:
    path = draft("one-claim", tmp_path)
    text = path.read_text()
    with pytest.raises(AssayError, match="such a file already"):
        draft("one-claim", tmp_path)
    path.rename(tmp_path / "test_moved.py")
    with pytest.raises(AssayError, match=r"test_moved.py, line 6: a claim named 'one-claim' is there already"):
        draft("one-claim", tmp_path)
    assert (tmp_path / "test_moved.py").read_text() == text
    with pytest.raises(AssayError, match="cannot be written"):
        draft("two-claims", tmp_path / "nowhere")


def test_the_page_says_what_is_really_said(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "test_wrong.py"
    for old, new, said in (
        ("assert fall > 0.30", "fall > 0.30", "has 0 asserts; a claim has one, several bars join with &"),
        ("fall > 0.30", "fall.value > 0.30", "(fall.value); its interval must decide: write assert fall > 0.3"),
        ("fall > 0.30", "fall > 30", "fall lies between -1 and 1; write 0.30 for 30 points"),
        (', fails_on="flat"', "", "names no organism in fails_on; a claim that cannot be seen to fail proves nothing"),
        ('"reference"', '"referense"', "there is no such organism; did you mean organism:reference"),
    ):
        path.write_text(block.replace(old, new))
        with pytest.raises(AssayError, match=re.escape(said)) as raised:
            claims_in(tmp_path)
        assert str(raised.value).startswith("test_wrong.py, line 6: claim 'stream-alone' ")
        assert said.rpartition("assert ")[0] in PAGE.read_text()


def test_a_file_that_is_no_python_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "test_torn.py").write_text("def test(:\n")
    with pytest.raises(AssayError, match="^test_torn.py:1: invalid syntax"):
        claims_in(tmp_path)
