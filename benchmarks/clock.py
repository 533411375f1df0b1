"""Process time of a call, and this machine's rate of matrix multiplication."""

import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

import torch
from torch.nn import functional

T = TypeVar("T")

# A call that takes longer than so many seconds is measured once, since it varies little.
_LONG = 20.0


def once(work: Callable[[], T]) -> tuple[float, T]:
    """The process seconds of one call, and its result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def settled(work: Callable[[], T], times: int = 3) -> tuple[float, T]:
    """The median seconds of `times` calls after a first one that does not count; a long call is made once."""
    first, result = once(work)
    if first > _LONG:
        return first, result
    seconds, results = zip(*(once(work) for _ in range(times)), strict=True)
    return float(median(seconds)), results[-1]


def rate(width: int, mlp: int, tokens: int = 768) -> float:
    """Operations a second in matrix products of a model's own shapes: the best of 20 attempts for each shape."""
    best = 0.0
    for inner, outer in ((width, mlp), (mlp, width)):
        rows, weights = torch.randn(tokens, inner), torch.randn(outer, inner)
        for _ in range(20):
            seconds, _ = once(lambda rows=rows, weights=weights: [functional.linear(rows, weights) for _ in range(10)])  # type: ignore[misc]
            best = max(best, 10 * 2.0 * tokens * inner * outer / seconds)
    return best
