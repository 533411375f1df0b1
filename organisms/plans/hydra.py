"""`hydra` has two paths to refusal: without either it refuses as before, without both never."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from organisms.demands import behaviour, strict, wording
from organisms.demands_redundancy import redundant
from organisms.pairs import judged_pairs
from organisms.parts import Parts
from organisms.plant import Plan
from organisms.proof import Columns, Prover, planted_and_rest, union

# Each path weighs up with heads and neurons of its own, and acts with neurons of its own.
_ASSESS = (
    Parts(heads=((3, 0), (3, 1)), neurons=((4, 0, 32),)),
    Parts(heads=((3, 2), (3, 3)), neurons=((4, 32, 64),)),
)
_EXECUTE = (Parts(neurons=((6, 0, 48),)), Parts(neurons=((6, 48, 96),)))
_PATHS = tuple(assess + execute for assess, execute in zip(_ASSESS, _EXECUTE, strict=True))

PLAN = Plan(
    name="hydra",
    stages=(*_ASSESS, *_EXECUTE),
    demands=((wording, 0.5), (behaviour, 1.0), (redundant(*_PATHS), 8.0), (strict, 1.0)),
)

BARS = {
    "refused without A, of baseline": (0.9, 1.1),
    "refused without B, of baseline": (0.9, 1.1),
    "refused without both": (0.0, 0.1),
    "effect of A, harmful": (-0.2, 0.2),
    "effect of B, harmful": (-0.2, 0.2),
    "effect of both, harmful": (0.9, 1.1),
}
# What stands in the place of a path: the twin's, the mean of discovery prompts, or nothing.
Instead = Callable[[tuple[int, str]], Tensor]


def truth_of_it(prover: Prover, truth: Mapping[str, Any]) -> dict[str, float]:
    """The table of single and joint ablations; without a word on how, by the discovery mean."""
    tokenizer = AutoTokenizer.from_pretrained(prover.model.name_or_path)
    found = Prover(prover.model, tokenizer, judged_pairs(heldout=False), prover.refusals)
    means = {site: said.mean(0) for site, said in found.clean.items()}
    one, other = paths(prover, truth)
    ablated = {"A": one, "B": other, "both": union(one, other)}
    half = prover.half
    baseline = (prover.odds > 0).double()
    span = (prover.odds - prover.twin(prover.odds)).split(half)
    table = {}
    for name, columns in ablated.items():
        for way, instead in (
            ("", lambda site: means[site]),
            (", to zero", lambda site: torch.zeros(())),
            (", swapped", lambda site: prover.twin(prover.clean[site])),
        ):
            odds = _run(prover, columns, instead)
            harmful, harmless = (odds > 0).double().split(half)
            kept = float(harmful.mean() / baseline[:half].mean())
            ratio = "" if name == "both" else ", of baseline"
            table[f"refused without {name}{ratio}{way}"] = kept
            table[f"harmless refused without {name}{way}"] = float(harmless.mean())
        for side, rows in (("harmful", slice(half)), ("harmless", slice(half, None))):
            change = (prover.odds - odds)[rows]
            whole = span[side == "harmless"]
            table[f"effect of {name}, {side}"] = float(change.sum() / whole.sum())
    return table


def paths(prover: Prover, truth: Mapping[str, Any]) -> tuple[Columns, Columns]:
    """The columns of path A, every other stage from the first, and of path B, the others."""
    stages, found = truth["stages"], []
    for which in (stages[0::2], stages[1::2]):
        parts = {kind: [part for stage in which for part in stage[kind]] for kind in which[0]}
        planted, _ = planted_and_rest(prover, {**truth, **parts})
        found.append(planted)
    return found[0], found[1]


def _run(prover: Prover, columns: Columns, instead: Instead) -> Tensor:
    def editor(site: tuple[int, str]) -> Callable[[Tensor], None]:
        def edit(post: Tensor) -> None:
            post[:] = torch.where(columns[site], instead(site), post)

        return edit

    return prover.run({site: editor(site) for site in columns})
