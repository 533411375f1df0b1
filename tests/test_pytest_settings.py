"""`init` adds one line to the settings that pytest reads, keeps every other, and leaves alone what it cannot edit."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.inputs.places import HOME

LINE = "addopts = -p harness.plugin"

# What the file held before → what it holds after.
EDITED = {
    "no file": ("pytest.ini", None, f"[pytest]\n{LINE}\n"),
    "an empty file": ("pytest.ini", "", f"[pytest]\n{LINE}\n"),
    "no section": ("pytest.ini", "[other]\na = 1\n", f"[other]\na = 1\n\n[pytest]\n{LINE}\n"),
    "no options": ("pytest.ini", "# mine\n[pytest]\ntestpaths = a\n", f"# mine\n[pytest]\n{LINE}\ntestpaths = a\n"),
    "a header alone": ("pytest.ini", "[pytest]", f"[pytest]\n{LINE}"),
    "options": ("pytest.ini", "[pytest]\naddopts=-q # so\n[x]\naddopts = 1\n",
        "[pytest]\naddopts= -p harness.plugin -q # so\n[x]\naddopts = 1\n"),
    "options on lines": (".pytest.ini", "[pytest]\naddopts =\n    -q\n    -x\n",
        "[pytest]\naddopts = -p harness.plugin\n    -q\n    -x\n"),
    "pyproject": ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = "-q"\n[tool.x]\na = 1\n',
        '[tool.pytest.ini_options]\naddopts = "-p harness.plugin -q"\n[tool.x]\na = 1\n'),
    "pyproject on lines": ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = """\n  -q\n"""\n',
        '[tool.pytest.ini_options]\naddopts = """-p harness.plugin\n  -q\n"""\n'),
    "pyproject without options": ("pyproject.toml", "[project]\n[tool.pytest.ini_options]\nxfail_strict = true\n",
        '[project]\n[tool.pytest.ini_options]\naddopts = "-p harness.plugin"\nxfail_strict = true\n'),
}  # fmt: skip


def init(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(folder)
    return main(["init"])


@pytest.mark.parametrize(("name", "before", "after"), EDITED.values(), ids=EDITED)
def test_one_line_is_added_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    before: str | None,
    after: str,
) -> None:
    path = tmp_path / name
    if before is not None:
        path.write_text(before)
    assert init(tmp_path, monkeypatch) == 0
    assert path.read_text() == after
    assert str(path) in capsys.readouterr().out
    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert init(tmp_path, monkeypatch) == 0
    assert "loads Assay already; nothing was changed" in capsys.readouterr().out
    assert path.read_text() == after


def test_a_project_without_settings_of_pytest_gets_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("pyproject.toml", "[project]\nname = 'x'\n"), ("setup.cfg", "[metadata]\nname = x\n")):
        (tmp_path / name).write_text(text)
    assert init(tmp_path, monkeypatch) == 0
    assert (tmp_path / "pytest.ini").read_text() == f"[pytest]\n{LINE}\n"
    assert tomllib.loads((tmp_path / "pyproject.toml").read_text()) == {"project": {"name": "x"}}


REFUSED = {
    "a list": ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = ["-q"]\n', "into its addopts yourself"),
    "inline": ("pyproject.toml", 'tool.pytest.ini_options = { addopts = "-q" }\n', "into its addopts yourself"),
    "native": ("pyproject.toml", '[tool.pytest]\naddopts = ["-q"]\n', "into its addopts yourself"),
    "pytest.toml": ("pytest.toml", "", "into its addopts yourself"),
    "tox": ("tox.ini", "[pytest]\n", "into its addopts yourself"),
    "setup.cfg": ("setup.cfg", "[tool:pytest]\n", "into its addopts yourself"),
    "torn": ("pytest.ini", "[pytest]\na\n", "pytest.ini, line 2: unexpected line"),
    "twice": ("pytest.ini", "[pytest]\naddopts = -q\naddopts = -x\n", "pytest.ini, line 3: duplicate name 'addopts'"),
    "quotes": ("pytest.ini", "[pytest]\naddopts = -k 'a\n", "addopts cannot be read (No closing quotation)"),
    "no TOML": ("pyproject.toml", "[tool\n", "; correct it, then call init again"),
    "no text": ("pytest.ini", "[pytest]\n# \udcff\n", "cannot be read"),
}


@pytest.mark.parametrize(("name", "text", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_edited_stays_as_it_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    sentence: str,
) -> None:
    path, raw = tmp_path / name, text.encode(errors="surrogateescape")
    path.write_bytes(raw)
    assert init(tmp_path, monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}")
    assert sentence in said
    assert [(one, one.read_bytes()) for one in tmp_path.iterdir()] == [(path, raw)]


def test_assays_own_folder_needs_no_init(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = (HOME / "pytest.ini").read_bytes()
    assert init(HOME, monkeypatch) == 2
    assert "is Assay's own folder" in capsys.readouterr().err
    assert (HOME / "pytest.ini").read_bytes() == before


def test_pytest_knows_the_options_by_that_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "-q"\n')
    assert init(tmp_path, monkeypatch) == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HOME)},
    )
    assert "--strict-models" in done.stdout, done.stderr
