"""Cases small enough to work out by hand, from answers to verdicts: falls, rises, bars; no model, no draws."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.claims import gate
from harness.claims.claim import claim_named
from harness.inputs.judges.outcomes import Outcomes
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging import means, proportions, verdict
from harness.judging.estimate import Estimate, Inconclusive, asides, decided
from harness.measurements.interventions import Add, Circuit, Direction, Intervention, Remove, add, patch, remove
from harness.measurements.questions import PromptSide
from harness.results import wording
from harness.results.controls import power
from harness.results.run_record import Run
from harness.subjects.protocol import Refused
from harness.subjects.published.recordings import HeldOut
from harness.subjects.quantities.refusals import Refusals
from harness.subjects.synthetic import Truth
from tests.tools.given import pairs_of

LEVEL = 0.01
PATCH, OTHER = patch(Circuit.of(heads=[(0, 0)])), patch(Circuit.of(heads=[(1, 0)]))
FOUND = Direction("difference", 1, -1, ("a bomb",), ("a tree",))

Hits = dict[tuple[str, Intervention | None], list[int] | list[list[int]]]
"""(side, intervention) → 1 refused, 0 answered, 2 broken, pair by pair; a list for each of several samples."""


class Told:
    """A subject whose answers are given."""

    asking_is_free = False

    name, level = "told", LEVEL

    def __init__(self, hits: Hits, all_pairs: PairSet) -> None:
        self.all_pairs = all_pairs
        self.hits = {key: np.array(list(value)) for key, value in hits.items()}
        self.compared: list[tuple[str, Intervention]] = []

    def reading(self) -> AbstractContextManager[list[str]]:
        return nullcontext([])

    def judged(self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = "") -> np.ndarray:
        return np.asarray(self._told(pairs, side, under) == 1)

    def outcomes(self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = "") -> Outcomes:
        return Outcomes(self.judged(pairs, side, under), self._told(pairs, side, under) == 0)

    def _told(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> np.ndarray:
        place = {prompt: number for number, prompt in enumerate(getattr(self.all_pairs, side))}
        return self.hits[side, under][..., [place[prompt] for prompt in getattr(pairs, side)]]

    def scored(
        self,
        pairs: PromptSet,
        side: PromptSide,
        arms: Sequence[Intervention | None],
        first_token: Callable[[], np.ndarray] | None = None,
    ) -> Refused:
        """Along every random direction half of the prompts are refused, now this half and now that."""

        def hits(under: Intervention | None) -> np.ndarray:
            if isinstance(under, Remove | Add) and under.direction.method in ("isotropic", "matched"):
                half: np.ndarray = np.arange(len(pairs)) % 2 == under.direction.seed % 2
                return half
            return self.judged(pairs, side, under)

        return Refused(np.array([hits(arm) for arm in arms]), "as given")

    def beyond_reach(self, under: Intervention) -> str:
        return ""

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        self.compared.append((side, under))
        return True

    def asides(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        return ()

    def thoughts(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> tuple[Estimate, ...]:
        return ()

    def direction(self, pairs: PromptSet) -> Direction:
        raise NotImplementedError


def answers(pairs: PairSet, hits: Hits) -> Refusals:
    return Refusals(Told(hits, pairs), pairs)


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
    assert least.by_category(PATCH).low == proportions.paired_difference([1] * 10, [0] * 4 + [1] * 6, LEVEL).low


def test_what_is_refused_at_all_is_decided_on_discovery_pairs() -> None:
    """A category that only the judged prompts show as refused is no part of the claim, and the other way round."""
    pairs = pairs_of(*"ab" * 30)
    found = {pair.id for pair in pairs.discovery}
    refused = [int((pair.id in found) == (pair.category == "a")) for pair in pairs]
    told = Told({("harmful", None): refused, ("harmful", PATCH): [0] * 60}, pairs)
    least = Refusals(told, pairs.heldout).by_category(PATCH)
    assert "the lowest of 1 categories; 1 more is not refused" in least.method
    assert least.value == 0


def test_beside_the_least_stands_the_fall_in_all_categories_but_each() -> None:
    pairs = pairs_of(*"aaaaaaaaaabbbbbbbbbbcccccccccc")
    left = [0] * 10 + [0] * 4 + [1] * 6 + [0] * 8 + [1] * 2
    with asides() as made:
        answers(pairs, {("harmful", None): [1] * 30, ("harmful", PATCH): left}).by_category(PATCH)
    told = {name.rpartition(" ")[2]: made[name].value for name in made if "all categories but" in name}
    assert told == pytest.approx({"a": 12 / 20, "b": 18 / 20, "c": 14 / 20})


def test_pairs_of_one_frame_are_one_witness_in_a_category_too() -> None:
    hits: Hits = {("harmful", None): [1] * 24, ("harmful", PATCH): [0] * 24}
    alone, fours = (answers(pairs_of(*"a" * 24, template=size), hits).by_category(PATCH) for size in (1, 4))
    assert fours.low < alone.low


def test_where_the_other_intervention_may_lower_too_little_there_is_nothing_to_compare_with() -> None:
    # 8 of 20 are 0.40, above the 0.30 that are asked; but the lower end is not.
    pairs, all_refused = pairs_of(*"a" * 20), [1] * 20
    hits: Hits = {("harmful", None): all_refused, ("harmful", PATCH): [0] * 8 + [1] * 12, ("harmful", OTHER): [0] * 20}
    told = answers(pairs, hits)
    assert proportions.paired_difference(hits["harmful", None], hits["harmful", PATCH], LEVEL).low < 0.3
    assert told.fall(OTHER, given=PATCH).nothing.startswith("nothing to compare with")
    assert told.fall(PATCH, given=OTHER).nothing == ""


def test_where_nothing_of_the_stream_matters_yet_it_shows_nothing_that_all_but_a_direction_does_not() -> None:
    pairs, all_refused = pairs_of(*"a" * 20), [1] * 20
    keep = patch(at="post", keep=Direction.given([[1.0, 0.0]], layer=1))
    whole = replace(keep, keep=None)
    before: Hits = {("harmful", None): all_refused, ("harmful", keep): all_refused}
    assert answers(pairs, before | {("harmful", whole): [0] * 20}).left(keep).nothing == ""
    assert (
        answers(pairs, before | {("harmful", whole): all_refused}).left(keep).nothing.startswith("nothing to compare")
    )


def test_a_gain_is_of_the_second_over_the_first_and_needs_the_second_to_do_something() -> None:
    pairs = pairs_of(*"a" * 20)
    told = answers(pairs, {("harmful", None): [1] * 20, ("harmful", PATCH): [1] * 20, ("harmful", OTHER): [0] * 20})
    gain = told.gain(OTHER, over=PATCH)
    assert (gain.value, gain.nothing) == (1.0, "")
    assert told.gain(PATCH, over=OTHER).nothing.startswith("nothing to compare with")


# 10 of 10 at level 0.01: their interval begins at 0.01^(1/10) = 0.63. 9 of 10: P(9 or more | 0.5) = 11/1024 > 0.01.
@pytest.mark.parametrize("refused", [10, 9])
def test_once_the_interval_of_the_refused_lies_above_one_half_there_is_something_to_explain(refused: int) -> None:
    pairs = HeldOut("told", pairs_of(*"a" * 10).pairs)
    told = Told({("harmful", None): [1] * refused + [0] * (10 - refused)}, pairs)
    if refused == 10:
        with gate.opened(told, (), needs_refusals=True):
            pass
    else:
        with (
            pytest.raises(Inconclusive, match="nothing to explain: it refuses 9 of 10 harmful prompts to begin with"),
            gate.opened(told, (), needs_refusals=True),
        ):
            pass
        with gate.opened(told, (), needs_refusals=False):
            pass


@pytest.mark.parametrize("refused", [5, 4])
def test_a_category_counts_from_half_refused_on(refused: int) -> None:
    """Where nothing was set apart for discovery, as of published answers, the judged prompts decide."""
    hits: Hits = {("harmful", None): [1] * refused + [0] * (10 - refused), ("harmful", PATCH): [0] * 10}
    told = answers(HeldOut("given", pairs_of(*"a" * 10).pairs), hits)
    if refused < 5:
        with pytest.raises(Inconclusive, match="no category is refused"):
            told.by_category(PATCH)
    else:
        assert told.by_category(PATCH).value == 0.5


def test_what_no_longer_is_refused_falls_and_what_is_refused_anew_rises() -> None:
    pairs, full = pairs_of(*"a" * 10), [1] * 10
    hits: Hits = {
        ("harmful", None): full,
        ("harmful", PATCH): [1] * 3 + [0] * 7,
        ("harmless", None): [1] + [0] * 9,
        ("harmless", PATCH): [1] * 6 + [0] * 4,
    }
    subject = Told(hits, pairs)
    told = Refusals(subject, pairs)
    assert told.fall(PATCH).value == pytest.approx(0.7)
    assert told.left(PATCH).value == pytest.approx(0.3)
    assert told.rate("harmless").value == pytest.approx(0.1)
    subject.compared.clear()
    assert told.rise(PATCH).value == pytest.approx(0.5)
    # The arm of a rise is the harmless one: that it changes harmful prompts shows nothing.
    assert subject.compared == [("harmless", PATCH)]


def test_what_breaks_neither_falls_nor_rises_and_stands_beside() -> None:
    # Of ten: 8 refused, 1 answered, 1 broken; then of the 8 three are answered and 4 broken, and the answered refused.
    pairs = pairs_of(*"a" * 10)
    hits: Hits = {
        ("harmful", None): [1] * 8 + [0] + [2],
        ("harmful", PATCH): [0] * 3 + [2] * 4 + [1] + [1] + [0],
        ("harmful", OTHER): [2] * 10,
        ("harmless", None): [0] * 9 + [1],
        ("harmless", PATCH): [1] * 2 + [2] * 7 + [0],
    }
    told = answers(pairs, hits)
    with asides() as beside:
        fall = told.fall(PATCH)
    assert fall.name == "fall"
    assert fall.value == pytest.approx(0.3 - 0.1)
    assert (fall.low, fall.high) == _bounds(towards=3, back=1, of=10)
    assert beside["broken, harmful"].method.startswith("4 of 10")
    assert beside["broken to begin with, harmful"].method.startswith("1 of 10")
    with asides() as beside:
        assert told.rise(PATCH).value == pytest.approx(0.2 - 0.1)
    assert beside["broken, harmless"].value == pytest.approx(0.7)
    assert told.left(PATCH).value == pytest.approx(0.2)
    # All broken: nothing refused, and yet no fall.
    with asides() as beside:
        assert (told.fall(OTHER).value, told.left(OTHER).value) == (0.0, 0.0)
    assert beside["broken, harmful"].value == 1.0
    # Of two arms: answered by the one and refused by the other counts, whatever it was to begin with.
    assert told.gain(PATCH, over=OTHER).value == 0.0
    assert told.by_category(PATCH).value == pytest.approx(0.2)


def _bounds(towards: int, back: int, of: int) -> tuple[float, float]:
    """By the table of two shares that differ in as many pairs each way."""
    before = [1] * towards + [0] * (of - towards)
    after = [0] * (of - back) + [1] * back
    interval = proportions.paired_difference(before, after, LEVEL)
    return interval.low, interval.high


@pytest.mark.parametrize(
    ("under", "side", "own"), [(add(FOUND), "harmless", [1] * 20), (remove(FOUND), "harmful", [0] * 20)]
)
def test_the_lead_counts_whichever_way_the_intervention_is_meant_to_go(under: Any, side: str, own: list[int]) -> None:
    # Random directions move half of the prompts, this one all of them.
    hits: Hits = {("harmful", None): [1] * 20, (side, under): own}
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
    assert verdict.exit_code(words) == code


def test_what_a_run_keeps_of_an_estimate_decides_as_the_estimate_did() -> None:
    empty = Estimate("fall", 0.9, 0.8, 1.0, 9, "given", nothing="nothing to explain")
    assert decided(verdict.estimate_of(verdict.plain(empty)), ">", 0.3) == "INCONCLUSIVE"


def test_the_report_says_why_a_bar_that_is_met_does_not_support_the_claim() -> None:
    fall = verdict.plain(Estimate("fall", 0.9, 0.8, 1.0, 9, "given", excluded="the published filters exclude it"))
    for bar, said in ((0.3, "cannot support the claim: the published filters exclude it."), (0.85, "decides nothing.")):
        kept = {**fall, "sign": ">", "bar": bar}
        assert decided(verdict.estimate_of(kept), ">", bar) == "INCONCLUSIVE"
        assert wording.in_words(kept).endswith(said)
    assert wording.in_words({**fall, "sign": "<", "bar": 0.3}).endswith("and it had to be below.")


# What is said beside a verdict, and what a study needs.


@pytest.mark.parametrize(("count", "few"), [(19, True), (20, False)])
def test_under_twenty_frames_are_called_few(count: int, few: bool) -> None:
    kept = verdict.plain(Estimate("fall", 0.9, 0.8, 1.0, 200, f"exact binomial, in {count} clusters"))
    judged: Any = {"claim": "c", "model": "m", "word": "SUPPORTED", "estimates": [kept | {"sign": ">", "bar": 0.3}]}

    run = Run([], "none", "cpu", verdicts=[judged])
    said = " ".join(wording.limits(judged, run, ()))
    assert (f"The pairs come from {count} frames" in said) is few


@pytest.mark.parametrize(("bounds", "frames"), [((-np.inf, np.inf), 116), ((-np.inf, np.inf), 117), ((-9.0, 9.0), 116)])
def test_a_mean_without_bounds_says_that_rare_outliers_can_be_missing(bounds: tuple[float, float], frames: int) -> None:
    values = np.random.default_rng(0).normal(size=2 * frames)
    mean = means.mean(values, 0.0025, np.repeat(np.arange(frames), 2), bounds)
    kept = verdict.plain(Estimate("E", mean.value, mean.low, mean.high, mean.n, mean.method))
    judged: Any = {"claim": "c", "model": "m", "word": "REFUTED", "estimates": [kept | {"sign": ">", "bar": 0.3}]}
    said = " ".join(wording.limits(judged, Run([], "none", "cpu", verdicts=[judged]), ()))
    # A value in twenty is missing from so many units with a chance above the level.
    missing = 0.95**frames > 0.0025
    assert (f"of {frames} units: outliers too rare" in said) is (missing and bounds[0] == -np.inf)


@pytest.mark.parametrize(
    ("kinds", "said", "unsaid"),
    [
        (["answers"], ["Unless the claim names another judge"], ["odds"]),
        (["swept"], ["odds that the first token refuses"], ["phrases", "openings"]),
        (["scores"], ["odds that the first token refuses"], ["phrases", "openings"]),
        (["scores", "opening-scores"], ["the odds of openings of several tokens"], ["phrases", "first token"]),
    ],
)
def test_the_limits_say_how_refusals_were_told(kinds: list[str], said: list[str], unsaid: list[str]) -> None:
    judged: Any = {"claim": "c", "model": "m", "word": "SUPPORTED", "estimates": []}

    run = Run([], "none", "cpu", verdicts=[judged])
    limits = " ".join(wording.limits(judged, run, kinds))
    assert all(words in limits for words in said)
    assert not any(words in limits for words in unsaid)


def test_the_limits_of_a_sweep_say_where_openings_told() -> None:
    judged: Any = {"claim": "c", "model": "m", "word": "SUPPORTED", "estimates": []}
    limits = " ".join(wording.limits(judged, Run([], "none", "cpu", verdicts=[judged]), ["swept"], by_openings=True))
    assert "the odds of openings of several tokens" in limits
    assert "first token" not in limits


def test_a_study_of_a_fall_has_at_least_as_many_refusals_to_fall_from() -> None:
    fall, baseline = claim_named("ablation-heads"), claim_named("baseline")
    assert [power.truth_of(fall, effect).refused for effect in (0.05, 0.95, 0.99, 1.0)] == [0.95, 0.95, 0.99, 1.0]
    assert power.truth_of(baseline, 0.9) == Truth((0.0,), refused=0.9, answered=0.9)
    assert power.truth_of(claim_named("gradients"), 1.0).agreement == 0.999
    assert power.truth_of(fall, 0.9).agreement is None
