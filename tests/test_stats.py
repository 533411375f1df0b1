"""Each rule against cases worked by hand, against scipy, against its own laws, and for false support at the bar."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.judging import correlations, means, permutations, proportions
from harness.judging.proportions import paired_difference, rate

RATES = (0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98)
# (bar, rate of rises): the fall is the bar; no rises, few, and as many as there can be.
PAIRS = [
    (bar, share * (1 - bar) / 2) for bar in (-0.2, 0.0, 0.05, 0.1, 0.3, 0.5, 0.8, 0.95) for share in (0.0, 0.05, 0.4, 1)
]

answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)
numbers = st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=30)
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
    found = rate(np.arange(n) < k, level)
    expected = reference.binomtest(k, n).proportion_ci(1 - 2 * level, method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (found.value, found.n) == (k / n, n)


def test_rate_by_hand() -> None:
    # 10 of 10: 0.01 = p^10.
    assert rate([True] * 10, 0.01).low == pytest.approx(0.01**0.1)
    assert rate([1] * 10, 0.01).high == 1.0


@pytest.mark.parametrize("level", [0.0025, 0.01, 0.05])
@pytest.mark.parametrize("n", [16, 64, 256])
def test_false_support_of_rates_is_at_most_the_level_exactly(n: int, level: float) -> None:
    found = [rate(np.arange(n) < k, level) for k in range(n + 1)]
    for bar in RATES:
        chance = reference.binom.pmf(np.arange(n + 1), n, bar)
        assert chance[[i.low > bar for i in found]].sum() <= level
        assert chance[[i.high < bar for i in found]].sum() <= level


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
    found = paired_difference(*pairs(100, 100, 0), level=0.01)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(2 * 0.01**0.01 - 1)
    # Nothing moves in 15 pairs: a difference of −d has P(no pair rises) = (1 − d)^15.
    found = paired_difference(*pairs(15, 0, 0), level=0.0025)
    assert found.high == pytest.approx(1 - 0.0025 ** (1 / 15))
    assert found.low == pytest.approx(-found.high)


@pytest.mark.parametrize(
    ("n", "fell", "rose"), [(1, 1, 0), (1, 0, 1), (1, 0, 0), (15, 15, 0), (100, 50, 50), (2, 1, 1)]
)
@pytest.mark.parametrize("level", [0.0025, 0.05])
def test_degenerate_tables_have_proper_intervals(n: int, fell: int, rose: int, level: float) -> None:
    found = paired_difference(*pairs(n, fell, rose), level=level)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.01


def test_tango_as_published() -> None:
    # Bentur 2009, 21 children, 7 and 1 discordant: (0.026, 0.517) in Fagerland 2014, BMC Med. Res. Methodology.
    assert tango(21, 7, 1, 0.025) == pytest.approx((0.026, 0.517), abs=0.001)


@pytest.mark.parametrize(("n", "fell", "rose"), [(256, 100, 10), (256, 30, 30), (400, 200, 3), (256, 230, 2)])
def test_paired_difference_is_close_to_tango_and_seldom_inside(n: int, fell: int, rose: int) -> None:
    found = paired_difference(*pairs(n, fell, rose), level=0.05)
    assert (found.low, found.high) == pytest.approx(tango(n, fell, rose, 0.05), abs=0.006)


@few
@given(answers, st.sampled_from([0.0025, 0.01, 0.05]))
def test_paired_difference_obeys_its_laws(rows: list[tuple[bool, bool]], level: float) -> None:
    before, after = np.array(rows).T
    found, swapped = paired_difference(before, after, level), paired_difference(after, before, level)
    assert (swapped.value, swapped.low, swapped.high) == (-found.value, -found.high, -found.low)
    order = np.random.default_rng(0).permutation(len(rows))
    assert paired_difference(before[order], after[order], level) == found
    assert found.low <= found.value <= found.high
    wider = paired_difference(before, after, level / 2)
    assert wider.low <= found.low + 1e-9
    assert wider.high >= found.high - 1e-9


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


# means and ratios


@few
@given(st.integers(2, 30), st.data())
def test_the_mean_of_yes_and_no_is_the_exact_rate(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    hits = np.arange(n) < k
    found, exact = means.mean(hits, 0.05, bounds=(0, 1)), rate(hits, 0.05)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.02)


def test_mean_by_hand() -> None:
    # 10 units all at 1 of [0, 1]: the unseen part w has P(w > x) = (1 − x)^10.
    found = means.mean([1.0] * 10, 0.01, bounds=(0, 1))
    assert found.low == pytest.approx(0.01**0.1, abs=0.03)
    assert (found.value, found.high) == (1.0, 1.0)


@pytest.mark.parametrize("values", [[2.0], [0.0] * 50, [0.1] * 3])
def test_agreement_without_bounds_says_nothing(values: list[float]) -> None:
    found = means.mean(values, 0.01)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.value == pytest.approx(values[0])


def test_the_mean_is_never_nearer_than_students() -> None:
    values = np.random.default_rng(3).normal(size=40)
    student = reference.ttest_1samp(values, 0).confidence_interval(0.98)
    found = means.mean(values, 0.01)
    assert found.low <= student.low + 1e-12
    assert found.high >= student.high - 1e-12
    assert found.high - found.low < 1.6 * (student.high - student.low)


def test_the_mean_agrees_with_scipys_bootstrap_on_many_units() -> None:
    values = np.random.default_rng(4).gamma(3, size=1000)
    boot = reference.bootstrap((values,), np.mean, confidence_level=0.9, method="BCa", n_resamples=2000, rng=0)
    found = means.mean(values, 0.05)
    width = boot.confidence_interval.high - boot.confidence_interval.low
    assert (found.low, found.high) == pytest.approx(tuple(boot.confidence_interval), abs=0.15 * width)


def test_fieller_by_hand() -> None:
    # a = (1, 3), b = 1 each: Student with 1 degree of freedom, mean 2, standard error 1, quantile tan(0.45π) at 0.05.
    low, high = means._fieller(np.array([-1.0, 1.0]), np.ones(2), 0.05)
    assert high == pytest.approx(math.tan(0.45 * math.pi))
    assert low == -high


@pytest.mark.parametrize("n", [16, 48, 256])
@pytest.mark.parametrize("level", [0.0025, 0.05])
def test_the_saddlepoint_is_what_draws_come_to(n: int, level: float) -> None:
    rng = np.random.default_rng(n)
    below = rng.gamma(4, 1, n)
    rest, worst = rng.exponential(size=n) * below, -2.0
    rest -= below * rest.sum() / below.sum()
    weights = rng.standard_exponential((40_000, n + 1))
    drawn = weights @ np.append(rest, worst) / (weights @ np.append(below, below.mean()))
    found = means._gaffke(rest, below, worst, level)
    assert (drawn <= found).mean() == pytest.approx(level, abs=4 * math.sqrt(level / 40_000))


def test_a_tail_too_small_for_draws_is_still_a_bound() -> None:
    # 0.05 shared among a hundred thousand heads; 100 of 100, and P = t^100.
    found = means.mean(np.ones(100), 5e-7, bounds=(0, 1))
    assert found.low == pytest.approx(5e-7**0.01, abs=0.002)


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
    found = rate(hits, 0.01, ["tell me how"] * 18)
    assert found.low <= 0.01 or hits[0]
    assert found.high - found.low > 0.98
    both = paired_difference(hits, [not hit for hit in hits], 0.01, ["tell me how"] * 18)
    assert -1 <= both.low <= both.value <= both.high <= 1


@pytest.mark.parametrize(("bar", "alike"), [(0.1, 0.1), (0.9, 0.3), (0.5, 0.3)])
def test_the_organisms_own_templates_do_not_support_falsely(bar: float, alike: float) -> None:
    clusters = np.array(load_pairs(DATA / "organisms" / "pairs.jsonl").heldout.clusters)
    _, place = np.unique(clusters, return_inverse=True)
    rng, level, simulations = np.random.default_rng(13), 0.0025, 3000
    spread = (1 - alike) / alike
    wrong = careless = 0
    for _ in range(simulations):
        hits = rng.random(len(place)) < rng.beta(bar * spread, (1 - bar) * spread, place.max() + 1)[place]
        found, alone = rate(hits, level, clusters), rate(hits, level)
        wrong += found.low > bar or found.high < bar
        careless += alone.low > bar or alone.high < bar
    # Both bounds together.
    assert wrong / simulations <= 2 * level + 3 * math.sqrt(2 * level / simulations)
    assert careless / simulations > 2 * 2 * level


@few
@given(answers, st.integers(1, 8), st.sampled_from([0.0025, 0.05]))
def test_clusters_only_widen(rows: list[tuple[bool, bool]], size: int, level: float) -> None:
    before, after = np.array(rows).T
    clusters = np.arange(len(rows)) // size
    for alone, found in (
        (rate(before, level), rate(before, level, clusters)),
        (paired_difference(before, after, level), paired_difference(before, after, level, clusters)),
    ):
        assert found.low <= alone.low + 1e-9 <= alone.high <= found.high + 2e-9
        assert (found.value, found.n) == (alone.value, len(rows))


@few
@given(numbers, st.sampled_from([0.0025, 0.01, 0.05]), st.randoms())
def test_means_obey_their_laws(values: list[float], level: float, random: object) -> None:
    found = means.mean(values, level)
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = means.mean(shuffled, level)
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-9)
    alone = means.mean(values, level, clusters=np.arange(len(values)))
    assert (alone.low, alone.high, alone.n) == pytest.approx((found.low, found.high, found.n), abs=1e-9)
    assert found.low <= found.value <= found.high
    wider = means.mean(values, level / 2)
    assert wider.low <= found.low
    assert wider.high >= found.high
    turned = means.mean_difference(np.zeros(len(values)), values, level)
    assert turned.value == pytest.approx(-found.value)


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
    found = means.ratio_of_means([1.0, 2, 3], [2.0, 4, 6], 0.05, bounds=(0, 1))
    assert found.value == 0.5
    # Three units at 0.5 and one unseen of their mean size at 0 or 1: 0.5 · 0.05^(1/3), roughly, for unequal sizes.
    assert found.low == pytest.approx(0.5 * 0.05 ** (1 / 3), abs=0.05)
    assert found.high == pytest.approx(1 - found.low, abs=0.05)


def test_a_ratio_to_what_may_be_zero_is_unbounded() -> None:
    found = means.ratio_of_means([1.0, -1, 2, 0.5], [5.0, -4, 3, -3.5], 0.01)
    assert (found.low, found.high) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="positive whole"):
        means.ratio_of_means([1.0, 2], [1.0, -1], 0.01)


def test_transfer_by_hand() -> None:
    # Own falls 1, 1, 0.5; others (0.5 + 0)/2, (1 + 0)/2, (0.5 + 0.5)/2: (0.25 + 0.5 + 0.5)/2.5.
    falls = np.array([[1, 0.5, 0], [1, 1, 0], [0.5, 0.5, 0.5]])
    assert means.transfer(falls, [0, 1, 2], 0.05).value == pytest.approx(0.5)


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
    found = [
        rate(x[:, 0] > 0, 0.01),
        paired_difference(x[:, 0] > 0, x[:, 1] > 0, 0.01),
        means.mean(x[:, 0], 0.01),
        means.mean(x[:, 0] > 0, 0.01, bounds=(0, 1)),
        correlations.correlation(x, x + rng.normal(size=(8, 5)), 0.01),
    ]
    for one in found:
        assert [type(v) for v in (one.value, one.low, one.high, one.n, one.method)] == [float, float, float, int, str]


# correlations


def test_correlation_is_that_of_the_means() -> None:
    rng = np.random.default_rng(7)
    truth = rng.normal(size=200)
    x, y = truth + rng.normal(size=(2, 32, 200))
    found = correlations.correlation(x, y, 0.05)
    assert found.value == pytest.approx(reference.pearsonr(x.mean(axis=0), y.mean(axis=0)).statistic)
    assert found.low < found.value < found.high
    swapped = correlations.correlation(y, x, 0.05)
    assert (swapped.low, swapped.high) == pytest.approx((found.low, found.high), abs=0.01)
    assert correlations.correlation(x, -y, 0.05).value == pytest.approx(-found.value)
    holed = np.column_stack([x, np.full(32, np.nan)]), np.column_stack([y, np.ones(32)])
    assert correlations.correlation(*holed, 0.05) == found
    order = rng.permutation(32)
    again = correlations.correlation(x[order], y[order], 0.05)
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-9)


def test_correlated_prompts_of_one_template_count_once() -> None:
    rng = np.random.default_rng(12)
    truth = rng.normal(size=40)
    x, y = truth + 2 * rng.normal(size=(2, 12, 40))
    once = correlations.correlation(x, y, 0.05)
    copied_x, copied_y = np.repeat(x, 4, axis=0), np.repeat(y, 4, axis=0)
    found = correlations.correlation(copied_x, copied_y, 0.05, clusters=np.arange(48) // 4)
    assert (found.value, found.low, found.high) == pytest.approx((once.value, once.low, once.high), abs=0.02)
    assert (found.n, found.method) == (48, once.method + ", in 12 clusters")
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


# permutations


def test_the_reach_of_one_component_is_that_of_its_sign_patterns_by_hand() -> None:
    # Of the 2^8 sign patterns of 1 to 8, two have the sum ±36 and two ±34: 0.8% reach 36, 1.6% reach 34.
    one = np.arange(1.0, 9)[:, None]
    assert permutations.max_t_reach(one, 0.005, 9999)[0] == pytest.approx(36 / 8)
    assert permutations.max_t_reach(one, 0.012, 9999)[0] == pytest.approx(34 / 8)
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
    found = sum((np.abs(one.mean(0)) > permutations.max_t_reach(one, draws=199)).any() for one in tables)
    assert found / simulations <= 0.05 + 3 * math.sqrt(0.05 / simulations)
