"""Directions against plain Hugging Face, numpy and arithmetic by hand."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from harness.inputs.errors import AssayError
from harness.inputs.sites import Site
from harness.instruments.directions import basis, differences, every, means, projections, vectors
from harness.measurements.interventions import Circuit, Direction
from harness.model.chat_model import ChatModel
from tests.tools.material import HARMFUL, HARMLESS, off
from tests.tools.shapes import EACH

Woken = Callable[..., ChatModel]
MORE = [*HARMLESS, "Hello there", "Write a limerick about seven cats."]
DIFFERENCE = Direction("difference", 2, -2, tuple(HARMFUL), tuple(MORE))


def plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def hidden(reference: Any, model: ChatModel, prompts: list[str]) -> list[list[Tensor]]:
    """What enters each layer, of each prompt alone, by plain Hugging Face."""
    with torch.no_grad():
        runs = [reference(torch.tensor([p.ids]), output_hidden_states=True) for p in model.encode(prompts)]
    return [[run.hidden_states[layer][0].double() for run in runs] for layer in range(4)]


@pytest.mark.parametrize("shape", EACH)
def test_a_difference_of_means_equals_plain_hugging_face(
    shape: str, awake: Woken, folder: Callable[[str], Path]
) -> None:
    model, reference = awake(shape), plain(folder(shape))
    everywhere, _ = differences(model, (HARMFUL, MORE), (-2, -1), (every, every))
    harmful, more = (hidden(reference, model, prompts) for prompts in (HARMFUL, MORE))
    for layer in (1, 2, 3):
        for place, position in enumerate((-2, -1)):
            ours, theirs = (
                torch.stack([stream[position] for stream in streams[layer]]).mean(0) for streams in (harmful, more)
            )
            rows = vectors(model, dataclasses.replace(DIFFERENCE, layer=layer, position=position))
            assert rows.dtype == everywhere.dtype == torch.float64
            assert rows.shape == (1, 64)
            assert off(rows[0], ours - theirs) < 2e-5
            assert off(everywhere[layer, place], ours - theirs) < 2e-5


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_means_are_of_the_prompts_that_have_the_position(
    shape: str, awake: Woken, folder: Callable[[str], Path]
) -> None:
    model, prompts = awake(shape), [*HARMFUL, "Hi"]
    runs = hidden(plain(folder(shape)), model, prompts)[1]
    averages = means(model, prompts, [Site(1, "resid_pre").hook, Site(0, "head").hook])
    longest = max(map(len, runs))
    assert averages[Site(0, "head").hook].shape == (longest, 4, 16)
    for position in range(-longest, 0):
        total, count = torch.zeros(64, dtype=torch.float64), 0
        for run in runs:
            if len(run) >= -position:
                total, count = total + run[position], count + 1
        torch.testing.assert_close(averages[Site(1, "resid_pre").hook][position], total / count, rtol=0, atol=5e-5)
    assert {len(run) for run in runs} != {longest}


def test_means_are_the_same_in_small_batches_and_after_memory_ran_out(
    awake: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, hooks = awake("llama"), [Site(1, "resid_pre").hook, Site(1, "head").hook]
    expected, whole, budget = means(model, MORE, hooks), model.activations, model.budget
    failures = iter([True])

    class Failing(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            yield next(iter(super().items()))
            raise torch.OutOfMemoryError("CUDA out of memory")

    def failing(*args: Any, **settings: Any) -> Any:
        activations, logits = whole(*args, **settings)
        return (Failing(activations) if next(failures, False) else activations), logits

    monkeypatch.setattr(model, "activations", failing)
    try:
        averages = means(model, MORE, hooks)
        assert model.budget < budget
    finally:
        model.budget = budget
    for hook in hooks:
        torch.testing.assert_close(averages[hook], expected[hook], rtol=0, atol=1e-5)


def test_principal_components_are_those_of_numpy_and_point_to_harm(awake: Woken) -> None:
    model, site = awake("llama"), Site(2, "resid_pre", position=-2)
    ours, theirs = (model.read(prompts, [site])[site].double().numpy() for prompts in (HARMFUL, HARMLESS))
    leading = np.linalg.svd(ours - theirs)[2][:2]
    difference = (ours - theirs).mean(0)
    for one, other in ((HARMFUL, HARMLESS), (HARMLESS, HARMFUL)):
        sign = 1 if one is HARMFUL else -1
        rows = vectors(model, Direction("principal", 2, -2, tuple(one), tuple(other), rank=2)).numpy()
        assert (rows @ difference * sign > 0).all()
        lengths = np.linalg.norm(rows, axis=1)
        np.testing.assert_allclose(lengths, np.linalg.norm(difference), rtol=1e-6)
        np.testing.assert_allclose(np.abs((rows * leading).sum(1)) / lengths, 1, rtol=1e-6)
        # Not centred: what all pairs have in common is what is sought.
        centred = np.linalg.svd(ours - theirs - difference)[2][:1]
        assert abs(float(rows[0] @ centred[0])) / lengths[0] < 0.99


@pytest.mark.parametrize("method", ["isotropic", "matched"])
def test_random_directions_are_as_long_and_the_same_by_seed(method: str, awake: Woken) -> None:
    model, length = awake("llama"), vectors(awake("llama"), DIFFERENCE).norm()
    random = dataclasses.replace(DIFFERENCE, method=method, rank=3)  # type: ignore[arg-type]
    rows = vectors(model, random)
    torch.testing.assert_close(rows.norm(dim=1), length.expand(3))
    assert torch.equal(rows, vectors(model, random))
    others = vectors(model, dataclasses.replace(random, seed=1))
    assert (torch.nn.functional.cosine_similarity(rows, others) < 0.99).all()
    assert (rows @ vectors(model, DIFFERENCE)[0]).abs().max() < 1e-9 * length**2


def test_matched_directions_have_the_covariance_and_isotropic_ones_none(awake: Woken) -> None:
    model, site = awake("llama"), Site(2, "resid_pre", position=-2)
    ours, theirs = (model.read(prompts, [site])[site].double() for prompts in (HARMFUL, MORE))
    unit = torch.nn.functional.normalize(vectors(model, DIFFERENCE)[0], dim=0)
    beside = torch.eye(64, dtype=torch.float64) - torch.outer(unit, unit)
    spread = torch.cat([ours - ours.mean(0), theirs - theirs.mean(0)]) @ beside
    axes = torch.linalg.svd(spread, full_matrices=False)[2]
    lengths = torch.linalg.svdvals(spread)
    inside = int((lengths > 1e-6 * lengths[0]).sum())
    matched, isotropic = (
        torch.nn.functional.normalize(
            vectors(model, dataclasses.replace(DIFFERENCE, method=method, rank=4000, seed=5)), dim=1
        )
        for method in ("matched", "isotropic")
    )
    # In the space of the deviations and nowhere else, along each as often as the prompts stray along it.
    assert (matched @ axes[:inside].T).square().sum(1).allclose(torch.ones((), dtype=torch.float64))
    raw = torch.randn(200_000, inside, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    raw = torch.nn.functional.normalize(raw * lengths[:inside], dim=1)
    torch.testing.assert_close((matched @ axes[:inside].T).square().mean(0), raw.square().mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(isotropic.square().mean(0), beside.diagonal() / 63, rtol=0, atol=0.003)
    assert isotropic.mean(0).norm() < 0.05


@pytest.mark.parametrize("circuit", [Circuit.of(heads=[(1, 0), (1, 3), (2, 1)]), Circuit((Site(1, "head"),))])
def test_a_direction_by_heads_is_what_they_write_summed(
    circuit: Circuit, awake: Woken, folder: Callable[[str], Path]
) -> None:
    model, reference = awake("llama"), plain(folder("llama"))
    expected = torch.zeros(64, dtype=torch.float64)
    for head in circuit.sites:
        site = Site(head.layer, "head", position=-2)
        ours, theirs = (model.read(prompts, [site])[site].double().mean(0) for prompts in (HARMFUL, MORE))
        weight = reference.model.layers[head.layer].self_attn.o_proj.weight.detach().double()
        for index in range(4) if head.index is None else [head.index]:
            expected += weight[:, index * 16 : index * 16 + 16] @ (ours - theirs)[index]
    rows = vectors(model, dataclasses.replace(DIFFERENCE, method="heads", circuit=circuit))
    assert off(rows[0], expected) < 1e-5


def test_all_heads_together_are_the_difference_of_what_attention_writes(awake: Woken) -> None:
    for shape in ("gpt2", "qwen2"):
        model, site = awake(shape), Site(1, "attn_out", position=-2)
        ours, theirs = (model.read(prompts, [site])[site].double().mean(0) for prompts in (HARMFUL, MORE))
        every = Circuit.of(heads=[(1, head) for head in range(4)])
        rows = vectors(model, dataclasses.replace(DIFFERENCE, method="heads", circuit=every))
        assert off(rows[0], ours - theirs) < 1e-5


def test_a_basis_is_orthonormal_and_spans_the_same() -> None:
    rows = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    dependent = torch.cat([rows, rows[:1] - 2 * rows[1:2], torch.zeros(1, 8)])
    for given in (rows, dependent, 1e-12 * rows):
        rows_of_basis = basis(given)
        torch.testing.assert_close(rows_of_basis @ rows_of_basis.T, torch.eye(3, dtype=torch.float64))
        torch.testing.assert_close(
            given @ rows_of_basis.T @ rows_of_basis, given, rtol=1e-9, atol=0 if given is not dependent else 1e-12
        )
    assert basis(torch.zeros(2, 8, dtype=torch.float64)).shape == (0, 8)


@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_projections_are_products_by_hand(shape: str, awake: Woken, folder: Callable[[str], Path]) -> None:
    model, reference = awake(shape), plain(folder(shape))
    row = vectors(model, DIFFERENCE)[0]
    projected = projections(model, MORE, row, position=-3)
    assert projected.shape == (len(MORE), 5)
    for layer, streams in enumerate(hidden(reference, model, MORE)):
        for ours, stream in zip(projected[:, layer], streams, strict=True):
            expected = float(stream[-3] @ row) / float(row.norm())
            assert float(ours) == pytest.approx(expected, rel=1e-4, abs=1e-3)
    last = Site(3, "resid_post", position=-3)
    expected_last = model.read(MORE, [last])[last].double() @ (row / row.norm())
    torch.testing.assert_close(projected[:, 4], expected_last)


HEADS = Direction("heads", 2, -1, tuple(HARMFUL), tuple(HARMLESS))
WRONG: dict[str, tuple[Direction, str]] = {
    "a layer too deep": (
        dataclasses.replace(DIFFERENCE, layer=4),
        "has no layer 4 to take a direction from; it has 4 layers, counted from 0$",
    ),
    "no prompts": (
        Direction("difference", 1),
        "^a direction by 'difference' needs harmful and harmless prompts; give both$",
    ),
    "a position before the prompt": (dataclasses.replace(DIFFERENCE, position=-400), "outside the shortest prompt"),
    "more rank than pairs": (
        Direction("principal", 1, -1, tuple(HARMFUL), tuple(HARMLESS), rank=4),
        "^a subspace of rank 4 needs at least 4 pairs, not 3; give more$",
    ),
    "not in pairs": (
        dataclasses.replace(DIFFERENCE, method="principal"),
        "there are 3 harmful and 5 harmless prompts; give equally many$",
    ),
    "heads without heads": (HEADS, "^a direction by 'heads' needs a circuit that holds heads alone$"),
    "heads and an mlp": (
        dataclasses.replace(HEADS, circuit=Circuit.of(mlps=[1])),
        "needs a circuit that holds heads alone$",
    ),
    "a head too many": (dataclasses.replace(HEADS, circuit=Circuit.of(heads=[(1, 4)])), "has no 1.head.4"),
    "heads before the prompt": (
        dataclasses.replace(HEADS, circuit=Circuit.of(heads=[(1, 1)]), position=-400),
        "outside the shortest prompt",
    ),
    "too narrow": (Direction.given([[1.0]]), "its stream is 64 wide, so a direction needs rows of 64 numbers$"),
    "of unequal rows": (
        Direction.given([[1.0] * 64, [1.0]]),
        "its stream is 64 wide, so a direction needs rows of 64 numbers$",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_direction_that_cannot_be_found_is_one_sentence(wrong: str, awake: Woken) -> None:
    direction, sentence = WRONG[wrong]
    with pytest.raises(AssayError, match=sentence):
        vectors(awake("llama"), direction)


@pytest.mark.parametrize("shape", ["gemma2", "gemma3"])
def test_heads_whose_sum_is_normalised_have_no_direction(shape: str, awake: Woken) -> None:
    with pytest.raises(AssayError, match="its heads write no sum of contributions; use another method$"):
        vectors(awake(shape), dataclasses.replace(HEADS, circuit=Circuit.of(heads=[(1, 1)])))
