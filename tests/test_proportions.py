"""Rates and paired differences: by hand, against scipy and published numbers, their laws, how often they are wrong."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.judging import proportions
from harness.judging.proportions import paired_difference, rate

RATES = (0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98)
# (bar, rate of rises): the fall is the bar; no rises, few, and as many as there can be.
PAIRS = [
    (bar, share * (1 - bar) / 2) for bar in (-0.2, 0.0, 0.05, 0.1, 0.3, 0.5, 0.8, 0.95) for share in (0.0, 0.05, 0.4, 1)
]

answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)
few = settings(max_examples=25, deadline=None)


def pairs(n: int, fell: int, rose: int) -> tuple[np.ndarray, np.ndarray]:
    before, after = np.zeros(n, bool), np.zeros(n, bool)
    before[:fell], after[fell : fell + rose] = True, True
    return before, after


def tango(n: int, fell: int, rose: int, level: float) -> tuple[float, float]:
    """Tango's published interval, by searching the likelihood on a grid instead of his closed form."""

    def score(difference: float) -> float:
        q = np.linspace(max(0, -difference), (1 - difference) / 2, 20001)[1:-1]
        fit = q[
            np.argmax(
                fell * np.log(q + difference) + rose * np.log(q) + (n - fell - rose) * np.log1p(-2 * q - difference)
            )
        ]
        return (fell - rose - n * difference) / math.sqrt(n * (2 * fit + difference * (1 - difference)))

    from scipy.optimize import brentq

    z = reference.norm.isf(level)
    return brentq(lambda d: score(d) - z, -0.999, 0.999), brentq(lambda d: score(d) + z, -0.999, 0.999)


# rate


@pytest.mark.parametrize(("k", "n"), [(0, 15), (1, 16), (8, 16), (97, 100), (100, 100)])
@pytest.mark.parametrize("level", [0.0025, 0.01, 0.05])
def test_rate_is_the_exact_interval(k: int, n: int, level: float) -> None:
    interval = rate(np.arange(n) < k, level)
    expected = reference.binomtest(k, n).proportion_ci(1 - 2 * level, method="exact")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (interval.value, interval.n) == (k / n, n)


def test_rate_by_hand() -> None:
    # 10 of 10: 0.01 = p^10.
    assert rate([True] * 10, 0.01).low == pytest.approx(0.01**0.1)
    assert rate([1] * 10, 0.01).high == 1.0


@pytest.mark.parametrize("level", [0.0025, 0.01, 0.05])
@pytest.mark.parametrize("n", [16, 64, 256])
def test_false_support_of_rates_is_at_most_the_level_exactly(n: int, level: float) -> None:
    intervals = [rate(np.arange(n) < k, level) for k in range(n + 1)]
    for bar in RATES:
        chance = reference.binom.pmf(np.arange(n + 1), n, bar)
        assert chance[[interval.low > bar for interval in intervals]].sum() <= level
        assert chance[[interval.high < bar for interval in intervals]].sum() <= level


# paired differences


def test_the_tail_is_the_trinomial_one() -> None:
    n, falls, rises, least = 7, 0.5, 0.2, 3
    worked = sum(
        math.comb(n, f) * math.comb(n - f, r) * falls**f * rises**r * 0.3 ** (n - f - r)
        for f in range(n + 1)
        for r in range(n - f + 1)
        if f - r >= least
    )
    assert proportions._tail(n, least, falls, rises) == pytest.approx(worked)


def test_paired_difference_by_hand() -> None:
    # All 100 fall: the likeliest tables with difference d have no pair that stays, and P(all fall) = ((1 + d)/2)^100.
    interval = paired_difference(*pairs(100, 100, 0), level=0.01)
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(2 * 0.01**0.01 - 1)
    # Nothing moves in 15 pairs: a difference of −d has P(no pair rises) = (1 − d)^15.
    interval = paired_difference(*pairs(15, 0, 0), level=0.0025)
    assert interval.high == pytest.approx(1 - 0.0025 ** (1 / 15))
    assert interval.low == pytest.approx(-interval.high)


@pytest.mark.parametrize(
    ("n", "fell", "rose"), [(1, 1, 0), (1, 0, 1), (1, 0, 0), (15, 15, 0), (100, 50, 50), (2, 1, 1)]
)
@pytest.mark.parametrize("level", [0.0025, 0.05])
def test_degenerate_tables_have_proper_intervals(n: int, fell: int, rose: int, level: float) -> None:
    interval = paired_difference(*pairs(n, fell, rose), level=level)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high - interval.low > 0.01


def test_tango_as_published() -> None:
    # Bentur 2009, 21 children, 7 and 1 discordant: (0.026, 0.517) in Fagerland 2014, BMC Med. Res. Methodology.
    assert tango(21, 7, 1, 0.025) == pytest.approx((0.026, 0.517), abs=0.001)


@pytest.mark.parametrize(("n", "fell", "rose"), [(256, 100, 10), (256, 30, 30), (400, 200, 3), (256, 230, 2)])
def test_paired_difference_is_close_to_tango_and_seldom_inside(n: int, fell: int, rose: int) -> None:
    interval = paired_difference(*pairs(n, fell, rose), level=0.05)
    assert (interval.low, interval.high) == pytest.approx(tango(n, fell, rose, 0.05), abs=0.006)


@few
@given(answers, st.sampled_from([0.0025, 0.01, 0.05]))
def test_paired_difference_obeys_its_laws(rows: list[tuple[bool, bool]], level: float) -> None:
    before, after = np.array(rows).T
    interval, swapped = paired_difference(before, after, level), paired_difference(after, before, level)
    assert (swapped.value, swapped.low, swapped.high) == (-interval.value, -interval.high, -interval.low)
    order = np.random.default_rng(0).permutation(len(rows))
    assert paired_difference(before[order], after[order], level) == interval
    assert interval.low <= interval.value <= interval.high
    wider = paired_difference(before, after, level / 2)
    assert wider.low <= interval.low + 1e-9
    assert wider.high >= interval.high - 1e-9


def test_the_chance_of_a_table_rises_with_the_difference() -> None:
    # The root of the search is the bound only if there is one.
    for n, fell, rose in [(16, 5, 2), (16, 0, 0), (16, 16, 0), (40, 3, 11), (40, 20, 20)]:
        tails = [
            proportions._tail(n, fell - rose, q + d, q)
            for d in np.linspace(-1, 1, 101)
            for q in [proportions._restricted(n, fell, rose, d)]
        ]
        assert min(np.diff(tails)) > -1e-9


def false_support_of_falls(n: int, bar: float, rises: float, level: float) -> float:
    """Exactly, over every table: the bound lies above the bar where the tail at the bar is below the level."""
    wrong = 0.0
    for rose in range(n + 1):
        chance = reference.binom.pmf(rose, n, rises)
        if chance < 1e-9:
            continue
        low, high = 0, n - rose + 1  # the fewest falls that support
        while low < high:
            fell = (low + high) // 2
            q = proportions._restricted(n, fell, rose, bar)
            supports = fell - rose > n * bar and proportions._tail(n, fell - rose, q + bar, q) < level
            low, high = (low, fell) if supports else (fell + 1, high)
        wrong += chance * reference.binom.sf(low - 1, n - rose, min(1.0, (rises + bar) / (1 - rises)))
    return wrong


@pytest.mark.parametrize("level", [0.0025, 0.01, 0.05])
@pytest.mark.parametrize("n", [16, 64])
def test_false_support_of_falls_is_at_most_the_level_exactly(n: int, level: float) -> None:
    for bar, rises in PAIRS:
        rises = max(rises, -bar)
        assert false_support_of_falls(n, bar, rises, level) <= 1.01 * level, (bar, rises)


# clusters of yes and no


def test_clusters_of_one_change_nothing() -> None:
    before, after = pairs(30, 20, 2)
    assert rate(before, 0.01, np.arange(30)) == rate(before, 0.01)
    assert paired_difference(before, after, 0.01, np.arange(30)) == paired_difference(before, after, 0.01)


def test_pairs_of_one_template_that_agree_count_for_less() -> None:
    hits = np.repeat([True] * 9 + [False] * 3, 6)  # whole templates hit or missed: 12 answers in truth, not 72
    alone, clustered, honest = rate(hits, 0.01), rate(hits, 0.01, np.arange(72) // 6), rate(hits[::6], 0.01)
    assert clustered.low < honest.low < alone.low
    assert (clustered.n, clustered.method) == (72, "exact binomial, in 12 clusters")
    both = paired_difference(hits, ~hits, 0.01, np.arange(72) // 6)
    assert both.low < paired_difference(hits[::6], ~hits[::6], 0.01).low


def test_the_effective_number_by_hand() -> None:
    # 4 clusters of 4, all hit: effect 1 + 0.2·3, and Student's 15 degrees of freedom give way to 3.
    lost = (reference.t.ppf(0.05, 15) / reference.t.ppf(0.05, 3)) ** 2
    size = 16 / 1.6 * lost
    assert rate([True] * 16, 0.05, np.arange(16) // 4).low == pytest.approx(0.05 ** (1 / size))


@pytest.mark.parametrize("hits", [[True] * 18, [False] * 18, [True] * 17 + [False]])
def test_one_template_alone_is_one_witness(hits: list[bool]) -> None:
    interval = rate(hits, 0.01, ["tell me how"] * 18)
    assert interval.low <= 0.01 or hits[0]
    assert interval.high - interval.low > 0.98
    both = paired_difference(hits, [not hit for hit in hits], 0.01, ["tell me how"] * 18)
    assert -1 <= both.low <= both.value <= both.high <= 1


@pytest.mark.parametrize(("bar", "alike"), [(0.1, 0.5), (0.9, 0.9), (0.5, 0.5)])
def test_the_organisms_own_frames_do_not_support_falsely(bar: float, alike: float) -> None:
    clusters = np.array(load_pairs(DATA / "organisms" / "pairs.jsonl").heldout.clusters)
    _, place = np.unique(clusters, return_inverse=True)
    rng, level, simulations = np.random.default_rng(13), 0.0025, 3000
    spread = (1 - alike) / alike
    wrong = careless = 0
    for _ in range(simulations):
        hits = rng.random(len(place)) < rng.beta(bar * spread, (1 - bar) * spread, place.max() + 1)[place]
        interval, alone = rate(hits, level, clusters), rate(hits, level)
        wrong += interval.low > bar or interval.high < bar
        careless += alone.low > bar or alone.high < bar
    # Both bounds together.
    assert wrong / simulations <= 2 * level + 3 * math.sqrt(2 * level / simulations)
    assert careless / simulations > 1.5 * 2 * level


@few
@given(answers, st.integers(1, 8), st.sampled_from([0.0025, 0.05]))
def test_clusters_only_widen(rows: list[tuple[bool, bool]], size: int, level: float) -> None:
    before, after = np.array(rows).T
    clusters = np.arange(len(rows)) // size
    for alone, interval in (
        (rate(before, level), rate(before, level, clusters)),
        (paired_difference(before, after, level), paired_difference(before, after, level, clusters)),
    ):
        assert interval.low <= alone.low + 1e-9 <= alone.high <= interval.high + 2e-9
        assert (interval.value, interval.n) == (alone.value, len(rows))
