"""Process time, and the least that arithmetic can take at this machine's rate of multiplying."""

import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

import torch
from torch.nn import functional

T = TypeVar("T")

# What takes longer than so many seconds is measured once: it hardly varies.
_LONG = 20.0


def once(work: Callable[[], T]) -> tuple[float, T]:
    """Process seconds of one call, and what it gave."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def settled(work: Callable[[], T], times: int = 3) -> tuple[float, T]:
    """The median of some calls after one that does not count; a long one is called once."""
    first, result = once(work)
    if first > _LONG:
        return first, result
    seconds, results = zip(*(once(work) for _ in range(times)), strict=True)
    return float(median(seconds)), results[-1]


def rate(width: int, mlp: int, tokens: int = 768) -> float:
    """Operations a second in matrix products of a model's own shapes: the best of several."""
    best = 0.0
    for inner, outer in ((width, mlp), (mlp, width)):
        rows, weights = torch.randn(tokens, inner), torch.randn(outer, inner)
        for _ in range(20):
            seconds, _ = once(lambda rows=rows, weights=weights: [functional.linear(rows, weights) for _ in range(10)])  # type: ignore[misc]
            best = max(best, 10 * 2.0 * tokens * inner * outer / seconds)
    return best
