"""Correlations and the reach of permutations against cases worked by hand, scipy and their own laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from harness.judging import correlations, permutations


def test_correlation_is_that_of_the_means() -> None:
    rng = np.random.default_rng(7)
    truth = rng.normal(size=200)
    x, y = truth + rng.normal(size=(2, 32, 200))
    interval = correlations.correlation(x, y, 0.05)
    assert interval.value == pytest.approx(reference.pearsonr(x.mean(axis=0), y.mean(axis=0)).statistic)
    assert interval.low < interval.value < interval.high
    swapped = correlations.correlation(y, x, 0.05)
    assert (swapped.low, swapped.high) == pytest.approx((interval.low, interval.high), abs=0.01)
    assert correlations.correlation(x, -y, 0.05).value == pytest.approx(-interval.value)
    holed = np.column_stack([x, np.full(32, np.nan)]), np.column_stack([y, np.ones(32)])
    assert correlations.correlation(*holed, 0.05) == interval
    order = rng.permutation(32)
    again = correlations.correlation(x[order], y[order], 0.05)
    assert (again.low, again.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_correlated_prompts_of_one_template_count_once() -> None:
    rng = np.random.default_rng(12)
    truth = rng.normal(size=40)
    x, y = truth + 2 * rng.normal(size=(2, 12, 40))
    once = correlations.correlation(x, y, 0.05)
    copied_x, copied_y = np.repeat(x, 4, axis=0), np.repeat(y, 4, axis=0)
    interval = correlations.correlation(copied_x, copied_y, 0.05, clusters=np.arange(48) // 4)
    assert (interval.value, interval.low, interval.high) == pytest.approx((once.value, once.low, once.high), abs=0.02)
    assert (interval.n, interval.method) == (48, once.method + ", in 12 clusters")
    careless = correlations.correlation(copied_x, copied_y, 0.05)
    assert careless.high - careless.low < 0.8 * (once.high - once.low)


def test_correlation_survives_degenerate_arrays() -> None:
    flat = correlations.correlation(np.ones((5, 4)), np.ones((5, 4)), 0.01)
    assert (flat.value, flat.low, flat.high) == (0.0, -1.0, 1.0)
    x = np.random.default_rng(8).normal(size=(6, 10))
    same = correlations.correlation(x, x, 0.01)
    assert same.value == pytest.approx(1)
    assert same.high == pytest.approx(1)
    assert correlations.correlation(x[:2], -x[:2], 0.01).low == -1


# cosines


def streams(groups: int, apart: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors along one axis, those of the group `apart` along another, and the group of each; 18 a group."""
    names = np.repeat(np.arange(groups), 18)
    noise = 0.2 * np.random.default_rng(seed).normal(size=(len(names), 8))
    return np.eye(2, 8)[(names == apart).astype(int)] + noise, names


def test_one_group_apart_among_twelve_is_the_least_cosine() -> None:
    ours, names = streams(12, 7, 14)
    interval = correlations.alignment(ours @ ours.T, names, 0.0025)
    # The mean over all pairs of groups is 110 of 132, 0.83.
    assert interval.value == pytest.approx(0, abs=0.1)
    assert interval.high < 0.5
    assert interval.method == "the lowest of 12, of 7; jackknife"
    ours, names = streams(12, 12, 15)
    assert correlations.alignment(ours @ ours.T, names, 0.0025).low > 0.9


def test_bounds_of_the_least_cosine_err_at_their_level() -> None:
    # Cosines with the others are 0.7 in every group: the hardest case for the lower end, since any group may lie above.
    rng, simulations, truth = np.random.default_rng(16), 300, 0.7
    names = np.repeat(np.arange(4), 10)
    means = np.sqrt(truth) * np.eye(1, 9) + np.sqrt(1 - truth) * np.eye(4, 9, 1)
    above = below = 0
    for _ in range(simulations):
        ours = means[names] + 0.6 * rng.normal(size=(40, 9))
        interval = correlations.alignment(ours @ ours.T, names, 0.05)
        above, below = above + (interval.low > truth), below + (interval.high < truth)
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / simulations)
    assert max(above, below) / simulations <= allowed


# permutations


def test_the_reach_of_one_component_is_that_of_its_sign_patterns_by_hand() -> None:
    # Of the 2^8 sign patterns of 1 to 8, two have the sum ±36 and two ±34: 0.8% reach 36, 1.6% reach 34.
    component = np.arange(1.0, 9)[:, None]
    assert permutations.max_t_reach(component, 0.005, 9999)[0] == pytest.approx(36 / 8)
    assert permutations.max_t_reach(component, 0.012, 9999)[0] == pytest.approx(34 / 8)
    assert permutations.max_t_reach(np.zeros((5, 1)))[0] == 0.0


def test_the_reach_of_many_components_is_further_than_that_of_each_alone() -> None:
    rng = np.random.default_rng(10)
    table = rng.normal(size=(40, 200))
    table[:, 0] += 1.5
    reach = permutations.max_t_reach(table)
    assert (np.abs(table.mean(0)) > reach).tolist() == [True] + [False] * 199
    alone = [permutations.max_t_reach(table[:, [at]])[0] for at in range(20)]
    assert (reach[:20] > 1.3 * np.array(alone)).all()


def test_the_reach_keeps_the_chance_that_any_component_passes_it() -> None:
    rng = np.random.default_rng(11)
    simulations = 400
    tables = (rng.standard_t(3, (16, 20)) for _ in range(simulations))
    passed = sum((np.abs(table.mean(0)) > permutations.max_t_reach(table, draws=199)).any() for table in tables)
    assert passed / simulations <= 0.05 + 3 * math.sqrt(0.05 / simulations)


def test_ranks_and_the_top_in_common_are_those_of_the_means() -> None:
    rng = np.random.default_rng(20)
    x = rng.normal(size=(30, 40))
    y = x + rng.normal(size=x.shape)
    ranks = correlations.resampled(correlations.spearman, x, y, 0.05)
    assert ranks.value == pytest.approx(reference.spearmanr(x.mean(0), y.mean(0)).statistic)
    assert ranks.low < ranks.value < ranks.high
    first, second = (set(np.argsort(-np.abs(each.mean(0)))[:2]) for each in (x, y))
    assert correlations.resampled(correlations.overlap, x, y, 0.05).value == len(first & second) / 2


@given(st.integers(0, 10_000))
def test_ranks_do_not_change_with_scale_and_the_top_of_equals_is_all_in_common(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(3, 50))
    assert correlations.spearman(x, np.exp(x)) == pytest.approx(np.ones(3))
    assert correlations.spearman(x, -x) == pytest.approx(-np.ones(3))
    assert correlations.overlap(x, -7 * x).tolist() == [1.0] * 3


def two_halves(seed: int, pairs: int, apart: float, along: float, width: int = 6) -> np.ndarray:
    """Vectors of two halves that differ along the first axis, with noise of which most lies along the second one."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(2 * pairs, width)) * np.array([0.2, along, *[0.2] * (width - 2)])
    noise[:pairs, 0] += apart
    return np.asarray(noise)


@pytest.mark.parametrize(("apart", "along", "least", "most"), [(2.0, 0.2, 0.95, 1.0), (0.5, 0.6, 0.0, 0.8)])
def test_the_first_component_is_the_difference_of_means_where_that_is_most_of_the_variance(
    apart: float, along: float, least: float, most: float
) -> None:
    vectors = two_halves(3, 300, apart, along)
    interval = correlations.principal(vectors @ vectors.T, 0.01)
    assert least <= interval.low <= interval.value <= interval.high <= most


@given(st.integers(0, 99))
def test_a_first_component_is_that_of_the_vectors_in_whatever_basis(seed: int) -> None:
    vectors = two_halves(seed, 40, 1.0, 0.4)
    off = correlations._off_the_component(vectors, np.arange(40))
    component = np.linalg.svd(vectors - vectors.mean(0))[2][0]
    difference = vectors[:40].mean(0) - vectors[40:].mean(0)
    cosine = abs(component @ difference) / np.linalg.norm(difference)
    # Of the length, noise is left out: 40 pairs have hardly any.
    assert np.linalg.norm(off) == pytest.approx(math.sqrt(1 - cosine**2), rel=0.02, abs=1e-6)
    turned = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    ours, theirs = (correlations.principal(rows @ rows.T, 0.01) for rows in (vectors, 3 * vectors @ turned))
    assert (ours.low, ours.value, ours.high) == pytest.approx((theirs.low, theirs.value, theirs.high), abs=1e-6)


def test_pairs_of_a_frame_count_once_and_no_difference_has_no_component() -> None:
    vectors = two_halves(5, 40, 1.0, 0.5)
    alone = correlations.principal(vectors @ vectors.T, 0.01)
    doubled = np.concatenate([np.repeat(half, 2, axis=0) for half in np.split(vectors, 2)])
    twice = correlations.principal(doubled @ doubled.T, 0.01, np.repeat(np.arange(40), 2))
    assert (twice.low, twice.value, twice.high) == pytest.approx((alone.low, alone.value, alone.high), abs=1e-6)
    same = np.concatenate([vectors[:40], vectors[:40]])
    nothing = correlations.principal(same @ same.T, 0.01)
    assert (nothing.low, nothing.high, nothing.method) == (0.0, 1.0, "no difference of means")
    with pytest.raises(ValueError, match=r"must be \[2n, 2n\]"):
        correlations.principal(np.eye(5), 0.01)
