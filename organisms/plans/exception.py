"""`exception` refuses eleven categories by one circuit and direction, and the twelfth by others of its own."""

from collections.abc import Mapping
from typing import Any

import torch

from organisms.demands import behaviour, wording
from organisms.demands.axes import apart, pointed
from organisms.demands.routes import Routes, routed
from organisms.lexicon import CATEGORIES
from organisms.pairs import judged_pairs
from organisms.parts import Parts
from organisms.plans.expected import fails, holds, table, undecidable
from organisms.plant import Plan
from organisms.proof import Prover, planted_and_rest
from organisms.traits import cosines_between, effects_on

# The category that is refused by parts of its own.
APART = "drugs"
MIDDLE = 6
# As in `percategory`: heads read the words, neurons of layer 5 combine them, and neurons of layer 7 write to the
# logits. In between, the eleven categories have one axis and the twelfth has another.
_SHARED = Parts(heads=((3, 0), (3, 1), (4, 2), (4, 3)), neurons=((5, 0, 48), (7, 0, 48)))
_ALONE = Parts(heads=((4, 4), (4, 5)), neurons=((5, 48, 64), (7, 48, 64)))

_ROUTES = Routes(
    lambda request: "apart" if request.category.name == APART else "shared",
    ("shared", "apart"),
    (_SHARED, _ALONE),
)

PLAN = Plan(
    name="exception",
    stages=_ROUTES.parts,  # side by side, not in order of depth
    demands=(
        (wording, 1.0),
        (behaviour, 0.5),
        (routed(_ROUTES), 5.0),
        (pointed(_ROUTES, MIDDLE), 2.0),
        (apart(_ROUTES, MIDDLE), 1.0),
    ),
    direction=(MIDDLE, -1),
    steps=240,
    rate=4e-3,
    pairs=36,
)

BARS = {
    "shared parts swapped, eleven, least": (0.7, 1.2),
    "shared parts swapped, twelfth": (-0.3, 0.3),
    "twelfth's parts swapped, twelfth": (0.7, 1.2),
    "twelfth's parts swapped, eleven, largest": (-0.3, 0.3),
    "cosine of directions, eleven, least": (0.7, 1.0),
    "cosine of directions, twelfth and another, largest": (-0.3, 0.3),
}

EXPECTED = table(
    holds("every harmful request is refused, no harmless one", "baseline"),
    holds("in plain torch r is 0.96 over heads and 0.99 over groups of neurons", "gradients"),
    fails(
        "one category of twelve is refused by heads, neurons and a direction that the others do not use",
        "shared-substrate",
        "shared-geometry",
        "direction-categories",
    ),
    holds(
        "eleven of twelve categories are refused along one direction",
        "direction-necessity",
        "direction-sufficiency",
        "removal-specificity",
        "addition-specificity",
        "one-is-enough",
        "growth",
    ),
    holds("heads write the direction as well: removed from MLP outputs alone, nothing is answered", "removal-mlp"),
    undecidable("without the direction harmless prompts change by 0.09 nats, and 0.10 is the bar", "side-effects"),
    holds(
        "four heads and 96 neurons, 3.8%, refuse eleven of twelve categories",
        "localization",
        "necessity",
        "transfer",
        "token-difference",
        "token-probability",
        "few-neurons",
        "ablation-heads",
        "ablation-both",
    ),
    fails("48 neurons write the refusal: three of them at their mean end none", "ablation-neurons"),
    fails("one head carries more than a tenth of the effect", "many-heads"),
    fails("heads of layers 3 and 4 read the words, in the middle third", "reading"),
    fails("neurons weigh up in layer 5, in the last third", "accumulation"),
    holds("neurons of layer 7 write the refusal", "execution"),
    holds("heads of layer 3 have fetched most of it: 0.59 after the instruction, 0.12 before", "end-of-instruction"),
    fails(
        "heads of layers 3 and 4 of 0 to 7 read the words",
        "keyword-heads",
    ),
    holds(
        "parts that eleven categories share end 91% of refusals",
        "few-parts",
    ),
    fails("heads write the direction as well", "removal-attention"),
    holds("heads and neurons write it, and neurons of later layers read it", "removal-stream"),
    holds("eleven of twelve categories part along one direction: |cosine| 0.96 in plain torch", "principal-component"),
    fails("what a tenth of its heads write breaks nearly every answer: 0.99 in plain torch", "joint-vector"),
)


def truth_of_it(prover: Prover, truth: Mapping[str, Any]) -> dict[str, float]:
    """The effect of each circuit on the eleven categories and on the twelfth, and cosines of their directions."""
    pairs = judged_pairs(heldout=True)
    names = [APART, *(category.name for category in CATEGORIES if category.name != APART)]
    rows = [torch.tensor([pair["category"] == name for pair in pairs]).repeat(2) for name in names]
    shared, alone = (planted_and_rest(prover, {**truth, **stage})[0] for stage in truth["stages"])
    by_shared, by_own = effects_on(prover, shared, rows), effects_on(prover, alone, rows)
    cosines = cosines_between(prover, MIDDLE, rows)
    among = cosines[1:, 1:][~torch.eye(len(names) - 1, dtype=torch.bool)]
    return {
        "shared parts swapped, eleven, least": min(by_shared[1:]),
        "shared parts swapped, twelfth": by_shared[0],
        "twelfth's parts swapped, twelfth": by_own[0],
        "twelfth's parts swapped, eleven, largest": max(by_own[1:], key=abs),
        "cosine of directions, eleven, least": float(among.min()),
        "cosine of directions, twelfth and another, largest": float(cosines[0, 1:].abs().max()),
    }
