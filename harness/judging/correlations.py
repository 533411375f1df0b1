"""Correlations and cosines corrected for noise: of two measurements over components, and of groups' mean vectors.

Prompts, or clusters of them, are the units. Random draws are seeded by the data, as in `permutations`. Each bound is
one-sided and has the error rate `level`, as in `proportions`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from harness.judging.means import Floats, check_study, sums_by_cluster
from harness.judging.permutations import seeded
from harness.judging.proportions import Interval


def correlation(x: ArrayLike, y: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """Pearson's r between the means over prompts of two [prompt, component] arrays; prompts or clusters are the units.

    Noise in the means biases r: towards 0 if it is independent, away from 0 if both arrays share it. An r computed
    from products of different prompts only is unbiased to first order (a U-statistic; Hoeffding 1948, Annals of
    Mathematical Statistics 19:293). Each bound starts from whichever of the two r lies farther out, uses Fisher's z
    with the bootstrap's standard error and Student's quantile, and is never nearer than the bootstrap's percentile.
    Components that are NaN for a prompt are left out. Without variation r is 0 with the interval (−1, 1).
    """
    from scipy.special import stdtrit

    first, second = _common(x, y)
    units = len(first)
    if clusters is not None:
        # r is the same of sums as of means, and resampling sums is resampling clusters.
        first, second = (
            np.stack([sums_by_cluster(column, column, clusters)[0] for column in rows.T], 1) for rows in (first, second)
        )
    n = len(first)
    said = "" if n == units else f", in {n} cluster{'s' if n > 1 else ''}"
    check_study(n, level)
    a, b = first - first.mean(axis=1, keepdims=True), second - second.mean(axis=1, keepdims=True)
    value = float(_r(np.ones((1, n)), a, b)[0])
    if n < 3 or min(np.ptp(a.sum(axis=0)), np.ptp(b.sum(axis=0))) == 0:
        return Interval(value, -1.0, 1.0, units, "too few prompts" if n < 3 else "no variation")
    rng, order = seeded(np.hstack([a, b]))
    picked = rng.integers(0, n, (1999, n)) + n * np.arange(1999)[:, None]
    counts = np.bincount(picked.ravel(), minlength=1999 * n).reshape(1999, n).astype(float)
    drawn = _r(counts, a[order], b[order])
    (aa, own_a), (bb, own_b), (ab, own_ab) = (
        (float(left.sum(axis=0) @ right.sum(axis=0)), float((left * right).sum()))
        for left, right in ((a, a), (b, b), (a, b))
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
    """Mean cosine between the groups' mean vectors, corrected for the noise that pulls it towards 0.

    `products` [unit, unit] are the vectors' inner products. Products of a unit with itself are left out, so that the
    squared lengths are unbiased; this is Spearman's correction for attenuation (1904, Am. J. Psychology 15:72).
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
    # Corrected for noise, the estimate can exceed 1, although no cosine does.
    value = float(np.clip(raw := _cosine(table, member), -1.0, 1.0))
    if not np.isfinite(value) or n < 3:
        return Interval(value, -1.0, 1.0, len(names), "some group has no direction of its own")
    left_out = np.array([_cosine(table, member * (units != unit)[:, None]) for unit in range(n)])
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


def _r(weights: Floats, a: Floats, b: Floats) -> Floats:
    """Pearson's r between weighted sums over prompts of centred rows, one for each row of weights."""
    if a.shape[1] <= len(a):
        first, second = weights @ a, weights @ b
        return _safe_ratio((first * second).sum(1), (first * first).sum(1), (second * second).sum(1))
    # With more components than prompts, the inner products of prompts are the smaller table.
    aa, bb, ab = (np.einsum("ij,ij->i", weights @ gram, weights) for gram in (a @ a.T, b @ b.T, a @ b.T))
    return _safe_ratio(ab, aa, bb)


def _z(r: Floats | float) -> Floats:
    return np.asarray(np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)))


def _beyond(value: float, clean: float, lift: float, reach: float) -> float:
    """A bound computed from the noise-corrected r, which varies `lift` times as much as r does."""
    if abs(clean) >= 1:
        return float(np.sign(reach)) if np.sign(reach) == np.sign(clean) else value
    return float(np.tanh(_z(clean) + max(1.0, lift * (1 - value**2) / (1 - clean**2)) * reach))


def _safe_ratio(ab: Floats, aa: Floats, bb: Floats) -> Floats:
    scale = np.sqrt(np.maximum(aa, 0) * np.maximum(bb, 0))
    return np.clip(np.where(scale > 1e-300, ab / np.where(scale > 1e-300, scale, 1), 0.0), -1.0, 1.0)


def _common(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Both arrays as [prompt, component], without the components that are not finite for every prompt."""
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise ValueError(f"Give two [prompt, component] arrays of one shape: got {first.shape} and {second.shape}.")
    kept = np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0)
    if kept.sum() < 2:
        raise ValueError(f"{kept.sum()} components are finite for every prompt: a correlation needs two or more.")
    return first[:, kept], second[:, kept]
