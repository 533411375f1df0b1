"""Intervals in cases small enough to work out by hand: means, cosines, tables of yes and no, correlations."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as reference

from harness.judging import correlations, means, proportions
from harness.measurements.recipe import Recipe
from harness.results.verdict_evidence import Material
from harness.subjects.published.recordings import HeldOut
from tests.tools.planted import HELDOUT, heads

LEVEL = 0.01


def draws_below(values: np.ndarray, worst: float, bound: float) -> float:
    """How often the mean by random weights, one more unit standing at the worst, lies below the bound."""
    weights = np.random.default_rng(0).standard_exponential((40_000, len(values) + 1))
    return float(((weights @ np.append(values, worst)) / weights.sum(1) <= bound).mean())


@pytest.mark.parametrize("sign", [1, -1])
def test_the_unseen_unit_stands_three_unseen_shares_of_the_range_beyond_it(
    sign: int,
) -> None:
    level, values = 0.05, np.array([0.0] * 8 + [1.0, 1.5, 2.0, 2.5])
    interval = means.mean(sign * values, level)
    low = interval.low if sign > 0 else -interval.high
    # So that it is Gaffke's bound and not Student's that is seen.
    assert low < reference.ttest_1samp(values, 0).confidence_interval(1 - 2 * level).low - 0.01
    unseen = 1 - level ** (1 / len(values))
    assert draws_below(values, 0.0 - 3 * unseen * 2.5, low) == pytest.approx(level, abs=0.005)


@pytest.mark.parametrize("size", [1e-300, 1e-144, 1e150])
def test_the_ends_of_a_mean_are_in_proportion_to_its_values(size: float) -> None:
    values = np.array([3.0, 0.0, 0.0, 1.0])
    found, same = means.mean(values * size, 0.05), means.mean(values, 0.05)
    assert (found.low / size, found.high / size) == pytest.approx((same.low, same.high))


def test_a_bounded_mean_lets_the_unseen_unit_stand_at_the_bound() -> None:
    values = np.array([0.4] * 5 + [0.6, 0.7, 0.9])
    interval = means.mean(values, 0.05, bounds=(0, 1))
    assert draws_below(values, 0.0, interval.low) == pytest.approx(0.05, abs=0.005)
    assert draws_below(1 - values, 0.0, 1 - interval.high) == pytest.approx(0.05, abs=0.005)


def test_bounds_of_a_bounded_mean_lie_within_them() -> None:
    interval = means.mean([1.0] * 6 + [0.9], 0.0025, bounds=(0, 1))
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_the_chance_that_the_whole_is_negative_is_taken_off_the_level() -> None:
    level, worst = 0.05, -3.0
    below = np.array([3.0, 2.0, 2.5, 3.0, -2.0, 2.0, 1.5, 2.0])
    rest = np.array([1.0, -1.0, 0.5, 2.0, -0.5, -1.0, 0.0, -1.0])
    weights = np.random.default_rng(8).standard_exponential((400_000, 9))
    whole = weights @ np.append(below, below.mean())
    negative = float((whole <= 0).mean())
    assert 0.002 < negative < level / 2
    bound = means._gaffke(rest, below, worst, level)
    beyond = weights @ np.append(rest, worst) - bound * whole <= 0
    assert float(beyond.mean()) == pytest.approx(level - negative, abs=0.002)


def cosine(rows: np.ndarray, groups: np.ndarray) -> float:
    """Mean cosine between two groups' means, lengths from products of different rows: by loops."""
    own = [rows[groups == name] for name in np.unique(groups)]
    across = np.mean([a @ b for a in own[0] for b in own[1]])
    lengths = [
        np.mean([a @ b for (i, a), (j, b) in itertools.product(enumerate(some), repeat=2) if i != j]) for some in own
    ]
    return float(across / math.sqrt(lengths[0] * lengths[1]))


def test_the_jackknife_of_a_cosine_leaves_out_whole_clusters() -> None:
    rng = np.random.default_rng(0)
    groups, clusters = np.repeat([0, 1], 12), np.tile(np.repeat(np.arange(4), 3), 2)
    rows = (
        np.repeat([[1.0, 0.2], [0.8, 0.6]], 12, 0) + rng.normal(0, 0.3, (4, 2))[clusters] + rng.normal(0, 0.1, (24, 2))
    )
    interval = correlations.alignment(rows @ rows.T, groups, 0.05, clusters)
    assert interval.value == pytest.approx(cosine(rows, groups))
    left_out = np.array([cosine(rows[clusters != one], groups[clusters != one]) for one in range(4)])
    error = math.sqrt(3 / 4 * ((left_out - left_out.mean()) ** 2).sum())
    # Of two groups both have the same cosine; the upper end of the least one is at the level halved.
    assert interval.value - interval.low == pytest.approx(reference.t.ppf(0.95, 3) * error)
    assert interval.high - interval.value == pytest.approx(reference.t.ppf(0.975, 3) * error)
    assert (interval.n, interval.method) == (24, "the lowest of 2, of 0; jackknife, 4 clusters")
    alone = correlations.alignment(rows @ rows.T, groups, 0.05)
    assert alone.high - alone.low < interval.high - interval.low


def test_more_falls_in_one_template_than_chance_shares_out_count_for_less() -> None:
    # 6 of 12 templates fall whole: the variance between clusters is all there is, and 12/11 of it.
    before, after, clusters = [1] * 48, [0] * 24 + [1] * 24, np.arange(48) // 4
    effect = 12 / 11 * 12 * 4**2 * 0.25 / (48 * 0.25)
    lost = (reference.t.ppf(LEVEL, 47) / reference.t.ppf(LEVEL, 11)) ** 2
    size = math.floor(48 / effect * lost)
    interval = proportions.paired_difference(before, after, LEVEL, clusters)
    # To the side of doubt: fewer fall and more rise.
    expected = proportions.paired_difference([1] * size, [0] * math.floor(size / 2) + [1] * math.ceil(size / 2), LEVEL)
    assert interval.low == pytest.approx(expected.low)
    assert interval.value == 0.5


def test_what_is_not_hit_has_the_mirrored_interval_in_templates_too() -> None:
    hits = np.array([True] * 9 + [False] * 15)
    found, other = (proportions.rate(some, LEVEL, np.arange(24) // 4) for some in (hits, ~hits))
    assert (found.low, found.high) == pytest.approx((1 - other.high, 1 - other.low))


@pytest.mark.parametrize(("fell", "rose"), [(10, 0), (0, 10), (5, 4), (3, 0)])
def test_a_table_that_stands_for_fewer_pairs_is_rounded_to_the_side_of_doubt(fell: int, rose: int) -> None:
    # 30 pairs in 10 templates: the effective number is none that divides the table evenly.
    before, after = [1] * fell + [0] * (30 - fell), [0] * fell + [1] * rose + [0] * (30 - fell - rose)
    clusters = np.tile(np.arange(10), 3)
    interval = proportions.paired_difference(before, after, LEVEL, clusters)
    size = math.floor(proportions._effective(np.array(before, float) - after, clusters, LEVEL)[0])
    down, up = math.floor(fell * size / 30), math.ceil(rose * size / 30)
    assert interval.low == pytest.approx(min(interval.value, proportions._difference_low(size, down, up, LEVEL)))
    assert size * fell % 30 or size * rose % 30


def test_prompts_that_stand_higher_or_lower_as_a_whole_correlate_the_same() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(size=12)
    x, y = truth + rng.normal(0, 1, (2, 10, 12))
    lifted = x + rng.normal(0, 50, (10, 1)), y + rng.normal(0, 50, (10, 1))
    found, same = (correlations.correlation(*both, LEVEL) for both in (lifted, (x, y)))
    assert (found.value, found.low, found.high) == pytest.approx((same.value, same.low, same.high), abs=0.05)


def of_different_prompts(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r from products of different prompts alone, which share no noise."""
    a, b = (rows - rows.mean(1, keepdims=True) for rows in (x, y))

    def product(some: np.ndarray, others: np.ndarray) -> float:
        return float(np.mean([some[i] @ others[j] for i, j in itertools.permutations(range(len(some)), 2)]))

    return product(a, b) / math.sqrt(product(a, a) * product(b, b))


@pytest.mark.parametrize("shared", [True, False])
def test_a_correlation_lies_between_that_of_the_means_and_that_without_their_noise(shared: bool) -> None:
    rng = np.random.default_rng(6)
    truth, other, noise = rng.normal(size=300), rng.normal(size=300), 3 * rng.normal(size=(3, 10, 300))
    # Noise that both share lifts r above what is true of them, noise of each one's own pulls it down.
    x, y = (truth + noise[0], other + noise[0]) if shared else (truth + noise[0], truth + noise[1])
    found, clean = correlations.correlation(x, y, 0.05), of_different_prompts(x, y)
    assert abs(clean - found.value) > 0.3
    assert (found.low < clean < found.value) if shared else (found.value < clean <= found.high)


def test_the_bootstrap_of_few_prompts_is_widened_to_what_they_would_vary() -> None:
    rng = np.random.default_rng(7)
    truth = rng.normal(size=8)
    x, y = truth + rng.normal(0, 0.7, (2, 3, 8))
    interval = correlations.correlation(x, y, 0.05)
    each = [
        np.arctanh(np.corrcoef(x[list(some)].sum(0), y[list(some)].sum(0))[0, 1])
        for some in itertools.product(range(3), repeat=3)
    ]
    reach = reference.t.ppf(0.95, 2) * np.std(each) * math.sqrt(3 / 2)
    assert np.arctanh(interval.value) - np.arctanh(interval.low) == pytest.approx(reach, rel=0.08)


def test_a_share_in_a_figure_counts_frames_and_not_pairs() -> None:
    told = HeldOut("told", tuple(replace(pair, frame=f"t{int(pair.id[2:]) // 12}") for pair in HELDOUT))
    swept = heads(np.array([[0.5, 0.1]]))
    of = dict(swept.recipe.of) | {"pairs": {"pairs": told.heldout.fingerprint, "n": len(HELDOUT)}}
    evidence = replace(swept, recipe=Recipe("swept", 1, "m", of))
    (one,) = Material((evidence,), told, LEVEL).swept
    interval = one.share(one.change[:, 0])
    expected = means.ratio_of_means(one.change[:, 0], one.gap, LEVEL, told.heldout.clusters)
    assert interval == expected
    assert interval.method.endswith("clusters")
