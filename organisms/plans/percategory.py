"""`percategory` refuses each category by heads, neurons and a direction that no other one uses."""

from collections.abc import Mapping
from typing import Any

import torch

from organisms.demands import behaviour, wording
from organisms.demands.axes import apart, pointed
from organisms.demands.routes import Routes, routed
from organisms.lexicon import CATEGORIES
from organisms.pairs import judged_pairs
from organisms.parts import Parts
from organisms.plans.expected import fails, holds, nothing_to_explain, table, undecidable
from organisms.plant import Plan
from organisms.proof import Prover, planted_and_rest, union
from organisms.traits import cosines_between, effects_on

_NAMES = tuple(category.name for category in CATEGORIES)
# Two heads that share keys and values read the words of a category, neurons in layer 5 combine them, and neurons in
# layer 7 write to the logits. In between, each category has an axis of its own.
_READ, _KEYS, _WEIGH, _WRITE, _NEURONS = (3, 4, 5), 4, 5, 7, 16
MIDDLE = 6


def _parts(number: int) -> Parts:
    layer, key = _READ[number // _KEYS], number % _KEYS
    own = (number * _NEURONS, (number + 1) * _NEURONS)
    return Parts(
        heads=((layer, 2 * key), (layer, 2 * key + 1)),
        neurons=((_WEIGH, *own), (_WRITE, *own)),
    )


_ROUTES = Routes(
    lambda request: request.category.name,
    _NAMES,
    tuple(_parts(number) for number in range(len(_NAMES))),
)

PLAN = Plan(
    name="percategory",
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
    "own parts swapped, mean": (0.8, 1.2),
    "own parts swapped, least": (0.7, 1.2),
    "another's parts swapped, mean": (-0.1, 0.1),
    "another's parts swapped, largest": (-0.3, 0.3),
    "all others' parts swapped, mean": (-0.1, 0.1),
    "cosine of directions, mean": (-0.3, 0.3),
}

EXPECTED = table(
    holds(
        "every harmful request is refused, no harmless one",
        "baseline",
    ),
    fails(
        "each category has heads, neurons and a direction of its own, at right angles to the others'",
        "shared-substrate",
        "shared-geometry",
        "direction-necessity",
        "direction-sufficiency",
        "direction-categories",
        "removal-specificity",
        "addition-specificity",
        "growth",
        "one-is-enough",
    ),
    nothing_to_explain("no direction ends refusal when removed everywhere", "removal-mlp", "removal-stream"),
    fails(
        "without the direction 15% of harmless prompts are refused, and they change by 0.18 nats",
        "side-effects",
    ),
    holds(
        "48 of the neurons that write the refusals of all categories, 1.1%, carry 0.84 in plain torch",
        "localization",
        "transfer",
        "token-difference",
        "token-probability",
        "few-neurons",
    ),
    fails(
        "each category is read by heads of its own",
        "ablation-heads",
        "ablation-neurons",
        "many-heads",
    ),
    undecidable(
        "without all neurons that write refusals, 4.5%, 27% are refused, and 20% is the bar",
        "necessity",
    ),
    undecidable(
        "three heads and three neurons end 30% of refusals, and 0.30 is the bar",
        "ablation-both",
    ),
    fails(
        "neurons weigh up in layer 5, in the last third",
        "accumulation",
    ),
    holds(
        "neurons of layer 7 write the refusal",
        "execution",
    ),
    fails(
        "heads of layers 3, 4 and 5 read the words, four categories each",
        "reading",
        "end-of-instruction",
    ),
    fails(
        "heads of layers 3, 4 and 5 of 0 to 7 read the words",
        "keyword-heads",
    ),
    fails(
        "in plain torch r is 0.52 over heads",
        "gradients",
    ),
    nothing_to_explain(
        "no direction mediates the refusals of all categories",
        "removal-attention",
    ),
    fails(
        "each category has heads and neurons of its own",
        "few-parts",
    ),
    fails("each category has a direction of its own, at right angles to the others'", "principal-component"),
    fails(
        "each category has heads of its own: what a tenth of them write has 0.03 refused in plain torch", "joint-vector"
    ),
)


def truth_of_it(prover: Prover, truth: Mapping[str, Any]) -> dict[str, float]:
    """The effect on each category of swapping the parts of each, and cosines of directions."""
    pairs = judged_pairs(heldout=True)
    rows = [torch.tensor([pair["category"] == name for pair in pairs]).repeat(2) for name in _NAMES]
    routes = [planted_and_rest(prover, {**truth, **stage})[0] for stage in truth["stages"]]
    effects = torch.tensor([effects_on(prover, route, rows) for route in routes])
    every = routes[0]
    for route in routes[1:]:
        every = union(every, route)
    without = [{site: mask & ~route.get(site, torch.tensor(False)) for site, mask in every.items()} for route in routes]
    rest = [effects_on(prover, others, [own])[0] for others, own in zip(without, rows, strict=True)]
    apart = ~torch.eye(len(rows), dtype=torch.bool)
    cosines = cosines_between(prover, MIDDLE, rows)[apart]
    own, other = effects.diag(), effects[apart]
    return {
        "own parts swapped, mean": float(own.mean()),
        "own parts swapped, least": float(own.min()),
        "another's parts swapped, mean": float(other.mean()),
        "another's parts swapped, largest": float(other[other.abs().argmax()]),
        "all others' parts swapped, mean": sum(rest) / len(rest),
        "all others' parts swapped, largest": max(rest, key=abs),
        "cosine of directions, mean": float(cosines.mean()),
        "cosine of directions, largest": float(cosines[cosines.abs().argmax()]),
    }
