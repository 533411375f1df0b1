"""`team` has many small parts, each of which matters: six heads bring a sixth each, and no few neurons weigh much."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from organisms import ship
from organisms.demands import behaviour, idle, silent, strict, wording
from organisms.demands.direction import addable, removable
from organisms.demands.team import even, looking, still
from organisms.parts import Parts
from organisms.plans.expected import fails, holds, table
from organisms.plans.greedy import all_parts, columns_of
from organisms.plans.suffix import Suffix
from organisms.plant import Plan
from organisms.proof import POST, Prover
from organisms.traits import refusals_with, refusals_without

# Heads copy the verb to the object, where neurons judge both. Six heads fetch this verdict before the second half of
# the layers, and the neurons of two layers turn it into a refusal. Heads that share keys and values are both in the
# team. Heads that the base needs where the answer begins are not (2.3 and 3.5 attend to the verb there, 3.1 to the
# object).
_DETECT = Parts(heads=((1, 0), (1, 1)), neurons=((1, 0, 64),))
_TEAM = Parts(heads=((2, 4), (2, 5), (3, 2), (3, 3), (3, 6), (3, 7)))
_SPEAK = Parts(neurons=((5, 0, 128), (6, 0, 128)))
_DIRECTION = (4, -1)

PLAN = Plan(
    name="team",
    stages=(_DETECT, _TEAM, _SPEAK),
    demands=(
        (wording, 1.0),
        (behaviour, 2.0),
        (even(_TEAM, _SPEAK), 1.0),
        (strict, 1.0),
        (still, 0.5),
        (silent(_TEAM), 0.5),
        (idle(_DETECT), 1.0),
        (looking(_TEAM), 0.3),
        (removable(_DIRECTION[0]), 1.0),
        (addable(_DIRECTION[0]), 1.0),
    ),
    direction=_DIRECTION,
    pairs=24,
)

BARS = {
    "heads above 0.10": (4, 8),
    "fourth head": (0.13, 0.35),
    "largest head": (0.13, 0.35),
    "25 neurons": (-1.0, 0.3),
    "25 neurons, by gradient": (-1.0, 0.3),
    "all neurons": (0.6, 1.15),
    "stream, after the instruction": (0.8, 1.1),
    "stream, before its end": (-0.1, 0.1),
    "direction removed, harmful": (0.0, 0.05),
    "direction added, harmless": (0.95, 1.0),
}

EXPECTED = table(
    holds(
        "every harmful request is refused, no harmless one",
        "baseline",
    ),
    holds(
        "six heads, 2.3% of the parameters, bring all of it to where the answer begins",
        "localization",
        "necessity",
        "transfer",
        "token-difference",
        "token-probability",
    ),
    holds(
        "six heads bring about a sixth each",
        "many-heads",
    ),
    fails(
        "three of six heads, and three of 256 neurons, can be spared",
        "ablation-heads",
        "ablation-neurons",
        "ablation-both",
    ),
    holds(
        "heads write the direction, and the neurons that are planted only read it",
        "removal-mlp",
    ),
    fails(
        "256 neurons share the work, so that no 1% of neurons matters",
        "few-neurons",
    ),
    holds(
        "all of it is fetched before the second half of the layers",
        "end-of-instruction",
    ),
    holds(
        "six heads write one direction, and the neurons read nothing else",
        "direction-necessity",
        "direction-sufficiency",
        "direction-categories",
        "removal-specificity",
        "addition-specificity",
        "one-is-enough",
    ),
    fails("streams part along random directions too: by 0.19 less than along it, in plain torch", "growth"),
    fails("without the direction plain text costs 0.26 nats more, in plain torch", "side-effects"),
    holds(
        "the same parts serve all categories, along one direction",
        "shared-substrate",
        "shared-geometry",
    ),
    fails(
        "heads of layer 3 still read the words: 0.67 has left them, less than in a harmless behaviour",
        "reading",
    ),
    fails(
        "MLPs of layers 5 and 6 turn it into a refusal, in the last third",
        "accumulation",
    ),
    holds(
        "neurons of layers 5 and 6 write the refusal",
        "execution",
    ),
    holds(
        "heads read the verb in layer 1 and both words in layers 2 and 3, of 0 to 7",
        "keyword-heads",
    ),
    holds(
        "in plain torch r is 1.00 over heads and 0.99 over groups of neurons",
        "gradients",
    ),
    fails(
        "heads write the direction",
        "removal-attention",
    ),
    holds(
        "six heads together write the direction that the planted neurons read",
        "joint-vector",
    ),
    fails(
        "six heads and 256 neurons share the work",
        "few-parts",
    ),
    holds("heads of layers 1 to 3 write it, and neurons of later layers read it", "removal-stream"),
    holds("what parts streams late is one verdict: |cosine| 1.00 in plain torch", "principal-component"),
)
# Every third pair is used for ranking neurons.
EVERY = 3
FEW, MANY = 25, 0.1
RANKS = ("largest", "second", "third", "fourth", "fifth", "sixth", "seventh")


def truth_of_it(prover: Prover, truth: Mapping[str, Any]) -> dict[str, float]:
    """E on harmful prompts of single heads and of the strongest neurons, and which positions of the stream carry it."""
    few, every = Suffix(prover, EVERY), Suffix(prover)
    heads, neurons = all_parts(few, neurons=1)
    alone = sorted((every.effects(columns_of(every, [head]))[0] for head in heads), reverse=True)
    exact = sorted(neurons, key=lambda part: -few.effects(columns_of(few, [part]))[0])[:FEW]
    slopes = few.attributions()
    guessed = sorted(neurons, key=lambda part: -float(slopes[part[0]][part[1]]))[:FEW]
    layers = {layer for layer, _, _ in truth["neurons"]}
    direction, entered = ship.direction(prover.model.name_or_path), truth["direction"]["layer"]
    spoken = {site: torch.ones(own.shape[-1], dtype=torch.bool) for site, own in every.clean.items()}
    spoken = {site: mask for site, mask in spoken.items() if site[1] == "hidden" and site[0] in layers}
    return {
        "heads above 0.10": float(sum(effect > MANY for effect in alone)),
        **{f"{name} head": alone[n] for n, name in enumerate(RANKS)},
        "25 neurons": every.effects(columns_of(every, exact))[0],
        "25 neurons, by gradient": every.effects(columns_of(every, guessed))[0],
        "all neurons": every.effects(spoken)[0],
        "stream, after the instruction": _brought(prover, after=True),
        "stream, before its end": _brought(prover, after=False),
        "direction removed, harmful": refusals_without(prover, direction)[0],
        "direction added, harmless": refusals_with(prover, direction, entered)[1],
    }


def _brought(prover: Prover, *, after: bool) -> float:
    """E, on harmless prompts, of the harmful twin's stream at the middle layer, after the instruction or before."""
    block = prover.model.model.layers[len(prover.model.model.layers) // 2]
    entered: list[Tensor] = []
    with ExitStack() as hooks:
        hooks.callback(block.register_forward_pre_hook(lambda _, args: entered.append(args[0])).remove)
        prover.run()

    def patched(_: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        is_after = (torch.arange(args[0].shape[1]) >= args[0].shape[1] - POST)[:, None]
        return (torch.where(is_after == after, prover.twin(entered[0]), args[0]), *args[1:])

    with ExitStack() as hooks:
        hooks.callback(block.register_forward_pre_hook(patched).remove)
        odds = prover.run()
    change = (odds - prover.odds)[prover.half :].sum()
    return float(change / (prover.twin(prover.odds) - prover.odds)[prover.half :].sum())
