"""Sweeps equal the plain full forward, whatever the architecture, the batch, the pair and the site."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch

from harness.inputs.chat_tokens import Encoded, EncodedPair
from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import SITE_KINDS, Site
from harness.instruments.sweep import MEMORY, planned, sweep
from harness.measurements.effects import LEAST_GAP, Effects
from harness.measurements.interventions import Circuit
from harness.measurements.sweep_plan import AnySweep, Budget, Joint, Mode, Sweep, Variant, groups, plan, reaches
from harness.model.chat_model import ChatModel, Hook
from harness.model.refusal_score import Scorer
from tests.tools.shapes import EACH_QUANTIZED

TOKENS = (5, 6, 7)
# Aligned pairs of three lengths that differ in one token, and one that cannot be aligned.
ALIGNED = [
    Pair(name, "c", f"{before} bomb {after}", f"{before} tree {after}")
    for name, before, after in (
        ("long", "Tell me how to build a", "right now"),
        ("late", "Explain how one would make a", "or"),
        ("early", "a", "please please please"),
    )
]
UNALIGNED = Pair("unaligned", "c", "Write a hack", "Write a poem on trees and more")
CIRCUIT = Circuit.of(heads=[(0, 1), (2, 3)], neurons=[(1, 4), (3, 9)], mlps=[2])


def full(model: ChatModel, prompt: Encoded, source: Encoded, sites: Variant) -> float:
    """The log-odds by one plain forward of the whole prompt, sites written one by one."""
    entered = [Site(site.layer, "resid_pre").hook for site in sites]
    given, _ = model.activations(model.batch([source]), {*(site.hook for site in sites), *entered})
    now: dict[int, torch.Tensor] = {}

    def note(layer: int) -> Callable[..., None]:
        def hook(activation: torch.Tensor, hook: object) -> None:
            now[layer] = activation

        return hook

    def write(site: Site) -> Callable[..., torch.Tensor]:
        def hook(activation: torch.Tensor, hook: object) -> torch.Tensor:
            new = activation.clone()
            if site.kind == "resid_mid":
                new[:, site.position] = given[site.hook][:, site.position] - now[site.layer][:, site.position]
            elif site.index is None:
                new[:, site.position] = given[site.hook][:, site.position]
            else:
                new[:, site.position, site.index] = given[site.hook][:, site.position, site.index]
            return new

        return hook

    hooks: list[Hook] = []
    for site in sites:
        if site.kind == "resid_mid":
            hooks += [(Site(site.layer, "resid_pre").hook, note(site.layer))]
            hooks += [(Site(site.layer, "attn_out").hook, write(site))]
        else:
            hooks += [(site.hook, write(site))]
    with model.hooked(hooks):
        logits = model.forward(model.batch([prompt]))[0, -1].double()
    p = logits.softmax(-1)[list(TOKENS)].sum()
    return float(p.log() - (-p).log1p())


def furthest(model: ChatModel, pairs: Sequence[Pair], what: AnySweep, found: Effects, mode: str, few: int = 5) -> float:
    """The largest difference between the sweep and `full`, over some variants of every pair."""
    encoded = {pair.id: model.chat.encode_pair(pair) for pair in pairs}
    used = [encoded[name] for name in found.pairs]
    chosen = np.random.default_rng(0)
    worst = 0.0
    for row, pair in enumerate(used):
        sides = (pair.harmful, pair.harmless)
        prompt, source = sides if mode == "noise" else sides[::-1]
        variants = what.variants(model.sizes, what.spans(used, prompt))
        values = found.patched[row].ravel()
        for number in chosen.choice(len(variants), min(few, len(variants)), replace=False):
            if not variants[number] and isinstance(what, Sweep):
                assert np.isnan(values[number])
                continue
            worst = max(worst, abs(full(model, prompt, source, variants[number]) - values[number]))
    return worst


@pytest.mark.parametrize(("shape", "quant"), EACH_QUANTIZED)
def test_every_kind_of_site_equals_the_full_forward(awake: Callable[..., ChatModel], shape: str, quant: str) -> None:
    model = awake(shape, quant)
    modes: tuple[Mode, ...] = ("noise", "denoise")
    for kind, mode in zip(SITE_KINDS, itertools.cycle(modes), strict=False):
        swept = Sweep(kind, ((-1,), (-4, -2), "later"), layers=(1, 3) if kind == "neuron" else None)
        effects = sweep(model, ALIGNED, swept, TOKENS, mode=mode)
        assert np.abs(effects.change).max() > 1e-3
        assert furthest(model, ALIGNED, swept, effects, mode) < 1e-5 * max(1, np.abs(effects.patched).max())


@pytest.mark.parametrize("shape", ["llama", "gemma2", "gpt2"])
def test_circuits_and_cumulative_sweeps_equal_the_full_forward(awake: Callable[..., ChatModel], shape: str) -> None:
    model, pairs = awake(shape), [*ALIGNED, UNALIGNED]
    for what in (Joint((CIRCUIT, Circuit(()))), Sweep("attn_out", cumulative=True)):
        effects = sweep(model, pairs, what, TOKENS)
        assert effects.pairs == ("long", "late", "early", "unaligned")
        assert furthest(model, pairs, what, effects, "noise") < 1e-4
    assert np.array_equal(sweep(model, pairs, Joint((Circuit(()),)), TOKENS).patched[:, 0], effects.clean)


def test_positions_each_by_itself_are_empty_where_a_prompt_is_too_short(awake: Callable[..., ChatModel]) -> None:
    model = awake("llama")
    swept = Sweep("head", "each", layers=(0, 2))
    effects = sweep(model, ALIGNED, swept, TOKENS)
    lengths = [len(model.chat.encode_pair(pair).harmful) for pair in ALIGNED]
    assert [int(np.isfinite(row[0, 0]).sum()) for row in effects.patched] == lengths
    assert furthest(model, ALIGNED, swept, effects, "noise", few=20) < 1e-5


def test_before_the_first_difference_the_effect_is_exactly_zero(awake: Callable[..., ChatModel]) -> None:
    effects = sweep(awake("llama"), ALIGNED, Sweep("resid_pre", "each"), TOKENS)
    for row, pair in enumerate(map(awake("llama").chat.encode_pair, ALIGNED)):
        before = effects.change[row][:, : pair.first_difference]
        assert np.nanmax(np.abs(before)) == 0
        assert np.nanmax(effects.kl[row][:, : pair.first_difference]) == 0


def test_pairs_that_do_not_align_are_set_aside_by_name_never_silently(awake: Callable[..., ChatModel]) -> None:
    effects = sweep(awake("llama"), [*ALIGNED, UNALIGNED], Sweep("resid_pre", ("slot",)), TOKENS)
    assert effects.pairs == ("long", "late", "early")
    assert effects.set_aside == ("unaligned",)
    with pytest.raises(AssayError, match="none of the 1 pairs is aligned"):
        sweep(awake("llama"), [UNALIGNED], Sweep("resid_pre", "each"), TOKENS)


def test_a_whole_stream_restored_is_the_source_run(awake: Callable[..., ChatModel]) -> None:
    effects = sweep(awake("qwen2"), ALIGNED, Sweep("resid_post", ("all",)), TOKENS)
    unlike = np.abs(effects.gap) >= LEAST_GAP
    assert unlike.any()
    assert np.allclose(effects.normalised[unlike], 1, atol=1e-4)
    assert np.isnan(effects.normalised[~unlike]).all()


def test_direct_effects_move_only_the_last_logits(awake: Callable[..., ChatModel]) -> None:
    """Against a run in which every later write is put back to what it was unpatched."""
    model, pair = awake("gemma2"), ALIGNED[0]
    both = model.chat.encode_pair(pair)
    writes = [Site(layer, kind) for layer in range(model.sizes.layers) for kind in ("attn_out", "mlp_out")]
    clean, _ = model.activations(model.batch([both.harmful]), [site.hook for site in writes])
    given, _ = model.activations(model.batch([both.harmless]), [site.hook for site in writes])
    effects = sweep(model, [pair], Sweep("mlp_out", ((-1,),), direct=True), TOKENS)
    for layer in range(model.sizes.layers):
        moved = Site(layer, "mlp_out")
        held = {site.hook: (given if site == moved else clean)[site.hook] for site in writes}
        hooks = [(name, lambda activation, hook, value=value: value.clone()) for name, value in held.items()]
        with model.hooked(hooks):
            logits = model.forward(model.batch([both.harmful]))[:, -1]
        expected = float(Scorer(model, TOKENS).odds(logits)[0])
        # The stream that enters the first block is the prompt's own at the last position in both.
        assert effects.patched[0, layer, 0] == pytest.approx(expected, abs=1e-5)


def test_divergence_and_flips_are_those_of_the_logits(awake: Callable[..., ChatModel]) -> None:
    model = awake("llama")
    effects = sweep(model, ALIGNED, Sweep("resid_post", ("all",), layers=(2,)), TOKENS)
    ours, theirs = (
        model.next_token([getattr(pair, side) for pair in ALIGNED]).double() for side in ("harmful", "harmless")
    )
    before, after = ours.log_softmax(-1), theirs.log_softmax(-1)
    kl = (before.exp() * (before - after)).sum(-1)
    assert np.allclose(effects.kl[:, 0, 0], kl, atol=1e-4)
    p, q = (row.exp()[:, list(TOKENS)].sum(-1).numpy() for row in (before, after))
    assert ((p > 0.5) != (q > 0.5)).tolist() == effects.flips[:, 0, 0].tolist()


def test_bf16_stays_within_the_noise_the_model_was_found_to_have(
    awake: Callable[..., ChatModel], folder: Callable[[str], object]
) -> None:
    model = awake("llama", "int8")
    swept = Sweep("head", ((-1,),))
    effects = sweep(model, ALIGNED, swept, TOKENS)
    assert furthest(model, ALIGNED, swept, effects, "noise") <= 2 * max(model.record.examination.noise, 1e-5)


class Memory:
    """Parts kept in a dictionary, and a count of what was asked for in vain."""

    def __init__(self) -> None:
        self.parts: dict[tuple[str, ...], Effects] = {}

    def get(self, pairs: tuple[str, ...]) -> Effects | None:
        return self.parts.get(pairs)

    def put(self, part: Effects) -> None:
        self.parts[part.pairs] = part


def test_an_interrupted_sweep_goes_on_where_it_was(
    awake: Callable[..., ChatModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kept, done = awake("llama"), Memory(), []
    monkeypatch.setattr(model, "budget", 40)
    swept = Sweep("head", ((-1,),))

    def interrupt(pairs: int) -> None:
        done.append(pairs)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(model, ALIGNED, swept, TOKENS, chunks=kept, done=interrupt)
    assert len(kept.parts) == 2
    forwards = []
    original = model.forward

    def counted(*asked: Any, **named: Any) -> Any:
        forwards.append(1)
        return original(*asked, **named)

    monkeypatch.setattr(model, "forward", counted)
    whole = sweep(model, ALIGNED, swept, TOKENS, chunks=kept)
    resumed = len(forwards)
    again = sweep(model, ALIGNED, swept, TOKENS)
    assert resumed * 2 < len(forwards)
    assert np.array_equal(whole.patched, again.patched)
    assert whole.pairs == ("long", "late", "early")


def test_out_of_memory_halves_the_batch_and_changes_nothing(
    awake: Callable[..., ChatModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, what = awake("llama"), Sweep("neuron", ((-1,), (-3,)), layers=(1, 2))
    before = sweep(model, ALIGNED, what, TOKENS)
    monkeypatch.setattr(model, "budget", 2048)
    block, calls = model.blocks[3], []
    run = block.original_component.forward

    @wraps(run)
    def tight(streams: torch.Tensor, *args: object, **named: object) -> Any:
        calls.append(streams.shape[0] * streams.shape[1])
        if calls[-1] > 300:
            raise torch.OutOfMemoryError("out of memory")
        return run(streams, *args, **named)

    monkeypatch.setitem(vars(block.original_component), "forward", tight)
    after = sweep(model, ALIGNED, what, TOKENS)
    assert max(calls) > 300
    assert model.budget < 2048
    assert np.allclose(before.patched, after.patched, atol=1e-5)


def test_a_plan_counts_what_a_sweep_then_does(awake: Callable[..., ChatModel], monkeypatch: pytest.MonkeyPatch) -> None:
    model, what = awake("llama"), Sweep("head", ((-1,), (-2,)))
    tokens: list[int] = []

    def counted(run: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        @wraps(run)
        def forward(streams: torch.Tensor, *args: object, **named: object) -> torch.Tensor:
            tokens.append(streams.shape[0] * streams.shape[1])
            return run(streams, *args, **named)

        return forward

    for block in model.blocks:
        whole = block.original_component
        monkeypatch.setitem(vars(whole), "forward", counted(whole.forward))
    sweep(model, ALIGNED, what, TOKENS)
    expected = planned(model, ALIGNED, what)
    # Twins are run from where they begin to differ, which a plan does not count on; variants are padded to full stacks.
    assert 0.7 * expected.tokens < sum(tokens) <= 1.1 * expected.tokens
    assert expected.pairs == 3
    assert "3 pairs × 32 variants" in str(expected)
    assert expected.minutes(1e9) == pytest.approx(expected.operations / 6e10)


def test_variants_that_nothing_later_reads_are_not_run() -> None:
    assert not reaches((Site(3, "head", 0, -2),), 4)
    assert reaches((Site(3, "head", 0, -1),), 4)
    assert reaches((Site(3, "resid_pre", None, -2),), 4)
    assert [
        group.variants for group in groups([(), (Site(3, "mlp_out", None, -2),), (Site(0, "head", 1, -2),)], 4)
    ] == [(2,)]


@pytest.mark.slow
def test_a_sweep_of_eight_billion_parameters_is_planned_within_ten_gigabytes(awake: Callable[..., ChatModel]) -> None:
    """64 pairs of 40 tokens, all heads at all positions, in bf16."""

    sizes = replace(
        awake("llama").sizes,
        layers=32,
        heads=32,
        kv_heads=8,
        d_model=4096,
        d_head=128,
        d_mlp=14336,
        vocabulary=128256,
        parameters=8030261248,
    )

    def pair(number: int) -> EncodedPair:
        ours = [0] * 40
        ours[25] = number + 1
        theirs = [0] * 40
        return EncodedPair(Encoded(tuple(ours), 5, 35, (25, 26)), Encoded(tuple(theirs), 5, 35, (25, 26)))

    pairs = {str(number): pair(number) for number in range(64)}
    for tokens in (2048, 32768):
        planned_work = plan(pairs, Sweep("head", "each"), sizes, Budget(tokens, MEMORY, 2))
        assert planned_work.peak < 10 * 1024**3
        assert planned_work.pairs == 64


@pytest.mark.slow
def test_the_memory_that_was_planned_is_about_what_is_used() -> None:
    command = [sys.executable, "-m", "tests.tools.peak_memory"]
    done = subprocess.run(command, cwd=DATA.parent, capture_output=True, text=True, check=True)
    expected, used = map(int, done.stdout.split())
    assert 0.75 < expected / used < 1.75
