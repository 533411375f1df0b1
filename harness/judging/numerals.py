"""Prints numbers with two decimals, or with as many as show on which side of its bar an interval lies."""

from dataclasses import dataclass, replace

# A bound that is closer to its bar than nine decimals show is printed with all its digits.
_FEWEST, _MOST = 2, 9


@dataclass(frozen=True)
class Numbers:
    """A value, its interval and its bar as text; read back as numbers, they give the same outcome."""

    value: str
    low: str
    high: str
    bar: str  # empty where there is no bar

    def __str__(self) -> str:
        return f"{self.value} [{self.low}, {self.high}]"

    def held_to(self, sign: str) -> str:
        """The numbers followed by the comparison with the bar, such as `> 0.30`; without a bar the numbers alone."""
        return f"{self} {sign} {self.bar}" if self.bar else str(self)


def printed(value: float, low: float, high: float, bar: float | None = None, *, sign: str = "+") -> Numbers:
    """The numbers as text, each with a sign; sign="" leaves out the plus. Never writes -0.00."""
    shown = "" if bar is None else bar_text(bar)
    for decimals in range(_FEWEST, _MOST + 1):
        numbers = rounded(value, low, high, decimals, sign=sign)
        if bar is None or _place(float(numbers.low), float(numbers.high), bar) == _place(low, high, bar):
            return replace(numbers, bar=shown)
    middle, left, right = (f"{end + 0.0:{sign}}" for end in (value, low, high))  # -0.0 + 0.0 is 0.0
    return Numbers(middle, left, right, shown)


def rounded(value: float, low: float, high: float, decimals: int, *, sign: str = "+") -> Numbers:
    """The numbers as text with a fixed number of decimals, without a bar."""
    middle, left, right = (f"{end:{sign}z.{decimals}f}" for end in (value, low, high))
    return Numbers(middle, left, right, bar="")


def bar_text(bar: float) -> str:
    """A bar to two decimals, or to all that it has."""
    short = f"{bar:z.2f}"
    return short if float(short) == bar else repr(float(bar))


def _place(low: float, high: float, bar: float) -> tuple[bool, ...]:
    """On which side of the bar each end lies, which is all that an outcome depends on."""
    return low <= high, low > bar, low < bar, high > bar, high < bar
