"""The rows of the table in docs/speed.md: each times Assay and a peer at the same work and compares the outputs."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from transformers import AutoModelForCausalLM

from benchmarks import peers
from benchmarks.clock import once, rate, settled
from benchmarks.model import REFUSAL
from harness.inputs.files.differences import restored
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.instruments.circuit_search import top
from harness.instruments.direction_selection import Prompts, Selection, select
from harness.instruments.sweep import planned, sweep
from harness.measurements.sweep_plan import Sweep
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import refusal_tokens

# The largest difference, in nats of log-odds or of divergence, at which two outputs count as equal.
EQUAL = 1e-4


@dataclass(frozen=True)
class Row:
    """Process seconds of Assay and the peer, of the necessary arithmetic, and the largest difference of outputs."""

    name: str
    work: str
    peer_name: str
    ours: float
    peer: float
    max_abs_diff: float
    floor: float
    target: float
    note: str = ""
    agrees: bool = True  # whether both also make the same choice, or find the same set

    @property
    def ratio(self) -> float:
        """The peer's time divided by Assay's."""
        return self.peer / self.ours

    @property
    def fraction_of_floor(self) -> float:
        """The share of Assay's time that the necessary arithmetic alone would take."""
        return self.floor / self.ours

    @property
    def equal(self) -> bool:
        """Whether the outputs are the same, up to EQUAL."""
        return self.agrees and self.max_abs_diff <= EQUAL


def heads(
    model: ChatModel, pairs: Sequence[Pair], name: str, at: Any, target: float, *, subset: int | None, seed: int = 0
) -> Row:
    """Patches every head at each of these positions; the peer does a random `subset` if there are more variants."""
    asked = Sweep("head", at)
    ours, effects = settled(lambda: sweep(model, pairs, asked, REFUSAL))
    places = [(int(layer), int(head), int(position)) for layer, head, position in product(*effects.axes.values())]
    theirs = effects.patched.reshape(len(pairs), -1)
    chosen = list(range(len(places)))
    if subset is not None and subset < len(places):
        chosen = sorted(random.Random(seed).sample(chosen, subset))  # noqa: S311
    variants = [places[number] for number in chosen]
    peers.transformer_lens_heads(model, pairs, REFUSAL, variants[:1])
    seconds, expected = once(lambda: peers.transformer_lens_heads(model, pairs, REFUSAL, variants))
    note = "" if len(variants) == len(places) else f"peer: {len(variants)} random variants of {len(places)}, scaled"
    return Row(
        name,
        f"{len(places)} variants × {len(pairs)} pairs",
        "TransformerLens generic_activation_patch",
        ours,
        seconds * len(places) / len(variants),
        float(np.abs(theirs[:, chosen] - expected.numpy()).max()),
        planned(model, pairs, asked).operations / _rate(model),
        target,
        note,
    )


def residual(model: ChatModel, pairs: Sequence[Pair]) -> Row:
    """Patches the stream at every layer and position."""
    asked = Sweep("resid_pre", "each")
    ours, effects = settled(lambda: sweep(model, pairs, asked, REFUSAL))
    seconds, expected = once(lambda: peers.transformer_lens_residual(model, pairs, REFUSAL))
    return Row(
        "resid-positions",
        f"{expected[0].numel()} variants × {len(pairs)} pairs",
        "TransformerLens get_act_patch_resid_pre",
        ours,
        seconds,
        float(np.abs(effects.patched - expected.numpy()).max()),
        planned(model, pairs, asked).operations / _rate(model),
        3.5,
    )


def discovery(model: ChatModel, pairs: PairSet, *, seeds: int = 10, size: int = 16, subset: int = 64) -> Row:
    """Finds the ten (head, position) with the largest effects by proposals of gradients; the peer patches all."""
    asked, tokens, k = Sweep("head", "each"), refusal_tokens(model, pairs), 10
    times, overlaps, apart, scaled, floors = [], [], [], [], []
    for seed in range(seeds):
        batch = alike(model, pairs.discovery, size, seed)
        seconds, circuit = settled(partial(top, model, batch, asked, tokens, k))
        times.append(seconds)
        effects = sweep(model, batch, asked, tokens)
        shape = effects.mean.shape
        best = np.argsort(-np.nan_to_num(effects.mean.ravel()), kind="stable")[:k]
        exact = {tuple(map(int, np.unravel_index(at, shape))) for at in best}
        overlaps.append(len(exact & set(circuit.places)) / k)
        floors.append(_discovery_floor(model, batch, asked, circuit.measured / circuit.considered))
        if seed == 0:
            places = list(product(*(range(n) for n in shape)))
            chosen = random.Random(seed).sample(places, min(subset, len(places)))  # noqa: S311
            variants = [(layer, head, position - shape[2]) for layer, head, position in chosen]
            peers.transformer_lens_heads(model, batch, tokens, variants[:1])
            seconds, expected = once(partial(peers.transformer_lens_heads, model, batch, tokens, variants))
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
    """Selects the direction by the published procedure."""
    tokens = refusal_tokens(model, pairs)
    chosen = random.Random(0).sample(list(pairs.discovery), train + validation)  # noqa: S311
    parts = [
        Prompts(tuple(p.harmful for p in part), tuple(p.harmless for p in part))
        for part in (chosen[:train], chosen[train:])
    ]
    ours, selected = settled(lambda: select(model, parts[0], parts[1], tokens))
    with restored(Path(str(model.known.folder))) as folder:
        hf = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=model.loaded.dtype).eval()
    seconds, expected = once(lambda: peers.published(hf, model, parts[0], parts[1], tokens))
    differences = [
        abs(value - expected.scores[candidate.layer, candidate.position][name])
        for candidate in selected.candidates
        for name, value in (("induced", candidate.induced), ("bypassed", candidate.bypassed), ("kl", candidate.kl))
        if value is not None
    ]
    ours_at = None if selected.chosen is None else (selected.chosen.layer, selected.chosen.position)
    return Row(
        "direction-selection",
        f"{len(selected.candidates)} candidates, {train}+{train} training and {validation}+{validation} validation "
        f"prompts of {model.name}",
        "plain HF forward hooks, as published",
        ours,
        seconds,
        max(differences),
        _selection_floor(model, selected, parts[0], parts[1]),
        3,
        f"ours chose {ours_at}, theirs {expected.chosen}; {len(differences)} scores that both computed compared",
        ours_at == expected.chosen,
    )


def alike(model: ChatModel, pairs: PairSet, size: int, seed: int) -> list[Pair]:
    """`size` aligned pairs of one length in tokens, drawn from the lengths that have enough pairs."""
    encoded = {pair.id: model.chat.encode_pair(pair) for pair in pairs}
    lengths = Counter(len(pair.harmful) for pair in encoded.values() if pair.aligned)
    common = [length for length, count in lengths.most_common() if count >= size]
    rng = random.Random(seed)  # noqa: S311
    length = rng.choice(common)
    return rng.sample([p for p in pairs if encoded[p.id].aligned and len(encoded[p.id].harmful) == length], size)


def _rate(model: ChatModel) -> float:
    return rate(model.sizes.d_model, model.sizes.d_mlp)


def _discovery_floor(model: ChatModel, pairs: Sequence[Pair], asked: Sweep, measured: float) -> float:
    """Seconds for a forward and a backward of prompts and twins, and for the share of patches that was measured."""
    runs = 2 * _forward(model, [prompt for pair in pairs for prompt in (pair.harmful, pair.harmless)])
    patches = planned(model, pairs, asked).operations - runs / 2
    return (runs + runs / 2 + measured * patches) / _rate(model)


def _selection_floor(model: ChatModel, selected: Selection, train: Prompts, validation: Prompts) -> float:
    """Seconds for the runs that score prompts and compute means, and for the blocks that each candidate changes."""
    harmful, harmless = (_forward(model, side) for side in (validation.harmful, validation.harmless))
    total = 2 * _forward(model, train.harmful + train.harmless) + 3 * harmless + 2 * harmful
    for candidate in selected.candidates:
        total += (1 - candidate.layer / model.sizes.layers) * harmless
        total += (candidate.bypassed is not None) * harmful + (candidate.kl is not None) * harmless
    return total / _rate(model)


def _forward(model: ChatModel, prompts: Sequence[str]) -> float:
    """Operations of a run of these prompts, including the logits at their last position."""
    sizes, encoded = model.sizes, model.encode(prompts)
    blocks = sum(map(len, encoded)) * sizes.layers * sizes.per_block
    return 2.0 * (blocks + len(encoded) * sizes.d_model * sizes.vocabulary)
