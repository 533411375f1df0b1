"""Charts of named rows: bars, strips of values, rankings, and estimates with the bars they must clear.

Short names stand at the left of their rows and long ones above them, so that the same drawing fits a phone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.judging.estimate import Outcome
from harness.judging.proportions import Interval
from harness.report.drawing.charts import LOOKS, Series, legend_entries, put, with_bounds, with_interval
from harness.report.drawing.svg import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    Axis,
    Drawing,
)

# Marker, colour and legend of an estimate by its outcome; "" is an estimate without a bar, which decides nothing.
_OUTCOMES: dict[str, tuple[str, str, str]] = {
    "SUPPORTED": ("dot", GREEN, "clears its bar"),
    "REFUTED": ("diamond", VERMILLION, "misses its bar"),
    "INCONCLUSIVE": ("ring", BLUE, "on both sides of its bar"),
    "": ("ring", MUTED, "no bar: decides nothing"),
}


# The most characters of a name that stands at the left of its row.
LONGEST_AT_LEFT = 12


@dataclass(frozen=True)
class _Rows:
    """Where the names and the marks of rows stand."""

    top: float
    left: float  # where marks begin
    above: float  # height of a name that stands above its row; 0 if names stand at the left
    height: float  # of the marks of a row
    room: float  # between a row's marks and the next row
    names: Sequence[str]

    @classmethod
    def of(cls, names: Sequence[str], top: float, height: float, room: float) -> "_Rows":
        """Rows whose names stand above them if one is long, else at the left."""
        longest = max(map(len, names))
        left, above = (16.0, 15.0) if longest > LONGEST_AT_LEFT else (26 + 6.6 * longest, 0.0)
        return cls(top, left, above, height, room, names)

    def start(self, place: int) -> float:
        """Where the marks of a row begin."""
        return self.top + place * (self.above + self.height + self.room) + self.above

    def middle(self, place: int) -> float:
        """The middle of a row's marks."""
        return self.start(place) + self.height / 2

    @property
    def below(self) -> float:
        """Where the last row ends."""
        return self.start(len(self.names)) - self.above

    def put_names(self, drawing: Drawing) -> None:
        """Draws the names of the rows."""
        for place, name in enumerate(self.names):
            if self.above:
                drawing.text(6, self.start(place) - 4, name, color=INK)
            else:
                drawing.text(self.left - 8, self.middle(place) + 4, name, anchor="end", color=INK)


def bars(
    drawing: Drawing, names: Sequence[str], series: Sequence[Series], axes: tuple[str, str], limits: tuple[float, float]
) -> str:
    """Horizontal bars with intervals, grouped by name; each series has its own colour and marker."""
    thick = 14.0 if len(series) == 1 else 10.0
    rows = _Rows.of(names, 10, thick * len(series), room=6)
    axis = Axis(*limits, rows.left, drawing.width - 20)
    drawing.across(axis, rows.below + 2, axes[1], grid=rows.top)
    rows.put_names(drawing)
    for number, line in enumerate(series):
        color, _, shape = LOOKS[number % len(LOOKS)]
        finite = [place for place in range(len(names)) if np.isfinite(line.values[place])]
        middle = {place: rows.start(place) + (number + 0.5) * thick for place in finite}
        spans = {place: sorted((axis.at(0), axis.at(float(line.values[place])))) for place in finite}
        bodies = ((a, middle[at], b, middle[at]) for at, (a, b) in spans.items())
        drawing.lines(bodies, color, width=thick - 2, opacity=0.35)
        if line.low is not None and line.high is not None:
            bounds = ((axis.at(line.low[at]), middle[at], axis.at(line.high[at]), middle[at]) for at in finite)
            drawing.lines(bounds, color, width=1.6)
        for place in finite:
            value = float(line.values[place])
            hover = f"{names[place]}: {line.name} {with_interval(line, place)}"
            put(drawing, shape, axis.at(value), middle[place], color, hover)
    several = len(series) > 1
    last = drawing.legend(20, rows.below + 56, legend_entries(series), drawing.width) if several else rows.below + 38
    drawing.height = last + 8
    return drawing.svg


def strip(
    drawing: Drawing,
    rows: Sequence[tuple[str, Sequence[Interval]]],
    axis_name: str,
    limits: tuple[float, float],
) -> str:
    """A row for each name: one value with its interval, or several values as dots."""
    places = _Rows.of([name for name, _ in rows], 10, 14, room=9)
    axis = Axis(*_roomy(limits), places.left, drawing.width - 20)
    drawing.across(axis, places.below + 2, axis_name, grid=places.top)
    drawing.line([(axis.at(0), places.top), (axis.at(0), places.below)], MUTED, width=1)
    places.put_names(drawing)
    for place, (name, intervals) in enumerate(rows):
        y = places.middle(place)
        for number, interval in enumerate(intervals, 1):
            value = interval.value
            if not np.isfinite(value):
                continue
            if len(intervals) > 1:
                drawing.dot(axis.at(value), y, MUTED, opacity=0.5, hover=f"{name}, {number}: {value:+z.3f}")
                continue
            drawing.line([(axis.at(interval.low), y), (axis.at(interval.high), y)], VERMILLION, width=2)
            hover = f"{name}: {with_bounds(value, interval.low, interval.high)}"
            drawing.diamond(axis.at(value), y, VERMILLION, radius=5, hover=hover)
    drawing.height = places.below + 44
    return drawing.svg


def ranking(
    drawing: Drawing,
    names: Sequence[str],
    intervals: Sequence[Interval],
    axis_name: str,
    limits: tuple[float, float],
    band: Sequence[float] = (),
) -> str:
    """A row for each name with its value and interval; the grey band, if given, is what chance alone would reach."""
    rows = _Rows.of(names, 26, 13, room=4)
    axis = Axis(*_roomy(limits), rows.left, drawing.width - 20)
    drawing.across(axis, rows.below + 4, axis_name, grid=rows.top - 4)
    rows.put_names(drawing)
    for place, (name, interval) in enumerate(zip(names, intervals, strict=True)):
        y = rows.middle(place)
        if band:
            least, most = axis.at(-band[place]), axis.at(band[place])
            drawing.box(least, y - 6, most - least, 12, MUTED, opacity=0.22)
        value = interval.value
        if not np.isfinite(value):
            continue
        color, draw = (VERMILLION, drawing.dot) if value > 0 else (BLUE, drawing.diamond)
        drawing.line([(axis.at(interval.low), y), (axis.at(interval.high), y)], color, width=2)
        draw(axis.at(value), y, color, hover=f"{name}: {with_bounds(value, interval.low, interval.high)}")
    if band:
        drawing.legend(8, 14, [("box", MUTED, "chance: any of them exceeds it in 5% of draws")])
    drawing.height = rows.below + 46
    return drawing.svg


@dataclass(frozen=True)
class JudgedRow:
    """An estimate with its interval and the bar it must clear; an estimate without a bar decides nothing."""

    name: str
    value: float
    low: float
    high: float
    sign: Literal[">", "<"] = ">"
    bar: float | None = None
    outcome: Outcome = "INCONCLUSIVE"


def judged_rows(drawing: Drawing, rows: Sequence[JudgedRow], limits: tuple[float, float]) -> str:
    """Estimates with their bars on one scale; a bar's flag points to the side on which the whole interval must lie."""
    places = _Rows.of([row.name for row in rows], 8, 20, room=5)
    axis = Axis(*_roomy(limits), places.left, drawing.width - 20)
    drawing.across(axis, places.below + 2, "", grid=places.top)
    drawing.line([(axis.at(0), places.top), (axis.at(0), places.below)], MUTED, width=1)
    places.put_names(drawing)
    for place, row in enumerate(rows):
        y = places.middle(place)
        if not np.isfinite(row.value):
            continue
        shape, color, _ = _OUTCOMES["" if row.bar is None else row.outcome]
        drawing.line([(axis.at(row.low), y), (axis.at(row.high), y)], color, width=2.2)
        if row.bar is not None:
            at, flag = axis.at(row.bar), 5 if row.sign == ">" else -5
            drawing.line([(at + flag, y - 10), (at, y - 10), (at, y + 10)], INK, width=1.6)
        hover = f"{row.name}: {with_bounds(row.value, row.low, row.high)}"
        put(drawing, shape, axis.at(row.value), y, color, hover)
    outcomes = dict.fromkeys("" if row.bar is None else row.outcome for row in rows)
    bar = [("bar", INK, "bar and the side to be on")] if any(outcomes) else []
    entries = [*bar, *(_OUTCOMES[outcome] for outcome in outcomes)]
    drawing.height = drawing.legend(16, places.below + 34, entries, drawing.width) + 8
    return drawing.svg


def _roomy(limits: tuple[float, float]) -> tuple[float, float]:
    """Limits with 4% of room on both sides, so that marks at the ends do not touch the names."""
    room = 0.04 * (limits[1] - limits[0])
    return limits[0] - room, limits[1] + room
