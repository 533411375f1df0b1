"""Printed numbers, read back, lead to the decision of the true ones."""

import re
from typing import cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.judging.estimate import Estimate, Sign, decided
from harness.judging.numerals import bar_text, printed
from harness.judging.verdict import Decided, plain
from harness.results import wording
from harness.results.controls.truth_matrix import in_short
from harness.results.run_record import Judged
from harness.running import html_table

_PRINTED = re.compile(r"e (\S+) \[(\S+), (\S+)\](?: \(n=9 pairs\))? ([><]) (\S+)$")
# Near one another, and near numbers of few digits, as bars and bounds are.
_near = st.one_of(
    st.floats(-2, 2),
    st.floats(-1e-6, 1e-6),
    st.sampled_from([0.0, -0.0, 0.3, 0.305, 0.30000000000000004, 0.2999999999, 1.0, 30.0, 1e-7, 5e-324]),
    st.builds(lambda bar, away: bar + away, st.sampled_from([0.0, 0.3, 0.8, 1.0]), st.floats(-1e-3, 1e-3)),
)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[Estimate, Sign, float]:
    low, value, high = sorted(draw(st.tuples(_near, _near, _near)))
    return Estimate("e", value, low, high, 9, "drawn"), draw(st.sampled_from("><")), draw(_near)


def _kept(estimate: Estimate, sign: Sign, bar: float) -> Decided:
    return Decided(**plain(estimate), sign=sign, bar=bar)


def _again(text: str) -> str:
    read = _PRINTED.fullmatch(text.split("; ")[-1])
    assert read is not None, text
    value, low, high = (float(number) for number in read.groups()[:3])
    assert low <= value <= high
    return decided(Estimate("e", value, low, high, 9, "read"), cast(Sign, read[4]), float(read[5]))


@given(_cases())
def test_the_printed_numbers_read_back_lead_to_the_same_decision(case: tuple[Estimate, Sign, float]) -> None:
    estimate, sign, bar = case
    outcome = decided(estimate, sign, bar)
    compared = estimate > bar if sign == ">" else estimate < bar
    assert _again(str(compared)) == outcome
    assert _again(in_short(_kept(estimate, sign, bar))) == outcome
    assume(estimate.low < estimate.high)  # of no width it stands alone
    assert _again(f"e {wording.number(_kept(estimate, sign, bar))}") == outcome


@given(_cases())
def test_the_page_and_pytest_html_say_numbers_that_decide_the_same(case: tuple[Estimate, Sign, float]) -> None:
    estimate, sign, bar = case
    outcome = decided(estimate, sign, bar)
    kept = _kept(estimate, sign, bar)
    assume(estimate.low < estimate.high)  # of no width it stands alone, as counted
    words = re.search(r"E: (\S+) \[(\S+), (\S+)\]; .*the bar of (\S+?)(?:\.$|,? )", wording.in_words(kept))
    assert words is not None, wording.in_words(kept)
    value, low, high, read_bar = (float(text.rstrip(",")) for text in words.groups())
    assert decided(Estimate("e", value, low, high, 9, "read"), sign, read_bar) == outcome
    judged = Judged(
        claim="c",
        model="m",
        test="t",
        word=outcome,
        reason="",
        estimates=[kept],
        beside=[],
        evidence=[],
        seconds=0.0,
    )
    shown, _ = html_table.effects(judged)
    assert shown.replace("&gt;", ">").replace("&lt;", "<") == f"e {wording.number(kept)}"


@given(_near, _near, _near, st.one_of(st.none(), _near), st.sampled_from(["+", ""]))
def test_nothing_prints_as_less_than_nothing(
    one: float, two: float, three: float, bar: float | None, sign: str
) -> None:
    low, value, high = sorted((one, two, three))
    numbers = printed(value, low, high, bar, sign=sign)
    for text in (numbers.value, numbers.low, numbers.high, bar_text(one)):
        assert not re.fullmatch(r"-0(\.0*)?", text)


@pytest.mark.parametrize(
    ("numbers", "bar", "said"),
    [
        ((1.0, 0.3004, 1.0), 0.3, "+1.0000 [+0.3004, +1.0000]"),
        ((0.62, 0.51, 0.73), 0.3, "+0.62 [+0.51, +0.73]"),
        ((0.2999999, -0.001, 0.5), 0.3, "+0.30 [+0.00, +0.50]"),
        ((0.5, 0.30000000000000004, 0.9), 0.3, "+0.5 [+0.30000000000000004, +0.9]"),
        ((-0.0001, -0.0002, 0.0), None, "+0.00 [+0.00, +0.00]"),
    ],
)
def test_as_many_decimals_as_show_the_decision(
    numbers: tuple[float, float, float], bar: float | None, said: str
) -> None:
    assert str(printed(*numbers, bar)) == said


def test_a_bar_is_printed_to_all_that_it_has() -> None:
    assert [bar_text(bar) for bar in (0.3, 30, 0.305, 1e-7, -0.0)] == ["0.30", "30.00", "0.305", "1e-07", "0.00"]


@pytest.mark.parametrize("digits", range(2, 8))
def test_two_runs_compared_say_no_less_than_nothing(digits: int) -> None:
    from harness.results.compare_runs import _number

    assert "-0." not in _number({"value": -1e-9, "low": -1e-9, "high": -1e-9}, digits)
