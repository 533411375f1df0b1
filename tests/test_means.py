"""Means and ratios against cases worked by hand, scipy and their own laws; what every interval holds and refuses."""

import math
from collections.abc import Callable
from functools import partial
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference
from scipy.optimize import brentq

from harness.judging import correlations, means
from harness.judging.proportions import least, paired_difference, rate

numbers = st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=30)
few = settings(max_examples=25, deadline=None)


@few
@given(st.integers(2, 30), st.data())
def test_the_mean_of_yes_and_no_is_the_exact_rate(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    hits = np.arange(n) < k
    interval, exact = means.mean(hits, 0.05, bounds=(0, 1)), rate(hits, 0.05)
    assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high), abs=0.02)


def test_mean_by_hand() -> None:
    # 10 units all at 1 of [0, 1]: the unseen part w has P(w > x) = (1 − x)^10.
    interval = means.mean([1.0] * 10, 0.01, bounds=(0, 1))
    assert interval.low == pytest.approx(0.01**0.1, abs=0.03)
    assert (interval.value, interval.high) == (1.0, 1.0)


@pytest.mark.parametrize("values", [[2.0], [0.0] * 50, [0.1] * 3])
def test_agreement_without_bounds_says_nothing(values: list[float]) -> None:
    interval = means.mean(values, 0.01)
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    assert interval.value == pytest.approx(values[0])


def test_the_mean_is_never_nearer_than_students() -> None:
    values = np.random.default_rng(3).normal(size=40)
    student = reference.ttest_1samp(values, 0).confidence_interval(0.98)
    interval = means.mean(values, 0.01)
    assert interval.low <= student.low + 1e-12
    assert interval.high >= student.high - 1e-12
    assert interval.high - interval.low < 1.6 * (student.high - student.low)


def test_the_mean_agrees_with_scipys_bootstrap_on_many_units() -> None:
    values = np.random.default_rng(4).gamma(3, size=1000)
    boot = reference.bootstrap((values,), np.mean, confidence_level=0.9, method="BCa", n_resamples=2000, rng=0)
    interval = means.mean(values, 0.05)
    width = boot.confidence_interval.high - boot.confidence_interval.low
    assert (interval.low, interval.high) == pytest.approx(tuple(boot.confidence_interval), abs=0.15 * width)


def test_fieller_by_hand() -> None:
    # a = (1, 3), b = 1 each: Student with 1 degree of freedom, mean 2, standard error 1, quantile tan(0.45π) at 0.05.
    low = means._fieller(np.array([-1.0, 1.0]), np.ones(2), 0.05)
    assert low == pytest.approx(-math.tan(0.45 * math.pi))


@pytest.mark.parametrize("n", [8, 32, 216])
@pytest.mark.parametrize("level", [0.0025, 0.05])
def test_the_quantile_is_where_halls_transformation_reaches_students(n: int, level: float) -> None:
    values = -np.random.default_rng(n).exponential(size=n)
    values -= values.mean()
    student = reference.t.isf(level, n - 1)
    skewness = means.SKEWNESS * reference.skew(values, bias=False)
    assert skewness < -0.5

    def transformed(t: float) -> float:
        """Hall (1992), equation 2.4: t with its skewness removed; monotonic in t."""
        a = skewness / math.sqrt(n)
        return float(t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6)

    assert means._quantile(values, level) == pytest.approx(brentq(lambda t: transformed(t) - student, -1e4, 1e4))
    assert means._quantile(-values, level) == pytest.approx(student)


SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed to the right": lambda rng, shape: rng.lognormal(-0.125, 0.5, shape) - 1,
    "skewed to the left": lambda rng, shape: 1 - rng.lognormal(-0.125, 0.5, shape),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [32, pytest.param(64, marks=pytest.mark.slow), pytest.param(216, marks=pytest.mark.slow)])
def test_a_mean_errs_about_as_often_as_its_level_whichever_way_it_is_skewed(n: int, shape: str) -> None:
    studies, level = 4000, 0.01
    drawn = SHAPES[shape](np.random.default_rng(n), (studies, n))
    intervals = [means.mean(values, level) for values in drawn]
    allowed = 1.3 * level + 3 * math.sqrt(1.3 * level / studies)
    assert sum(interval.low > 0 for interval in intervals) / studies <= allowed
    assert sum(interval.high < 0 for interval in intervals) / studies <= allowed


def test_a_share_of_one_is_above_four_fifths_in_most_studies_of_32_pairs() -> None:
    # Effects spread by 0.3 of the mean gap: Student's interval alone would decide 0.76 of them, Gaffke's 0.25.
    rng = np.random.default_rng(0)
    gaps = rng.gamma(9, 1 / 9, (1000, 32))
    shares = [means.ratio_of_means(gap + 0.3 * rng.normal(size=32), gap, 0.0025) for gap in gaps]
    assert sum(share.low > 0.8 for share in shares) / 1000 > 0.6


@pytest.mark.parametrize("n", [16, 48, 256])
@pytest.mark.parametrize("level", [0.0025, 0.05])
def test_the_saddlepoint_is_the_quantile_of_many_draws(n: int, level: float) -> None:
    rng = np.random.default_rng(n)
    below = rng.gamma(4, 1, n)
    rest, worst = rng.exponential(size=n) * below, -2.0
    rest -= below * rest.sum() / below.sum()
    weights = rng.standard_exponential((40_000, n + 1))
    drawn = weights @ np.append(rest, worst) / (weights @ np.append(below, below.mean()))
    bound = means._gaffke(rest, below, worst, level)
    assert (drawn <= bound).mean() == pytest.approx(level, abs=4 * math.sqrt(level / 40_000))


def test_a_tail_too_small_for_draws_is_still_a_bound() -> None:
    # 0.05 shared among a hundred thousand heads; 100 of 100, and P = t^100.
    interval = means.mean(np.ones(100), 5e-7, bounds=(0, 1))
    assert interval.low == pytest.approx(5e-7**0.01, abs=0.002)


@few
@given(numbers, st.sampled_from([0.0025, 0.01, 0.05]), st.randoms())
def test_means_obey_their_laws(values: list[float], level: float, random: Random) -> None:
    interval = means.mean(values, level)
    shuffled = list(values)
    random.shuffle(shuffled)
    again = means.mean(shuffled, level)
    assert (again.low, again.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    alone = means.mean(values, level, clusters=np.arange(len(values)))
    assert (alone.low, alone.high, alone.n) == pytest.approx((interval.low, interval.high, interval.n), abs=1e-9)
    assert interval.low <= interval.value <= interval.high
    wider = means.mean(values, level / 2)
    assert wider.low <= interval.low
    assert wider.high >= interval.high
    turned = means.mean_difference(np.zeros(len(values)), values, level)
    assert turned.value == pytest.approx(-interval.value)


def test_clusters_are_the_units() -> None:
    values = np.random.default_rng(5).normal(size=20)
    once, copied = (
        means.mean(values, 0.05),
        means.mean(np.repeat(values, 10), 0.05, np.repeat(np.arange(20), 10)),
    )
    assert (copied.n, once.n) == (200, 20)
    assert copied.method.endswith("in 20 clusters")
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_ratio_by_hand() -> None:
    interval = means.ratio_of_means([1.0, 2, 3], [2.0, 4, 6], 0.05, bounds=(0, 1))
    assert interval.value == 0.5
    # Three units at 0.5 and one unseen of their mean size at 0 or 1: 0.5 · 0.05^(1/3), roughly, for unequal sizes.
    assert interval.low == pytest.approx(0.5 * 0.05 ** (1 / 3), abs=0.05)
    assert interval.high == pytest.approx(1 - interval.low, abs=0.05)


def test_a_ratio_to_what_may_be_zero_is_unbounded() -> None:
    interval = means.ratio_of_means([1.0, -1, 2, 0.5], [5.0, -4, 3, -3.5], 0.01)
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="positive whole"):
        means.ratio_of_means([1.0, 2], [1.0, -1], 0.01)


def test_transfer_by_hand() -> None:
    # Own falls 1, 1, 0.5; others (0.5 + 0)/2, (1 + 0)/2, (0.5 + 0.5)/2: (0.25 + 0.5 + 0.5)/2.5.
    falls = np.array([[1, 0.5, 0], [1, 1, 0], [0.5, 0.5, 0.5]])
    assert means.transfer(falls, 0, 0.05).value == pytest.approx(1.25 / 2.5)
    assert means.transfer(falls, 1, 0.05).value == pytest.approx((0.5 + 0.5 + 0.5) / 2)
    with pytest.raises(ValueError, match="two categories"):
        means.transfer(falls[:, :1], 0, 0.05)


def test_the_least_is_bounded_below_by_the_lowest_and_above_by_all_at_once() -> None:
    rng = np.random.default_rng(13)
    samples = {name: rng.normal(mean, 1, 40) for name, mean in (("a", 0.3), ("b", 0.0), ("c", 5.0))}
    interval = least({name: partial(means.mean, values) for name, values in samples.items()}, 0.03)
    alone = {name: means.mean(values, 0.03) for name, values in samples.items()}
    assert interval.value == min(one.value for one in alone.values())
    assert interval.low == min(one.low for one in alone.values())
    assert interval.high == min(means.mean(values, 0.01).high for values in samples.values())
    assert (interval.n, interval.method) == (120, f"the lowest of 3, of b; {alone['b'].method}")


# every interval


def test_nothing_and_nonsense_are_refused_in_words() -> None:
    of_nothing: tuple[Callable[[], object], ...] = (lambda: rate([], 0.01), lambda: means.mean([], 0.01))
    for bad in of_nothing:
        with pytest.raises(ValueError, match="nothing to judge"):
            bad()
    at_no_level: tuple[Callable[[], object], ...] = (lambda: rate([True], 0.4), lambda: means.mean([1.0, 2.0], 0.0))
    for bad in at_no_level:
        with pytest.raises(ValueError, match="level"):
            bad()
    with pytest.raises(ValueError, match="NaN"):
        means.mean([1.0, math.nan], 0.01)
    with pytest.raises(ValueError, match="beyond its bounds"):
        means.mean([1.0, 2.0], 0.01, bounds=(0, 1))
    with pytest.raises(ValueError, match="yes or no"):
        rate([0.5, 1.0], 0.01)


def test_intervals_hold_builtins_alone() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(8, 5))
    intervals = [
        rate(x[:, 0] > 0, 0.01),
        paired_difference(x[:, 0] > 0, x[:, 1] > 0, 0.01),
        means.mean(x[:, 0], 0.01),
        means.mean(x[:, 0] > 0, 0.01, bounds=(0, 1)),
        correlations.correlation(x, x + rng.normal(size=(8, 5)), 0.01),
    ]
    for interval in intervals:
        members = (interval.value, interval.low, interval.high, interval.n, interval.method)
        assert [type(member) for member in members] == [float, float, float, int, str]
