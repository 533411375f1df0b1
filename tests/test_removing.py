"""Directions removed from live models, or added to them: by hand, by algebra, and by changed weights."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from harness.inputs.errors import AssayError
from harness.inputs.sites import Kind, Site
from harness.instruments.directions import vectors
from harness.instruments.editing import edit_for, orthogonalized
from harness.measurements.interventions import (
    Circuit,
    Direction,
    Together,
    Where,
    ablate,
    add,
    remove,
)
from tests.tools.applying import (
    DIRECTION,
    OVER,
    Woken,
    clean,
    each,
    given_direction,
    laws,
    logits_under,
    mean_by_hand,
    seen_under,
)
from tests.tools.material import HARMFUL, HARMLESS, off

POST_NORM = ("gemma2", "gemma3")
WHOLE_PRODUCTS = ("llama", "qwen2", "qwen3", "mistral", "phi3")


@each
def test_after_removal_nothing_of_it_is_left_and_again_changes_nothing(shape: str, quant: str, awake: Woken) -> None:
    model = awake(shape, quant)
    direction = given_direction(3, rank=2)
    once = logits_under(model, remove(direction))
    assert off(once, logits_under(model, remove(direction) + remove(direction))) < 1e-5
    assert off(once, model.next_token(HARMFUL)) > 1e-2
    kinds: tuple[Kind, ...] = ("resid_pre", "attn_out", "mlp_out")
    sites = [*(Site(layer, kind) for layer in range(4) for kind in kinds), Site(3, "resid_post")]
    rows = torch.tensor(direction.vectors)
    for there in seen_under(model, remove(direction), *sites):
        assert (there @ rows.T).abs().max() < 2e-5 * there.abs().max() * rows.norm()


@pytest.mark.parametrize("where", ["stream", "attention", "mlp"])
@pytest.mark.parametrize("shape", ["llama", "gemma3", "gpt2"])
def test_removal_in_one_place_is_the_projection_by_hand_and_moves_nothing_before_it(
    shape: str, where: Where, awake: Woken
) -> None:
    model, rows = awake(shape), torch.tensor(given_direction(5, rank=3).vectors, dtype=torch.float64)
    kind: Kind = {"stream": "resid_pre", "attention": "attn_out", "mlp": "mlp_out"}[where]  # type: ignore[assignment]
    site, under = Site(2, kind), remove(given_direction(5, rank=3), where, layers=[2])
    before, earlier = clean(model, HARMFUL, site, Site(1, "resid_post"))
    expected = before.double() - before.double() @ torch.linalg.pinv(rows) @ rows
    there, untouched = seen_under(model, under, site, Site(1, "resid_post"))
    torch.testing.assert_close(there.double(), expected, rtol=0, atol=1e-5 * float(before.abs().max()))
    assert where == "stream" or torch.equal(untouched, earlier)


@pytest.mark.parametrize(
    ("shape", "where"),
    [
        *((shape, "everywhere") for shape in ("llama", "gemma2", "gpt2")),
        *(pytest.param(shape, "everywhere", marks=pytest.mark.slow) for shape in ("phi3", "gemma3")),
        *(("gemma2", where) for where in ("stream", "attention", "mlp")),
        *(pytest.param("llama", where, marks=pytest.mark.slow) for where in ("stream", "attention", "mlp")),
    ],
)
def test_removal_equals_hooks_of_torch_alone_on_what_blocks_write(
    shape: str, where: Where, awake: Woken, folder: Callable[[str], Path]
) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folder(shape), attn_implementation="eager").eval()
    direction = given_direction(7)
    unit = torch.nn.functional.normalize(torch.tensor(direction.vectors[0]), dim=0)

    def taken(tensor: Tensor) -> Tensor:
        return tensor - (tensor @ unit)[..., None] * unit

    def written(module: object, inputs: object, output: object) -> object:
        return (taken(output[0]), *output[1:]) if isinstance(output, tuple) else taken(output)  # type: ignore[arg-type]

    def read(module: object, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (taken(inputs[0]), *inputs[1:])

    blocks = reference.transformer.h if shape == "gpt2" else reference.model.layers
    names = ("attn", "mlp") if shape == "gpt2" else ("self_attn", "mlp")
    if shape in POST_NORM:
        # What is written to the stream comes out of the norms behind attention and MLP.
        names = ("post_attention_layernorm", "post_feedforward_layernorm")
    for block in blocks:
        if where in ("everywhere", "stream"):
            block.register_forward_pre_hook(read)
        if where in ("everywhere", "attention"):
            getattr(block, names[0]).register_forward_hook(written)
        if where in ("everywhere", "mlp"):
            getattr(block, names[1]).register_forward_hook(written)
    if where == "stream":
        (reference.transformer.ln_f if shape == "gpt2" else reference.model.norm).register_forward_pre_hook(read)
    model = awake(shape)
    logits = logits_under(model, remove(direction, where))
    for row, prompt in zip(logits, model.encode(HARMFUL), strict=True):
        with torch.no_grad():
            expected = reference(torch.tensor([prompt.ids])).logits[0, -1]
        assert off(row, expected) < 2e-5


@laws
@given(st.integers(0, 99), st.sampled_from(["everywhere", "stream", "attention", "mlp"]))
def test_orthogonal_directions_commute_and_are_removed_together_as_one_subspace(
    awake: Woken, seed: int, where: Where
) -> None:
    model = awake("llama")
    first, second = torch.linalg.qr(torch.tensor(given_direction(seed, rank=2).vectors).T.double())[0].T.tolist()
    one, other = Direction.given([first]), Direction.given([second])
    expected = logits_under(model, remove(Direction.given([first, second]), where))
    for both in (remove(one, where) + remove(other, where), remove(other, where) + remove(one, where)):
        assert off(logits_under(model, both), expected) < 2e-5


@laws
@given(st.integers(0, 99), st.floats(-4, 4))
def test_adding_after_removing_leaves_just_that_and_removing_after_adding_leaves_nothing(
    awake: Woken, seed: int, scale: float
) -> None:
    model, direction, site = awake("llama"), given_direction(seed), Site(2, "resid_pre")
    row = torch.tensor(direction.vectors[0])
    taken, steered = remove(direction, "stream", layers=[2]), add(direction, scale=scale)
    real = [len(prompt) for prompt in model.encode(HARMFUL)]
    for both, expected in ((taken + steered, scale), (steered + taken, 0.0)):
        (there,) = seen_under(model, both, site)
        for stream, length in zip(there @ row / row.dot(row), real, strict=True):
            torch.testing.assert_close(stream[-length:], torch.full((length,), expected), rtol=0, atol=1e-4)


@each
def test_adding_and_taking_back_is_the_clean_run_and_so_is_ablating_nothing(
    shape: str, quant: str, awake: Woken
) -> None:
    model = awake(shape, quant)
    before, nothing = model.next_token(HARMFUL), Circuit(())
    forth, back = add(DIRECTION, scale=2.0), add(DIRECTION, scale=-2.0)
    assert off(logits_under(model, forth), before) > 1e-3
    assert off(logits_under(model, forth + back), before) < 1e-5
    for empty in (Together(()), ablate(nothing), ablate(nothing, "zero"), ablate(nothing, "mean", over=HARMLESS)):
        assert torch.equal(logits_under(model, empty), before)


@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_an_addition_is_the_directions_own_length_times_the_scale_at_every_position(shape: str, awake: Woken) -> None:
    model, site = awake(shape), Site(3, "resid_pre")
    (before,), (after,) = clean(model, HARMFUL, site), seen_under(model, add(DIRECTION, 3, scale=-1.5), site)
    moved = vectors(model, DIRECTION)[0].float() * -1.5
    for row, prompt in enumerate(model.encode(HARMFUL)):
        change = (after - before)[row, -len(prompt) :]
        torch.testing.assert_close(change, moved.expand_as(change), rtol=0, atol=1e-5 * float(before.abs().max()))


def test_a_direction_of_no_length_takes_nothing_away(awake: Woken) -> None:
    # Before the first block every prompt's last token is the template's: there is no difference to remove.
    model, nothing = awake("llama"), dataclasses.replace(DIRECTION, layer=0)
    assert not vectors(model, nothing).any()
    assert off(logits_under(model, remove(nothing)), model.next_token(HARMFUL)) < 1e-5
    with orthogonalized(model, vectors(model, nothing)[0]):
        assert off(model.next_token(HARMFUL), logits_under(model, Together(()))) < 1e-5


def test_a_dependent_row_adds_nothing_to_what_is_removed(awake: Woken) -> None:
    model, rows = awake("llama"), given_direction(2).vectors
    twice = Direction.given([rows[0], [-3 * value for value in rows[0]]])
    assert off(logits_under(model, remove(twice)), logits_under(model, remove(Direction.given(rows)))) < 1e-5


@pytest.mark.parametrize("where", ["everywhere", "stream", "attention", "mlp"])
@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_removal_to_a_mean_leaves_exactly_the_mean_projection(shape: str, where: Where, awake: Woken) -> None:
    model, direction = awake(shape), given_direction(11, rank=2)
    rows = torch.tensor(direction.vectors, dtype=torch.float64)
    doing = remove(direction, where, to_mean_of=OVER)
    sites = doing.sites(4)
    for site, there in zip(sites, seen_under(model, doing, *sites), strict=True):
        expected = mean_by_hand(model, site, there.shape[1]) @ rows.T
        for row, prompt in enumerate(model.encode(HARMFUL)):
            ours = there[row, -len(prompt) :].double() @ rows.T
            bound = 2e-5 * float(there.abs().max()) * float(rows.norm())
            torch.testing.assert_close(ours, expected[-len(prompt) :], rtol=0, atol=bound)


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_removal_to_ones_own_mean_is_the_clean_run(shape: str, awake: Woken) -> None:
    model, prompt = awake(shape), HARMFUL[1:2]
    alone = edit_for(model, remove(DIRECTION, to_mean_of=prompt))
    assert off(model.next_token(prompt, under=alone), model.next_token(prompt)) < 1e-5


@pytest.mark.parametrize("quant", ["none", "nf4"])
@pytest.mark.parametrize(
    "shape", [pytest.param(name, marks=[] if name == "llama" else pytest.mark.slow) for name in WHOLE_PRODUCTS]
)
def test_weights_kept_off_a_direction_do_as_removal_everywhere_and_come_back(
    shape: str, quant: str, awake: Woken
) -> None:
    model, under = awake(shape, quant), edit_for(awake(shape, quant), remove(DIRECTION))
    before, row = model.next_token(HARMFUL), vectors(model, DIRECTION)[0]
    with orthogonalized(model, row):
        logits, answers = model.next_token(HARMFUL), model.generate(HARMFUL, tokens=4)
    assert off(logits, model.next_token(HARMFUL, under=under)) < 1e-5
    assert off(logits, before) > 1e-3
    assert answers == model.generate(HARMFUL, tokens=4, under=under)
    with pytest.raises(ZeroDivisionError), orthogonalized(model, row):
        raise ZeroDivisionError
    assert torch.equal(model.next_token(HARMFUL), before)


@pytest.mark.parametrize(
    ("shape", "why"), [("gemma2", "normalises what"), ("gemma3", "normalises what"), ("gpt2", "adds biases")]
)
def test_weights_that_are_not_all_that_is_written_are_refused(shape: str, why: str, awake: Woken) -> None:
    model = awake(shape)
    sentence = f"{why}.*so orthogonalizing its weights would not remove the direction; use remove\\(\\)$"
    with pytest.raises(AssayError, match=sentence), orthogonalized(model, vectors(model, DIRECTION)[0]):
        pytest.fail("it was not refused")
