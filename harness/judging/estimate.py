"""Estimates, and what a bar makes of them: the interval decides, and the comparison itself says so."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from harness.inputs.errors import AssayError, Misuse
from harness.judging.numerals import bar_text, printed
from harness.judging.ranges import Range, absolute, beyond

Outcome = Literal["SUPPORTED", "REFUTED", "INCONCLUSIVE"]

# Of several bars the worst decides, in this order.
_WORST: tuple[Outcome, ...] = ("REFUTED", "INCONCLUSIVE", "SUPPORTED")


class Refuted(Exception):
    """The interval lies wholly on the other side of the bar. No AssertionError: of those any code can raise one."""


class Inconclusive(Exception):
    """The interval straddles the bar, a bar was not measured, or there is nothing to explain."""


class Unreachable(AssayError):
    """A bar that no interval can lie on both sides of: nothing it came to would say anything."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number with its interval, each end at the claim's own error level; compare it with a bar by > or <."""

    name: str
    value: float
    low: float
    high: float
    n: int
    method: str
    unit: str = "pairs"
    nothing: str = ""  # why there is nothing to explain, if there is not
    absent: str = ""  # why it could not be had; a bar on it is not met, and nothing else is decided by it
    range: Range | None = None  # what it can reach at all; none where nothing bounds it
    advice: str = ""  # what would decide it; said where it decides nothing

    def __gt__(self, bar: float) -> "Comparison":
        return Comparison(((self, ">", self._bar(bar)),))

    def __lt__(self, bar: float) -> "Comparison":
        return Comparison(((self, "<", self._bar(bar)),))

    def __abs__(self) -> "Estimate":
        """How far from zero: at least nothing, where the interval holds zero."""
        low, high = sorted((abs(self.low), abs(self.high)))
        least = 0.0 if self.low <= 0 <= self.high else low
        reach = absolute(self.range)
        return replace(self, name=f"|{self.name}|", value=abs(self.value), low=least, high=high, range=reach)

    def _bar(self, bar: object) -> float:
        number = _number(bar)
        if why := beyond(self.name, self.range, number):
            raise Unreachable(f"a bar of {number:g} that no interval can lie on both sides of: {why}")
        return number

    def __float__(self) -> float:
        raise Misuse(f"{self.name} is an estimate and no number; compare it with a bar: assert {self.name} > 0.3")

    def __bool__(self) -> bool:
        raise Misuse(f"{self.name} is an estimate and neither true nor false; compare it with a bar")

    def __str__(self) -> str:
        if self.absent:
            return f"{self.name}: {self.absent}"
        return f"{self.name} {printed(self.value, self.low, self.high)} ({self._of})"

    def beside_bar(self, sign: Literal[">", "<"], bar: float) -> str:
        """The estimate and its bar, with as many decimals as show the decision."""
        numbers = printed(self.value, self.low, self.high, bar)
        return f"{self.name} {numbers} ({self._of}) {sign} {numbers.bar}"

    @property
    def _of(self) -> str:
        return f"n={self.n} {self.unit}, {self.method}"


Bar = tuple[Estimate, Literal[">", "<"], float]
"""An estimate, the side on which its interval must lie, and of which number."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Estimates and their bars; `&` joins them: REFUTED beats INCONCLUSIVE beats SUPPORTED."""

    bars: tuple[Bar, ...]

    def __and__(self, other: "Comparison") -> "Comparison":
        if not isinstance(other, Comparison):
            raise Misuse(f"& joins comparisons of estimates with bars, and {other!r} is none")
        return Comparison(self.bars + other.bars)

    @property
    def outcome(self) -> Outcome:
        """What the intervals make of it."""
        return worst([decided(estimate, sign, bar) for estimate, sign, bar in self.bars])

    def __bool__(self) -> bool:
        """True if supported; anything else it raises, so that no other code can speak for it."""
        _ledger.get([]).append(self)
        match self.outcome:
            case "REFUTED":
                raise Refuted(str(self))
            case "INCONCLUSIVE":
                raise Inconclusive(str(self))
            case _:
                return True

    def __str__(self) -> str:
        reasons = dict.fromkeys(estimate.nothing for estimate, _, _ in self.bars if estimate.nothing)
        measured = (bar for bar in self.bars if not bar[0].absent)
        bars = " and ".join(estimate.beside_bar(sign, bar) for estimate, sign, bar in measured)
        missing = (
            f"{estimate.name} {sign} {bar_text(bar)} has no number: {estimate.absent}"
            for estimate, sign, bar in self.bars
            if estimate.absent
        )
        advice = (one.advice for one, sign, bar in self.bars if decided(one, sign, bar) == "INCONCLUSIVE")
        return "; ".join(filter(None, [*reasons, *missing, bars, *advice]))


def decided(estimate: Estimate, sign: Literal[">", "<"], bar: float) -> Outcome:
    """What one interval makes of one bar; SUPPORTED and REFUTED need a number."""
    if estimate.absent or estimate.nothing or not estimate.low <= estimate.high:  # a NaN decides nothing
        return "INCONCLUSIVE"
    if sign == ">":
        return "SUPPORTED" if estimate.low > bar else "REFUTED" if estimate.high < bar else "INCONCLUSIVE"
    return "SUPPORTED" if estimate.high < bar else "REFUTED" if estimate.low > bar else "INCONCLUSIVE"


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """What several bars come to together."""
    return next(outcome for outcome in _WORST if outcome in outcomes)


def beside(*estimates: Estimate) -> None:
    """Puts estimates beside the verdict: they are reported and decide nothing."""
    _asides.get({}).update({str(estimate.name): estimate for estimate in estimates})


@contextmanager
def asides() -> Iterator[dict[str, Estimate]]:
    """What is put beside the verdict while the block runs, by name."""
    made: dict[str, Estimate] = {}
    token = _asides.set(made)
    try:
        yield made
    finally:
        _asides.reset(token)


@contextmanager
def decisions() -> Iterator[list[Comparison]]:
    """The comparisons that are decided while the block runs; blocks around it have them too."""
    made: list[Comparison] = []
    token = _ledger.set(made)
    try:
        yield made
    finally:
        _ledger.reset(token)
        _ledger.get([]).extend(made)


def unsupported(made: Sequence[Comparison]) -> str:
    """Why a test that ended well supports nothing; empty if it supports its claim."""
    if not made:
        return "it asserted no estimate against a bar, so nothing was decided"
    missed = [str(one) for one in made if one.outcome != "SUPPORTED"]
    return f"it went on though its bars were not met: {'; '.join(missed)}" if missed else ""


_ledger: ContextVar[list[Comparison]] = ContextVar("decisions")
_asides: ContextVar[dict[str, Estimate]] = ContextVar("asides")


def _number(bar: object) -> float:
    if isinstance(bar, Estimate):
        raise Misuse("two estimates are compared by a paired difference, with a bar of its own; not with each other")
    if isinstance(bar, bool) or not isinstance(bar, int | float):
        raise Misuse(f"a bar is a number, fixed in advance; {bar!r} is none")
    return float(bar)
