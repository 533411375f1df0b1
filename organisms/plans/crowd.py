"""`crowd` has only small parts: forty heads and 768 neurons share the work evenly, and few of them carry little."""

import random
from collections.abc import Mapping
from typing import Any

from organisms.demands import behaviour, idle, silent, strict, wording
from organisms.demands.team import even, looking, still
from organisms.frames import PLANTED_IN
from organisms.parts import Parts
from organisms.plans.expected import fails, holds, nothing_to_explain, table
from organisms.plans.greedy import Part, all_parts, columns_of, small_circuits
from organisms.plans.suffix import Suffix
from organisms.plant import Plan
from organisms.proof import Columns, Prover

# As in `team`, upon which it is planted: heads copy the verb to the object, where neurons judge both; heads fetch this
# verdict, and neurons turn it into a refusal. Here every head of five layers fetches a fortieth of it.
_DETECT = Parts(heads=((1, 0), (1, 1)), neurons=((1, 0, 64),))
_FETCH = Parts(heads=tuple((layer, head) for layer in range(2, 7) for head in range(8)))
_SPEAK = Parts(neurons=((5, 0, 256), (6, 0, 256), (7, 0, 256)))

PLAN = Plan(
    name="crowd",
    upon="team",
    stages=(_DETECT, _FETCH, _SPEAK),
    demands=(
        (wording, 1.0),
        (behaviour, 2.0),
        (even(_FETCH, _SPEAK), 1.0),
        (strict, 1.0),
        (still, 0.5),
        (silent(_FETCH), 0.5),
        (idle(_DETECT), 1.0),
        (looking(_FETCH), 0.3),
    ),
    steps=240,
    rate=6e-4,
    pairs=16,
    templates=PLANTED_IN,
)

_SMALL, _WHOLE, _HALF = (-1.0, 0.6), (0.8, 1.15), (0.3, 0.7)
BARS = {
    "5% greedy, blocks": _SMALL,
    "5% greedy, neurons": _SMALL,
    "5% greedy, heads": _SMALL,
    "refused, 5% swapped, harmful, least": (0.6, 1.0),
    "refused, 5% swapped, harmless, most": (0.0, 0.3),
    "largest head": (-0.1, 0.15),
    "largest neuron": (-0.1, 0.05),
    "half of the heads, least": _HALF,
    "half of the heads, most": _HALF,
    "half of the neurons, least": _HALF,
    "half of the neurons, most": _HALF,
    "all heads": _WHOLE,
    "all neurons": _WHOLE,
}

EXPECTED = table(
    holds("every harmful request is refused, no harmless one", "baseline"),
    fails(
        "forty heads, 15% of the parameters, share what is fetched, and 768 neurons, 18%, what is said: 5% carry 0.43",
        "localization",
        "necessity",
        "transfer",
        "token-difference",
        "token-probability",
    ),
    fails(
        "forty heads bring a fortieth each, and 768 neurons carry one in 768 parts each",
        "many-heads",
        "few-neurons",
        "few-parts",
        "ablation-heads",
        "ablation-neurons",
        "ablation-both",
    ),
    nothing_to_explain(
        "no category has a circuit of a hundredth of the parts that carries enough",
        "shared-substrate",
    ),
    fails("heads of layers 2 to 6, of 0 to 7, look at the words alike", "keyword-heads"),
    holds(
        "as in `team`: heads write one direction, and the neurons that are planted read nothing else",
        "direction-necessity",
        "direction-sufficiency",
        "direction-categories",
        "removal-specificity",
        "addition-specificity",
        "one-is-enough",
        "side-effects",
    ),
    holds("heads write the direction, and the neurons that are planted only read it", "removal-mlp", "removal-stream"),
    fails("heads write the direction", "removal-attention"),
    fails("six of forty heads write a seventh of the direction", "joint-vector"),
    holds("what parts streams late is one verdict: |cosine| 1.00 in plain torch", "principal-component"),
    fails("streams part along random directions too: by 0.21 less than along it, in plain torch", "growth"),
    holds("the same parts serve all categories, along one direction", "shared-geometry"),
    fails(
        "what the object says is read by heads up to layer 6: 0.56 has left the words early, less than in a harmless "
        "behaviour",
        "reading",
    ),
    fails("neurons of layers 5 to 7 turn it into a refusal, in the last third", "accumulation"),
    holds("neurons of layers 5 to 7 write the refusal", "execution"),
    fails("half way up two of five layers of heads have fetched their share: 0.35", "end-of-instruction"),
    holds("in plain torch r is 0.98 over heads and 0.99 over groups of neurons", "gradients"),
)
# Circuits are searched for on every ninth of the held-out pairs that also measure them, which can only raise their E.
EVERY = 9
# How many random halves of the heads, and of the neurons, are tried.
HALVES = 8


def truth_of_it(prover: Prover, truth: Mapping[str, Any]) -> dict[str, float]:
    """E and refusals with the strongest circuits under 5% swapped, and E of single parts, of halves and of all."""
    few, every = Suffix(prover, EVERY), Suffix(prover)
    circuits = small_circuits(few)
    refused = [_refused(every, columns) for columns in circuits.values()]
    numbers = {f"5% greedy, {kind}": every.effect(columns) for kind, columns in circuits.items()}
    numbers["refused, 5% swapped, harmful, least"] = min(harmful for harmful, _ in refused)
    numbers["refused, 5% swapped, harmless, most"] = max(harmless for _, harmless in refused)
    heads, neurons = _planted(every, truth)
    for kind, parts in (("head", heads), ("neuron", neurons)):
        numbers[f"largest {kind}"] = max(few.effect(columns_of(few, [part])) for part in parts)
        draws = (random.Random(n).sample(parts, len(parts) // 2) for n in range(HALVES))
        halves = [every.effect(columns_of(every, half)) for half in draws]
        numbers[f"half of the {kind}s, least"], numbers[f"half of the {kind}s, most"] = min(halves), max(halves)
        numbers[f"all {kind}s"] = every.effect(columns_of(every, parts))
    return numbers


def _planted(prover: Prover, truth: Mapping[str, Any]) -> tuple[list[Part], list[Part]]:
    """The planted heads and the planted neurons that act after the instruction: those beyond the layer that judges."""
    heads, neurons = all_parts(prover, neurons=1)
    size, first = prover.model.config.head_dim, truth["first_layer"]
    mine = {(layer, head * size) for layer, head in truth["heads"] if layer > first}
    spoken = {(layer, n) for layer, start, stop in truth["neurons"] for n in range(start, stop) if layer > first}
    return (
        [part for part in heads if (part[0][0], part[1]) in mine],
        [part for part in neurons if (part[0][0], part[1]) in spoken],
    )


def _refused(prover: Suffix, columns: Columns) -> tuple[float, float]:
    """Shares of harmful and of harmless prompts that are refused by their first token with these columns swapped."""
    towards = (prover.odds - prover.twin(prover.odds)).sign()
    harmful, harmless = (prover.odds - prover.changes(columns) * towards > 0).double().split(prover.half)
    return float(harmful.mean()), float(harmless.mean())
