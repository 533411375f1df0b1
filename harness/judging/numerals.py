"""Numbers as they are printed: with as many decimals as show what their interval makes of a bar, two at least."""

from dataclasses import dataclass

# Closer to its bar than the last of these an end is printed whole, as Python writes it.
_FEWEST, _MOST = 2, 9


@dataclass(frozen=True)
class Numbers:
    """A value and the ends of its interval to equal decimals, and the bar exactly: read back, they decide the same."""

    value: str
    low: str
    high: str
    bar: str  # empty where there is none

    def __str__(self) -> str:
        return f"{self.value} [{self.low}, {self.high}]"


def printed(value: float, low: float, high: float, bar: float | None = None, *, sign: str = "+") -> Numbers:
    """With a sign before every number, or with sign="" before negative ones alone; never -0.00."""
    shown = "" if bar is None else bar_text(bar)
    for decimals in range(_FEWEST, _MOST + 1):
        middle, left, right = (f"{end:{sign}z.{decimals}f}" for end in (value, low, high))
        if bar is None or _place(float(left), float(right), bar) == _place(low, high, bar):
            return Numbers(middle, left, right, shown)
    middle, left, right = (f"{end + 0.0:{sign}}" for end in (value, low, high))  # -0.0 + 0.0 is 0.0
    return Numbers(middle, left, right, shown)


def bar_text(bar: float) -> str:
    """A bar to two decimals, or to all that it has."""
    short = f"{bar:z.2f}"
    return short if float(short) == bar else repr(float(bar))


def _place(low: float, high: float, bar: float) -> tuple[bool, ...]:
    """Where an interval lies: all that a decision looks at."""
    return low <= high, low > bar, low < bar, high > bar, high < bar
