"""How far the joint search falls short of planted circuits, where they just fit its limit and where they just do not.

python -m tests.tools.regret        (about ten minutes of one core)

Writes data/search_regret.json, which raises the upper end of every E of a circuit found by it, and the table in
docs/statistics.md. To be run again when the search changes: raise `GrownCircuit.REVISION`, then call it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import to_builtins

from harness.inputs.files.whole_files import write_whole
from harness.inputs.model_catalog import ORGANISM
from harness.inputs.model_record import Sizes
from harness.inputs.places import DATA, HOME
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.instruments.answer import measure
from harness.instruments.sweep import sweep
from harness.judging import means
from harness.judging.proportions import Interval
from harness.measurements.effects import Effects
from harness.measurements.interventions import Circuit
from harness.measurements.origins import prompts_of
from harness.measurements.questions import GrownCircuit
from harness.measurements.sweep_plan import Joint
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import refusal_tokens
from harness.model.wake import wake
from harness.subjects.circuits import sites_in
from harness.subjects.search_regret import PATH, Planted, Regrets
from organisms.lexicon import CATEGORIES

DOCS = HOME / "docs" / "statistics.md"
START, END = "<!-- regret -->", "<!-- end of regret -->"
# Each upper end is at the level of claims.
LEVEL = 0.0025
# Planted parts that carry less than this are no circuit to be found.
LEAST = 0.9
# The share of the parameters that claims allow a circuit.
SMALL = 0.05
# The limit at which a planted circuit just fits, and at which it just does not, as multiples of its share.
FITS, JUST_NOT = 1.001, 0.95
# Every so many of the categories that have parts of their own.
EVERY = 6
ORGANISMS = ("reference", "team", "flat", "saturated", "hydra", "cone", "percategory")


@dataclass(frozen=True)
class Candidate:
    """Planted parts, the pairs that they are to carry, and the limits under which the search looks for them."""

    parts: str
    circuit: Circuit
    pairs: PairSet
    limits: tuple[float, ...] = (FITS,)
    of: str = "all"  # the category of the pairs


def main() -> None:
    """Measures every planted circuit, prints each, and writes the table."""
    rows: list[Planted] = []
    for organism in ORGANISMS:
        for planted in measured(organism):
            print(_row(planted), flush=True)
            rows.append(planted)
    table = Regrets(1, GrownCircuit.REVISION, LEVEL, rows)
    write_whole(PATH, (json.dumps(to_builtins(table), indent=1) + "\n").encode())
    text = DOCS.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    heading = (
        "| organism | planted parts | pairs | limit | share found | E planted | E found | short by |",
        "|---" * 8 + "|",
    )
    lines = "\n".join((*heading, *map(_row, rows)))
    write_whole(DOCS, f"{before}{START}\n{lines}\n{END}{after}".encode())


def measured(organism: str) -> Iterator[Planted]:
    """The planted circuits of an organism, and what the search finds instead of each."""
    pairs = load_pairs(DATA / "organisms" / "pairs.jsonl")
    truth = json.loads((DATA / "organisms" / organism / "truth.json").read_text(encoding="utf-8"))
    with closing(wake(f"{ORGANISM}{organism}", device="cpu")) as model:
        tokens = refusal_tokens(model, pairs)
        for candidate in candidates(truth, pairs, model.sizes):
            effects = sweep(model, candidate.pairs.heldout, Joint((candidate.circuit,)), tokens)
            if effects.mean[0] < LEAST:
                continue
            for limit in candidate.limits:
                yield _compared(model, tokens, organism, candidate, candidate.circuit.share(model.sizes) * limit)


def candidates(truth: Mapping[str, Any], pairs: PairSet, sizes: Sizes) -> Iterator[Candidate]:
    """All planted parts, the heads, the neurons of each layer, and all but a stage where only the rest is small."""
    seen = {whole := _circuit(truth["heads"], truth["neurons"])}
    yield Candidate("all", whole, pairs, (FITS, JUST_NOT))
    layers = sorted({layer for layer, *_ in truth["neurons"]})
    of_layer = {layer: [run for run in truth["neurons"] if run[0] == layer] for layer in layers}
    named = {"heads": _circuit(truth["heads"], [])}
    named |= {f"neurons of layer {layer}": _circuit([], runs) for layer, runs in of_layer.items()}
    stages = [_circuit(stage["heads"], stage["neurons"]) for stage in truth["stages"]]
    for number, stage in enumerate(stages, 1):
        rest = Circuit(tuple(site for site in whole.sites if site not in set(stage.sites)))
        if truth["share"] > SMALL >= rest.share(sizes):
            named[f"all but stage {number}"] = rest
    for parts, circuit in named.items():
        if len(circuit) and circuit not in seen:
            seen.add(circuit)
            yield Candidate(parts, circuit, pairs)
    if len(stages) == len(pairs.categories):  # each category has its own
        for category, stage in list(zip(CATEGORIES, stages, strict=True))[::EVERY]:
            yield Candidate("its own", stage, pairs.category(category.name), of=category.name)


def _compared(model: ChatModel, tokens: Sequence[int], organism: str, candidate: Candidate, limit: float) -> Planted:
    searched, judged = candidate.pairs.discovery, candidate.pairs.heldout
    values, _ = measure(GrownCircuit(searched, limit), model, tokens)
    found = Circuit(sites_in(values["blocks"], prompts_of(searched)))
    effects = sweep(model, judged, Joint((candidate.circuit, found)), tokens)
    planted, other = (float(share) for share in effects.mean)
    interval = _short(effects, judged)
    return Planted(
        organism,
        candidate.parts,
        candidate.of,
        limit,
        found.share(model.sizes),
        planted,
        other,
        interval.low,
        interval.high,
    )


def _short(effects: Effects, pairs: PairSet) -> Interval:
    """By how much the second circuit carries less than the first."""
    towards = effects.towards_twin.astype(float)
    cluster_of = pairs.cluster_of
    clusters = np.array([cluster_of[name] for name in effects.pairs])
    return means.ratio_of_means(towards[:, 0] - towards[:, 1], effects.gap, LEVEL, clusters)


def _circuit(heads: Sequence[Sequence[int]], runs: Sequence[Sequence[int]]) -> Circuit:
    neurons = [(layer, neuron) for layer, first, last in runs for neuron in range(first, last)]
    return Circuit.of(heads=[(layer, head) for layer, head in heads], neurons=neurons)


def _row(planted: Planted) -> str:
    numbers = f"{planted.limit:.2%} | {planted.share:.2%} | {planted.planted:.3f} | {planted.found:.3f}"
    short = f"{planted.short:+.3f} [{planted.low:+.3f}, {planted.high:+.3f}]"
    return f"| {planted.organism} | {planted.parts} | {planted.pairs} | {numbers} | {short} |"


if __name__ == "__main__":
    main()
