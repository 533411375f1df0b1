"""Charts of named rows: bars, strips of values, rankings, and estimates with the bars they must clear.

Names stand at the left of their rows; on a drawing as narrow as a phone, above them.
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
    LONGEST,
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


@dataclass(frozen=True)
class _Names:
    """Where the names of rows stand, and where their marks begin."""

    left: float  # where marks begin
    above: float  # height of a name that stands above its row; 0 if names stand at the left

    @classmethod
    def of(cls, drawing: Drawing, names: Sequence[str]) -> "_Names":
        """Above their rows if the drawing is narrow and a name is long, else at the left."""
        longest = min(max(map(len, names)), LONGEST)
        return cls(16.0, 15.0) if drawing.narrow and longest > 12 else cls(26 + 6.6 * longest, 0.0)

    def put(self, drawing: Drawing, name: str, top: float, height: float) -> None:
        """Draws the name of the row that begins at `top` and whose marks take `height`."""
        if self.above:
            drawing.text(6, top + 11, name, color=INK)
        else:
            drawing.text(self.left - 8, top + height / 2 + 4, name, anchor="end", color=INK)


def bars(
    drawing: Drawing, names: Sequence[str], series: Sequence[Series], axes: tuple[str, str], limits: tuple[float, float]
) -> str:
    """Horizontal bars with intervals, grouped by name; each series has its own colour and marker."""
    labels, thick = _Names.of(drawing, names), 14.0 if len(series) == 1 else 10.0
    group = labels.above + thick * len(series) + 6
    top, below = 10.0, 10.0 + group * len(names)
    axis = Axis(*limits, labels.left, drawing.width - 20)
    drawing.across(axis, below + 2, axes[1], grid=top)
    for place, name in enumerate(names):
        labels.put(drawing, name, top + place * group, thick * len(series))
    for number, line in enumerate(series):
        color, _, shape = LOOKS[number % len(LOOKS)]
        finite = [place for place in range(len(names)) if np.isfinite(line.values[place])]
        upper = {place: top + place * group + labels.above + number * thick for place in finite}
        spans = {place: sorted((axis.at(0), axis.at(float(line.values[place])))) for place in finite}
        drawing.boxes(((a, upper[at] + 1, b - a, thick - 2) for at, (a, b) in spans.items()), color, opacity=0.35)
        if line.low is not None and line.high is not None:
            bounds = ((axis.at(line.low[at]), axis.at(line.high[at]), upper[at] + thick / 2) for at in finite)
            drawing.lines(((low, y, high, y) for low, high, y in bounds), color, width=1.6)
        for place in finite:
            value = float(line.values[place])
            hover = f"{names[place]}: {line.name} {with_interval(line, place)}"
            put(drawing, shape, axis.at(value), upper[place] + thick / 2, color, hover)
    last = drawing.legend(20, below + 56, legend_entries(series), drawing.width) if len(series) > 1 else below + 38
    drawing.height = last + 8
    return drawing.svg


def strip(
    drawing: Drawing,
    rows: Sequence[tuple[str, Sequence[Interval]]],
    axis_name: str,
    limits: tuple[float, float],
) -> str:
    """A row for each name: one value with its interval, or several values as dots."""
    labels, row, top = _Names.of(drawing, [name for name, _ in rows]), 26.0, 10.0
    axis, below = Axis(*_roomy(limits), labels.left, drawing.width - 20), top + (row + labels.above) * len(rows)
    drawing.across(axis, below + 2, axis_name, grid=top)
    drawing.line([(axis.at(0), top), (axis.at(0), below)], MUTED, width=1)
    for place, (name, intervals) in enumerate(rows):
        start = top + place * (row + labels.above)
        labels.put(drawing, name, start, row)
        y = start + labels.above + row / 2
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
    drawing.height = below + 44
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
    labels, top, row = _Names.of(drawing, names), 26.0, 17.0
    axis, below = Axis(*_roomy(limits), labels.left, drawing.width - 20), top + (row + labels.above) * len(names)
    drawing.across(axis, below + 4, axis_name, grid=top - 4)
    for place, (name, interval) in enumerate(zip(names, intervals, strict=True)):
        start = top + place * (row + labels.above)
        labels.put(drawing, name, start, row)
        y = start + labels.above + row / 2
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
        drawing.legend(
            8 if drawing.narrow else labels.left,
            14,
            [("box", MUTED, "chance: any of them exceeds it in 5% of draws")],
        )
    drawing.height = below + 46
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
    labels, step, top = _Names.of(drawing, [row.name for row in rows]), 24.0, 8.0
    axis, below = Axis(*_roomy(limits), labels.left, drawing.width - 20), top + (step + labels.above) * len(rows)
    drawing.across(axis, below + 2, "", grid=top)
    drawing.line([(axis.at(0), top), (axis.at(0), below)], MUTED, width=1)
    for place, row in enumerate(rows):
        start = top + place * (step + labels.above)
        labels.put(drawing, row.name, start, step)
        y = start + labels.above + step / 2
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
    bar = [("bar", INK, "the bar; its flag points where the line must lie")] if any(outcomes) else []
    entries = [*bar, *(_OUTCOMES[outcome] for outcome in outcomes)]
    drawing.height = drawing.legend(16, below + 40, entries, drawing.width) + 8
    return drawing.svg


def _roomy(limits: tuple[float, float]) -> tuple[float, float]:
    """Limits with 4% of room on both sides, so that marks at the ends do not touch the names."""
    room = 0.04 * (limits[1] - limits[0])
    return limits[0] - room, limits[1] + room
