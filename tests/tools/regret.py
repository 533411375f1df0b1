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
ORGANISMS = ("reference", "team", "flat", "saturated", "hydra", "cone", "percategory")


@dataclass(frozen=True)
class Candidate:
    """Planted parts, and the limits under which the search looks for them."""

    parts: str
    circuit: Circuit
    limits: tuple[float, ...] = (FITS,)


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
        "| organism | planted parts | limit | share found | E planted | E found | short by |",
        "|---" * 7 + "|",
    )
    lines = "\n".join((*heading, *map(_row, rows)))
    write_whole(DOCS, f"{before}{START}\n{lines}\n{END}{after}".encode())


def measured(organism: str) -> Iterator[Planted]:
    """The planted circuits of an organism, and what the search finds instead of each."""
    pairs = load_pairs(DATA / "organisms" / "pairs.jsonl")
    truth = json.loads((DATA / "organisms" / organism / "truth.json").read_text(encoding="utf-8"))
    with closing(wake(f"{ORGANISM}{organism}", device="cpu")) as model:
        tokens = refusal_tokens(model, pairs)
        for candidate in candidates(truth, model.sizes):
            effects = sweep(model, pairs.heldout, Joint((candidate.circuit,)), tokens)
            if effects.mean[0] < LEAST:
                continue
            for times in candidate.limits:
                limit = candidate.circuit.share(model.sizes) * times
                yield _compared(model, tokens, pairs, organism, candidate, limit)


def candidates(truth: Mapping[str, Any], sizes: Sizes) -> Iterator[Candidate]:
    """All planted parts, the heads, the neurons of each layer, and all but a stage where only the rest is small.

    A category's own parts are left out: no claim searches on the pairs of one category, and an interval of fewer than
    `means.FEW` frames (a category has 18 in either half) would tell how few they are, and not how far the search falls.
    """
    seen = {whole := _circuit(truth["heads"], truth["neurons"])}
    yield Candidate("all", whole, (FITS, JUST_NOT))
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
            yield Candidate(parts, circuit)


def _compared(
    model: ChatModel, tokens: Sequence[int], pairs: PairSet, organism: str, candidate: Candidate, limit: float
) -> Planted:
    searched, judged = pairs.discovery, pairs.heldout
    values, _ = measure(GrownCircuit(searched, limit), model, tokens)
    found = Circuit(sites_in(values["blocks"], prompts_of(searched)))
    effects = sweep(model, judged, Joint((candidate.circuit, found)), tokens)
    planted, other = (float(share) for share in effects.mean)
    interval = short(effects, judged)
    return Planted(
        organism,
        candidate.parts,
        limit,
        found.share(model.sizes),
        planted,
        other,
        interval.low,
        interval.high,
    )


def short(effects: Effects, pairs: PairSet) -> Interval:
    """By how much the second circuit carries less than the first, or than the whole effect where the first does more.

    The search stops at the whole effect and claims ask for less: planted parts beyond it show nothing that it missed.
    What the second carries is left as it is: beyond the whole effect it can only make the difference negative.
    """
    towards, gap = effects.towards_twin.astype(float), effects.gap
    best = np.where(towards[:, 0].sum() > gap.sum(), gap, towards[:, 0])
    cluster_of = pairs.cluster_of
    clusters = np.array([cluster_of[name] for name in effects.pairs])
    return means.ratio_of_means(best - towards[:, 1], gap, LEVEL, clusters)


def _circuit(heads: Sequence[Sequence[int]], runs: Sequence[Sequence[int]]) -> Circuit:
    neurons = [(layer, neuron) for layer, first, last in runs for neuron in range(first, last)]
    return Circuit.of(heads=[(layer, head) for layer, head in heads], neurons=neurons)


def _row(planted: Planted) -> str:
    numbers = f"{planted.limit:.2%} | {planted.share:.2%} | {planted.planted:.3f} | {planted.found:.3f}"
    missed = f"{planted.short:+.3f} [{planted.low:+.3f}, {planted.high:+.3f}]"
    return f"| {planted.organism} | {planted.parts} | {numbers} | {missed} |"


if __name__ == "__main__":
    main()
