"""Correlations and cosines corrected for noise: of two measurements over components, and of groups' mean vectors.

Prompts, or clusters of them, are the units. Random draws are seeded by the data, as in `permutations`. Each bound is
one-sided and has the error rate `level`, as in `proportions`.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.judging.means import Floats, check_study, sums_by_cluster
from harness.judging.permutations import seeded
from harness.judging.proportions import Interval, least


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
    first, second, said = _summed(first, second, clusters)
    n = len(first)
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


def resampled(
    statistic: Callable[[Floats, Floats], Floats],
    x: ArrayLike,
    y: ArrayLike,
    level: float,
    clusters: ArrayLike | None = None,
) -> Interval:
    """A statistic of the means over prompts of two [prompt, component] arrays, with the bootstrap's percentiles.

    Means of resampled prompts are noisier than the means themselves, which pulls a rank correlation or an overlap
    towards 0: neither bound is held to the level, so this is reported and decides nothing.
    """
    first, second, said = _summed(*_common(x, y), clusters)
    n = len(first)
    check_study(n, level)
    rng, order = seeded(np.hstack([first, second]))
    counts = rng.multinomial(n, np.full(n, 1 / n), 999).astype(float)
    value = float(statistic(first.sum(axis=0, keepdims=True), second.sum(axis=0, keepdims=True))[0])
    ranked = np.sort(statistic(counts @ first[order], counts @ second[order]))
    k = max(int((len(ranked) + 1) * level), 1)
    low, high = min(value, float(ranked[k - 1])), max(value, float(ranked[-k]))
    return Interval(value, low, high, len(np.asarray(x)), "percentiles of the bootstrap over prompts" + said)


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rank correlation of each row of one array with the same row of the other; ties share a rank."""
    from scipy.stats import rankdata

    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(x, axis=1), rankdata(y, axis=1)))
    return _safe_ratio((a * b).sum(1), (a * a).sum(1), (b * b).sum(1))


def overlap(x: Floats, y: Floats, share: float = 0.05) -> Floats:
    """For each row, the share of the components with the largest |x| that are also among those with the largest |y|."""
    k = max(round(share * x.shape[1]), 1)
    among = [np.zeros(x.shape, dtype=bool) for _ in range(2)]
    for chosen, values in zip(among, (x, y), strict=True):
        np.put_along_axis(chosen, np.argsort(-np.abs(values), axis=1, kind="stable")[:, :k], True, axis=1)
    return np.asarray((among[0] & among[1]).sum(axis=1) / k)


def alignment(products: ArrayLike, groups: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """The least mean cosine of a group's mean vector with the others', corrected for the noise that pulls it towards 0.

    `products` [unit, unit] are the vectors' inner products. Products of a unit with itself are left out, so that the
    squared lengths are unbiased; this is Spearman's correction for attenuation (1904, Am. J. Psychology 15:72).
    Student's interval with the jackknife's error over units, or clusters (Tukey 1958; Miller 1974, Biometrika 61:1);
    a group's degrees of freedom are those of its own units. `least` judges the groups together.
    """
    table, names = np.asarray(products, dtype=float), np.asarray(groups)
    units = np.arange(len(names)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if table.shape != (len(names), len(names)) or len(units) != len(names):
        raise ValueError(f"Products must be [unit, unit] with a group for each: got {table.shape} and {names.shape}.")
    labels = np.unique(names)
    member = (names[:, None] == labels[None]).astype(float)
    if len(labels) < 2:
        raise ValueError("A cosine between groups needs two groups or more.")
    n, cosines = int(units.max()) + 1, _cosines(table, member)
    left_out = np.array([_cosines(table, member * (units != unit)[:, None]) for unit in range(n)])
    if n < 3 or not np.isfinite(left_out).all() or not np.isfinite(cosines).all():
        # Corrected for noise, the estimate can exceed 1, although no cosine does.
        return Interval(
            float(np.clip(cosines.min(), -1.0, 1.0)), -1.0, 1.0, len(names), "some group has no direction of its own"
        )
    errors = np.sqrt((n - 1) / n * ((left_out - left_out.mean(0)) ** 2).sum(0))
    said = "jackknife" + ("" if clusters is None else f", {n} clusters")

    def of(number: int, level: float) -> Interval:
        from scipy.special import stdtrit

        own = names == labels[number]
        reach = -float(stdtrit(max(len(set(units[own])) - 1, 1), level)) * errors[number]
        value, low, high = (float(np.clip(cosines[number] + end, -1.0, 1.0)) for end in (0.0, -reach, reach))
        return Interval(value, low, high, int(own.sum()), said)

    return least({str(name): partial(of, number) for number, name in enumerate(labels)}, level)


def principal(products: ArrayLike, level: float, clusters: ArrayLike | None = None) -> Interval:
    """The |cosine| of all vectors' first principal component with the difference of means of their two halves.

    `products` [2n, 2n] are the vectors' inner products; vectors i and n + i belong to unit i. All are centred together.
    What of the difference (of length 1) lies off the component is a vector as long as the sine. Its length's bounds
    lie Student's quantile times the jackknife's largest error along any axis away (Tukey 1958; Miller 1974, Biometrika
    61:1), over units or clusters; noise lengthens it, which is set off in the value and in the sine's lower bound.
    """
    from scipy.special import stdtrit

    table = np.asarray(products, dtype=float)
    pairs = len(table) // 2
    units = np.arange(pairs) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if table.shape != (2 * pairs, 2 * pairs) or len(units) != pairs:
        raise ValueError(f"Products must be [2n, 2n] with a unit for each of the n: got {table.shape}, {len(units)}.")
    check_study(pairs, level)
    n, none = int(units.max()) + 1, Interval(0.0, 0.0, 1.0, pairs, "no difference of means")
    if n < 3:
        return none
    vectors = _with_products(table)
    off = _off_the_component(vectors, units)
    each = np.array([_off_the_component(vectors[np.tile(units != unit, 2)], units[units != unit]) for unit in range(n)])
    if not (np.isfinite(off).all() and np.isfinite(each).all()):
        return none
    errors = np.linalg.svd(each - each.mean(axis=0), compute_uv=False) * math.sqrt((n - 1) / n)
    reach, sine = -float(stdtrit(n - 1, level)) * float(errors[0]), float(np.linalg.norm(off))
    clean = math.sqrt(max(sine**2 - float((errors**2).sum()), 0.0))
    low, value, high = (math.sqrt(1 - min(max(end, 0.0), 1.0) ** 2) for end in (sine + reach, clean, clean - reach))
    return Interval(value, low, high, pairs, "jackknife" + ("" if clusters is None else f", {n} clusters"))


def _with_products(table: Floats) -> Floats:
    """Vectors that have these inner products, in as few dimensions as they need."""
    lengths, axes = np.linalg.eigh(table)
    kept = lengths > 1e-12 * max(float(lengths[-1]), 1e-300)
    return np.asarray(axes[:, kept] * np.sqrt(lengths[kept]))


def _off_the_component(vectors: Floats, units: NDArray[np.intp]) -> Floats:
    """What of the difference of means, taken as of length 1, lies off the first principal component.

    NaN where the difference is nothing but noise: its length leaves out products of a unit with itself.
    """
    from scipy.linalg import eigh

    centred, last = vectors - vectors.mean(axis=0), vectors.shape[1] - 1
    component = eigh(centred.T @ centred, subset_by_index=[last, last])[1][:, 0]
    ours, theirs = np.split(vectors, 2)
    of_unit = (units[:, None] == np.unique(units)).astype(float)
    sums, counts = of_unit.T @ (ours - theirs), of_unit.sum(axis=0)
    difference = sums.sum(axis=0)
    squared = float(difference @ difference - (sums**2).sum()) / (1 - float((counts**2).sum() / counts.sum() ** 2))
    if squared <= 0:
        return np.full(vectors.shape[1], np.nan)
    return np.asarray((difference - (difference @ component) * component) / math.sqrt(squared))


def _summed(first: Floats, second: Floats, clusters: ArrayLike | None) -> tuple[Floats, Floats, str]:
    """Both arrays summed over each cluster, and the number of clusters in words.

    Correlations and ranks are the same of sums as of means, and resampling sums is resampling clusters.
    """
    if clusters is None:
        return first, second, ""
    units, (a, b) = (
        len(first),
        (np.stack([sums_by_cluster(column, column, clusters)[0] for column in rows.T], 1) for rows in (first, second)),
    )
    return a, b, "" if len(a) == units else f", in {len(a)} cluster{'s' if len(a) > 1 else ''}"


def _cosines(table: Floats, member: Floats) -> Floats:
    """Each group's mean cosine with the others; NaN where a group has no direction of its own."""
    sums, own, counts = member.T @ table @ member, member.T @ np.diag(table), member.sum(axis=0)
    lengths = (np.diag(sums) - own) / np.maximum(counts * (counts - 1), 1)
    if (counts < 2).any() or (lengths <= 0).any():
        return np.full(len(counts), np.nan)
    cosines = sums / np.outer(counts, counts) / np.sqrt(np.outer(lengths, lengths))
    return np.asarray((cosines.sum(axis=1) - np.diag(cosines)) / (len(counts) - 1))


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
