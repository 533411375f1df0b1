"""Mistakes inside a claim's file: one sentence with file and line, what is wrong, and what there is instead."""

import inspect
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from harness.claims import mistakes
from harness.claims.claim import claims_in
from harness.inputs.errors import AssayError
from harness.results.run_list import latest
from harness.results.run_record import Run
from harness.subjects.live import Subject
from harness.subjects.published.recorded import RecordedSubject
from harness.subjects.published.recordings import NotRecorded, recording
from harness.subjects.quantities.depths import Depths
from harness.subjects.quantities.geometry import Geometry
from harness.subjects.quantities.refusals import Refusals
from harness.subjects.quantities.side_effects import SideEffects
from harness.subjects.synthetic import Synthetic, Truth
from tests.test_claims import HEAD, judge, loaded

SUBJECT = Synthetic(Truth((0.9,)), 60, 0, 0.01)
PAIRS = SUBJECT.all_pairs

# What the claim's own line gets wrong, in a file as people write it: the body begins on its ninth line.
LINES = {
    "model.directoin(pairs.discovery)": "a model has no `directoin`; did you mean `direction`?",
    "model.xyz(pairs)": "a model has no `xyz`; it has agreement, ",
    "pairs.held": "a set of pairs has no `held`; did you mean `heldout`?",
    "model.refuses(pairs).fal(under=1)": "model.refuses(…) has no `fal`; did you mean `fall`?",
    "model.depths(pairs).keyword(pairs)": "model.depths(…) has no `keyword`; did you mean `keywords`?",
    "model.geometry(pairs).agrement()": "model.geometry(…) has no `agrement`; did you mean `agreement`?",
    "model.side_effects(pairs, add(model.direction(pairs))).refuse()": "model.side_effects(…) has no `refuse`; did you",
    "model.refuses(pairs).rate().hi": "an estimate has no `hi`; did you mean `high`?",
    "model.direction(pairs).layers": "a direction has no `layers`; did you mean `layer`?",
    "remve(model.direction(pairs))": "there is no `remve`; did you mean `remove`?",
    "patch(model.circuit(pairs, heads=3))": "`patch` is not imported; write from harness import patch",
    "remove(model.direction(pairs), 'steam')": "remove: `where` is 'everywhere', ",
    "model.refuses(pairs).fall(model.direction(pairs))": "fall: `under` is an intervention",
    "float(model.refuses(pairs).rate())": "refused, harmful is an estimate, not a number",
    "pairs.category('weapon')": "no category of these prompts is called 'weapon'; there are category 0",
    "{}['steam']": "KeyError: 'steam'",
    "1 / 0": "ZeroDivisionError: division by zero",
    "__import__('numpy').testing.assert_equal(1, 2)": "AssertionError: Items are not equal: ACTUAL: 1 DESIRED: 2",
}


def failing(path: Path, body: str) -> BaseException:
    """What a claim with this line raises on a subject whose answers are drawn."""
    claim = loaded(path, HEAD.format(name="mine").rpartition("    fall =")[0] + f"\n    {body}\n    assert 1 > 0\n")
    try:
        claim.run(model=SUBJECT, pairs=PAIRS)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    pytest.fail(f"{body} raises nothing")


@pytest.mark.parametrize("body", LINES)
def test_a_mistake_says_its_file_and_line_and_what_there_is(tmp_path: Path, body: str) -> None:
    path = tmp_path / "test_mine.py"
    said = mistakes.sentence(failing(path, body), path)
    line = path.read_text().splitlines().index(f"    {body}") + 1
    assert said.startswith(f"test_mine.py:{line}: {LINES[body]}")
    assert "\n" not in said
    assert "bug of Assay" not in said


def test_a_bug_of_ours_is_called_one_and_keeps_its_type_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.subjects.quantities import refusals

    monkeypatch.setattr(refusals, "estimated", None)
    path = tmp_path / "test_mine.py"
    said = mistakes.sentence(failing(path, "model.refuses(pairs).rate()"), path)
    assert re.fullmatch(
        r"test_mine.py:9: TypeError: 'NoneType' object is not callable, in rate, "
        r"harness/subjects/quantities/refusals.py:\d+: a bug of "
        r"Assay and not of the claim; please report it",
        said,
    )


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("no room")])
def test_what_the_machine_lacks_is_nobodys_bug(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.subjects.quantities import refusals

    def fails(*asked: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(refusals, "estimated", fails)
    path = tmp_path / "test_mine.py"
    said = mistakes.sentence(failing(path, "model.refuses(pairs).rate()"), path)
    assert said.startswith(f"test_mine.py:9: {type(error).__name__}: ")
    assert "(in rate, harness/subjects/quantities/refusals.py:" in said
    assert "bug" not in said


def test_a_bug_of_ours_before_the_claim_begins_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.claims import gate

    monkeypatch.setattr(gate, "Estimate", None)
    path = tmp_path / "test_mine.py"
    said = mistakes.sentence(failing(path, "pairs.heldout"), path)
    assert re.fullmatch(r"TypeError: .*, in _something_to_explain, harness/claims/gate.py:\d+: a bug of Assay .*", said)


def test_a_long_message_of_many_lines_is_a_short_one() -> None:
    said = mistakes.sentence(ValueError("one\n\ntwo   three " + "x" * 1000), Path("test_mine.py"))
    assert said.startswith("ValueError: one two three xxx")
    assert len(said) < 330


def test_what_is_no_name_of_a_model_is_a_mistake_on_a_recorded_one_too() -> None:
    subject = RecordedSubject(recording("llama-2-7b-chat-hf"), 0.01)
    with pytest.raises(NotRecorded, match="what the claim asks for \\(circuit\\) was not recorded"):
        _ = subject.circuit
    with pytest.raises(AttributeError, match="directoin"):
        _ = subject.directoin


def test_a_recorded_model_is_told_of_all_that_there_is(tmp_path: Path) -> None:
    path = tmp_path / "test_mine.py"
    claim = loaded(path, HEAD.format(name="mine").rpartition("    fall =")[0] + "    model.circut\n    assert 1 > 0\n")
    with pytest.raises(AttributeError) as raised:
        claim.test(model=RecordedSubject(recording("llama-2-7b-chat-hf"), 0.01), pairs=PAIRS)
    said = mistakes.sentence(raised.value, path)
    assert said == "test_mine.py:8: a recorded model has no `circut`; did you mean `circuit`?"


def test_outside_of_pytest_a_mistake_is_one_sentence_too(tmp_path: Path) -> None:
    path = tmp_path / "test_mine.py"
    body = "    assert model.refuses(pairs).fall(undr=3) > 0.3\n"
    claim = loaded(path, HEAD.format(name="mine").rpartition("    fall =")[0] + body)
    with pytest.raises(AssayError, match="^test_mine.py:8: fall: there is no argument `undr`; did you mean `under`"):
        claim.judge(SUBJECT, PAIRS)


@pytest.mark.parametrize("kind", [Subject, Refusals, Depths, Geometry, SideEffects])
def test_every_question_has_annotations_that_can_be_read(kind: type) -> None:
    methods: dict[str, Any] = {
        name: each for name, each in vars(kind).items() if not name.startswith("_") and inspect.isfunction(each)
    }
    assert methods
    for name, method in methods.items():
        assert method.__wrapped__ is not method, name
        hints = get_type_hints(method.__wrapped__)
        assert set(inspect.signature(method).parameters) - {"self"} <= hints.keys(), name


def test_control_characters_of_a_message_are_shown_and_not_obeyed() -> None:
    assert mistakes.sentence(ValueError("\x1b[2Jgone"), Path("test_mine.py")) == r"ValueError: \x1b[2Jgone"


FILES = {
    "syntax": (
        "def test_it(model, pairs:\n    pass\n",
        "test_syntax.py:4: '(' was never closed: def test_it(model, pairs:",
    ),
    "name": ("x = remve\n", "test_name.py:4: there is no `remve`; did you mean `remove`?"),
    "imports": (
        "from harness import remve\n",
        "test_imports.py:4: harness has no `remve`; did you mean `remove`?",
    ),
    "module": (
        "import harness.intervention\n",
        "test_module.py:4: there is no module `harness.intervention`; did you mean "
        "`harness.measurements.interventions`?",
    ),
    "divides": ("1 / 0\n", "test_divides.py:4: ZeroDivisionError: division by zero"),
    "attribute": (
        "import harness.claims.claim\nharness.claims.claim.clam\n",
        "test_attribute.py:5: the module harness.claims.claim has no `clam`; did you mean `claim`?",
    ),
}
IMPORTS = "\nfrom harness import add, claim, remove\n\n"


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_one_sentence_for_every_command(tmp_path: Path, name: str) -> None:
    text, said = FILES[name]
    (tmp_path / f"test_{name}.py").write_text(IMPORTS + text)
    with pytest.raises(AssayError) as raised:
        claims_in(tmp_path)
    assert str(raised.value) == said


def test_collection_says_each_without_a_traceback(tmp_path: Path) -> None:
    for name, (text, _) in FILES.items():
        (tmp_path / f"test_{name}.py").write_text(IMPORTS + text)
    done = judge(tmp_path)
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    for _, said in FILES.values():
        assert f"\n{said}\n" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_claim_with_a_mistake_is_broken_on_its_line_and_shows_no_traceback(tmp_path: Path) -> None:
    direction = "model.direction(pairs.discovery)"
    bodies = {
        "typo": "    fall = model.directoin(pairs.discovery)\n    assert fall > 0.30",
        "where": f"    fall = model.refuses(pairs).fall(remove({direction}, 'steam'))\n    assert fall > 0.30",
        "kind": f"    fall = model.refuses(pairs.heldout).fall({direction})\n    assert fall > 0.30",
        "name": "    fall = remve(pairs)\n    assert fall > 0.30",
    }
    for name, body in bodies.items():
        head = HEAD.format(name=name).rpartition("    fall =")[0]
        (tmp_path / f"test_{name}.py").write_text(f"{head}{body}\n")
    done = judge(tmp_path, "-rA")
    assert done.returncode == 12, done.stdout + done.stderr
    said = {verdict["claim"]: verdict["reason"] for verdict in Run.load(latest(tmp_path / "runs")).verdicts}
    assert said["typo"] == "test_typo.py:8: a recorded model has no `directoin`; did you mean `direction`?"
    assert said["where"].startswith(
        "test_where.py:8: remove: `where` is 'everywhere', 'stream', 'attention' or 'mlp', and"
    )
    assert said["kind"].startswith("test_kind.py:8: fall: `under` is an intervention such as remove(direction)")
    assert said["name"] == "test_name.py:8: there is no `remve`; did you mean `remove`?"
    assert "Traceback" not in done.stdout + done.stderr
    assert f"\nBROKEN       typo[recorded:llama-2-7b-chat-hf]: {said['typo']}" in done.stdout


@pytest.mark.parametrize("takes", ["model", "model, prompts", "model, pairs, tmp_path"])
def test_a_claim_takes_model_and_pairs(tmp_path: Path, takes: str) -> None:
    text = HEAD.format(name="mine").replace("(model, pairs):", f"({takes}):") + "    assert fall > 0.30\n"
    with pytest.raises(AssayError, match=re.escape(f"takes ({takes}); a claim takes (model, pairs) and nothing else")):
        loaded(tmp_path / "test_mine.py", text).check()
