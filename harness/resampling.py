"""Intervals and tests for measured effects, by random weights: means, ratios, correlations, many components at once.

Units of the same cluster are weighed together. Where there are draws, they are seeded by the data themselves (a hash of
the sorted values), so the same numbers give the same bounds in any order. As in `stats`, a bound is one-sided and errs
at the level.
"""

import hashlib
import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.stats import Interval

Floats = NDArray[np.float64]
UNBOUNDED = (-np.inf, np.inf)
BLOCK = 2_000_000  # numbers drawn at once


def mean(
    values: ArrayLike, level: float, clusters: ArrayLike | None = None, bounds: tuple[float, float] = UNBOUNDED
) -> Interval:
    """The mean over units; give `bounds` wherever nothing can lie beyond them, such as (0, 1) for a probability.

    See `ratio_of_means`, of which it is the case with denominators of 1.
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
    """Σ numerators / Σ denominators, such as the share of a gap that a patch closes; `bounds` are those of a unit's.

    Each unit gets a random exponential weight, and one more unit, never seen, stands at the worst value there could be:
    Gaffke's bound (2005, Mathematical Methods of Statistics 14:451; Phan, Thomas and Learned-Miller 2021, arXiv
    2106.03163), which for yes and no is the exact binomial one. With no bounds the worst value is taken to lie beyond
    the observed range by three times the share of units that may go unseen, 1 − level^(1/n), of that range, and the
    bound is never nearer than Student's (for ratios Fieller's, 1954, J. Royal Statistical Society B 16:175).

    A bound is infinite where the data do not speak: one unit, units that all agree while nothing bounds them, or a
    denominator that may be 0. No rule without bounds can know of rare outliers that it has not met.
    """
    above, below = _paired(numerators, denominators)
    units = len(above)
    above, below = _grouped(above, below, clusters)
    n, total = len(above), float(below.sum())
    said = "" if n == units else f", in {n} cluster{'s' if n > 1 else ''}"
    _check(n, level)
    if total <= 0:
        raise ValueError(f"The denominators sum to {total:g}: a share needs a positive whole to be a share of.")
    if not bounds[0] < bounds[1]:
        raise ValueError(f"Bounds {bounds} must be (lowest, highest).")
    value = float(above.sum()) / total
    rest = above - value * below
    if np.abs(rest).max() <= 1e-12 * max(np.abs(above).max(), abs(value) * np.abs(below).max()):
        rest = np.zeros(n)
    spread, unseen = float(np.ptp(rest)), 1 - level ** (1 / n)
    size = total / n
    # Where the unseen unit stands, as what its numerator has beyond value × the mean denominator.
    lowest = (bounds[0] - value) * size if np.isfinite(bounds[0]) else float(rest.min()) - 3 * unseen * spread
    highest = (bounds[1] - value) * size if np.isfinite(bounds[1]) else float(rest.max()) + 3 * unseen * spread
    if lowest > 1e-9 * size or highest < -1e-9 * size:
        raise ValueError(f"The value {value:g} lies beyond its bounds {bounds}.")
    low, high = _gaffke(rest, below, lowest, level), -_gaffke(-rest, below, -highest, level)
    student = _fieller(rest, below, level) if spread else (-np.inf, np.inf)
    low = min(low, 0.0) if np.isfinite(bounds[0]) else min(low, student[0])
    high = max(high, 0.0) if np.isfinite(bounds[1]) else max(high, student[1])
    method = "Gaffke's bound" if np.isfinite(bounds).all() else "the wider of Student's and Gaffke's bound"
    return Interval(
        value, float(max(value + low, bounds[0])), float(min(value + high, bounds[1])), units, method + said
    )


def over_ceiling(values: ArrayLike, ceilings: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """The mean of the values as a share of the mean of their ceilings, unit by unit, as `ratio_of_means`."""
    return ratio_of_means(values, ceilings, level, clusters)


def transfer(falls: ArrayLike, own: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """Mean fall under circuits of other categories over the mean fall under the own one.

    falls is [pair, category the circuit was found on], own is each pair's category as a column of it.
    """
    table, mine = np.asarray(falls, dtype=float), np.asarray(own, dtype=int)
    if table.ndim != 2 or table.shape[1] < 2 or mine.shape != (len(table),):
        raise ValueError(f"Falls must be [pair, category] with own [pair]: got {table.shape} and {mine.shape}.")
    diagonal = table[np.arange(len(table)), mine]
    return ratio_of_means((table.sum(axis=1) - diagonal) / (table.shape[1] - 1), diagonal, level, clusters)


def correlation(x: ArrayLike, y: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """Pearson's r between the means over prompts of two [prompt, component] arrays; prompts or clusters are the units.

    Noise in the means pulls r towards 0, or, where both arrays share it, away from it. Products of different prompts
    are free of it: r from those alone is unbiased to first order (as in a U-statistic, Hoeffding 1948, Annals of
    Mathematical Statistics 19:293). Each bound starts from whichever of the two r lies farther out, by Fisher's z with
    the bootstrap's standard error and Student's quantile, and is no nearer than the bootstrap's percentile.
    Components that are NaN for a prompt are left out; without variation r is 0 and may be anything.
    """
    from scipy.special import stdtrit

    first, second = _common(x, y)
    units = len(first)
    if clusters is not None:
        # r is the same of sums as of means, and resampling sums is resampling clusters.
        first, second = (np.stack([_grouped(one, one, clusters)[0] for one in rows.T], 1) for rows in (first, second))
    n = len(first)
    said = "" if n == units else f", in {n} cluster{'s' if n > 1 else ''}"
    _check(n, level)
    a, b = first - first.mean(axis=1, keepdims=True), second - second.mean(axis=1, keepdims=True)
    value = float(_r(np.ones((1, n)), a, b)[0])
    if n < 3 or min(np.ptp(a.sum(axis=0)), np.ptp(b.sum(axis=0))) == 0:
        return Interval(value, -1.0, 1.0, units, "too few prompts" if n < 3 else "no variation")
    rng, order = _generator(np.hstack([a, b]))
    picked = rng.integers(0, n, (1999, n)) + n * np.arange(1999)[:, None]
    counts = np.bincount(picked.ravel(), minlength=1999 * n).reshape(1999, n).astype(float)
    drawn = _r(counts, a[order], b[order])
    (aa, own_a), (bb, own_b), (ab, own_ab) = (
        (float(one.sum(axis=0) @ other.sum(axis=0)), float((one * other).sum()))
        for one, other in ((a, a), (b, b), (a, b))
    )
    if min(aa - own_a, bb - own_b) <= 0:
        return Interval(value, -1.0, 1.0, units, "no effect repeats between prompts")
    clean = (ab - own_ab) / math.sqrt((aa - own_a) * (bb - own_b))
    lift = math.sqrt(aa * bb / ((aa - own_a) * (bb - own_b)))
    reach = -float(stdtrit(n - 1, level)) * float(_z(drawn).std(ddof=1)) * np.sqrt(n / (n - 1))
    k = max(int((len(drawn) + 1) * level), 1)
    ranked = np.sort(drawn)
    low = min(ranked[k - 1], np.tanh(_z(value) - reach), _beyond(value, clean, lift, -reach))
    high = max(ranked[-k], np.tanh(_z(value) + reach), _beyond(value, clean, lift, reach))
    return Interval(value, float(low), float(high), units, "bootstrap over prompts, corrected for noise" + said)


def alignment(products: ArrayLike, groups: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """Mean cosine between the groups' mean vectors, free of the noise that pulls it towards 0.

    products [unit, unit] are the vectors' inner products. Those of a unit with itself are left out, so that lengths
    are unbiased, and the cosine stands over its own split-half ceiling (Spearman 1904, Am. J. Psychology 15:72).
    Student's interval with the jackknife's error over units, or clusters (Tukey 1958; Miller 1974, Biometrika 61:1).
    """
    from scipy.special import stdtrit

    table, names = np.asarray(products, dtype=float), np.asarray(groups)
    units = np.arange(len(names)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if table.shape != (len(names), len(names)) or len(units) != len(names):
        raise ValueError(f"Products must be [unit, unit] with a group for each: got {table.shape} and {names.shape}.")
    member = (names[:, None] == np.unique(names)[None]).astype(float)
    if member.shape[1] < 2:
        raise ValueError("A cosine between groups needs two groups or more.")
    n = int(units.max()) + 1
    # Set free of noise, it can come out above 1; what it estimates cannot.
    value = float(np.clip(raw := _cosine(table, member), -1.0, 1.0))
    if not np.isfinite(value) or n < 3:
        return Interval(value, -1.0, 1.0, len(names), "some group has no direction of its own")
    left_out = np.array([_cosine(table, member * (units != one)[:, None]) for one in range(n)])
    if not np.isfinite(left_out).all():
        return Interval(value, -1.0, 1.0, len(names), "some group has no direction of its own")
    error = float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
    reach = -float(stdtrit(n - 1, level)) * error
    low, high = (float(np.clip(end, -1.0, 1.0)) for end in (raw - reach, raw + reach))
    return Interval(value, low, high, len(names), "jackknife" + ("" if clusters is None else f", {n} clusters"))


def _cosine(table: Floats, member: Floats) -> float:
    sums, own, counts = member.T @ table @ member, member.T @ np.diag(table), member.sum(axis=0)
    if (counts < 2).any():
        return float("nan")
    lengths = (np.diag(sums) - own) / (counts * (counts - 1))
    if (lengths <= 0).any():
        return float("nan")
    cosines = sums / np.outer(counts, counts) / np.sqrt(np.outer(lengths, lengths))
    return float(cosines[~np.eye(len(cosines), dtype=bool)].mean())


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's correlation between the means over prompts, with mean ranks for ties; 0 without variation."""
    from scipy.stats import rankdata

    first, second = _common(x, y)
    return _pearson(rankdata(first.mean(axis=0)), rankdata(second.mean(axis=0)))


def top_overlap(x: ArrayLike, y: ArrayLike, share: float = 0.05) -> float:
    """The part of the top components (by |mean over prompts|) that both arrays have in common; at least one is top."""
    first, second = _common(x, y)
    k = max(1, round(share * first.shape[1]))
    tops = [set(np.argsort(-np.abs(a.mean(axis=0)), kind="stable")[:k].tolist()) for a in (first, second)]
    return float(len(tops[0] & tops[1]) / k)


def split_half(x: ArrayLike, splits: int = 200) -> float:
    """How well another draw of as many prompts would repeat the means of x [prompt, component]: the ceiling of r.

    The mean correlation r of two random halves, stepped up to the full length as 2r / (1 + r) (Spearman 1910, Brown
    1910, British J. Psychology 3). 0 where the halves do not agree or do not vary, or there are under two prompts.
    """
    first, _ = _common(x, x)
    n = len(first)
    if n < 2:
        return 0.0
    rng, order = _generator(first)
    half = np.zeros((splits, n))
    half[:, : n // 2] = 1
    half = rng.permuted(half, axis=1)
    a = (first - first.mean(axis=1, keepdims=True))[order]
    gram = a @ a.T
    other = 1 - half
    r = float(_cross(half, other, gram).mean())
    return max(0.0, 2 * r / (1 + r))


def sign_flip(
    values: ArrayLike, draws: int = 9999, alternative: Literal["two-sided", "greater", "less"] = "two-sided"
) -> float:
    """The p of a mean of 0 by exchangeable signs: (1 + #)/(draws + 1), never 0 (Phipson and Smyth 2010, SAGMB 9:39).

    Exact in level for values that are symmetric about 0 under the null, such as differences of exchangeable arms.
    """
    array = np.asarray(values, dtype=float)
    column = -array if alternative == "less" else array
    return float(_flipped(column[:, None], draws, signed=alternative != "two-sided")[0])


def max_t(values: ArrayLike, draws: int = 9999) -> Floats:
    """A two-sided p for each component of values [unit, component], adjusted for having looked at all of them.

    The signs of whole units are flipped and the largest |t| of any component is what each one must beat (Westfall and
    Young 1993, single step): p = (1 + #)/(draws + 1), never 0, and the chance of any false find is at most its level.
    """
    return _flipped(np.asarray(values, dtype=float), draws, signed=False)


def max_t_reach(values: ArrayLike, chance: float = 0.05, draws: int = 1999) -> Floats:
    """How far from 0 the means of values [unit, component] lie by exchangeable signs: any of them beyond, by chance.

    The band to `max_t`: signs of whole units are flipped, and the quantile of the largest |t| is scaled back.
    """
    table = np.asarray(values, dtype=float)
    scale = np.sqrt((table**2).sum(axis=0))
    most = np.concatenate([drawn.max(axis=1) for drawn in _drawn(table, draws, signed=False)])
    return np.asarray(np.quantile(most, 1 - chance, method="higher") * scale / len(table))


def _flipped(table: Floats, draws: int, signed: bool) -> Floats:
    # Σx² stays as signs flip, and |t| grows with |Σx| / √Σx²: that serves as t.
    scale = np.sqrt((table**2).sum(axis=0)) if table.ndim == 2 else np.ones(1)
    count = np.zeros(len(scale))
    for drawn in _drawn(table, draws, signed):
        seen = table.sum(axis=0) / np.where(scale > 0, scale, 1)
        most = np.sort(drawn.max(axis=1))
        count += len(most) - np.searchsorted(most, (seen if signed else np.abs(seen)) - 1e-9)
    return (1 + count) / (draws + 1)


def _drawn(table: Floats, draws: int, signed: bool) -> Iterator[Floats]:
    """Each component's t under flipped signs, [draw, component], some draws at a time."""
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError("Sign flips need finite values, at least one unit and one component.")
    scale = np.sqrt((table**2).sum(axis=0))
    unit = table / np.where(scale > 0, scale, 1)
    rng, order = _generator(table)
    unit = unit[order]
    size = -(-len(table) // 8)
    for start, stop in _blocks(draws, max(table.shape)):
        coins = np.unpackbits(np.frombuffer(rng.bytes((stop - start) * size), np.uint8).reshape(-1, size), axis=1)
        drawn = 2 * (coins[:, : len(table)].astype(float) @ unit) - unit.sum(axis=0)
        yield drawn if signed else np.abs(drawn)


def _gaffke(rest: Floats, below: Floats, worst: float, level: float) -> float:
    """The level's quantile of Σw·rest / Σw·below, w exponential, one more unit of mean size standing at its worst.

    P(Σw·(rest − t·below) ≤ 0) comes from the saddlepoint of a sum of exponentials in Barndorff-Nielsen's form (1986,
    Biometrika 73:307), which needs no draws and so serves any level; tests hold it against draws.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    rest, below = np.append(rest, worst), np.append(below, below.mean())
    if (below < 0).any():
        # Where the whole may be negative the quotient means nothing: that chance is taken off the level.
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
    """The normal deviate of P(Σw·values ≤ 0), w exponential; infinite where that is 0 or above a half."""
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


def _fieller(rest: Floats, below: Floats, level: float) -> tuple[float, float]:
    """The shifts t at which Student's one-sided test of mean(rest − t·below) = 0 turns, rest having mean 0."""
    from scipy.special import stdtrit

    n = len(rest)
    q2 = float(stdtrit(n - 1, level)) ** 2 / n
    (aa, ab), (_, bb) = np.cov(rest, below)
    lead = float(below.mean()) ** 2 - q2 * bb
    if lead <= 0:
        return -np.inf, np.inf
    root = float(np.sqrt((q2 * ab) ** 2 + lead * q2 * aa))
    return (-q2 * ab - root) / lead, (-q2 * ab + root) / lead


def _r(weights: Floats, a: Floats, b: Floats) -> Floats:
    """Pearson's r between weighted sums over prompts of centred rows, one for each row of weights."""
    if a.shape[1] <= len(a):
        first, second = weights @ a, weights @ b
        return _safe_ratio((first * second).sum(1), (first * first).sum(1), (second * second).sum(1))
    # With more components than prompts the prompts' inner products are fewer.
    aa, bb, ab = (np.einsum("ij,ij->i", weights @ gram, weights) for gram in (a @ a.T, b @ b.T, a @ b.T))
    return _safe_ratio(ab, aa, bb)


def _z(r: Floats | float) -> Floats:
    return np.asarray(np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)))


def _beyond(value: float, clean: float, lift: float, reach: float) -> float:
    """A bound from the r that is free of noise, which varies `lift` times as much as r itself does."""
    if abs(clean) >= 1:
        return float(np.sign(reach)) if np.sign(reach) == np.sign(clean) else value
    return float(np.tanh(_z(clean) + max(1.0, lift * (1 - value**2) / (1 - clean**2)) * reach))


def _cross(half: Floats, other: Floats, gram: Floats) -> Floats:
    products = half @ gram
    ab, aa = np.einsum("ij,ij->i", products, other), np.einsum("ij,ij->i", products, half)
    return _safe_ratio(ab, aa, np.einsum("ij,ij->i", other @ gram, other))


def _safe_ratio(ab: Floats, aa: Floats, bb: Floats) -> Floats:
    scale = np.sqrt(np.maximum(aa, 0) * np.maximum(bb, 0))
    return np.clip(np.where(scale > 1e-300, ab / np.where(scale > 1e-300, scale, 1), 0.0), -1.0, 1.0)


def _pearson(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(_safe_ratio(np.array([a @ b]), np.array([a @ a]), np.array([b @ b]))[0])


def _check(n: int, level: float) -> None:
    if n == 0:
        raise ValueError("There is nothing to judge: no units were given.")
    if not 0 < level < 0.25:
        raise ValueError(f"The level {level} must lie between 0 and 0.25: it is the error of one bound, such as 0.01.")


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"Values must be one number for each unit, the same units: got {first.shape}, {second.shape}.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Some values are NaN or infinite: leave those units out, and say so, before judging.")
    return first, second


def _common(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Both arrays as [prompt, component], without the components that are not finite for every prompt."""
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise ValueError(f"Give two [prompt, component] arrays of one shape: got {first.shape} and {second.shape}.")
    kept = np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0)
    if kept.sum() < 2:
        raise ValueError(f"{kept.sum()} components are finite for every prompt: a correlation needs two or more.")
    return first[:, kept], second[:, kept]


def _grouped(a: Floats, b: Floats, clusters: ArrayLike | None) -> tuple[Floats, Floats]:
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


def _generator(table: Floats) -> tuple[np.random.Generator, NDArray[np.intp]]:
    """A generator seeded by the rows as a set, and the order that sorts them."""
    rows = [row.tobytes() for row in np.ascontiguousarray(table + 0.0, dtype="<f8")]  # + 0.0 makes −0 the same as 0
    order = np.array(sorted(range(len(rows)), key=rows.__getitem__), dtype=np.intp)
    seed = hashlib.blake2b(b"".join(rows[i] for i in order), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(seed, "little")), order


def _blocks(draws: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, BLOCK // width)
    for start in range(0, draws, step):
        yield start, min(start + step, draws)
