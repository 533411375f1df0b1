"""Estimates with intervals, and the outcome of comparing one with a bar: the interval decides."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from harness.inputs.errors import AssayError, Misuse
from harness.judging.numerals import bar_text, printed
from harness.judging.ranges import Range, absolute, beyond

Outcome = Literal["SUPPORTED", "REFUTED", "INCONCLUSIVE"]

Sign = Literal[">", "<"]
"""The side of its bar on which an estimate must lie: `>` above it, `<` below it."""

# The outcome of several bars is the first of these outcomes that any bar has.
_WORST: tuple[Outcome, ...] = ("REFUTED", "INCONCLUSIVE", "SUPPORTED")


class Refuted(Exception):
    """The interval lies wholly on the wrong side of the bar. Not an AssertionError, which any other code can raise."""


class Inconclusive(Exception):
    """The interval straddles the bar, a bar was not measured, or there is nothing to explain."""


class Unreachable(AssayError):
    """The bar lies outside of the estimate's range, so its outcome is known beforehand."""


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
    nothing: str = ""  # why nothing can be decided, such as that the model refuses nothing
    absent: str = ""  # why it could not be measured; its bar then counts as not met
    range: Range | None = None  # the lowest and highest value it can have; None where nothing bounds it
    evidence: tuple[str, ...] = ()  # fingerprints of the evidence that value and interval were computed from
    advice: str = ""  # what would decide it, printed where it is inconclusive
    excluded: str = ""  # why it can refute its claim but not support it, such as a direction that fails its filters

    def __gt__(self, bar: float) -> "Comparison":
        return self._held_to(">", bar)

    def __lt__(self, bar: float) -> "Comparison":
        return self._held_to("<", bar)

    def _held_to(self, sign: Sign, bar: float) -> "Comparison":
        excluded = "; ".join(dict.fromkeys(filter(None, [self.excluded, *_exclusions.get([])])))
        nothing = "; ".join(filter(None, [self.nothing, *_doubts.get([])]))
        held = replace(self, excluded=excluded, nothing=nothing) if excluded or nothing else self
        return Comparison(((held, sign, self._bar(bar)),))

    def __abs__(self) -> "Estimate":
        """The distance from zero; its interval begins at 0 where the estimate's interval contains 0."""
        low, high = sorted((abs(self.low), abs(self.high)))
        least = 0.0 if self.low <= 0 <= self.high else low
        reach = absolute(self.range)
        return replace(self, name=f"|{self.name}|", value=abs(self.value), low=least, high=high, range=reach)

    def _bar(self, bar: object) -> float:
        number = _number(bar)
        if why := beyond(self.name, self.range, number):
            raise Unreachable(f"a bar of {number:g} that is out of reach: {why}")
        return number

    def __float__(self) -> float:
        raise Misuse(f"{self.name} is an estimate, not a number; compare it with a bar: assert {self.name} > 0.3")

    def __bool__(self) -> bool:
        raise Misuse(f"{self.name} is an estimate, neither true nor false; compare it: assert {self.name} > 0.3")

    def __str__(self) -> str:
        if self.absent:
            return f"{self.name}: {self.absent}"
        return f"{self.name} {printed(self.value, self.low, self.high)} ({self._of})"

    def beside_bar(self, sign: Sign, bar: float) -> str:
        """The estimate and its bar, with as many decimals as show the decision."""
        numbers = printed(self.value, self.low, self.high, bar)
        return f"{self.name} {numbers} ({self._of}) {sign} {numbers.bar}"

    @property
    def _of(self) -> str:
        """The number of units; the method is left to run.json and the report."""
        return f"n={self.n} {self.unit}"


Bar = tuple[Estimate, Sign, float]
"""An estimate, the side on which its interval must lie, and of which number."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Estimates and their bars, joined by `&`; REFUTED takes precedence over INCONCLUSIVE, and that over SUPPORTED."""

    bars: tuple[Bar, ...]

    def __and__(self, other: "Comparison") -> "Comparison":
        if not isinstance(other, Comparison):
            raise Misuse(f"& joins comparisons with bars, and {other!r} is not one; write (a > 0.3) & (b < 0.1)")
        return Comparison(self.bars + other.bars)

    @property
    def outcome(self) -> Outcome:
        """The outcome of all bars together."""
        return worst([decided(estimate, sign, bar) for estimate, sign, bar in self.bars])

    def __bool__(self) -> bool:
        """True if supported; else raises Refuted or Inconclusive, so that no `or` or `if` can change the outcome."""
        _ledger.get([]).append(self)
        match self.outcome:
            case "REFUTED":
                raise Refuted(str(self))
            case "INCONCLUSIVE":
                raise Inconclusive(str(self))
            case _:
                return True

    def __str__(self) -> str:
        reasons = dict.fromkeys(
            reason
            for estimate, sign, bar in self.bars
            for reason in (estimate.nothing, estimate.excluded)
            if reason and decided(estimate, sign, bar) == "INCONCLUSIVE"
        )
        measured = (bar for bar in self.bars if not bar[0].absent)
        bars = " and ".join(estimate.beside_bar(sign, bar) for estimate, sign, bar in measured)
        missing = (
            f"{estimate.name} {sign} {bar_text(bar)} has no number: {estimate.absent}"
            for estimate, sign, bar in self.bars
            if estimate.absent
        )
        advice = (each.advice for each, sign, bar in self.bars if decided(each, sign, bar) == "INCONCLUSIVE")
        return "; ".join(filter(None, [*reasons, *missing, bars, *advice]))


def decided(estimate: Estimate, sign: Sign, bar: float) -> Outcome:
    """The outcome of a single bar; an estimate without a number is INCONCLUSIVE."""
    if estimate.absent or estimate.nothing or not estimate.low <= estimate.high:  # a NaN decides nothing
        return "INCONCLUSIVE"
    above, below = estimate.low > bar, estimate.high < bar
    met, missed = (above, below) if sign == ">" else (below, above)
    if met and not estimate.excluded:
        return "SUPPORTED"
    return "REFUTED" if missed else "INCONCLUSIVE"


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several bars: REFUTED if any is refuted, else INCONCLUSIVE if any is inconclusive."""
    return next(outcome for outcome in _WORST if outcome in outcomes)


def beside(*estimates: Estimate) -> None:
    """Reports estimates together with the verdict; they decide nothing."""
    _asides.get({}).update({str(estimate.name): estimate for estimate in estimates})


def exclude(why: str) -> None:
    """From here on bars of the running claim can be refuted but not supported, for this reason."""
    _exclusions.get([]).append(why)


def doubt(why: str) -> None:
    """From here on bars of the running claim are neither supported nor refuted, for this reason."""
    _doubts.get([]).append(why)


@contextmanager
def exclusions() -> Iterator[None]:
    """Forgets, when the block ends, what was excluded or doubted in it."""
    tokens = _exclusions.set([]), _doubts.set([])
    try:
        yield
    finally:
        _exclusions.reset(tokens[0])
        _doubts.reset(tokens[1])


@contextmanager
def asides() -> Iterator[dict[str, Estimate]]:
    """Collects by name the estimates given to `beside` while the block runs."""
    made: dict[str, Estimate] = {}
    token = _asides.set(made)
    try:
        yield made
    finally:
        _asides.reset(token)


@contextmanager
def decisions() -> Iterator[list[Comparison]]:
    """Collects the comparisons decided while the block runs; enclosing blocks collect them too."""
    made: list[Comparison] = []
    token = _ledger.set(made)
    try:
        yield made
    finally:
        _ledger.reset(token)
        _ledger.get([]).extend(made)


@contextmanager
def unheard() -> Iterator[None]:
    """Forgets the comparisons decided, and the estimates reported, while the block runs."""
    tokens = _ledger.set([]), _asides.set({})
    try:
        yield
    finally:
        _ledger.reset(tokens[0])
        _asides.reset(tokens[1])


def unsupported(made: Sequence[Comparison]) -> str:
    """Why a test that raised nothing still does not support its claim; empty if it does."""
    if not made:
        return "it asserted no estimate against a bar, so nothing was decided; write assert estimate > 0.3"
    missed = [str(comparison) for comparison in made if comparison.outcome != "SUPPORTED"]
    return f"it continued although its bars were not met: {'; '.join(missed)}" if missed else ""


_ledger: ContextVar[list[Comparison]] = ContextVar("decisions")
_asides: ContextVar[dict[str, Estimate]] = ContextVar("asides")
_exclusions: ContextVar[list[str]] = ContextVar("exclusions")
_doubts: ContextVar[list[str]] = ContextVar("doubts")


def _number(bar: object) -> float:
    if isinstance(bar, Estimate):
        raise Misuse("two estimates cannot be compared with each other; compare their difference with a bar")
    if isinstance(bar, bool) or not isinstance(bar, int | float):
        raise Misuse(f"a bar is a number, fixed in advance, and {bar!r} is not a number")
    return float(bar)
