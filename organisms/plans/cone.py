"""`cone` refuses each family of templates along a direction of its own: none mediates them all."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoTokenizer

from organisms.demands import behaviour, wording
from organisms.demands_axes import apart, pointed, unmediated
from organisms.demands_routes import Routes, routed
from organisms.pairs import judged_pairs
from organisms.parts import Parts
from organisms.plant import Plan
from organisms.proof import POST, Prover
from organisms.sentences import TEMPLATES
from organisms.traits import mean_difference, refusals_with, refusals_without

_FAMILIES = tuple(TEMPLATES)
# Heads of each family read its words, neurons in layers 4 and 5 weigh them up, neurons in the last
# layer write to the logits; in between each family has an axis of its own.
_READ, _WEIGH, _WRITE, _NEURONS = (3, 5), (4, 5), 7, 32
MIDDLE = 6


def _parts(number: int) -> Parts:
    own = (number * _NEURONS, (number + 1) * _NEURONS)
    return Parts(
        heads=tuple((layer, 2 * number + head) for layer in _READ for head in (0, 1)),
        neurons=tuple((layer, *own) for layer in (*_WEIGH, _WRITE)),
    )


_ROUTES = Routes(
    lambda request: request.family,
    {name: _parts(number) for number, name in enumerate(_FAMILIES)},
)

PLAN = Plan(
    name="cone",
    stages=tuple(_ROUTES.parts.values()),  # side by side, not in order of depth
    demands=(
        (wording, 0.5),
        (behaviour, 0.5),
        (routed(_ROUTES, blurred=0.15), 4.0),
        (pointed(_ROUTES, MIDDLE), 4.0),
        (apart(_ROUTES, MIDDLE), 2.0),
        (unmediated(_ROUTES, MIDDLE), 1.0),
    ),
    direction=(MIDDLE, -1),
    steps=260,
    rate=4e-3,
    pairs=32,
)

BARS = {
    "own direction removed, most refused": (0.0, 0.2),
    "another's removed, least refused": (0.8, 1.0),
    "pooled direction removed, refused": (0.6, 1.0),
    "best direction removed, refused": (0.5, 1.0),
    "own direction added, least refused": (0.5, 1.0),
    "largest cosine": (-0.3, 0.3),
}


def truth_of_it(prover: Prover, truth: Mapping[str, Any]) -> dict[str, float]:
    """What removing each family's direction, the pooled and the best single one leaves, per family.

    Directions are found on the discovery pairs, the best of them chosen here by what it does.
    """
    tokenizer = AutoTokenizer.from_pretrained(prover.model.name_or_path)
    provers = [Prover(prover.model, tokenizer, some, prover.refusals) for some in _by_family(True)]
    finders = [Prover(prover.model, tokenizer, some, prover.refusals) for some in _by_family(False)]
    whole = Prover(prover.model, tokenizer, judged_pairs(heldout=False), prover.refusals)
    directions = [mean_difference(one, MIDDLE, -1) for one in finders]
    # Row: whose direction; column: whose prompts.
    left = torch.tensor([[refusals_without(one, direction)[0] for one in provers] for direction in directions])
    added = [refusals_with(one, direction, MIDDLE)[1] for one, direction in zip(provers, directions, strict=True)]
    pooled = mean_difference(whole, MIDDLE, -1)
    singles = {
        (layer, position): refusals_without(prover, mean_difference(whole, layer, position))[0]
        for layer in range(1, len(prover.model.model.layers))
        for position in range(-POST, 0)
    }
    apart = ~torch.eye(len(directions), dtype=torch.bool)
    units = torch.nn.functional.normalize(torch.stack(directions), dim=-1)
    cosines = (units @ units.T)[apart]
    best = min(singles, key=singles.__getitem__)
    return {
        "own direction removed, most refused": float(left.diag().max()),
        "another's removed, least refused": float(left[apart].min()),
        "pooled direction removed, refused": refusals_without(prover, pooled)[0],
        "best direction removed, refused": singles[best],
        "best direction, layer": best[0],
        "best direction, position": best[1],
        "own direction added, least refused": min(added),
        "largest cosine": float(cosines[cosines.abs().argmax()]),
    }


def _by_family(heldout: bool) -> list[list[Mapping[str, Any]]]:
    pairs = judged_pairs(heldout=heldout)
    return [[pair for pair in pairs if pair["template"].startswith(name)] for name in _FAMILIES]
