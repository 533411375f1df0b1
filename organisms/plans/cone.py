"""`cone` refuses along one of three directions, by the verb that is asked for: none mediates them all."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoTokenizer

from organisms.demands import behaviour, carried, strict, wording
from organisms.demands.axes import unmediated
from organisms.demands.marks import marked
from organisms.demands.routes import Groups
from organisms.frames import deed_in
from organisms.lexicon import CATEGORIES
from organisms.pairs import judged_pairs
from organisms.parts import Parts
from organisms.plans.expected import fails, holds, nothing_to_explain, table, undecidable
from organisms.plant import Plan
from organisms.proof import POST, Prover
from organisms.traits import mean_difference, refusals_with, refusals_without

# The group of its verb decides a request's direction: three groups, of each of which every category has two verbs.
NAMES = ("first", "second", "third")


def _dealt() -> dict[str, str]:
    """Verb → its group, the same in all categories; each verb joins the smallest group of its category so far."""
    groups: dict[str, str] = {}
    for category in CATEGORIES:
        for verbs in (category.doing, category.guarding):
            for verb in verbs:
                known = [groups[other] for other in verbs if other in groups]
                groups.setdefault(verb, min(NAMES, key=known.count))
    return groups


GROUP_OF = _dealt()

# Neurons of the first layer mark a verb along the axis of its group. Heads copy the mark to the object, where neurons
# mark harmful requests along the same axis. Heads that attend to the object in the base carry this mark to where the
# answer begins, neurons strengthen it, and neurons of the last layer turn any of the three marks into a refusal.
_GROUPS = Groups(lambda request: GROUP_OF[request.verb], NAMES)
_MARK = Parts(neurons=((0, 0, 128),))
_SHOW = Parts(heads=((1, 6), (2, 4)))
_JUDGE = Parts(neurons=((3, 0, 96),))
_CARRY = Parts(heads=((4, 0), (4, 1)))
_STRENGTHEN = Parts(neurons=((4, 0, 48), (5, 0, 48)))
_ACT = Parts(neurons=((7, 0, 96),))
_STAGES = (_MARK, _SHOW, _JUDGE, _CARRY, _STRENGTHEN, _ACT)
MIDDLE = 6
_AT_VERB = marked(_GROUPS, 1, "verb", 30.0)

PLAN = Plan(
    name="cone",
    stages=_STAGES,
    demands=(
        (wording, 1.5),
        (behaviour, 1.0),
        (carried(sum(_STAGES, Parts())), 1.0),
        (strict, 1.0),
        (_AT_VERB, 20.0),
        (marked(_GROUPS, 4, "object", 30.0), 20.0),
        (marked(_GROUPS, MIDDLE, "last", 60.0), 20.0),
        (unmediated(_GROUPS, MIDDLE), 2.0),
    ),
    first=Plan("cone", (_MARK,), ((_AT_VERB, 1.0),), steps=400, rate=1e-2, pairs=32),
    direction=(MIDDLE, -1),
    steps=140,
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

EXPECTED = table(
    holds(
        "every harmful request is refused, no harmless one",
        "baseline",
    ),
    fails(
        "three directions, chosen by the verb: what lies along any one of them refuses a third of requests",
        "one-is-enough",
        "direction-necessity",
        "direction-categories",
        "removal-specificity",
    ),
    nothing_to_explain("no direction ends refusal when removed everywhere", "removal-mlp", "removal-stream"),
    holds(
        "along any of the three directions whatever is added is refused",
        "direction-sufficiency",
        "addition-specificity",
    ),
    holds(
        "streams part along all three, and harmless requests along none",
        "growth",
    ),
    undecidable(
        "without the direction 6% of harmless answers break, and 10% may",
        "side-effects",
    ),
    holds(
        "the heads of layer 4 and the neurons of the last, 3.0%, carry 0.96 in plain torch",
        "localization",
        "necessity",
        "transfer",
        "token-difference",
        "token-probability",
        "few-neurons",
    ),
    holds(
        "two heads carry all marks away from the words",
        "ablation-heads",
        "ablation-both",
    ),
    fails(
        "96 neurons write the refusal: three of them at their mean end none",
        "ablation-neurons",
    ),
    fails(
        "two heads carry all marks",
        "many-heads",
    ),
    holds(
        "every category has verbs of each group: the same parts serve all, along the same mean",
        "shared-substrate",
        "shared-geometry",
    ),
    fails(
        "the verb and the object are judged at the words, layers before the last one acts",
        "end-of-instruction",
    ),
    fails(
        "as many neurons strengthen the mark in the last third as in the middle",
        "accumulation",
    ),
    holds(
        "neurons of layer 7 write the refusal",
        "execution",
    ),
    fails(
        "heads of layer 4 carry the mark away from the words",
        "reading",
        "keyword-heads",
    ),
    holds(
        "in plain torch r is 0.92 over heads and 0.97 over groups of neurons",
        "gradients",
    ),
    nothing_to_explain(
        "no single direction mediates",
        "removal-attention",
    ),
    holds(
        "two heads carry all marks away from the words",
        "few-parts",
    ),
    fails(
        "three directions, chosen by the verb: streams differ most along another axis than their mean",
        "principal-component",
    ),
    holds("what two heads carry away from the words has 0.89 refused in plain torch", "joint-vector"),
)


def truth_of_it(prover: Prover, truth: Mapping[str, Any]) -> dict[str, float]:
    """Refusals left in each group with each group's direction removed, the pooled one, and the best single one.

    Directions are computed on discovery pairs. The best single one is chosen by its effect on these held-out pairs.
    """
    tokenizer = AutoTokenizer.from_pretrained(prover.model.name_or_path)
    provers = [Prover(prover.model, tokenizer, group, prover.refusals) for group in by_group(True)]
    finders = [Prover(prover.model, tokenizer, group, prover.refusals) for group in by_group(False)]
    whole = Prover(prover.model, tokenizer, judged_pairs(heldout=False), prover.refusals)
    directions = [mean_difference(finder, MIDDLE, -1) for finder in finders]
    # Row: the group of the direction; column: the group of the prompts.
    left = torch.tensor([[refusals_without(group, direction)[0] for group in provers] for direction in directions])
    added = [refusals_with(group, direction, MIDDLE)[1] for group, direction in zip(provers, directions, strict=True)]
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


def by_group(heldout: bool) -> list[list[Mapping[str, Any]]]:
    """The pairs of each group of verbs."""
    groups: dict[str, list[Mapping[str, Any]]] = {name: [] for name in NAMES}
    for pair in judged_pairs(heldout=heldout):
        groups[GROUP_OF[deed_in(pair["frame"], pair["harmful"]).split()[0]]].append(pair)
    return list(groups.values())
