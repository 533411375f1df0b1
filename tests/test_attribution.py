"""Gradients against finite differences, completeness, TransformerLens's own tool, and the model itself."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens.tools.analysis import logit_lens
from transformer_lens.tools.analysis.attribution_patching import attribution_patch

from harness.inputs.errors import AssayError
from harness.inputs.sites import Indexed, Kind, Site, in_layer
from harness.instruments.attribution import (
    attention,
    attention_flow,
    entropy,
    estimate,
    integrated_gradients,
    lens,
    saliency,
)
from harness.instruments.sweep import sweep
from harness.measurements.effects import Effects
from harness.measurements.interventions import Circuit
from harness.measurements.sweep_plan import Joint, Sweep
from harness.model.chat_model import Batch, ChatModel, Hook
from harness.model.refusal_score import Scorer, score
from tests.tools.material import HARMFUL, HARMLESS, PAIRS, UNALIGNED
from tests.tools.shapes import EACH, EACH_QUANTIZED

Woken = Callable[..., ChatModel]
TOKENS = [5, 6, 7]
KINDS: tuple[Kind, ...] = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "head")

each = pytest.mark.parametrize(("shape", "quant"), EACH_QUANTIZED)


@dataclasses.dataclass
class Moved:
    """Activations at a hook moved by so much, the last rows of `by` standing at the prompt's last tokens."""

    hook: str
    by: Tensor

    def hooks(self, model: ChatModel, batch: Batch) -> Iterable[Hook]:
        def move(activation: Tensor, hook: object) -> Tensor:
            moved = activation.clone()
            moved[:, -self.by.shape[1] :] += self.by[list(batch.rows)]
            return moved

        return [(self.hook, move)]


def slope(model: ChatModel, prompts: list[str], hook: str, by: Tensor, step: float = 1e-3) -> np.ndarray:
    """The change of the score per step along a direction, by central differences."""
    scorer = Scorer(model, TOKENS)
    ahead, behind = (scorer.odds(model.next_token(prompts, under=Moved(hook, by * t))) for t in (step, -step))
    return ((ahead - behind) / (2 * step)).numpy()


@each
def test_an_estimate_is_the_slope_of_the_effect_at_the_start(shape: str, quant: str, awake: Woken) -> None:
    model, last = awake(shape, quant), (-2, -1)
    kinds = KINDS if (shape, quant) in (("llama", "none"), ("gemma2", "nf4")) else ("resid_mid", "head")
    for kind in kinds:
        site = Site(1, kind)
        ours, theirs = (model.read(prompts, [site])[site][:, -2:] for prompts in (HARMFUL, HARMLESS))
        effects = estimate(model, PAIRS, Sweep(kind, (last,), layers=(1,)), TOKENS)
        # Where a whole stream moves, what attention writes has to move with it.
        hook = Site(1, "attn_out").hook if kind == "resid_mid" else site.hook
        expected = slope(model, HARMFUL, hook, theirs - ours)
        np.testing.assert_allclose(effects.change.reshape(3, -1).sum(1), expected, rtol=5e-3, atol=5e-3)
        np.testing.assert_allclose(effects.clean, score(model, HARMFUL, TOKENS), atol=1e-4)
        np.testing.assert_allclose(effects.source, score(model, HARMLESS, TOKENS), atol=1e-4)


@pytest.mark.parametrize(("shape", "quant"), [("llama", "none"), ("gemma2", "nf4")])
def test_estimates_of_neurons_and_heads_are_each_ones_own(shape: str, quant: str, awake: Woken) -> None:
    model = awake(shape, quant)
    for kind, index in (("neuron", 9), ("head", 2)):
        site = Site(2, kind)  # type: ignore[arg-type]
        ours, theirs = (model.read(prompts, [site])[site][:, -1:] for prompts in (HARMFUL, HARMLESS))
        effects = estimate(model, PAIRS, Sweep(kind, ((-1,),), layers=(2,)), TOKENS)  # type: ignore[arg-type]
        whole = slope(model, HARMFUL, site.hook, theirs - ours)
        np.testing.assert_allclose(effects.change.reshape(3, -1).sum(1), whole, rtol=5e-3, atol=5e-3)
        empty = torch.zeros_like(ours)
        empty[:, :, index] = (theirs - ours)[:, :, index]
        expected = slope(model, HARMFUL, site.hook, 10 * empty) / 10
        np.testing.assert_allclose(effects.change[:, 0, index, 0], expected, rtol=5e-3, atol=2e-3)


@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_estimates_know_which_run_is_patched_and_where_the_gradient_is_taken(shape: str, awake: Woken) -> None:
    model, what, site = awake(shape), Sweep("mlp_out", ((-1,),), layers=(2,)), Site(2, "mlp_out", position=-1)
    ours, theirs = (model.read(prompts, [site])[site][:, None] for prompts in (HARMFUL, HARMLESS))
    forth = slope(model, HARMFUL, site.hook, theirs - ours)
    back = slope(model, HARMLESS, site.hook, ours - theirs)
    effects = estimate(model, PAIRS, what, TOKENS, mode="denoise")
    np.testing.assert_allclose(effects.change[:, 0, 0], back, rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(effects.clean, score(model, HARMLESS, TOKENS), atol=1e-4)
    both = estimate(model, PAIRS, what, TOKENS, ends="both")
    np.testing.assert_allclose(both.change[:, 0, 0], (forth - back) / 2, rtol=5e-3, atol=5e-3)
    assert np.isnan(both.kl).all()


def test_estimates_keep_the_order_of_pairs_and_set_unaligned_ones_aside(awake: Woken) -> None:
    model, what = awake("llama"), Sweep("head", ("later",))
    alone = [estimate(model, [pair], what, TOKENS).patched[0] for pair in PAIRS]
    effects = estimate(model, [PAIRS[2], UNALIGNED, PAIRS[0], PAIRS[1]], what, TOKENS)
    assert effects.pairs == ("2", "0", "1")
    assert effects.set_aside == ("u",)
    np.testing.assert_allclose(effects.patched, np.stack([alone[2], alone[0], alone[1]]), atol=1e-3)


def test_estimates_equal_transformer_lenss_attribution_patching(awake: Woken) -> None:
    model, pair = awake("gpt2"), PAIRS[0]
    ours, theirs = (torch.tensor([prompt.ids]) for prompt in model.encode([pair.harmful, pair.harmless]))
    scorer = Scorer(model, TOKENS)
    # Its gradient is that of the run it calls corrupt, its values those of the clean one.
    weight = model.embedding.original_component.weight.requires_grad_(True)
    try:
        nodes = attribution_patch(model.bridge, theirs, ours, lambda logits: scorer.odds(logits[0, -1])).node_scores
    finally:
        weight.requires_grad_(False)
    compared = 0
    for kind, node_kind in (("head", "attn_head_out"), ("mlp_out", "mlp_out")):
        found = estimate(model, [pair], Sweep(kind, "each"), TOKENS).change[0]  # type: ignore[arg-type]
        for node, expected in nodes.items():
            if node.kind == node_kind:
                place = (node.layer, node.head, node.position) if kind == "head" else (node.layer, node.position)
                assert float(found[place]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
                compared += abs(expected) > 1e-3
    assert compared > 50


@pytest.mark.parametrize("quant", ["none", "nf4"])
@pytest.mark.parametrize("shape", ["gemma3", "qwen3", "gpt2"])
def test_integrated_gradients_add_up_to_the_difference(shape: str, quant: str, awake: Woken) -> None:
    model, pair = awake(shape, quant), PAIRS[0]
    shares = integrated_gradients(model, pair, TOKENS)
    gap = float((score(model, [pair.harmful], TOKENS) - score(model, [pair.harmless], TOKENS))[0])
    assert float(shares.sum()) == pytest.approx(gap, rel=0.02, abs=2e-3)
    slot = model.chat.encode_pair(pair).harmful.slot or (0, 0)
    assert shares[slot[0] : slot[1]].any()
    assert not shares[: slot[0]].any()
    assert not shares[slot[1] :].any()


def test_integrated_gradients_do_not_depend_on_memory_and_need_a_line(awake: Woken) -> None:
    model = awake("gemma3")
    expected, budget = integrated_gradients(model, PAIRS[1], TOKENS, steps=8), model.budget
    model.budget = 100
    try:
        torch.testing.assert_close(
            integrated_gradients(model, PAIRS[1], TOKENS, steps=8), expected, rtol=1e-3, atol=1e-4
        )
    finally:
        model.budget = budget
    with pytest.raises(AssayError, match="^pair u: is not aligned, .* cannot be interpolated; give an aligned pair$"):
        integrated_gradients(model, UNALIGNED, TOKENS)


@pytest.mark.parametrize(("shape", "quant"), [("llama", "nf4"), ("gemma2", "none"), ("gpt2", "none")])
def test_saliency_is_the_length_of_the_gradient(shape: str, quant: str, awake: Woken) -> None:
    model, hook = awake(shape, quant), Site(0, "resid_pre").hook
    found = saliency(model, HARMFUL, TOKENS)
    for prompt, lengths, encoded in zip(HARMFUL, found, model.encode(HARMFUL), strict=True):
        assert len(lengths) == len(encoded)
        position = len(encoded) - 2
        # The prompt once for each coordinate of the last token but one.
        by = torch.zeros(64, 2, 64)
        by[:, 0] = torch.eye(64)
        partials = slope(model, [prompt] * 64, hook, by, step=2e-3)
        assert float(lengths[position]) == pytest.approx(float(np.linalg.norm(partials)), rel=0.02, abs=1e-3)


@pytest.mark.parametrize("shape", EACH)
def test_attention_is_a_distribution_over_what_came_before(shape: str, awake: Woken) -> None:
    patterns = attention(awake(shape, "nf4"), HARMFUL[0])
    length = len(awake(shape, "nf4").encode(HARMFUL[:1])[0])
    assert patterns.shape == (4, 4, length, length)
    torch.testing.assert_close(patterns.sum(-1), torch.ones(4, 4, length), rtol=0, atol=1e-5)
    assert not patterns.triu(1).any()


def test_attention_explains_what_a_head_says(awake: Woken) -> None:
    model, site = awake("llama"), Site(1, "head")
    pattern = attention(model, HARMFUL[0])[1]
    seen, _ = model.activations(model.batch(model.encode(HARMFUL[:1])), ["blocks.1.attn.hook_v", site.hook])
    values = seen["blocks.1.attn.hook_v"][0].float()
    shared = values.reshape(len(values), 2, 16).repeat_interleave(2, 1)  # two heads share a value
    torch.testing.assert_close(torch.einsum("hqk,khd->qhd", pattern, shared), seen[site.hook][0], rtol=0, atol=1e-4)


def test_entropy_by_hand() -> None:
    patterns = torch.tensor([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.25, 0.25, 0]])
    expected = torch.tensor([0.0, math.log(4), 1.5 * math.log(2)])
    torch.testing.assert_close(entropy(patterns), expected)


@pytest.mark.parametrize(("shape", "quant"), [("llama", "none"), ("gemma2", "nf4"), ("gpt2", "none")])
def test_attention_flow_is_attention_times_the_slope_in_it(shape: str, quant: str, awake: Woken) -> None:
    model, prompt = awake(shape, quant), HARMFUL[:1]
    flow, patterns = attention_flow(model, prompt[0], TOKENS), attention(model, prompt[0])
    assert flow.shape == patterns.shape
    for layer, head in ((0, 1), (2, 3)):
        by = torch.zeros_like(patterns[:1, :, -1:])
        by[0, head] = patterns[layer, head, -1:]
        hook, scorer, odds = f"blocks.{layer}.attn.hook_pattern", Scorer(model, TOKENS), []
        for t in (1e-3, -1e-3):

            def look(activation: Tensor, hook: object, t: float = t, head: int = head, by: Tensor = by) -> Tensor:
                moved = activation.clone()
                moved[0, head, -1] += t * by[0, head, 0]
                return moved

            with model.hooked([(hook, look)]):
                odds.append(scorer.odds(model.forward(model.batch(model.encode(prompt)))[:, -1]))
        expected = float((odds[0] - odds[1])[0]) / 2e-3
        assert float(flow[layer, head, -1].sum()) == pytest.approx(expected, rel=0.01, abs=5e-3)


@each
def test_the_lens_is_transformer_lenss_and_ends_in_the_models_own_odds(shape: str, quant: str, awake: Woken) -> None:
    model = awake(shape, quant)
    odds = lens(model, HARMFUL, TOKENS)
    assert odds.shape == (3, 5)
    np.testing.assert_allclose(odds[:, -1], score(model, HARMFUL, TOKENS), rtol=1e-3, atol=1e-3)
    scorer = Scorer(model, TOKENS)
    for row, encoded in zip(odds, model.encode(HARMFUL), strict=True):
        # One at a time, for TransformerLens's knows no padding.
        logits = logit_lens(model.bridge, torch.tensor([encoded.ids])).values.flatten(0, -2)
        torch.testing.assert_close(row, scorer.odds(logits), rtol=1e-3, atol=1e-3)
    assert odds[:, 1:].std(0).all()


def test_the_lens_reads_any_position(awake: Woken) -> None:
    model = awake("llama")
    for position in (-1, -3):
        odds = lens(model, HARMFUL, TOKENS, position)
        streams = model.read(HARMFUL, [Site(2, "resid_pre", position=position)])
        norm, unembed = model.loaded.hf.model.norm, model.loaded.hf.lm_head
        (stream,) = streams.values()
        torch.testing.assert_close(odds[:, 2], Scorer(model, TOKENS).odds(unembed(norm(stream))), rtol=1e-4, atol=1e-4)


def test_a_gradient_is_taken_of_the_runs_asked_for_and_of_no_other(
    awake: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, taken, grad = awake("llama"), [0], torch.autograd.grad

    def counted(*arguments: Any) -> Any:
        taken[0] += 1
        return grad(*arguments)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    for ends, times in (("base", 1), ("both", 2)):
        taken[0] = 0
        estimate(model, [PAIRS[0]], Sweep("head", ("post",)), TOKENS, ends=ends)  # type: ignore[arg-type]
        assert taken[0] == times


@pytest.mark.parametrize("kind", ["head", "neuron"])
def test_groups_of_a_layers_parts_are_swept_and_estimated_as_circuits_of_them(kind: Indexed, awake: Woken) -> None:
    model, groups = awake("llama"), 3
    grouped, count = Sweep(kind, ("post",), groups=groups), in_layer(kind, model.sizes)
    ends = [number * count // groups for number in range(groups + 1)]
    circuits = Joint(
        tuple(
            Circuit(tuple(Site(layer, kind, index) for index in range(start, stop)))
            for layer in range(model.sizes.layers)
            for start, stop in itertools.pairwise(ends)
        )
    )
    measures: tuple[Callable[..., Effects], ...] = (sweep, partial(estimate, ends="both"))
    for measure in measures:
        found, expected = (measure(model, PAIRS, what, TOKENS) for what in (grouped, circuits))
        assert found.patched.shape == (len(PAIRS), model.sizes.layers, groups, 1)
        np.testing.assert_allclose(found.patched.reshape(len(PAIRS), -1), expected.patched, atol=1e-5)
    alone, whole = (estimate(model, PAIRS, replace(grouped, groups=number), TOKENS) for number in (0, groups))
    sums = np.add.reduceat(alone.change, ends[:-1], axis=2)
    np.testing.assert_allclose(whole.change, sums, atol=1e-4)
