"""The interval decides, the comparison says so itself, and no other code can speak for it."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judging.estimate import (
    Comparison,
    Estimate,
    Inconclusive,
    Refuted,
    Sign,
    decided,
    decisions,
    exclude,
    exclusions,
)

FALL = Estimate("fall", 0.62, 0.51, 0.73, 64, "Tango")
numbers = st.floats(-2, 2, allow_nan=False)


def estimate(low: float, high: float) -> Estimate:
    return replace(FALL, value=(low + high) / 2, low=low, high=high)


def test_it_prints_as_a_reader_wants_it() -> None:
    assert str(FALL > 0.3) == "fall +0.62 [+0.51, +0.73] (n=64 pairs) > 0.30"


@given(low=numbers, width=st.floats(0, 2), bar=numbers)
def test_the_interval_decides(low: float, width: float, bar: float) -> None:
    high = low + width
    outcome = decided(estimate(low, high), ">", bar)
    assert (outcome == "SUPPORTED") == (low > bar)
    assert (outcome == "REFUTED") == (high < bar)


@given(low=numbers, width=st.floats(0, 2), bar=numbers)
def test_more_and_less_mirror_each_other(low: float, width: float, bar: float) -> None:
    one, other = estimate(low, low + width), estimate(-low - width, -low)
    assert decided(one, ">", bar) == decided(other, "<", -bar)


@given(low=numbers, width=st.floats(0, 2), bar=st.floats(0.01, 2))
def test_an_absolute_value_below_a_bar_is_an_equivalence(low: float, width: float, bar: float) -> None:
    outcome = (abs(estimate(low, low + width)) < bar).outcome
    assert (outcome == "SUPPORTED") == (-bar < low and low + width < bar)
    assert (outcome == "REFUTED") == (low > bar or low + width < -bar)


def test_a_supported_comparison_is_true_and_others_raise() -> None:
    assert FALL > 0.3
    with pytest.raises(Refuted, match=r"fall \+0.62 .* > 0.80"):
        assert FALL > 0.8
    with pytest.raises(Inconclusive):
        assert FALL > 0.6


def test_neither_outcome_is_an_assertion_error() -> None:
    assert not issubclass(Refuted, AssertionError)
    assert not issubclass(Inconclusive, AssertionError)


@pytest.mark.parametrize(
    ("bars", "outcome"),
    [
        ((0.3, 0.3), "SUPPORTED"),
        ((0.3, 0.6), "INCONCLUSIVE"),
        ((0.6, 0.8), "REFUTED"),
        ((0.8, 0.3), "REFUTED"),
    ],
)
def test_of_several_bars_the_worst_decides(bars: tuple[float, float], outcome: str) -> None:
    assert ((bars[0] < FALL) & (bars[1] < FALL)).outcome == outcome


def test_nothing_to_explain_is_inconclusive_with_its_reason() -> None:
    empty = replace(FALL, nothing="nothing to explain: it refuses 0 of 64")
    with pytest.raises(Inconclusive, match="refuses 0 of 64"):
        assert empty > -5


MISSING = Estimate("lead over random", math.nan, math.nan, math.nan, 0, "", absent="not recorded")


def test_a_bar_that_was_not_measured_is_not_met() -> None:
    assert ((FALL > 0.3) & (MISSING > 0.3)).outcome == "INCONCLUSIVE"
    assert ((MISSING > 0.3) & (FALL > 0.8)).outcome == "REFUTED"
    # Whatever numbers it may carry: what could not be had decides nothing.
    assert decided(replace(FALL, absent="not recorded"), ">", 0.3) == "INCONCLUSIVE"
    other = replace(MISSING, name="E", absent="not measured: no pair is aligned")
    with pytest.raises(Inconclusive) as raised:
        assert (FALL > 0.3) & (MISSING > 0.3) & (other < 0.9)
    assert str(raised.value).startswith(
        "lead over random > 0.30 has no number: not recorded; E < 0.90 has no number: not measured: no pair is aligned"
    )
    assert "fall +0.62" in str(raised.value)


def test_a_nan_decides_nothing() -> None:
    assert decided(replace(FALL, low=math.nan), ">", 0.3) == "INCONCLUSIVE"
    assert decided(replace(FALL, high=math.nan), "<", 0.3) == "INCONCLUSIVE"


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: float(FALL),
        lambda: bool(FALL),
        # Wrong types on purpose: whoever runs no type checker is told at run time.
        lambda: FALL > FALL,  # type: ignore[operator]
        lambda: replace(FALL) > FALL,  # type: ignore[operator]
        lambda: FALL > "0.3",  # type: ignore[operator]
        lambda: FALL > True,
        lambda: (FALL > 0.3) & FALL,  # type: ignore[operator]
    ],
)
def test_what_is_no_comparison_with_a_number_is_refused(misuse: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match="bar|estimate|number|joins"):
        misuse()


def test_an_account_is_kept_of_what_was_decided() -> None:
    with decisions() as made:
        assert FALL > 0.3
        with pytest.raises(Refuted):
            assert (FALL > 0.8) & (FALL < 1)
        assert FALL.value > 0.3
    assert [type(one) for one in made] == [Comparison, Comparison]
    assert [len(one.bars) for one in made] == [1, 2]


@given(low=numbers, width=st.floats(0, 2), bar=numbers, sign=st.sampled_from(["<", ">"]))
def test_what_is_excluded_is_refuted_as_before_and_never_supported(
    low: float, width: float, bar: float, sign: Sign
) -> None:
    before = decided(estimate(low, low + width), sign, bar)
    after = decided(replace(estimate(low, low + width), excluded="the filters exclude it"), sign, bar)
    assert after == ("INCONCLUSIVE" if before == "SUPPORTED" else before)


def test_what_is_compared_after_an_exclusion_is_excluded_until_the_block_ends() -> None:
    with exclusions():
        early = FALL > 0.3
        exclude("the filters exclude it")
        late = FALL > 0.3
        with pytest.raises(Inconclusive, match=r"^the filters exclude it; fall .*73\] \(n=64 pairs\) > 0.30$"):
            bool(early & late)
        with pytest.raises(Refuted, match="^fall "):
            bool(FALL > 0.8)
    assert (early.outcome, late.outcome, (FALL > 0.3).outcome) == ("SUPPORTED", "INCONCLUSIVE", "SUPPORTED")
