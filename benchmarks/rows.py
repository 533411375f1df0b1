"""The table's rows: each times Assay and a peer at the same work and compares what they give."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import mean, median
from typing import Any

import numpy as np
from transformers import AutoModelForCausalLM

from benchmarks import peers
from benchmarks.clock import once, rate, settled
from benchmarks.model import REFUSAL
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.instruments.circuit_search import top
from harness.instruments.direction_selection import Prompts, Selection, select
from harness.instruments.sweep import planned, sweep
from harness.measurements.sweep_plan import Sweep, per_block
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import refusal_tokens

# The largest difference, in nats of log-odds or of divergence, at which two outputs count as equal.
EQUAL = 1e-4


@dataclass(frozen=True)
class Row:
    """Process seconds of both, the least the arithmetic takes, and how far apart the outputs are."""

    name: str
    work: str
    peer_name: str
    ours: float
    peer: float
    max_abs_diff: float
    floor: float
    target: float
    note: str = ""
    agrees: bool = True  # beside the numbers: the same choice, the same set

    @property
    def ratio(self) -> float:
        """How many times as long the peer takes."""
        return self.peer / self.ours

    @property
    def fraction_of_floor(self) -> float:
        """The share of our time that is arithmetic nobody can avoid."""
        return self.floor / self.ours

    @property
    def equal(self) -> bool:
        """Whether the outputs are the same."""
        return self.agrees and self.max_abs_diff <= EQUAL


def heads(
    model: ChatModel, pairs: Sequence[Pair], name: str, at: Any, target: float, *, subset: int | None, seed: int = 0
) -> Row:
    """All heads at those positions, separately; of more variants than `subset` the peer does a random choice."""
    what = Sweep("head", at)
    ours, effects = settled(lambda: sweep(model, pairs, what, REFUSAL))
    places = [(int(layer), int(head), int(position)) for layer, head, position in product(*effects.axes.values())]
    theirs = effects.patched.reshape(len(pairs), -1)
    chosen = list(range(len(places)))
    if subset is not None and subset < len(places):
        chosen = sorted(random.Random(seed).sample(chosen, subset))  # noqa: S311
    some = [places[number] for number in chosen]
    peers.transformer_lens_heads(model, pairs, REFUSAL, some[:1])
    seconds, expected = once(lambda: peers.transformer_lens_heads(model, pairs, REFUSAL, some))
    note = "" if len(some) == len(places) else f"peer: {len(some)} random variants of {len(places)}, scaled"
    return Row(
        name,
        f"{len(places)} variants × {len(pairs)} pairs",
        "TransformerLens generic_activation_patch",
        ours,
        seconds * len(places) / len(some),
        float(np.abs(theirs[:, chosen] - expected.numpy()).max()),
        planned(model, pairs, what).operations / _rate(model),
        target,
        note,
    )


def residual(model: ChatModel, pairs: Sequence[Pair]) -> Row:
    """The stream at every layer and position."""
    what = Sweep("resid_pre", "each")
    ours, effects = settled(lambda: sweep(model, pairs, what, REFUSAL))
    seconds, expected = once(lambda: peers.transformer_lens_residual(model, pairs, REFUSAL))
    return Row(
        "resid-positions",
        f"{expected[0].numel()} variants × {len(pairs)} pairs",
        "TransformerLens get_act_patch_resid_pre",
        ours,
        seconds,
        float(np.abs(effects.patched - expected.numpy()).max()),
        planned(model, pairs, what).operations / _rate(model),
        3.5,
    )


def discovery(model: ChatModel, pairs: PairSet, *, seeds: int = 10, size: int = 16, subset: int = 64) -> Row:
    """The ten heads and positions that carry most, proposed by gradients, against patching them all."""
    what, tokens, k = Sweep("head", "each"), refusal_tokens(model, pairs), 10
    times, overlaps, apart, scaled, floors = [], [], [], [], []
    for seed in range(seeds):
        some = alike(model, pairs.discovery, size, seed)
        seconds, found = settled(partial(top, model, some, what, tokens, k))
        times.append(seconds)
        effects = sweep(model, some, what, tokens)
        shape = effects.mean.shape
        best = np.argsort(-np.nan_to_num(effects.mean.ravel()), kind="stable")[:k]
        exact = {tuple(map(int, np.unravel_index(at, shape))) for at in best}
        overlaps.append(len(exact & set(found.places)) / k)
        floors.append(_discovery_floor(model, some, what, found.measured / found.considered))
        if seed == 0:
            places = list(product(*(range(n) for n in shape)))
            chosen = random.Random(seed).sample(places, min(subset, len(places)))  # noqa: S311
            variants = [(layer, head, position - shape[2]) for layer, head, position in chosen]
            peers.transformer_lens_heads(model, some, tokens, variants[:1])
            seconds, expected = once(partial(peers.transformer_lens_heads, model, some, tokens, variants))
            ours = np.stack([effects.patched[:, place[0], place[1], place[2]] for place in chosen], 1)
            apart.append(float(np.abs(ours - expected.numpy()).max()))
            scaled.append(seconds * len(places) / len(chosen))
    return Row(
        "discovery-top10",
        f"top {k} of {int(np.prod(shape))} (head, position) × {size} pairs of {model.name}",
        "TransformerLens generic_activation_patch, exhaustive",
        median(times),
        scaled[0],
        apart[0],
        median(floors),
        40,
        f"mean overlap with the exhaustive set {mean(overlaps):.2f} over {seeds} seeds (least {min(overlaps):.1f}); "
        f"peer: {len(chosen)} random variants, scaled",
        mean(overlaps) >= 0.95,
    )


def selection(model: ChatModel, pairs: PairSet, *, train: int = 128, validation: int = 32) -> Row:
    """The direction by the published procedure."""
    tokens = refusal_tokens(model, pairs)
    chosen = random.Random(0).sample(list(pairs.discovery), train + validation)  # noqa: S311
    parts = [
        Prompts(tuple(p.harmful for p in part), tuple(p.harmless for p in part))
        for part in (chosen[:train], chosen[train:])
    ]
    ours, found = settled(lambda: select(model, parts[0], parts[1], tokens))
    hf = AutoModelForCausalLM.from_pretrained(
        str(model.known.folder), attn_implementation="eager", dtype=model.loaded.dtype
    ).eval()
    seconds, expected = once(lambda: peers.published(hf, model, parts[0], parts[1], tokens))
    differences = [
        abs(value - expected.scores[one.layer, one.position][name])
        for one in found.candidates
        for name, value in (("induced", one.induced), ("bypassed", one.bypassed), ("kl", one.kl))
        if value is not None
    ]
    ours_at = None if found.chosen is None else (found.chosen.layer, found.chosen.position)
    return Row(
        "direction-selection",
        f"{len(found.candidates)} candidates, {train}+{train} training and {validation}+{validation} validation "
        f"prompts of {model.name}",
        "plain HF forward hooks, as published",
        ours,
        seconds,
        max(differences),
        _selection_floor(model, found, parts[0], parts[1]),
        3,
        f"ours chose {ours_at}, theirs {expected.chosen}; {len(differences)} scores that both computed compared",
        ours_at == expected.chosen,
    )


def alike(model: ChatModel, pairs: PairSet, size: int, seed: int) -> list[Pair]:
    """Some aligned pairs of equal length in tokens, the commonest lengths first."""
    encoded = {pair.id: model.chat.encode_pair(pair) for pair in pairs}
    lengths = Counter(len(one.harmful) for one in encoded.values() if one.aligned)
    common = [length for length, count in lengths.most_common() if count >= size]
    rng = random.Random(seed)  # noqa: S311
    length = rng.choice(common)
    return rng.sample([p for p in pairs if encoded[p.id].aligned and len(encoded[p.id].harmful) == length], size)


def _rate(model: ChatModel) -> float:
    return rate(model.sizes.d_model, model.sizes.d_mlp)


def _discovery_floor(model: ChatModel, pairs: Sequence[Pair], what: Sweep, measured: float) -> float:
    """Forward and backward at both ends (no weight's gradient), the two runs, and the measured share of patches."""
    runs = 2 * _forward(model, [prompt for pair in pairs for prompt in (pair.harmful, pair.harmless)])
    patches = planned(model, pairs, what).operations - runs / 2
    return (runs + runs / 2 + measured * patches) / _rate(model)


def _selection_floor(model: ChatModel, found: Selection, train: Prompts, validation: Prompts) -> float:
    """The runs that say who is refused and what the means are, and each candidate's blocks."""
    harmful, harmless = (_forward(model, side) for side in (validation.harmful, validation.harmless))
    total = 2 * _forward(model, train.harmful + train.harmless) + 3 * harmless + 2 * harmful
    for one in found.candidates:
        total += (1 - one.layer / model.sizes.layers) * harmless
        total += (one.bypassed is not None) * harmful + (one.kl is not None) * harmless
    return total / _rate(model)


def _forward(model: ChatModel, prompts: Sequence[str]) -> float:
    """Operations of a run of these prompts, their last logits included."""
    sizes, encoded = model.sizes, model.encode(prompts)
    blocks = sum(map(len, encoded)) * sizes.layers * per_block(sizes)
    return 2.0 * (blocks + len(encoded) * sizes.d_model * sizes.vocabulary)
