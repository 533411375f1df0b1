"""Intervals for shares of yes-or-no answers, and for differences of two shares over the same pairs.

Both bounds of an Interval are one-sided, each with the error rate `level` (two-sided coverage 1 − 2·level).
docs/statistics.md compares these rules with simpler ones and reports how often each supports falsely.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """A value and its one-sided bounds, each with the error rate asked for; n counts units, not clusters."""

    value: float
    low: float
    high: float
    n: int
    method: str


def least(groups: Mapping[str, Callable[[float], Interval]], level: float) -> Interval:
    """The lowest value of several fixed groups, each given as its interval at a level.

    The lower end is the lowest of the groups', each at the level itself: all have to lie above a bar, so the error is
    at most that of the group that does not (intersection-union; Berger 1982, Technometrics 24:295). The upper end is
    the lowest of the groups' at the level divided among them (Bonferroni).
    """
    intervals = {name: of(level) for name, of in groups.items()}
    lowest = min(intervals, key=lambda name: intervals[name].value)
    low = min(interval.low for interval in intervals.values())
    high = min(of(level / len(groups)).high for of in groups.values())
    n = sum(interval.n for interval in intervals.values())
    method = f"the lowest of {len(groups)}, of {lowest}; {intervals[lowest].method}"
    return Interval(intervals[lowest].value, low, high, n, method)


# The least correlation assumed between answers to prompts of the same frame. On organisms it is -0.11 to 0.08 where
# answers differ (`python -m tests.tools.rule_choices templates`); answers that all agree cannot show their correlation.
ALIKE = 0.2


def rate(hits: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """The share of hits with exact binomial bounds (Clopper and Pearson 1934, Biometrika 26:404).

    With clusters, n is the effective number of `_effective` (Korn and Graubard 1998, Survey Methodology 24:193).
    Wilson's score interval is shorter, but at level 0.0025 it errs up to 16 times too often if the true rate is near 0
    or 1.
    """
    answers = _booleans(hits)
    _check(len(answers), level)
    k, n = int(answers.sum()), len(answers)
    size, how = _effective(answers.astype(float), clusters, level)
    low, high = _rate_low(k * size / n, size, level), 1 - _rate_low((n - k) * size / n, size, level)
    return Interval(k / n, low, high, n, "exact binomial" + how)


def paired_difference(before: ArrayLike, after: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """rate(before) − rate(after) over the same pairs; the interval is sensible even if all pairs change, or none.

    Each bound is the difference at which the observed one, or a more extreme one, has a probability of `level`. The
    probability is the exact trinomial tail at the likeliest discordant rates with that difference, those of Tango's
    score interval (1998, Statistics in Medicine 17:891), whose normal tail errs up to 7 times too often at level
    0.0025. This is an "estimated" exact p-value (Lloyd 2008, Australian & NZ J. Statistics 50:329). With clusters the
    table is reduced to the effective number of pairs and rounded so that the interval gets wider.
    """
    first, second = _booleans(before), _booleans(after)
    if len(first) != len(second):
        raise ValueError(f"before has {len(first)} pairs and after {len(second)}: give one answer a pair to each.")
    return net_share(first & ~second, ~first & second, level, clusters)


def net_share(towards: ArrayLike, back: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """The share of pairs that went one way less the share that went back, as in `paired_difference`.

    Pairs that did neither may have stayed or have become something else: the tail counts only how many there are.
    """
    there, again = _booleans(towards), _booleans(back)
    if len(there) != len(again) or (there & again).any():
        raise ValueError("Each pair goes one way, the other, or neither: give one yes or no a pair to each way.")
    _check(len(there), level)
    n, fell, rose = len(there), int(there.sum()), int(again.sum())
    value = (fell - rose) / n
    size, how = _effective(there.astype(float) - again, clusters, level)
    whole = math.floor(size + 1e-9)
    low, high = (
        min(seen, _difference_low(whole, math.floor(more * whole / n), math.ceil(less * whole / n), level))
        for more, less, seen in ((fell, rose, value), (rose, fell, -value))
    )
    return Interval(value, low, -high, n, "exact trinomial tail at Tango's restricted estimate" + how)


def area(scores: ArrayLike, hits: ArrayLike) -> float:
    """AUC: the chance that a hit scores above a miss, ties counted half (Hanley and McNeil 1982, Radiology 143:29)."""
    values, hit = np.asarray(scores, dtype=float), _booleans(hits)
    above, below = values[hit], values[~hit]
    if not len(above) or not len(below):
        return 0.0
    return float((np.sign(above[:, None] - below[None]) + 1).mean() / 2)


def _check(n: int, level: float) -> None:
    if n == 0:
        raise ValueError("There is nothing to judge: no units were given.")
    if not 0 < level < 0.25:
        raise ValueError(f"The level {level} must lie between 0 and 0.25: it is the error of one bound, such as 0.01.")


def _booleans(values: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1 or not np.isin(array, (0, 1)).all():
        raise ValueError("Answers must be one yes or no for each unit: give True, False, 1 or 0.")
    return array.astype(bool)


def _effective(values: NDArray[np.float64], clusters: ArrayLike | None, level: float) -> tuple[float, str]:
    """The number of independent units that are as informative as these, and the number of clusters in words.

    It is n divided by the design effect, times Korn and Graubard's correction for the degrees of freedom of the
    clusters. The design effect is the variance of cluster sums over that of independent units, and at least the one
    that a correlation of ALIKE within clusters would cause (Kish 1965, Survey Sampling, 5.4).
    """
    from scipy.special import stdtrit

    n = len(values)
    if clusters is None:
        return float(n), ""
    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    if place.shape != values.shape:
        raise ValueError(f"Clusters must name one cluster for each of the {n} units: got {place.shape}.")
    sizes = np.bincount(place)
    k = len(sizes)
    if k == n:
        return float(n), ""
    said = f", in {k} cluster{'s' if k > 1 else ''}"
    if k == 1:
        return 1.0, said
    away = np.bincount(place, values - values.mean())
    effect = 1 + ALIKE * (float((sizes**2).sum()) / n - 1)
    if values.var() > 0:
        effect = max(effect, k / (k - 1) * float((away**2).sum()) / (n * float(values.var())))
    lost = float(stdtrit(n - 1, level) / stdtrit(k - 1, level)) ** 2
    return max(n / effect * lost, 1.0), said


@lru_cache(maxsize=65536)
def _rate_low(k: float, n: float, level: float) -> float:
    """The smallest rate at which k or more hits of n are no rarer than the level."""
    from scipy.special import betaincinv

    return float(betaincinv(k, n - k + 1, level)) if k else 0.0


@lru_cache(maxsize=65536)
def _difference_low(n: int, fell: int, rose: int, level: float) -> float:
    """The smallest true difference at which observing (fell − rose)/n or more is no rarer than the level."""
    from scipy.optimize import brentq

    seen = (fell - rose) / n
    if fell == 0 and rose == n:
        return -1.0

    def excess(difference: float) -> float:
        rises = _restricted(n, fell, rose, difference)
        return _tail(n, fell - rose, rises + difference, rises) - level

    return min(seen, float(brentq(excess, -1.0, seen, xtol=1e-10))) if excess(seen) > 0 else seen


def _restricted(n: int, fell: int, rose: int, difference: float) -> float:
    """The likeliest rate of rises when the rate of falls is larger by `difference` (Tango 1998, equation 9)."""
    b = (2 * n - fell + rose) * difference - fell - rose
    c = -rose * difference * (1 - difference)
    q = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    return min(max(q, 0.0, -difference), (1 - difference) / 2)


def _tail(n: int, least: int, falls: float, rises: float) -> float:
    """P(number of falls − number of rises ≥ least) in n pairs: a sum over the number of rises."""
    from scipy.special import bdtrc, xlog1py, xlogy

    j = np.arange(n + 1)
    chance = np.exp(_log_choices(n) + xlogy(j, rises) + xlog1py(n - j, -min(rises, 1.0)))
    share = min(max(falls / (1 - rises), 0.0), 1.0) if rises < 1 else 0.0
    left, need = n - j, least + j
    inside = (need >= 1) & (need <= left)
    upper = np.where(inside, bdtrc(np.where(inside, need - 1, 0), np.where(inside, left, 1), share), need <= 0)
    return float(chance @ upper)


@lru_cache(maxsize=256)
def _log_choices(n: int) -> NDArray[np.float64]:
    from scipy.special import gammaln

    j = np.arange(n + 1)
    return np.asarray(gammaln(n + 1) - gammaln(j + 1) - gammaln(n - j + 1))
