"""Values and places that cannot be: one sentence where they are made, and whatever is right is let through."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.sites import Site
from harness.measurements.interventions import Circuit, Direction, Remove, ablate, add, patch, remove
from harness.measurements.sweep_plan import Joint, Sweep
from harness.model.chat_model import ChatModel
from harness.subjects.published.recordings import recording
from harness.subjects.synthetic import Synthetic, Truth
from tests.tools.material import PAIRS as MATERIAL

SUBJECT = Synthetic(Truth((0.9,)), 60, 0, 0.01)
PAIRS = SUBJECT.all_pairs
DIRECTION = Direction("difference", 4, -1, ("a bomb",), ("a tree",))
CIRCUIT = Circuit.of(heads=[(0, 1), (2, 3)])
ANSWERS = SUBJECT.refuses(PAIRS)
DEPTHS = SUBJECT.depths(PAIRS)
# Wrong types on purpose: whoever runs no type checker is told in a sentence. Where one runs, it sees the mistake too.
VALUES: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: remove(DIRECTION, "steam"),  # type: ignore[arg-type]
        "remove: `where` is 'everywhere', 'stream', 'attention' or 'mlp', and 'steam' was "
        "given; did you mean `stream`?",
    ),
    (lambda: Remove(DIRECTION, "steam"), "Remove: `where` is 'everywhere', 'stream'"),  # type: ignore[arg-type]
    (lambda: remove(DIRECTION, where=3), "'attention' or 'mlp', and 3 was given"),  # type: ignore[arg-type]
    (lambda: remove(DIRECTION, layers=5), "remove: `layers` is a list, each a whole number, and 5 was given"),  # type: ignore[arg-type]
    (lambda: remove(DIRECTION, layers=[1, -2]), "there is no layer -2: layers count from 0, the first"),
    (
        lambda: remove(DIRECTION, to_mean_of="a bomb"),
        "remove: `to_mean_of` is a list, each a text, and 'a bomb' was given",
    ),
    (
        lambda: remove(CIRCUIT),  # type: ignore[arg-type]
        "remove: `direction` is a direction such as model.direction(pairs.discovery), and a circuit",
    ),
    (
        lambda: ablate(CIRCUIT, "men"),  # type: ignore[arg-type]
        "ablate: `to` is 'resample', 'mean' or 'zero', and 'men' was given; did you mean `mean`?",
    ),
    (
        lambda: ablate(DIRECTION),  # type: ignore[arg-type]
        "ablate: `circuit` is a circuit such as model.circuit(pairs.discovery, heads=10), and a dir",
    ),
    (lambda: ablate(CIRCUIT, "mean", over=[1]), "ablate: `over` is a list, each a text, and 1 is among those given"),  # type: ignore[list-item]
    (lambda: ablate(CIRCUIT, at="pots"), "and 'pots' was given; did you mean `post`?"),  # type: ignore[arg-type]
    (
        lambda: patch(DIRECTION),  # type: ignore[arg-type]
        "patch: `what` is a circuit such as model.circuit(pairs.discovery, heads=10) or a list, each",
    ),
    (lambda: patch([1, 2]), "and 1 is among those given"),  # type: ignore[list-item]
    (lambda: patch(CIRCUIT, at=-1), "or positions from the end such as (-1,), and -1 was given"),  # type: ignore[arg-type]
    (lambda: patch(CIRCUIT, at=[-1]), "or positions from the end such as (-1,), and a list was given"),  # type: ignore[arg-type]
    (
        lambda: add(CIRCUIT),  # type: ignore[arg-type]
        "add: `direction` is a direction such as model.direction(pairs.discovery), and a circuit was given",
    ),
    (lambda: add(DIRECTION, "3"), "add: `layer` is a whole number, and '3' was given"),  # type: ignore[arg-type]
    (lambda: add(DIRECTION, -1), "there is no layer -1"),
    (lambda: add(DIRECTION, scale=float("nan")), "add: `scale` is a number, and nan was given"),
    (lambda: remove(DIRECTION) + DIRECTION, "+ joins interventions with interventions, and a direction was given"),  # type: ignore[operator]
    (lambda: CIRCUIT + DIRECTION, "+ joins circuits with circuits, and a direction was given"),  # type: ignore[operator]
    (lambda: Direction("difrence", 3), "did you mean `difference`?"),  # type: ignore[arg-type]
    (lambda: Direction("difference", -1), "there is no layer -1"),
    (lambda: Direction("difference", 3, rank=0), "a direction cannot have rank 0; give a rank of 1 or more"),
    (
        lambda: Direction.given([1.0, 2.0]),  # type: ignore[list-item]
        "Direction.given: `vectors` is a list, each a list, each a number, and 1.0 is among",
    ),
    (
        lambda: Circuit.of(heads=[3]),  # type: ignore[list-item]
        "Circuit.of: `heads` is a list, each (a whole number, a whole number), and 3 is among",
    ),
    (
        lambda: Circuit((3,)),  # type: ignore[arg-type]
        'Circuit: `sites` is a tuple, each a site such as Site(3, "head", 1), and 3 is among those given',
    ),
    (
        lambda: Sweep("hed"),  # type: ignore[arg-type]
        "Sweep: `kind` is 'resid_pre', 'resid_mid', 'resid_post', 'attn_out', 'mlp_out', 'head' or 'neuron'",
    ),
    (lambda: Sweep("head", "post"), "and 'post' was given"),  # type: ignore[arg-type]
    (lambda: Joint(CIRCUIT), "Joint: `circuits` is a tuple, each a circuit"),  # type: ignore[arg-type]
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
        lambda: SUBJECT.refuses("heldout"),  # type: ignore[arg-type]
        "refuses: `pairs` is a set of pairs such as pairs.heldout or lists of prompts, and 'heldout' was given",
    ),
    (
        lambda: ANSWERS.fall(DIRECTION),  # type: ignore[arg-type]
        "fall: `under` is an intervention such as remove(direction) or patch(circuit), and a dir",
    ),
    (lambda: ANSWERS.fall(None), "and None was given"),  # type: ignore[arg-type]
    (lambda: ANSWERS.fall(remove), "and the function `remove` itself was given"),  # type: ignore[arg-type]
    (lambda: ANSWERS.fall(), "fall: `under` is missing"),  # type: ignore[call-arg]
    (lambda: ANSWERS.fall(undr=remove(DIRECTION)), "fall: there is no argument `undr`; did you mean `under`?"),  # type: ignore[call-arg]
    (lambda: ANSWERS.rise(under=remove(DIRECTION), x=1), "rise: there is no argument `x`; it takes under"),  # type: ignore[call-arg]
    (
        lambda: ANSWERS.fall(remove(DIRECTION), remove(DIRECTION)),  # type: ignore[call-arg]
        "fall: 2 were given in order, and it takes 1 in order (under); given go by name, such as given=…",
    ),
    (lambda: ANSWERS.fall(remove(DIRECTION), under=remove(DIRECTION)), "fall: `under` was given twice"),  # type: ignore[misc]
    (
        lambda: ANSWERS.rate("harmfull"),  # type: ignore[arg-type]
        "rate: `side` is 'harmful' or 'harmless', and 'harmfull' was given; did you mean `harmful`?",
    ),
    (lambda: ANSWERS.lead(patch(CIRCUIT)), "and a patch was given"),  # type: ignore[arg-type]
    (lambda: ANSWERS.gain(remove(DIRECTION)), "gain: `over` is missing"),  # type: ignore[call-arg]
    (
        lambda: DEPTHS.of("readng"),  # type: ignore[arg-type]
        "of: `stage` is 'reading', 'accumulation' or 'execution', and 'readng' was given; did you mean `reading`?",
    ),
    (lambda: DEPTHS.restored("pots"), "did you mean `post`?"),  # type: ignore[arg-type]
    (lambda: SUBJECT.geometry(PAIRS).growth(CIRCUIT), "growth: `direction` is a direction"),  # type: ignore[arg-type]
    (
        lambda: SUBJECT.side_effects(remove(DIRECTION), PAIRS),  # type: ignore[arg-type]
        "side_effects: `pairs` is a set of pairs such as pairs.heldout or lists of prompts, and a",
    ),
    (lambda: SUBJECT.side_effects(PAIRS, DIRECTION), "side_effects: `under` is an intervention"),  # type: ignore[arg-type]
    (lambda: SUBJECT.effect(PAIRS, CIRCUIT), "effect: `circuit` is a circuit"),  # type: ignore[arg-type]
    (
        lambda: SUBJECT.effect(CIRCUIT, PAIRS, mode="nois"),  # type: ignore[arg-type]
        "effect: `mode` is 'noise' or 'denoise', and 'nois' was given; did you",
    ),
    (
        lambda: SUBJECT.counted(PAIRS, "neurn", 0.1, of=3),  # type: ignore[arg-type]
        "counted: `kind` is 'head' or 'neuron', and 'neurn' was given",
    ),
    (
        lambda: SUBJECT.counted(PAIRS, "head", 0.1, of=0),
        "counted: `of` is how many heads are asked, 1 or more, and not 0",
    ),
    (lambda: SUBJECT.agreement(PAIRS, "hed"), "agreement: `kind` is"),  # type: ignore[arg-type]
    (lambda: SUBJECT.effects(PAIRS, "head"), "effects: `sweep` is a Sweep or a Joint, and 'head' was given"),  # type: ignore[arg-type]
    (lambda: SUBJECT.share(DIRECTION), "share: `circuit` is a circuit"),  # type: ignore[arg-type]
    (lambda: SUBJECT.subspace(PAIRS, rank=1.5), "subspace: `rank` is a whole number, and 1.5 was given"),  # type: ignore[arg-type]
    (lambda: SUBJECT.subspace(PAIRS, rank=0), "a direction cannot have rank 0; give a rank of 1 or more"),
    (lambda: SUBJECT.circuit("head"), "circuit: `pairs` is a set of pairs such as pairs.heldout, and 'head' was given"),  # type: ignore[arg-type]
    (lambda: SUBJECT.circuit(PAIRS, heads="3"), "circuit: `heads` is a number, and '3' was given"),  # type: ignore[arg-type]
    (lambda: SUBJECT.circuit(PAIRS, heads=True), "circuit: `heads` is a number, and True was given"),
    (
        lambda: SUBJECT.circuit(PAIRS, heads=-1),
        "-1 heads were asked for, of 32: give a whole number up to that, or a share",
    ),
    (lambda: SUBJECT.circuit(PAIRS, neurons=5000), "5000 neurons were asked for, of 2048"),
    (lambda: SUBJECT.circuit(PAIRS, heads=2.5), "2.5 heads were asked for"),
    (lambda: SUBJECT.circuit(PAIRS, share=5), "`share` is a share of the parameters, such as 0.05, and not 5"),
    (lambda: SUBJECT.circuit(PAIRS, heads=2, share=0.05), "give `share`, or numbers of heads and neurons, not both"),
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
        (lambda: patch([Site(1, "hed")]), "Site: `kind` is"),  # type: ignore[arg-type]
        (lambda: patch([Site("1", "head")]), "Site: `layer` is a whole number, and '1' was given"),  # type: ignore[arg-type]
        (
            lambda: remove(DIRECTION, during="always"),  # type: ignore[arg-type]
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
        (remove(DIRECTION, layers=[1, 9]), "has no 9.resid_pre; the model has 4 layers, counted from 0"),
        (add(DIRECTION, 9), "has no 9.resid_pre; the model has 4 layers, counted from 0"),
        (patch(Circuit.of(heads=[(9, 0)])), "has no 9.head.0; the model has 4 layers, counted from 0"),
        (ablate(Circuit.of(heads=[(1, 99)]), "zero"), "has no 1.head.99; a layer has 4, counted from 0"),
        (Joint((Circuit.of(heads=[(1, 99)]),)), "has no 1.head.99; a layer has 4, counted from 0"),
        (Joint((Circuit.of(neurons=[(9, 0)]),)), "has no 9.neuron.0; the model has 4 layers, counted from 0"),
        (Sweep("head", layers=(9,)), "has no 9.head; the model has 4 layers, counted from 0"),
    ],
    ids=str,
)
def test_a_place_that_the_model_does_not_have_is_one_sentence(
    what: Any, said: str, awake: Callable[..., ChatModel]
) -> None:
    from harness.instruments.editing import edit_for
    from harness.instruments.sweep import sweep

    model = awake()
    with pytest.raises(AssayError, match=re.escape(said)):
        sweep(model, MATERIAL, what, (5,)) if isinstance(what, Sweep | Joint) else edit_for(model, what, twins=MATERIAL)


def test_what_is_right_is_let_through() -> None:
    assert patch(CIRCUIT, at=(-1, -2)).at == (-1, -2)
    assert patch(site for site in CIRCUIT.sites).sites == CIRCUIT.sites
    assert patch([Site(1, "resid_pre", None, -1)], "later").at == "later"
    assert add(DIRECTION, 0, scale=-3).scale == -3
    assert remove(DIRECTION, layers=range(3)).layers == (0, 1, 2)
    assert Circuit.of(heads=[[1, 2]], mlps=range(2)) == Circuit.of(heads=[(1, 2)], mlps=[0, 1])  # type: ignore[list-item]
    assert PairSet("none", ()).category("weapon").pairs == ()
    assert len(SUBJECT.circuit(PAIRS, heads=32, neurons=0.01)) == 32 + 20
    assert PairSet("one", (Pair("1", "arson", "a", "b"),)).category("arson").categories == ("arson",)
