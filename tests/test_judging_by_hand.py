"""Cases small enough to work out by hand, for every step between answers and verdicts: no model, no draws."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats as reference

from harness import correlations, gate, means, power, stats, story, verdicts
from harness.claims import claim_named
from harness.effects import Effects, joined
from harness.errors import AssayError
from harness.estimate import Estimate, Inconclusive, asides, decided
from harness.evidence import Recipe
from harness.interventions import Add, Circuit, Direction, Intervention, Remove, add, patch, remove
from harness.material import Material
from harness.measurements import PromptSide
from harness.pairs import Pair, PairSet
from harness.planning import Sweep, after_instruction, differs, reaches, set_apart
from harness.recordings import HeldOut
from harness.refusals import Refusals
from harness.sites import Site
from harness.synthetic import SIZES, Synthetic, Truth
from harness.tokens import Encoded, EncodedPair
from tests.test_figures import HELDOUT, PAIRS, heads

LEVEL = 0.01
PATCH, OTHER = patch(Circuit.of(heads=[(0, 0)])), patch(Circuit.of(heads=[(1, 0)]))
FOUND = Direction("difference", 1, -1, ("a bomb",), ("a tree",))


def pairs_of(*categories: str, template: int = 1) -> PairSet:
    """One pair of each category named, so many in a row to a template."""
    return PairSet(
        "told",
        tuple(
            Pair(
                str(number),
                name,
                f"harm {number}",
                f"good {number}",
                f"t{number // template}" if template > 1 else None,
            )
            for number, name in enumerate(categories)
        ),
    )


class Told:
    """A subject whose answers are given: (side, intervention) → refused or not."""

    name, level = "told", LEVEL

    def __init__(self, hits: Mapping[tuple[str, Intervention | None], Iterable[int]]) -> None:
        self.hits = {key: np.array(list(value), dtype=bool) for key, value in hits.items()}
        self.compared: list[tuple[str, Intervention]] = []

    def judged(self, pairs: PairSet, side: PromptSide, under: Intervention | None, judge: str = "") -> np.ndarray:
        return self.hits[side, under]

    def scored(self, pairs: PairSet, side: PromptSide, under: Intervention | None) -> np.ndarray:
        """Along every random direction half of the prompts are refused, now this half and now that."""
        if isinstance(under, Remove | Add) and under.direction.method in ("isotropic", "matched"):
            return np.arange(len(pairs)) % 2 == under.direction.seed % 2
        return self.hits[side, under]

    def changes(self, pairs: PairSet, side: PromptSide, under: Intervention) -> bool:
        self.compared.append((side, under))
        return True

    def asides(self, pairs: PairSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        return ()


def answers(pairs: PairSet, hits: Mapping[tuple[str, Intervention | None], Iterable[int]]) -> Refusals:
    return Refusals(Told(hits), pairs)


# Falls, rises, and what makes them say nothing.


def test_categories_share_the_level_of_the_upper_end_and_keep_their_own_below() -> None:
    # Three categories of 15, nothing falls; a fourth is refused too seldom and takes no part of the level.
    pairs = pairs_of(*[name for name in "abc" for _ in range(15)], *["d"] * 15)
    refused = [1] * 45 + [0] * 15
    least = answers(pairs, {("harmful", None): refused, ("harmful", PATCH): refused}).by_category(PATCH)
    # No pair of n rises or falls: a difference of −d has P = (1 − d)^n. Above, the whole of 45 is the nearest, at a
    # quarter of the level: three categories and the whole.
    assert least.high == pytest.approx(1 - (LEVEL / 4) ** (1 / 45))
    assert least.low == pytest.approx(-(1 - LEVEL ** (1 / 15)))
    assert "the lowest of 3 categories; 1 more" in least.method


def test_the_least_fall_is_that_of_the_category_that_falls_least() -> None:
    pairs = pairs_of(*"aaaaaaaaaabbbbbbbbbb")
    least = answers(pairs, {("harmful", None): [1] * 20, ("harmful", PATCH): [0] * 10 + [0] * 4 + [1] * 6})
    assert least.by_category(PATCH).value == pytest.approx(0.4)
    assert least.by_category(PATCH).low == stats.paired_difference([1] * 10, [0] * 4 + [1] * 6, LEVEL).low


def test_pairs_of_one_template_are_one_witness_in_a_category_too() -> None:
    hits = {("harmful", None): [1] * 24, ("harmful", PATCH): [0] * 24}
    alone, fours = (answers(pairs_of(*"a" * 24, template=size), hits).by_category(PATCH) for size in (1, 4))
    assert fours.low < alone.low


def test_where_the_other_intervention_may_lower_too_little_there_is_nothing_to_compare_with() -> None:
    # 8 of 20 are 0.40, above the 0.30 that are asked; but the lower end is not.
    pairs, all_refused = pairs_of(*"a" * 20), [1] * 20
    hits = {("harmful", None): all_refused, ("harmful", PATCH): [0] * 8 + [1] * 12, ("harmful", OTHER): [0] * 20}
    told = answers(pairs, hits)
    assert stats.paired_difference(hits["harmful", None], hits["harmful", PATCH], LEVEL).low < 0.3
    assert told.fall(OTHER, given=PATCH).nothing.startswith("nothing to compare with")
    assert told.fall(PATCH, given=OTHER).nothing == ""


def test_a_gain_is_of_the_second_over_the_first_and_needs_the_second_to_do_something() -> None:
    pairs = pairs_of(*"a" * 20)
    told = answers(pairs, {("harmful", None): [1] * 20, ("harmful", PATCH): [1] * 20, ("harmful", OTHER): [0] * 20})
    gain = told.gain(OTHER, over=PATCH)
    assert (gain.value, gain.nothing) == (1.0, "")
    assert told.gain(PATCH, over=OTHER).nothing.startswith("nothing to compare with")


@pytest.mark.parametrize("refused", [5, 4])
def test_from_half_of_the_harmful_prompts_on_there_is_something_to_explain(refused: int) -> None:
    told = Told({("harmful", None): [1] * refused + [0] * (10 - refused)})
    told.all_pairs = HeldOut("told", pairs_of(*"a" * 10).pairs)
    if refused == 5:
        with gate.opened(told, (), needs_refusals=True):
            pass
    else:
        with (
            pytest.raises(Inconclusive, match="nothing to explain: it refuses 4 of 10 harmful prompts to begin with"),
            gate.opened(told, (), needs_refusals=True),
        ):
            pass
        with gate.opened(told, (), needs_refusals=False):
            pass


@pytest.mark.parametrize("refused", [5, 4])
def test_a_category_counts_from_half_refused_on(refused: int) -> None:
    hits = {("harmful", None): [1] * refused + [0] * (10 - refused), ("harmful", PATCH): [0] * 10}
    told = answers(pairs_of(*"a" * 10), hits)
    if refused < 5:
        with pytest.raises(Inconclusive, match="no category is refused"):
            told.by_category(PATCH)
    else:
        assert told.by_category(PATCH).value == 0.5


def test_what_no_longer_is_refused_falls_and_what_is_refused_anew_rises() -> None:
    pairs, full = pairs_of(*"a" * 10), [1] * 10
    hits = {
        ("harmful", None): full,
        ("harmful", PATCH): [1] * 3 + [0] * 7,
        ("harmless", None): [1] + [0] * 9,
        ("harmless", PATCH): [1] * 6 + [0] * 4,
    }
    told = answers(pairs, hits)
    assert told.fall(PATCH).value == pytest.approx(0.7)
    assert told.left(PATCH).value == pytest.approx(0.3)
    assert told.rate("harmless").value == pytest.approx(0.1)
    told.subject.compared.clear()
    assert told.rise(PATCH).value == pytest.approx(0.5)
    # The arm of a rise is the harmless one: that it changes harmful prompts shows nothing.
    assert told.subject.compared == [("harmless", PATCH)]


@pytest.mark.parametrize(
    ("under", "side", "own"), [(add(FOUND), "harmless", [1] * 20), (remove(FOUND), "harmful", [0] * 20)]
)
def test_the_lead_counts_whichever_way_the_intervention_is_meant_to_go(under: Any, side: str, own: list[int]) -> None:
    # Random directions move half of the prompts, this one all of them.
    hits = {("harmful", None): [1] * 20, (side, under): own}
    with asides() as beside:
        lead = answers(pairs_of(*"a" * 20), hits).lead(under)
    assert lead.value == pytest.approx(0.5)
    assert beside["lead over the best random one"].value == pytest.approx(0.5)
    assert -1 <= lead.low <= 0.5 <= lead.high <= 1
    together = answers(pairs_of(*"a" * 20, template=5), hits).lead(under)
    assert together.low < lead.low
    assert together.method.endswith("in 4 clusters")


# Bars.


def test_an_interval_around_zero_has_an_absolute_value_of_nothing_at_least() -> None:
    even = abs(Estimate("change", 0.0, -1.0, 1.0, 9, "given"))
    assert (even.value, even.low, even.high) == (0.0, 0.0, 1.0)
    assert (even > 0.5).outcome == "INCONCLUSIVE"
    assert (even < 0.5).outcome == "INCONCLUSIVE"
    below = abs(Estimate("change", -0.6, -0.8, -0.4, 9, "given"))
    assert (below.value, below.low, below.high) == (0.6, 0.4, 0.8)


@pytest.mark.parametrize("sign", [">", "<"])
def test_an_interval_that_touches_its_bar_does_not_clear_it(sign: Any) -> None:
    touching = Estimate("rate", 0.3, 0.0, 1.0, 9, "given")
    assert decided(touching, sign, 0.0) == "INCONCLUSIVE"
    assert decided(touching, sign, 1.0) == "INCONCLUSIVE"


def test_a_bar_without_a_number_is_not_met_whatever_the_others_say() -> None:
    met, absent = (
        Estimate("fall", 0.9, 0.8, 1.0, 9, "given"),
        Estimate("lead", 0.9, 0.8, 1.0, 0, "", absent="not recorded"),
    )
    assert (met > 0.3).outcome == "SUPPORTED"
    assert ((met > 0.3) & (absent > 0.3)).outcome == "INCONCLUSIVE"
    assert ((met < 0.3) & (absent > 0.3)).outcome == "REFUTED"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], None),
        (["SUPPORTED", "SUPPORTED"], 0),
        (["SUPPORTED", "SKIPPED"], 10),
        (["SUPPORTED", "INCONCLUSIVE"], 10),
        (["SKIPPED", "INCONCLUSIVE"], 10),
        (["SKIPPED", "SKIPPED"], 11),
        (["REFUTED", "SKIPPED", "INCONCLUSIVE"], 1),
        (["REFUTED", "UNMEASURED"], 14),
        (["UNMEASURED", "UNFIT"], 13),
        (["BROKEN", "UNFIT", "REFUTED", "SUPPORTED"], 12),
    ],
)
def test_the_exit_code_is_that_of_the_worst(words: list[Any], code: int | None) -> None:
    assert verdicts.exit_code(words) == code


def test_what_a_run_keeps_of_an_estimate_decides_as_the_estimate_did() -> None:
    empty = Estimate("fall", 0.9, 0.8, 1.0, 9, "given", nothing="nothing to explain")
    assert decided(verdicts.estimate_of(verdicts.plain(empty)), ">", 0.3) == "INCONCLUSIVE"


# Intervals.


def draws_below(values: np.ndarray, worst: float, bound: float) -> float:
    """How often the mean by random weights, one more unit standing at the worst, lies below the bound."""
    weights = np.random.default_rng(0).standard_exponential((40_000, len(values) + 1))
    return float(((weights @ np.append(values, worst)) / weights.sum(1) <= bound).mean())


@pytest.mark.parametrize("sign", [1, -1])
def test_the_unseen_unit_stands_three_unseen_shares_of_the_range_beyond_it(
    sign: int,
) -> None:
    level, values = 0.05, np.array([0.0] * 8 + [1.0, 1.5, 2.0, 2.5])
    found = means.mean(sign * values, level)
    low = found.low if sign > 0 else -found.high
    # So that it is Gaffke's bound and not Student's that is seen.
    assert low < reference.ttest_1samp(values, 0).confidence_interval(1 - 2 * level).low - 0.01
    unseen = 1 - level ** (1 / len(values))
    assert draws_below(values, 0.0 - 3 * unseen * 2.5, low) == pytest.approx(level, abs=0.005)


def test_a_bounded_mean_lets_the_unseen_unit_stand_at_the_bound() -> None:
    values = np.array([0.4] * 5 + [0.6, 0.7, 0.9])
    found = means.mean(values, 0.05, bounds=(0, 1))
    assert draws_below(values, 0.0, found.low) == pytest.approx(0.05, abs=0.005)
    assert draws_below(1 - values, 0.0, 1 - found.high) == pytest.approx(0.05, abs=0.005)


def test_bounds_of_a_bounded_mean_lie_within_them() -> None:
    found = means.mean([1.0] * 6 + [0.9], 0.0025, bounds=(0, 1))
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_chance_that_the_whole_is_negative_is_taken_off_the_level() -> None:
    level, worst = 0.05, -3.0
    below = np.array([3.0, 2.0, 2.5, 3.0, -2.0, 2.0, 1.5, 2.0])
    rest = np.array([1.0, -1.0, 0.5, 2.0, -0.5, -1.0, 0.0, -1.0])
    weights = np.random.default_rng(8).standard_exponential((400_000, 9))
    whole = weights @ np.append(below, below.mean())
    negative = float((whole <= 0).mean())
    assert 0.002 < negative < level / 2
    found = means._gaffke(rest, below, worst, level)
    beyond = weights @ np.append(rest, worst) - found * whole <= 0
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
    found = correlations.alignment(rows @ rows.T, groups, 0.05, clusters)
    assert found.value == pytest.approx(cosine(rows, groups))
    left_out = np.array([cosine(rows[clusters != one], groups[clusters != one]) for one in range(4)])
    error = math.sqrt(3 / 4 * ((left_out - left_out.mean()) ** 2).sum())
    assert found.high - found.value == pytest.approx(reference.t.ppf(0.95, 3) * error)
    assert (found.n, found.method) == (24, "jackknife, 4 clusters")
    alone = correlations.alignment(rows @ rows.T, groups, 0.05)
    assert alone.high - alone.low < found.high - found.low


def test_more_falls_in_one_template_than_chance_shares_out_count_for_less() -> None:
    # 6 of 12 templates fall whole: the variance between clusters is all there is, and 12/11 of it.
    before, after, clusters = [1] * 48, [0] * 24 + [1] * 24, np.arange(48) // 4
    effect = 12 / 11 * 12 * 4**2 * 0.25 / (48 * 0.25)
    lost = (reference.t.ppf(LEVEL, 47) / reference.t.ppf(LEVEL, 11)) ** 2
    size = math.floor(48 / effect * lost)
    found = stats.paired_difference(before, after, LEVEL, clusters)
    # To the side of doubt: fewer fall and more rise.
    expected = stats.paired_difference([1] * size, [0] * math.floor(size / 2) + [1] * math.ceil(size / 2), LEVEL)
    assert found.low == pytest.approx(expected.low)
    assert found.value == 0.5


def test_what_is_not_hit_has_the_mirrored_interval_in_templates_too() -> None:
    hits = np.array([True] * 9 + [False] * 15)
    found, other = (stats.rate(some, LEVEL, np.arange(24) // 4) for some in (hits, ~hits))
    assert (found.low, found.high) == pytest.approx((1 - other.high, 1 - other.low))


@pytest.mark.parametrize(("fell", "rose"), [(10, 0), (0, 10), (5, 4), (3, 0)])
def test_a_table_that_stands_for_fewer_pairs_is_rounded_to_the_side_of_doubt(fell: int, rose: int) -> None:
    # 30 pairs in 10 templates: the effective number is none that divides the table evenly.
    before, after = [1] * fell + [0] * (30 - fell), [0] * fell + [1] * rose + [0] * (30 - fell - rose)
    clusters = np.tile(np.arange(10), 3)
    found = stats.paired_difference(before, after, LEVEL, clusters)
    size = math.floor(stats._effective(np.array(before, float) - after, clusters, LEVEL)[0])
    down, up = math.floor(fell * size / 30), math.ceil(rose * size / 30)
    assert found.low == pytest.approx(min(found.value, stats._difference_low(size, down, up, LEVEL)))
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
    found = correlations.correlation(x, y, 0.05)
    each = [
        np.arctanh(np.corrcoef(x[list(some)].sum(0), y[list(some)].sum(0))[0, 1])
        for some in itertools.product(range(3), repeat=3)
    ]
    reach = reference.t.ppf(0.95, 2) * np.std(each) * math.sqrt(3 / 2)
    assert np.arctanh(found.value) - np.arctanh(found.low) == pytest.approx(reach, rel=0.08)


def test_a_share_in_a_figure_counts_templates_and_not_pairs() -> None:
    told = PairSet("told", tuple(replace(pair, template=f"t{int(pair.id[2:]) // 12}") for pair in PAIRS))
    swept = heads(np.array([[0.5, 0.1]]))
    of = dict(swept.recipe.of) | {"pairs": {"pairs": told.heldout.fingerprint, "n": len(HELDOUT)}}
    evidence = replace(swept, recipe=Recipe("swept", 1, "m", of))
    (one,) = Material((evidence,), told, LEVEL).swept
    found = one.share(one.change[:, 0])
    expected = means.ratio_of_means(one.change[:, 0], one.gap, LEVEL, told.heldout.clusters)
    assert found == expected
    assert found.method.endswith("clusters")


# What is said beside a verdict, and what a study needs.


@pytest.mark.parametrize(("count", "few"), [(19, True), (20, False)])
def test_under_twenty_templates_are_called_few(count: int, few: bool) -> None:
    kept = verdicts.plain(Estimate("fall", 0.9, 0.8, 1.0, 200, f"exact binomial, in {count} clusters"))
    judged: Any = {"claim": "c", "model": "m", "word": "SUPPORTED", "estimates": [kept | {"sign": ">", "bar": 0.3}]}

    class OneRun:
        verdicts, quant = [judged], "none"

    said = " ".join(story.limits(judged, OneRun, ()))  # type: ignore[arg-type]
    assert (f"The pairs come from {count} templates" in said) is few


def test_a_study_of_a_fall_has_at_least_as_many_refusals_to_fall_from() -> None:
    fall, baseline = claim_named("ablation-heads"), claim_named("baseline")
    assert [power.truth_of(fall, effect).refused for effect in (0.05, 0.95, 0.99, 1.0)] == [0.95, 0.95, 0.99, 1.0]
    assert power.truth_of(baseline, 0.9) == Truth((0.0,), refused=0.9, answered=0.9)
    assert power.truth_of(claim_named("gradients"), 1.0).agreement == 0.999
    assert power.truth_of(fall, 0.9).agreement is None


# Circuits and sweeps.


def test_a_share_of_few_heads_is_three_of_them_at_least_and_a_number_is_that_number() -> None:
    subject = Synthetic(Truth((0.5,)), 8, 0, LEVEL)
    pairs, whole = subject.all_pairs, SIZES.layers * SIZES.heads
    assert whole == 32
    sizes = [len(subject.circuit(pairs, heads=asked)) for asked in (0.001, 0.01, 0.125, 0.5, 1, 2, 5)]
    assert sizes == [3, 3, 4, 16, 1, 2, 5]


@pytest.mark.parametrize(
    ("sites", "read"),
    [
        ((), False),
        ((Site(3, "head", 0, -2),), False),
        ((Site(3, "mlp_out", None, -2),), False),
        ((Site(3, "attn_out", None, -3), Site(3, "neuron", 5, -2)), False),
        ((Site(3, "head", 0, -1),), True),
        ((Site(3, "resid_pre", None, -2),), True),
        ((Site(2, "head", 0, -2),), True),
        # Of several, one is enough.
        ((Site(3, "head", 0, -2), Site(3, "head", 0, -1)), True),
        ((Site(3, "head", 0, -2), Site(0, "head", 0, -2)), True),
        ((Site(3, "resid_pre", None, -2), Site(3, "head", 0, -2)), True),
    ],
)
def test_in_the_last_of_four_layers_only_the_last_position_and_what_attention_reads_count(
    sites: tuple[Site, ...], read: bool
) -> None:
    assert reaches(sites, 4) is read


def test_from_the_first_difference_on_prompt_and_twin_can_differ() -> None:
    assert [differs((Site(0, "head", 0, at),), -3) for at in (-4, -3, -2)] == [False, True, True]
    assert differs((Site(0, "head", 0, -4), Site(0, "head", 0, -1)), -3)
    assert differs((Site(0, "head", 0, -9),), None)


def encoded(length: int, end: int, aligned: bool = True) -> EncodedPair:
    """A pair whose instruction ends so far from the start, in prompts of that length; or one that is not aligned."""
    ids = list(range(length))
    ours, theirs = ids, [*ids[:2], 99, *ids[3:], *([98] if not aligned else [])]
    return EncodedPair(*(Encoded(tuple(each), 1, end + len(each) - length, (2, 3)) for each in (ours, theirs)))


def test_of_prompts_of_unequal_length_only_what_follows_the_instruction_can_be_compared() -> None:
    pair = encoded(10, 7, aligned=False)
    assert not pair.aligned
    assert after_instruction((-3, -1), pair)
    assert not after_instruction((-4,), pair)
    assert not after_instruction((0,), pair)
    assert after_instruction("post", pair)
    assert not after_instruction("later", pair)
    # Where what follows is of another length, that of the shorter is what both have.
    shorter = EncodedPair(replace(pair.harmful, end=8), pair.harmless)
    assert after_instruction((-2,), shorter)
    assert not after_instruction((-3,), shorter)
    both = {"even": encoded(10, 7), "uneven": pair}
    assert set_apart(both, Sweep("head", ("post",))) == (["even", "uneven"], [])
    assert set_apart(both, Sweep("head", ("post", "all"))) == (["even"], ["uneven"])
    assert set_apart(both, Sweep("head", "each")) == (["even"], ["uneven"])
    with pytest.raises(AssayError, match="none of the 1 pairs is aligned"):
        set_apart({"uneven": pair}, Sweep("head", ("all",)))


# Effects.


def effects(
    clean: Iterable[float], source: Iterable[float], patched: Iterable[Iterable[float]], names: Iterable[str] = ()
) -> Effects:
    table = np.array(list(map(list, patched)), dtype=float)
    ids = tuple(names) or tuple(map(str, range(len(table))))
    axes = {"layer": tuple(map(str, range(table.shape[1])))}
    return Effects(ids, (), axes, table, 0 * table, np.array(list(clean), float), np.array(list(source), float))


def test_effects_are_shares_of_the_gap_to_the_twin() -> None:
    made = effects([2, 2], [-2, 0], [[0, 1], [1, np.nan]])
    assert made.change.tolist()[0] == [-2, -1]
    assert made.normalised[0].tolist() == [0.5, 0.25]
    assert made.normalised[1][0] == 0.5
    # All changes over all gaps, and of the second variant the one pair that has it.
    assert made.mean.tolist() == [3 / 6, 1 / 4]
    assert made.flips.tolist() == [[True, False], [False, True]]
    assert made.relative_change[0][0] == pytest.approx(0.5 / (1 / (1 + math.exp(-2))) - 1)


def test_where_prompt_and_twin_are_nearly_alike_there_is_no_share() -> None:
    made = effects([0.2, 2], [0, -2], [[0.1], [0]])
    assert made.explained.tolist() == [False, True]
    assert np.isnan(made.normalised[0][0])
    with pytest.raises(Inconclusive, match="treated alike"):
        _ = effects([0.2], [0.0], [[0.1]]).mean


def test_parts_of_a_sweep_are_put_together_in_the_order_asked() -> None:
    parts = [effects([1, 2], [0, 0], [[10], [20]], "ca"), effects([3], [0], [[30]], "b")]
    whole = joined(
        [replace(parts[0], set_aside=("x",)), replace(parts[1], set_aside=("y",))], ["a", "b", "x", "c", "y"]
    )
    assert whole.pairs == ("a", "b", "c")
    assert whole.patched[:, 0].tolist() == [20, 30, 10]
    assert whole.clean.tolist() == [2, 3, 1]
    assert whole.set_aside == ("x", "y")
