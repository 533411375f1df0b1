"""Intervals for means, and for ratios of means, of measured effects.

Units of a cluster are summed and count as one. Each bound is one-sided and has the error rate `level`, as in
`proportions`. No random draws are used.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.judging.proportions import Interval

Floats = NDArray[np.float64]
UNBOUNDED = (-np.inf, np.inf)
# The method of an end on a side without bounds, on which nothing allows for outliers that are not in the data.
WITHOUT_BOUNDS = "Student's, corrected for skewness"
# Units from which on their skewness is seen well enough to correct for it.
FEW = 32
# How much more skewed the population is taken to be than the units observed, which rarely contain its tail.
SKEWNESS = 2.0


def mean(
    values: ArrayLike, level: float, clusters: ArrayLike | None = None, bounds: tuple[float, float] = UNBOUNDED
) -> Interval:
    """The mean over units: `ratio_of_means` with all denominators 1.

    Give `bounds` wherever a value cannot lie outside of them, such as (0, 1) for a probability.
    """
    array = np.asarray(values, dtype=float)
    return ratio_of_means(array, np.ones_like(array), level, clusters, bounds)


def mean_difference(
    a: ArrayLike,
    b: ArrayLike,
    level: float,
    clusters: ArrayLike | None = None,
    bounds: tuple[float, float] = UNBOUNDED,
) -> Interval:
    """The mean of a − b over the same units; `bounds` are those of the difference."""
    first, second = _paired(a, b)
    return mean(first - second, level, clusters, bounds)


def ratio_of_means(
    numerators: ArrayLike,
    denominators: ArrayLike,
    level: float,
    clusters: ArrayLike | None = None,
    bounds: tuple[float, float] = UNBOUNDED,
) -> Interval:
    """Σ numerators / Σ denominators, such as the share of a gap that a patch closes; `bounds` are a single unit's.

    On a side with a bound, Gaffke's (2005, Mathematical Methods of Statistics 14:451; Phan, Thomas and Learned-Miller
    2021, arXiv 2106.03163): every unit, and one unseen unit with the worst possible value, gets a random exponential
    weight, and the end is a quantile of the weighted mean. For yes-or-no values it is the exact binomial bound. On a
    side without one, Student's (for ratios Fieller's, 1954, J. Royal Statistical Society B 16:175) with a quantile that
    allows for skewness: Hall's transformation (1992, J. Royal Statistical Society B 54:221) at SKEWNESS times the
    skewness observed, and never less than Student's. Fewer than FEW units cannot show how skewed they are: the end is
    then also Gaffke's, with the unseen unit beyond the observed range by 3·(1 − level^(1/n)) of that range.

    An end is infinite where the data cannot give one: a single unit, unbounded units that all agree, or a denominator
    that may be 0. Without `bounds`, no rule can allow for rare outliers that are not in the data.
    """
    above, below = _paired(numerators, denominators)
    units = len(above)
    above, below = sums_by_cluster(above, below, clusters)
    n, total = len(above), float(below.sum())
    said = "" if n == units else f", in {n} cluster{'s' if n > 1 else ''}"
    check_study(n, level)
    if total <= 0:
        raise ValueError(f"The denominators sum to {total:g}: a share needs a positive whole to be a share of.")
    if not bounds[0] < bounds[1]:
        raise ValueError(f"Bounds {bounds} must be (lowest, highest).")
    value = float(above.sum()) / total
    rest = above - value * below
    if np.abs(rest).max() <= 1e-12 * max(np.abs(above).max(), abs(value) * np.abs(below).max()):
        rest = np.zeros(n)
    size = total / n
    # The unseen unit's worst values: its numerator minus value × the mean denominator.
    lowest, highest = (bounds[0] - value) * size, (bounds[1] - value) * size
    if lowest > 1e-9 * size or highest < -1e-9 * size:
        raise ValueError(f"The value {value:g} lies beyond its bounds {bounds}.")
    low, high = _low(rest, below, lowest, level), -_low(-rest, below, -highest, level)
    names = {True: "Gaffke's bound", False: WITHOUT_BOUNDS}
    method = " and ".join(dict.fromkeys(names[bool(np.isfinite(bound))] for bound in bounds))
    return Interval(
        value, float(max(value + low, bounds[0])), float(min(value + high, bounds[1])), units, method + said
    )


def transfer(falls: ArrayLike, own: int, level: float, clusters: ArrayLike | None = None) -> Interval:
    """Mean fall under other categories' circuits, divided by the mean fall under the category's own, in one category.

    `falls` is [pair, category the circuit was found on]; `own` is the column of the category itself.
    """
    table = np.asarray(falls, dtype=float)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"Falls must be [pair, category], of two categories or more: got {table.shape}.")
    others = np.delete(table, own, axis=1).mean(axis=1)
    return ratio_of_means(others, table[:, own], level, clusters)


def _low(rest: Floats, below: Floats, worst: float, level: float) -> float:
    """The lower end for mean rest / mean below; `worst` is an unseen unit's least value, or infinite."""
    if np.isfinite(worst):
        return min(_gaffke(rest, below, worst, level), 0.0)
    low, n, spread = _fieller(rest, below, level), len(rest), float(np.ptp(rest))
    if n >= FEW or not spread:
        return low
    return min(low, _gaffke(rest, below, float(rest.min()) - 3 * (1 - level ** (1 / n)) * spread, level))


def _gaffke(rest: Floats, below: Floats, worst: float, level: float) -> float:
    """The `level` quantile of Σw·rest / Σw·below, w exponential, with an unseen unit of mean size at its worst value.

    P(Σw·(rest − t·below) ≤ 0) is a saddlepoint approximation in Barndorff-Nielsen's form (1986, Biometrika 73:307).
    It works at any level; tests compare it with random draws.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    rest, below = np.append(rest, worst), np.append(below, below.mean())
    if (below < 0).any():
        # If the denominator were negative the quotient would mean nothing: that chance is subtracted from the level.
        level -= float(ndtr(_root(below)))
    if level <= 0:
        return -np.inf
    target, low = float(ndtri(level)), float((rest[below > 0] / below[below > 0]).min())
    if low >= 0:
        return 0.0

    def excess(t: float) -> float:
        return min(max(_root(rest - t * below), -40.0), 40.0) - target

    for _ in range(60):
        if excess(low) <= 0:
            return float(brentq(excess, low, 0.0, xtol=max(1e-12 * abs(low), 5e-324), rtol=1e-12))
        low *= 2
    return -np.inf


def _root(values: Floats) -> float:
    """The standard normal quantile of P(Σw·values ≤ 0), w exponential; infinite where that is 0 or above a half."""
    if values.min() >= 0:
        return -np.inf
    if values.sum() <= 0:
        return np.inf
    c = values / np.abs(values).max()
    low, high, s = 1 / float(c.min()), 0.0, 0.5 / float(c.min())
    for _ in range(100):
        part = c / (1 - s * c)
        slope, curve = float(part.sum()), float((part * part).sum())
        low, high = (low, s) if slope > 0 else (s, high)
        step = s - slope / curve
        last, s = s, step if low < step < high else (low + high) / 2
        if abs(s - last) <= 1e-12 * abs(low):
            break
    part = c / (1 - s * c)
    r = -math.sqrt(max(2 * float(np.log1p(-s * c).sum()), 0.0))
    u = s * math.sqrt(float((part * part).sum()))
    return r + math.log(u / r) / r if r < -1e-6 else 0.0


def _fieller(rest: Floats, below: Floats, level: float) -> float:
    """The t below which a one-sided test rejects mean(rest − t·below) = 0, by `_quantile`; rest has mean 0."""
    n = len(rest)
    if not np.ptp(rest):
        return -np.inf
    # A power of two loses nothing; without it the squares and cubes of values near 1e-144 would be 0.
    size = math.frexp(float(np.abs(rest).max()))[1]
    rest = np.ldexp(rest, -size)
    q2 = _quantile(rest, level) ** 2 / n
    (aa, ab), (_, bb) = np.cov(rest, below)
    lead = float(below.mean()) ** 2 - q2 * bb
    if lead <= 0:
        return -np.inf
    return math.ldexp(float((-q2 * ab - np.sqrt((q2 * ab) ** 2 + lead * q2 * aa)) / lead), size)


def _quantile(rest: Floats, level: float) -> float:
    """Student's quantile or, where values are skewed to the left, the one that Hall's transformation makes of it."""
    from scipy.special import stdtrit

    n, moments = len(rest), [float((rest**power).mean()) for power in (2, 3)]
    student = -float(stdtrit(n - 1, level))
    if n < 3:
        return student
    skewness = SKEWNESS * moments[1] / moments[0] ** 1.5 * math.sqrt(n * (n - 1)) / (n - 2)
    if skewness > -1e-9:
        return student
    inner = 1 + skewness * (student / math.sqrt(n) - skewness / (6 * n))
    return max(student, float(3 * math.sqrt(n) / skewness * (math.cbrt(inner) - 1)))


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"Values must be one number for each unit, the same units: got {first.shape}, {second.shape}.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Some values are NaN or infinite: leave those units out before judging, and report that.")
    return first, second


def check_study(n: int, level: float) -> None:
    """Raises ValueError if there are no units, or if the level lies outside of (0, 0.25)."""
    if n == 0:
        raise ValueError("There is nothing to judge: no units were given.")
    if not 0 < level < 0.25:
        raise ValueError(f"The level {level} must lie between 0 and 0.25: it is the error of one bound, such as 0.01.")


def sums_by_cluster(a: Floats, b: Floats, clusters: ArrayLike | None) -> tuple[Floats, Floats]:
    """The sums over each cluster: clusters, not their members, are the independent units."""
    if clusters is None:
        return a, b
    names = np.asarray(clusters)
    if names.shape != a.shape:
        raise ValueError(f"Clusters must name one cluster for each of the {len(a)} units: got {names.shape}.")
    _, place = np.unique(names, return_inverse=True)
    sums = np.zeros((2, int(place.max()) + 1 if len(place) else 0))
    np.add.at(sums[0], place, a)
    np.add.at(sums[1], place, b)
    return sums[0], sums[1]
