"""Intervals for shares of answers to prompts: one answer to each prompt, or several, whose mean is the prompt's value.

Hits are [prompt], or [sample, prompt]. With one answer the rules are those of `proportions`. A prompt's mean over
several lies anywhere between the bounds, and the rule is the one for means of bounded values in `means`, which holds
whatever their distribution: prompts are the units, and answers to one prompt say nothing of other prompts.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.judging import means, proportions
from harness.judging.proportions import Interval


def rate(hits: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """The share of answers that are hits."""
    answers = np.asarray(hits)
    if answers.ndim < 2:
        return proportions.rate(answers, level, clusters)
    return _mean(answers.astype(float), level, clusters, (0.0, 1.0))


def net_share(towards: ArrayLike, back: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """The share of answers that went one way less the share that went back, each paired with its own."""
    there, again = np.asarray(towards), np.asarray(back)
    if there.ndim < 2:
        return proportions.net_share(there, again, level, clusters)
    return _mean(there.astype(float) - again, level, clusters, (-1.0, 1.0))


def paired_difference(before: ArrayLike, after: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """rate(before) − rate(after) over the same prompts; an arm with one answer to each is compared with all samples."""
    first, second = np.broadcast_arrays(np.asarray(before), np.asarray(after))
    if first.ndim < 2:
        return proportions.paired_difference(first, second, level, clusters)
    return _mean(first.astype(float) - second, level, clusters, (-1.0, 1.0))


def per_prompt(hits: ArrayLike) -> NDArray[np.float64]:
    """Each prompt's value: its answer's, or the mean over its answers."""
    answers = np.asarray(hits, dtype=float)
    return answers if answers.ndim < 2 else answers.mean(0)


def _mean(
    values: NDArray[np.float64], level: float, clusters: ArrayLike | None, bounds: tuple[float, float]
) -> Interval:
    interval = means.mean(per_prompt(values), level, clusters, bounds)
    return replace(interval, method=f"mean of {len(values)} answers to each, {interval.method}")
