"""The rules that keep a verdict honest, each with a claim that tries to break it, on a recorded model."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.claims.claim import Claim
from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.judging.verdict import Word, exit_code
from harness.results.run_list import latest
from harness.results.run_record import Run
from harness.subjects.synthetic import Synthetic, Truth

ROOT = DATA.parent
MODEL = "recorded:llama-2-7b-chat-hf"

HEAD = """
from harness.claims.claim import claim
from harness.measurements.interventions import add, remove

@claim("{name}", source="a test", holds_on="reference", fails_on="compliant", level=0.0025)
def test_{name}(model, pairs):
    '''A sentence that can be wrong.'''
    fall = model.refuses(pairs.heldout).fall(under=remove(model.direction(pairs.discovery)))
"""
CLAIMS = {
    "supported": "    assert fall > 0.30",
    "refuted": "    assert fall > 0.99",
    "inconclusive": "    assert fall > 0.85",
    "both": "    assert (fall > 0.30) & (fall < 0.50)",
    "equivalence": "    assert abs(fall) < 0.15",
    "wrong": "    import numpy\n    numpy.testing.assert_equal(1, 2)\n    assert fall > 0.30",
    "raises": "    fall = fall.missing\n    assert fall > 0.30",
    "early": "    if pairs:\n        return\n    assert fall > 0.30",
    "caught": "    import contextlib\n    with contextlib.suppress(Exception):\n        assert fall > 0.99",
    "two": "    fall = fall > fall\n    assert fall > 0.30",
    "unrecorded": "    fall = model.effect(None, pairs)\n    assert fall > 0.30",
}


def judge(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    pytest_here = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pytest.ini"),
        "--rootdir",
        str(ROOT),
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
    ]
    return subprocess.run(
        [
            *pytest_here,
            "-p",
            "no:cacheprovider",
            str(folder),
            "--model",
            MODEL,
            "--evidence",
            str(folder / "evidence"),
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / f"test_{name}.py").write_text(HEAD.format(name=name) + CLAIMS[name] + "\n")
    return folder


def loaded(path: Path, text: str) -> Claim:
    """The claim in a file of that text, read as pytest would."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Claim = next(vars(test)["claim"] for name, test in vars(module).items() if name.startswith("test_"))
    return made


@pytest.mark.parametrize(
    ("names", "code"),
    [
        pytest.param(("supported",), 0, marks=pytest.mark.slow),
        (("supported", "refuted", "inconclusive"), 1),
        (("supported", "inconclusive"), 10),
        pytest.param(("unrecorded",), 11, marks=pytest.mark.slow),
        pytest.param(("supported", "refuted", "wrong"), 12, marks=pytest.mark.slow),
    ],
)
def test_the_exit_code_says_what_was_found(tmp_path: Path, names: tuple[str, ...], code: int) -> None:
    done = judge(write(tmp_path, *names))
    assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["SUPPORTED", "SKIPPED"], 10),
        (["SUPPORTED", "INCONCLUSIVE", "UNMEASURED"], 14),
        (["REFUTED", "UNMEASURED"], 14),
        (["REFUTED", "UNMEASURED", "UNFIT"], 13),
        (["UNFIT", "BROKEN", "REFUTED"], 12),
        (["UNFIT"], 13),
        (["UNMEASURED", "SKIPPED"], 14),
        (["SKIPPED", "SKIPPED"], 11),
        ([], None),
    ],
)
def test_what_says_nothing_of_a_claim_decides_the_exit_code_before_findings(
    words: list[Word], code: int | None
) -> None:
    assert exit_code(words) == exit_code(words[::-1]) == code


def test_verdicts_stand_under_their_own_words(tmp_path: Path) -> None:
    done = judge(write(tmp_path, *CLAIMS), f"--junit-xml={tmp_path / 'junit.xml'}")
    assert done.returncode == 12, done.stdout + done.stderr
    assert {verdict["claim"]: verdict["word"] for verdict in Run.load(latest(tmp_path / "runs")).verdicts} == {
        "supported": "SUPPORTED",
        "refuted": "REFUTED",
        "inconclusive": "INCONCLUSIVE",
        "both": "REFUTED",
        "equivalence": "REFUTED",
        "wrong": "BROKEN",
        "raises": "BROKEN",
        "early": "BROKEN",
        "caught": "BROKEN",
        "two": "BROKEN",
        "unrecorded": "SKIPPED",
    }
    for word in ("SUPPORTED   ", "REFUTED     ", "INCONCLUSIVE", "BROKEN      "):
        assert f"\n{word} " in done.stdout
    assert "SKIPPED      1 on" in done.stdout
    assert "fall +0.77 [" in done.stdout
    assert "asserted no estimate against a bar" in done.stdout
    assert "it continued although its bars were not met: fall +0.77" in done.stdout
    assert "two estimates cannot be compared with each other" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert '<property name="verdict" value="REFUTED"' in (tmp_path / "junit.xml").read_text()


@pytest.mark.slow
def test_the_same_verdicts_in_several_processes(tmp_path: Path) -> None:
    write(tmp_path, "supported", "refuted", "inconclusive", "wrong")
    said = []
    for workers in ("0", "2"):
        done = judge(tmp_path, "-n", workers)
        assert done.returncode == 12, done.stdout + done.stderr
        run = Run.load(latest(tmp_path / "runs"))
        assert run.finished
        assert set(run.claims) == {"supported", "refuted", "inconclusive", "wrong"}
        assert set(run.models) == {MODEL}
        said.append(
            sorted(
                (verdict["claim"], verdict["word"], verdict["reason"], str(verdict["estimates"]))
                for verdict in run.verdicts
            )
        )
        shutil.rmtree(tmp_path / "runs")
    assert said[0] == said[1]
    assert len(said[0]) == 4


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("    fall > 0.3", "has 0 asserts"),
        ("    assert fall > 0.3\n    assert fall > 0.2", "has 2 asserts"),
        ("    assert fall > 0.3 and fall < 0.9", "several bars join with &"),
        ("    assert not fall > 0.3", "several bars join with &"),
        ("    assert any([fall > 0.3, fall < -0.9])", "several bars join with &"),
        ("    assert [fall > 0.3]", "several bars join with &"),
        ("    assert (fall > 0.3) if pairs else (fall > 0.9)", "several bars join with &"),
        ("    assert (fall > 0.3) | (fall > 0.9)", "several bars join with &"),
        ("    assert fall.value", "asserts no estimate against a number"),
        ("    assert fall.value > 0.3", "its interval must decide: write assert fall > 0.3"),
        ("    assert (fall > 0.3) & (fall.low > 0.2)", "(fall.low); its interval must decide: write assert fall > 0.2"),
        ("    assert float(fall) < 0.3", "its interval must decide: write assert fall < 0.3"),
        ("    assert fall > pairs", "asserts no estimate against a number"),
        ("    assert fall == 0.3", "asserts no estimate against a number"),
        ("    assert 0.2 < fall < 0.3", "asserts no estimate against a number"),
    ],
)
def test_a_claim_that_could_hold_untrue_is_not_accepted(tmp_path: Path, body: str, sentence: str) -> None:
    with pytest.raises(AssayError, match=re.escape(sentence)) as raised:
        loaded(tmp_path / "test_loose.py", HEAD.format(name="loose") + body + "\n").check()
    assert str(raised.value).startswith("test_loose.py, line 5: claim 'loose' ")


@pytest.mark.parametrize("text", ["fall.value", "min(fall.low, fall.high)"])
def test_no_number_is_taken_out_of_an_estimate_to_choose_by(tmp_path: Path, text: str) -> None:
    body = f"    best = {text}\n    assert fall > 0.3\n"
    with pytest.raises(
        AssayError, match=r"^test_loose\.py, line 9: takes a number out of an estimate \(fall\."
    ) as raised:
        loaded(tmp_path / "test_loose.py", HEAD.format(name="loose") + body).check()
    assert "a choice would be made and judged on the same pairs" in str(raised.value)


def test_only_rates_of_refusal_pass_the_gate_by(tmp_path: Path) -> None:
    text = HEAD.format(name="gate").replace("level=0.0025", "needs_refusals=False")
    loaded(tmp_path / "test_gate.py", text + "    assert model.refuses(pairs).rate('harmless') < 0.1\n").check()
    for body in ("fall > 0.3", "(model.refuses(pairs).rate() > 0.8) & (model.geometry(pairs).agreement() > 0.7)"):
        with pytest.raises(AssayError, match="says needs_refusals=False, and asks for more than model.refuses"):
            loaded(tmp_path / "test_gate.py", f"{text}    assert {body}\n").check()


def test_outside_of_pytest_too_nothing_is_supported_that_was_not_decided(tmp_path: Path) -> None:
    subject = Synthetic(Truth((0.6, 0.1)), 40, 0, 0.01)
    for name, said in (("early", "asserted no estimate"), ("caught", "continued although its bars were not met: fall")):
        made = loaded(tmp_path / f"test_{name}.py", HEAD.format(name=name) + CLAIMS[name] + "\n")
        with pytest.raises(AssayError, match=f"^test_{name}\\.py, line 5: it {said}"):
            made.judge(subject, subject.all_pairs)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('fails_on="compliant"', "fails_on=()", "names no organism in fails_on"),
        (', fails_on="compliant"', "", "names no organism in fails_on"),
        (', holds_on="reference"', "", "names no organism in holds_on"),
        (', source="a test"', "", "names no source"),
        ('"bare", ', '"", ', "has no name"),
        (HEAD[HEAD.index("@claim") :].partition("\n")[0].format(name="bare"), "@claim", "has no name"),
        ('fails_on="compliant"', 'fails_on="reference"', "names reference in both holds_on and fails_on"),
        ('holds_on="reference"', 'holds_on="referense"', "did you mean organism:reference"),
        ("level=0.0025", "level=5", "it is an error rate"),
        ("level=0.0025", "level='0.01'", "has level '0.01'; it is an error rate"),
        ("'''A sentence that can be wrong.'''", "pass", "has no docstring"),
        ("test_bare(model, pairs)", "test_bare(subject, pairs)", "asks for no model; write def test_…(model, pairs)"),
    ],
)
def test_a_claim_without_its_controls_is_not_accepted(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    text = HEAD.format(name="bare") + CLAIMS["supported"] + "\n"
    assert old in text
    with pytest.raises(AssayError, match=re.escape(sentence)):
        loaded(tmp_path / "test_bare.py", text.replace(old, new)).check()


def test_what_is_not_accepted_is_one_sentence_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "test_loose.py").write_text(HEAD.format(name="loose") + "    fall > 0.3\n")
    done = judge(tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "ERROR: test_loose.py, line 5: claim 'loose' has 0 asserts" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_judging_recorded_models_starts_no_torch(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import sys\ndef pytest_sessionfinish(): print('TORCH', 'torch' in sys.modules)\n"
    )
    assert "TORCH False" in judge(write(tmp_path, "supported"), "-s").stdout
