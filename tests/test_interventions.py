"""Interventions, circuits and directions as values: order, shares, fingerprints, positions."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from harness.inputs.chat_tokens import Encoded
from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.sites import At, Site
from harness.measurements.interventions import (
    Ablate,
    Add,
    Circuit,
    Direction,
    During,
    Intervention,
    Patch,
    Remove,
    Together,
    ablate,
    add,
    patch,
    remove,
)
from harness.measurements.questions import Answers, PlainText, Scores
from harness.model.chat_model import ChatModel

DIRECTION = Direction("difference", 2, -1, ("a",), ("b",))

sites = st.builds(Site, st.integers(0, 2), st.sampled_from(["head", "neuron"]), st.integers(0, 2))


@settings(derandomize=True)
@given(st.lists(st.builds(add, st.just(DIRECTION), st.integers(0, 3)), max_size=6), st.integers(0, 6))
def test_composition_keeps_the_order_and_brackets_do_not_matter(some: list[Add], cut: int) -> None:
    left, right = Together(tuple(some[:cut])), Together(tuple(some[cut:]))
    assert (left + right).parts == tuple(some)
    assert ((left + right) + left) == (left + (right + left))


def test_what_comes_first_is_done_first() -> None:
    first, then = add(DIRECTION), remove(DIRECTION)
    assert (first + then).parts == (first, then)
    assert (then + first).parts == (then, first)


@settings(derandomize=True)
@given(st.lists(sites), st.data())
def test_a_circuit_is_a_set(some: list[Site], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations([*some, *some]))
    assert Circuit(tuple(shuffled)) == Circuit(tuple(some))
    assert len(Circuit(tuple(shuffled))) == len(set(some))
    assert Circuit(tuple(some)) + Circuit(tuple(shuffled)) == Circuit(tuple(some))


def test_a_circuit_is_in_order_of_depth_wholes_before_parts() -> None:
    circuit = Circuit.of(heads=[(1, 3), (1, 0)], neurons=[(0, 7)], mlps=[1]) + Circuit((Site(1, "head"),))
    assert list(map(str, circuit.sites)) == ["0.neuron.7", "1.head", "1.head.0", "1.head.3", "1.mlp_out"]


@pytest.mark.parametrize("site", [Site(1, "resid_pre"), Site(1, "resid_mid"), Site(1, "head", 0, -1)])
def test_a_stream_or_a_position_is_no_part_of_a_circuit(site: Site) -> None:
    with pytest.raises(
        AssayError,
        match=f"^{site} is no part of a circuit; a circuit holds sites of the kinds attn_out, mlp_out, head, neuron",
    ):
        Circuit((site,))


CIRCUITS = {
    "empty": Circuit(()),
    "a head": Circuit.of(heads=[(1, 2)]),
    "two that share keys": Circuit.of(heads=[(1, 0), (1, 1)]),
    "two that share none": Circuit.of(heads=[(1, 1), (1, 2)]),
    "neurons": Circuit.of(neurons=[(0, 5), (0, 6), (2, 5)]),
    "an mlp and its neurons": Circuit.of(neurons=[(0, 5), (1, 5)], mlps=[0]),
    "attention and its head": Circuit((Site(1, "attn_out"), Site(1, "head", 1), Site(2, "head", 1))),
    "all heads, all neurons": Circuit((Site(1, "head"), Site(1, "head", 3), Site(2, "neuron"), Site(2, "neuron", 1))),
}


def owned(shape: str, model: torch.nn.Module, circuit: Circuit) -> int:
    """Weights marked one by one in the model's own matrices, and counted."""
    marks = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in model.named_parameters()}
    for site in circuit.sites:
        is_attention = site.kind in ("head", "attn_out")
        indices = range(4 if is_attention else 512) if site.index is None else [site.index]
        for index in indices:
            own, shared = slice(index * 16, index * 16 + 16), slice(index // 2 * 16, index // 2 * 16 + 16)
            if shape == "gpt2" and is_attention:
                fused = marks[f"transformer.h.{site.layer}.attn.c_attn.weight"]
                for start in (0, 64, 128):
                    fused[:, start:][:, own] = True
                marks[f"transformer.h.{site.layer}.attn.c_proj.weight"][own] = True
            elif shape == "gpt2":
                marks[f"transformer.h.{site.layer}.mlp.c_fc.weight"][:, index : index + 1] = True
                marks[f"transformer.h.{site.layer}.mlp.c_proj.weight"][index : index + 1] = True
            elif is_attention:
                block = f"model.layers.{site.layer}.self_attn."
                marks[f"{block}q_proj.weight"][own] = True
                marks[f"{block}k_proj.weight"][shared] = True
                marks[f"{block}v_proj.weight"][shared] = True
                marks[f"{block}o_proj.weight"][:, own] = True
            else:
                block = f"model.layers.{site.layer}.mlp."
                marks[f"{block}gate_proj.weight"][index : index + 1] = True
                marks[f"{block}up_proj.weight"][index : index + 1] = True
                marks[f"{block}down_proj.weight"][:, index : index + 1] = True
    return sum(int(mark.sum()) for mark in marks.values())


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_a_circuits_share_is_that_of_its_weights(
    shape: str, awake: Callable[..., ChatModel], folder: Callable[[str], Path]
) -> None:
    sizes, reference = awake(shape).sizes, AutoModelForCausalLM.from_pretrained(folder(shape))
    whole = sum(weight.numel() for weight in reference.parameters())
    assert sizes.parameters == whole
    for name, circuit in CIRCUITS.items():
        assert circuit.share(sizes) * whole == pytest.approx(owned(shape, reference, circuit)), name


def test_the_share_is_the_same_quantized(awake: Callable[..., ChatModel]) -> None:
    circuit = CIRCUITS["attention and its head"]
    assert circuit.share(awake("llama", "nf4").sizes) == circuit.share(awake("llama").sizes) > 0


OTHERWISE: dict[str, Any] = {
    "method": "principal",
    "layer": 3,
    "position": -2,
    "harmful": ("a", "b"),
    "harmless": ("c",),
    "rank": 2,
    "seed": 1,
    "circuit": Circuit.of(heads=[(0, 1)]),
    "vectors": ((1.0,),),
}


def test_a_fingerprint_changes_with_every_field_and_nothing_else() -> None:
    assert {field.name for field in dataclasses.fields(Direction) if field.compare} == set(OTHERWISE)
    found = {DIRECTION.fingerprint}
    found |= {dataclasses.replace(DIRECTION, **{name: value}).fingerprint for name, value in OTHERWISE.items()}
    assert len(found) == 1 + len(OTHERWISE)
    assert dataclasses.replace(DIRECTION).fingerprint == DIRECTION.fingerprint
    # Evidence on disk is found by it.
    assert Direction("difference", 2).fingerprint == "41201fc5458c4240"


def test_prompts_do_not_run_into_each_other_in_a_fingerprint() -> None:
    one, other = (Direction("difference", 0, harmful=some) for some in (("ab", "c"), ("a", "bc")))
    assert one.fingerprint != other.fingerprint


def test_a_given_direction_has_the_rank_of_its_rows() -> None:
    given_one = Direction.given([[1, 0, 0], [0, 2, 0]], layer=3)
    assert (given_one.rank, given_one.layer, given_one.vectors) == (2, 3, ((1.0, 0.0, 0.0), (0.0, 2.0, 0.0)))


def test_ablations_are_what_they_are_called() -> None:
    circuit = Circuit.of(heads=[(1, 2)])
    assert ablate(circuit) == Patch(circuit.sites) == patch(circuit)
    assert ablate(circuit, "zero", at="post") == Ablate(circuit, "zero", (), "post")
    assert ablate(circuit, "mean", over=["a", "b"]) == Ablate(circuit, "mean", ("a", "b"))


@pytest.mark.parametrize(("to", "over"), [("mean", []), ("zero", ["a"]), ("resample", ["a"])])
def test_only_a_mean_takes_prompts_and_it_needs_them(to: str, over: list[str]) -> None:
    with pytest.raises(AssayError, match="the prompts to take the mean of, with .mean. and only with .mean.$"):
        ablate(Circuit(()), to, over=over)  # type: ignore[arg-type]


WRITTEN = {
    "everywhere": ["0.resid_pre", "0.attn_out", "0.mlp_out", "1.resid_pre", "1.attn_out", "1.mlp_out"],
    "stream": ["0.resid_pre", "1.resid_pre", "1.resid_post"],
    "attention": ["0.attn_out", "1.attn_out"],
    "mlp": ["0.mlp_out", "1.mlp_out"],
}


@pytest.mark.parametrize("where", WRITTEN)
def test_a_removal_knows_its_sites(where: str) -> None:
    removal = remove(DIRECTION, where)  # type: ignore[arg-type]
    assert [str(site) for site in removal.sites(2)] == WRITTEN[where]
    one = remove(DIRECTION, where, layers=[1])  # type: ignore[arg-type]
    assert [str(site) for site in one.sites(2)] == [
        name for name in WRITTEN[where] if name[0] == "1" and name != "1.resid_post"
    ]


def test_an_addition_is_where_the_direction_was_found_unless_told() -> None:
    assert add(DIRECTION) == Add(DIRECTION, 2, 1.0)
    assert add(DIRECTION, 0, scale=-3) == Add(DIRECTION, 0, -3)
    assert remove(DIRECTION, to_mean_of=["a"]) == Remove(DIRECTION, over=("a",))


# Ten tokens: two of the template, five of the instruction (two of them the slot), three of the template.
PROMPT = Encoded(tuple(range(10)), start=2, end=7, slot=(3, 5))
POSITIONS: list[tuple[At, list[int]]] = [
    ("all", [-10, -9, -8, -7, -6, -5, -4, -3, -2, -1]),
    ("post", [-3, -2, -1]),
    ("slot", [-7, -6]),
    ("later", [-5, -4, -3, -2, -1]),
    ((-1, -4), [-4, -1]),
    ((-11, -10, 0, 3), [-10]),
    ((), []),
]


@pytest.mark.parametrize(("at", "expected"), POSITIONS)
def test_positions_count_from_the_end(at: At, expected: list[int]) -> None:
    assert list(PROMPT.positions(at)) == expected


def test_a_prompt_without_a_twin_has_no_slot() -> None:
    alone = Encoded(tuple(range(10)), 2, 7)
    assert alone.positions("post") == (-3, -2, -1)
    for at in ("slot", "later"):
        with pytest.raises(AssayError, match=f"^positions '{at}' were asked of a prompt that has no twin; give pairs$"):
            alone.positions(at)


WHERE = Circuit.of(heads=[(1, 2)], neurons=[(0, 3)])
ONE = PairSet("one", (Pair("p", "a", "do harm", "do good"),))
# Fingerprints of answers and scores as they were before an intervention could say `during`.
BEFORE: dict[str, tuple[Intervention, str, str]] = {
    "patch": (patch(WHERE), "c709d6ddc879d99c", "8a16695d97d42169"),
    "sites": (patch([Site(1, "resid_pre", position=-1)], "post"), "ddfa7c89cee2147d", "8b50d408fabec2ff"),
    "resample": (ablate(WHERE, at="post"), "d26e3b847acf7657", "2e1a7f15ff104276"),
    "mean": (ablate(WHERE, "mean", over=["a b"], at="post"), "0b193f93c282e33e", "51cfb9c2e804349c"),
    "zero": (ablate(WHERE, "zero"), "096d7a3951a697f9", "03e4ed8bffa1aa9f"),
    "remove": (remove(DIRECTION, "mlp", layers=[1]), "999a501dc3be3b2d", "7e07859f354e7f52"),
    "add": (add(DIRECTION, scale=2.0), "8ed19dc948e17888", "666d0abb937935f6"),
    "both": (remove(DIRECTION) + add(DIRECTION), "ac36d2b8f2b3c8f6", "d370c303c6379c94"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_recipes_of_the_default_are_what_they_were(name: str) -> None:
    under, answers, scores = BEFORE[name]
    # Since then pairs are split by another rule, and answers are of a later revision: both are of other recipes.
    then = PairSet(ONE.name, ONE.pairs, split=2)
    answered = dataclasses.replace(Answers(then, "harmful", under).recipe("m", ()), revision=1)
    assert answered.fingerprint.startswith(answers)
    assert Scores(then, "harmful", under).recipe("m", (1,)).fingerprint.startswith(scores)


DEFAULTS: dict[str, tuple[Callable[..., Intervention], During]] = {
    "patch": (partial(patch, WHERE), "prompt"),
    "resample everywhere": (partial(ablate, WHERE), "prompt"),
    "zero everywhere": (partial(ablate, WHERE, "zero"), "answer"),
    "mean after the instruction": (partial(ablate, WHERE, "mean", over=["a b"], at="post"), "prompt"),
    "remove": (partial(remove, DIRECTION), "answer"),
    "add": (partial(add, DIRECTION), "answer"),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_is_said_of_the_default_is_the_default_and_the_other_is_another_recipe(name: str) -> None:
    make, default = DEFAULTS[name]
    other: During = "prompt" if default == "answer" else "answer"
    assert make(during=default) == make()
    assert make(during=other) != make()
    asked = [Answers(ONE, "harmful", under).recipe("m", ()) for under in (make(), make(during=other))]
    assert asked[0].fingerprint != asked[1].fingerprint
    assert ("during" in asked[0].of["under"], asked[1].of["under"]["during"]) == (False, other)
    # Where nothing is generated they are one question.
    assert Scores(ONE, "harmful", make(during=other)) == Scores(ONE, "harmful", make())
    both = make(during=other) + make()
    assert PlainText(ONE, ("a b",), both) == PlainText(ONE, ("a b",), make() + make())


def test_a_place_that_does_not_reach_the_answer_cannot_go_on_in_it() -> None:
    for at in ("slot", "before", (-3, -2)):
        for make in (partial(patch, WHERE), partial(ablate, WHERE), partial(ablate, WHERE, "zero")):
            with pytest.raises(AssayError, match="these positions do not include it; give at='all', 'post' or 'later'"):
                make(at=at, during="answer")
    with pytest.raises(AssayError, match="these positions do not include it"):
        patch([Site(1, "head", 0, -1), Site(1, "head", 0, -2)], during="answer")
    for at in ("all", "post", "later", (-2, -1)):
        assert patch(WHERE, at, during="answer").answering  # type: ignore[arg-type]
    with pytest.raises(AssayError, match="`during` is 'prompt' or 'answer', and 'always' was given"):
        remove(DIRECTION, during="always")  # type: ignore[arg-type]
