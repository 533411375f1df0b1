"""Mistakes inside a claim's file: one sentence with file and line, what is wrong, and what there is instead."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from harness import mistakes
from harness.chat import ChatModel
from harness.claims import claims_in
from harness.depths import Depths
from harness.errors import AssayError
from harness.geometry import Geometry
from harness.interventions import Circuit, Direction, Remove, ablate, add, patch, remove
from harness.pairs import Pair, PairSet
from harness.planning import Joint, Sweep
from harness.recorded import RecordedSubject
from harness.recordings import NotRecorded, recording
from harness.refusals import Refusals
from harness.run_list import latest
from harness.runs import Run
from harness.sideeffects import SideEffects
from harness.sites import Site
from harness.subject import Subject
from harness.synthetic import Synthetic, Truth
from tests.material import PAIRS as MATERIAL
from tests.test_claims import HEAD, judge, loaded

SUBJECT = Synthetic(Truth((0.9,)), 60, 0, 0.01)
PAIRS = SUBJECT.all_pairs
DIRECTION = Direction("difference", 4, -1, ("a bomb",), ("a tree",))
CIRCUIT = Circuit.of(heads=[(0, 1), (2, 3)])
ANSWERS = SUBJECT.refuses(PAIRS)
DEPTHS = SUBJECT.depths(PAIRS)

VALUES: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: remove(DIRECTION, "steam"),
        "remove: `where` is 'everywhere', 'stream', 'attention' or 'mlp', and 'steam' was "
        "given; did you mean `stream`?",
    ),
    (lambda: Remove(DIRECTION, "steam"), "Remove: `where` is 'everywhere', 'stream'"),
    (lambda: remove(DIRECTION, where=3), "'attention' or 'mlp', and 3 was given"),
    (lambda: remove(DIRECTION, layers=5), "remove: `layers` is a list, each a whole number, and 5 was given"),
    (lambda: remove(DIRECTION, layers=[1, -2]), "layer -2 is none: layers count from 0, the first"),
    (
        lambda: remove(DIRECTION, to_mean_of="a bomb"),
        "remove: `to_mean_of` is a list, each a text, and 'a bomb' was given",
    ),
    (
        lambda: remove(CIRCUIT),
        "remove: `direction` is a direction such as model.direction(pairs.discovery), and a circuit",
    ),
    (
        lambda: ablate(CIRCUIT, "men"),
        "ablate: `to` is 'resample', 'mean' or 'zero', and 'men' was given; did you mean `mean`?",
    ),
    (
        lambda: ablate(DIRECTION),
        "ablate: `circuit` is a circuit such as model.circuit(pairs.discovery, heads=10), and a dir",
    ),
    (lambda: ablate(CIRCUIT, "mean", over=[1]), "ablate: `over` is a list, each a text, and 1 is among those given"),
    (lambda: ablate(CIRCUIT, at="pots"), "and 'pots' was given; did you mean `post`?"),
    (
        lambda: patch(DIRECTION),
        "patch: `what` is a circuit such as model.circuit(pairs.discovery, heads=10) or a list, each",
    ),
    (lambda: patch([1, 2]), "and 1 is among those given"),
    (lambda: patch(CIRCUIT, at=-1), "or positions from the end such as (-1,), and -1 was given"),
    (lambda: patch(CIRCUIT, at=[-1]), "or positions from the end such as (-1,), and a list was given"),
    (
        lambda: add(CIRCUIT),
        "add: `direction` is a direction such as model.direction(pairs.discovery), and a circuit was given",
    ),
    (lambda: add(DIRECTION, "3"), "add: `layer` is a whole number, and '3' was given"),
    (lambda: add(DIRECTION, -1), "layer -1 is none"),
    (lambda: add(DIRECTION, scale=float("nan")), "add: `scale` is a number, and nan was given"),
    (lambda: remove(DIRECTION) + DIRECTION, "+ joins interventions with interventions, and a direction was given"),
    (lambda: CIRCUIT + DIRECTION, "+ joins circuits with circuits, and a direction was given"),
    (lambda: Direction("difrence", 3), "did you mean `difference`?"),
    (lambda: Direction("difference", -1), "layer -1 is none"),
    (lambda: Direction("difference", 3, rank=0), "a direction of rank 0 is none"),
    (
        lambda: Direction.given([1.0, 2.0]),
        "Direction.given: `vectors` is a list, each a list, each a number, and 1.0 is among",
    ),
    (
        lambda: Circuit.of(heads=[3]),
        "Circuit.of: `heads` is a list, each (a whole number, a whole number), and 3 is among",
    ),
    (
        lambda: Circuit((3,)),
        'Circuit: `sites` is a tuple, each a site such as Site(3, "head", 1), and 3 is among those given',
    ),
    (
        lambda: Sweep("hed"),
        "Sweep: `kind` is 'resid_pre', 'resid_mid', 'resid_post', 'attn_out', 'mlp_out', 'head' or 'neuron'",
    ),
    (lambda: Sweep("head", "post"), "and 'post' was given"),
    (lambda: Joint(CIRCUIT), "Joint: `circuits` is a tuple, each a circuit"),
    (
        lambda: PAIRS.category("weapon"),
        "no category of these prompts is called 'weapon'; there are category 0, category 1,",
    ),
    (lambda: PAIRS.category("category 11"), "category 3; did you mean `category 1`?"),
    (
        lambda: recording("llama-2-7b-chat-hf").pairs.category("weapon"),
        "no category of these prompts is called 'weapon'",
    ),
    (
        lambda: SUBJECT.refuses("heldout"),
        "refuses: `pairs` is a set of pairs such as pairs.heldout or lists of prompts, and 'heldout' was given",
    ),
    (
        lambda: ANSWERS.fall(DIRECTION),
        "fall: `under` is an intervention such as remove(direction) or patch(circuit), and a dir",
    ),
    (lambda: ANSWERS.fall(None), "and None was given"),
    (lambda: ANSWERS.fall(remove), "and the function `remove` itself was given"),
    (lambda: ANSWERS.fall(), "fall: `under` is missing"),
    (lambda: ANSWERS.fall(undr=remove(DIRECTION)), "fall: there is no argument `undr`; did you mean `under`?"),
    (lambda: ANSWERS.rise(under=remove(DIRECTION), x=1), "rise: there is no argument `x`; it takes under"),
    (
        lambda: ANSWERS.fall(remove(DIRECTION), remove(DIRECTION)),
        "fall: 2 were given in order, and it takes 1 in order (under); given go by name, such as given=…",
    ),
    (lambda: ANSWERS.fall(remove(DIRECTION), under=remove(DIRECTION)), "fall: `under` was given twice"),
    (
        lambda: ANSWERS.rate("harmfull"),
        "rate: `side` is 'harmful' or 'harmless', and 'harmfull' was given; did you mean `harmful`?",
    ),
    (lambda: ANSWERS.lead(patch(CIRCUIT)), "and a patch was given"),
    (lambda: ANSWERS.gain(remove(DIRECTION)), "gain: `over` is missing"),
    (
        lambda: DEPTHS.of("detct"),
        "of: `stage` is 'detect', 'assess' or 'execute', and 'detct' was given; did you mean `detect`?",
    ),
    (lambda: DEPTHS.restored("pots"), "did you mean `post`?"),
    (lambda: SUBJECT.geometry(PAIRS).growth(CIRCUIT), "growth: `direction` is a direction"),
    (
        lambda: SUBJECT.side_effects(remove(DIRECTION), PAIRS),
        "side_effects: `pairs` is a set of pairs such as pairs.heldout or lists of prompts, and a",
    ),
    (lambda: SUBJECT.side_effects(PAIRS, DIRECTION), "side_effects: `under` is an intervention"),
    (lambda: SUBJECT.effect(PAIRS, CIRCUIT), "effect: `circuit` is a circuit"),
    (
        lambda: SUBJECT.effect(CIRCUIT, PAIRS, mode="nois"),
        "effect: `mode` is 'noise' or 'denoise', and 'nois' was given; did you",
    ),
    (
        lambda: SUBJECT.counted(PAIRS, "neurn", 0.1, of=3),
        "counted: `kind` is 'head' or 'neuron', and 'neurn' was given",
    ),
    (
        lambda: SUBJECT.counted(PAIRS, "head", 0.1, of=0),
        "counted: `of` is how many heads are asked, 1 or more, and not 0",
    ),
    (lambda: SUBJECT.agreement(PAIRS, "hed"), "agreement: `kind` is"),
    (lambda: SUBJECT.effects(PAIRS, "head"), "effects: `what` is a Sweep or a Joint, and 'head' was given"),
    (lambda: SUBJECT.share(DIRECTION), "share: `circuit` is a circuit"),
    (lambda: SUBJECT.subspace(PAIRS, rank=1.5), "subspace: `rank` is a whole number, and 1.5 was given"),
    (lambda: SUBJECT.subspace(PAIRS, rank=0), "a direction of rank 0 is none"),
    (lambda: SUBJECT.circuit("head"), "circuit: `pairs` is a set of pairs such as pairs.heldout, and 'head' was given"),
    (lambda: SUBJECT.circuit(PAIRS, heads="3"), "circuit: `heads` is a number, and '3' was given"),
    (lambda: SUBJECT.circuit(PAIRS, heads=True), "circuit: `heads` is a number, and True was given"),
    (
        lambda: SUBJECT.circuit(PAIRS, heads=-1),
        "-1 heads were asked for, of 32: give a whole number up to that, or a share",
    ),
    (lambda: SUBJECT.circuit(PAIRS, neurons=5000), "5000 neurons were asked for, of 2048"),
    (lambda: SUBJECT.circuit(PAIRS, heads=2.5), "2.5 heads were asked for"),
]


@pytest.mark.parametrize(("call", "said"), VALUES, ids=range(len(VALUES)))
def test_a_value_that_cannot_be_is_one_sentence_where_it_is_made(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(AssayError) as raised:
        call()
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: patch(CIRCUIT, at=(5,)), "position 5 is none: positions count from the end, and -1 is the last token"),
        (lambda: ablate(CIRCUIT, "zero", at=(-1, 0)), "position 0 is none"),
        (lambda: Sweep("head", ((5,),)), "position 5 is none"),
        (lambda: Joint((CIRCUIT,), (5,)), "position 5 is none"),
        (lambda: patch([Site(1, "hed")]), "Site: `kind` is"),
        (lambda: patch([Site("1", "head")]), "Site: `layer` is a whole number, and '1' was given"),
        (
            lambda: remove(DIRECTION, during="always"),
            "remove: `during` is 'prompt' or 'answer', and 'always' was given",
        ),
    ],
    ids=range(7),
)
def test_places_that_cannot_be_are_one_sentence(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(AssayError, match=re.escape(said)):
        call()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (remove(DIRECTION, layers=[1, 9]), "has 4 layers, 9.resid_pre is not in them"),
        (add(DIRECTION, 9), "has 4 layers, 9.resid_pre is not in them"),
        (patch(Circuit.of(heads=[(9, 0)])), "has 4 layers, 9.head.0 is not in them"),
        (ablate(Circuit.of(heads=[(1, 99)]), "zero"), "has no 1.head.99; heads go to 4"),
        (Joint((Circuit.of(heads=[(1, 99)]),)), "has no 1.head.99; heads go to 4"),
        (Joint((Circuit.of(neurons=[(9, 0)]),)), "has 4 layers, 9.neuron.0 is not in them"),
        (Sweep("head", layers=(9,)), "has 4 layers, 9.head is not in them"),
    ],
    ids=str,
)
def test_a_place_that_the_model_does_not_have_is_one_sentence(
    what: Any, said: str, awake: Callable[..., ChatModel]
) -> None:
    from harness.apply import live
    from harness.sweep import sweep

    model = awake()
    with pytest.raises(AssayError, match=re.escape(said)):
        sweep(model, MATERIAL, what, (5,)) if isinstance(what, Sweep | Joint) else live(model, what, twins=MATERIAL)


def test_what_is_right_is_let_through() -> None:
    assert patch(CIRCUIT, at=(-1, -2)).at == (-1, -2)
    assert patch(site for site in CIRCUIT.sites).sites == CIRCUIT.sites
    assert patch([Site(1, "resid_pre", None, -1)], "later").at == "later"
    assert add(DIRECTION, 0, scale=-3).scale == -3
    assert remove(DIRECTION, layers=range(3)).layers == (0, 1, 2)
    assert Circuit.of(heads=[[1, 2]], mlps=range(2)) == Circuit.of(heads=[(1, 2)], mlps=[0, 1])
    assert PairSet("none", ()).category("weapon").pairs == ()
    assert len(SUBJECT.circuit(PAIRS, heads=32, neurons=0.01)) == 32 + 20
    assert PairSet("one", (Pair("1", "arson", "a", "b"),)).category("arson").categories == ("arson",)


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
    "patch(model.circuit(pairs, heads=3))": "`patch` is not imported; write from harness.interventions import patch",
    "remove(model.direction(pairs), 'steam')": "remove: `where` is 'everywhere', ",
    "model.refuses(pairs).fall(model.direction(pairs))": "fall: `under` is an intervention",
    "float(model.refuses(pairs).rate())": "refused, harmful is an estimate and no number",
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
    from harness import refusals

    monkeypatch.setattr(refusals, "estimated", None)
    path = tmp_path / "test_mine.py"
    said = mistakes.sentence(failing(path, "model.refuses(pairs).rate()"), path)
    assert re.fullmatch(
        r"test_mine.py:9: TypeError: 'NoneType' object is not callable, in rate, harness/refusals.py:\d+: a bug of "
        r"Assay and not of the claim; please report it",
        said,
    )


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("no room")])
def test_what_the_machine_lacks_is_nobodys_bug(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness import refusals

    def fails(*asked: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(refusals, "estimated", fails)
    path = tmp_path / "test_mine.py"
    said = mistakes.sentence(failing(path, "model.refuses(pairs).rate()"), path)
    assert said.startswith(f"test_mine.py:9: {type(error).__name__}: ")
    assert "(in rate, harness/refusals.py:" in said
    assert "bug" not in said


def test_a_bug_of_ours_before_the_claim_begins_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import gate

    monkeypatch.setattr(gate, "Estimate", None)
    path = tmp_path / "test_mine.py"
    said = mistakes.sentence(failing(path, "pairs.heldout"), path)
    assert re.fullmatch(r"TypeError: .*, in _something_to_explain, harness/gate.py:\d+: a bug of Assay .*", said)


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
    methods = {name: each for name, each in vars(kind).items() if not name.startswith("_") and inspect.isfunction(each)}
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
        "test_syntax.py:5: '(' was never closed: def test_it(model, pairs:",
    ),
    "name": ("x = remve\n", "test_name.py:5: there is no `remve`; did you mean `remove`?"),
    "imports": (
        "from harness.interventions import remve\n",
        "test_imports.py:5: harness.interventions has no `remve`; did you mean `remove`?",
    ),
    "module": (
        "import harness.intervention\n",
        "test_module.py:5: there is no module `harness.intervention`; did you mean `harness.interventions`?",
    ),
    "divides": ("1 / 0\n", "test_divides.py:5: ZeroDivisionError: division by zero"),
    "attribute": (
        "import harness.claims\nharness.claims.clam\n",
        "test_attribute.py:6: the module harness.claims has no `clam`; did you mean `claim`?",
    ),
}
IMPORTS = "\nfrom harness.claims import claim\nfrom harness.interventions import add, remove\n\n"


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
    said = {one["claim"]: one["reason"] for one in Run.load(latest(tmp_path / "runs")).verdicts}
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
