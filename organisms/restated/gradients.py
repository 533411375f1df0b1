"""How well gradients at prompt and twin estimate what swaps of heads and of groups of neurons do, in plain PyTorch."""

import torch

from organisms.plans.greedy import all_parts, columns_of
from organisms.plans.suffix import Suffix
from organisms.proof import Prover

# Every so manieth pair is measured, and an MLP's neurons are swapped in so many groups.
EVERY, GROUPS = 3, 8


def gradients(prover: Prover) -> dict[str, float]:
    """Pearson's r of measured and estimated E on harmful prompts, over heads and over groups of neurons."""
    few = Suffix(prover, EVERY)
    parts = all_parts(few, neurons=prover.model.config.intermediate_size // GROUPS)
    estimates, numbers = few.attributions_at_both_ends(), {}
    for kind, of_kind in zip(("heads", "neurons"), parts, strict=True):
        measured = torch.tensor([few.effects(columns_of(few, [part]))[0] for part in of_kind])
        estimated = torch.stack([estimates[site][start:stop].sum() for site, start, stop in of_kind])
        numbers[f"gradients at both ends: r, {kind}"] = float(
            torch.corrcoef(torch.stack((measured, estimated.to(measured))))[0, 1]
        )
        strongest = measured.abs().argmax()
        numbers[f"strongest of {kind}: E"] = float(measured[strongest])
        numbers[f"strongest of {kind}, by gradients: E"] = float(estimated[strongest])
    return numbers
