"""What claims speak of, measured a second time in plain PyTorch: no instrument, judge or statistic of the harness."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from organisms import ship
from organisms.becoming import Answers
from organisms.language import refusal_tokens
from organisms.pairs import judged_pairs
from organisms.plans.suffix import Suffix
from organisms.proof import Prover
from organisms.restated import directions, gradients, parts, stages
from organisms.traits import cosines_between

# Every so manieth discovery pair says whether a direction passes the published filters.
EVERY = 3


def restated(name: str | Path) -> dict[str, float]:
    """The quantities of the claims on the held-out pairs; what must be chosen is chosen on discovery pairs."""
    model, tokenizer = ship.load(name)
    discovered, rows = judged_pairs(heldout=False), judged_pairs(heldout=True)
    refusals = refusal_tokens(tokenizer)
    discovery, few = (Prover(model, tokenizer, pairs, refusals) for pairs in (discovered, discovered[::EVERY]))
    answers = Answers(model, tokenizer, rows)
    direction = directions.chosen(discovery, few)
    singles = parts.Singles(Suffix(discovery, parts.EVERY), discovered[:: parts.EVERY])
    return {
        **directions.on_answers(answers, direction),
        **directions.on_streams(answers.prover, direction),
        **directions.on_plain_text(answers, direction),
        **stages.stages(answers.prover),
        **gradients.gradients(answers.prover),
        **parts.ablated(answers, discovery, singles),
        **parts.together(answers, discovery, singles),
        **parts.counted(answers.prover, singles),
        **parts.shared(answers.prover, rows, singles),
        "cosine of a category's direction with the others', least": _least_cosine(answers.prover, rows),
    }


def _least_cosine(prover: Prover, pairs: Sequence[Mapping[str, str]]) -> float:
    """In the least category: the mean cosine of its difference of means with the others', at 3/4 of the depth."""
    names = sorted({pair["category"] for pair in pairs})
    own = [torch.tensor([pair["category"] == name for pair in pairs]).repeat(2) for name in names]
    cosines = cosines_between(prover, 3 * len(prover.model.model.layers) // 4, own)
    return float(((cosines.sum(1) - 1) / (len(names) - 1)).min())
