"""Charts of rows: names one below the other, each with its bar, its interval, or the bar it was held to.

Names stand before their rows; where a drawing is given little width, as on a phone, they stand above them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.judging.estimate import Outcome
from harness.judging.proportions import Interval
from harness.report.drawing.charts import LOOKS, Series, between, put, with_ends
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

# How an estimate is drawn, by what its interval makes of its bar; without a bar it decides nothing.
_OUTCOMES: dict[str, tuple[str, str, str]] = {
    "SUPPORTED": ("dot", GREEN, "clears its bar"),
    "REFUTED": ("diamond", VERMILLION, "misses its bar"),
    "INCONCLUSIVE": ("ring", BLUE, "on both sides of its bar"),
    "": ("ring", MUTED, "beside it, decides nothing"),
}


@dataclass(frozen=True)
class _Names:
    """Where the names of rows stand, and where their marks begin."""

    left: float
    above: float  # what a name takes above its row

    @classmethod
    def of(cls, drawing: Drawing, names: Sequence[str]) -> "_Names":
        """Above their rows in a narrow drawing, before them in any other."""
        longest = min(max(map(len, names)), LONGEST)
        return cls(16.0, 15.0) if drawing.narrow and longest > 12 else cls(26 + 6.6 * longest, 0.0)

    def put(self, drawing: Drawing, name: str, top: float, height: float) -> None:
        """One name, of a row whose marks take so much height."""
        if self.above:
            drawing.text(6, top + 11, name, color=INK)
        else:
            drawing.text(self.left - 8, top + height / 2 + 4, name, anchor="end", color=INK)


def bars(
    drawing: Drawing, names: Sequence[str], series: Sequence[Series], axes: tuple[str, str], limits: tuple[float, float]
) -> str:
    """Lying bars, one group a name, with their intervals; each series ends in a mark of its own."""
    place_of, thick = _Names.of(drawing, names), 14.0 if len(series) == 1 else 10.0
    group = place_of.above + thick * len(series) + 6
    top, below = 10.0, 10.0 + group * len(names)
    axis = Axis(*limits, place_of.left, drawing.width - 20)
    drawing.across(axis, below + 2, axes[1], grid=top)
    for place, name in enumerate(names):
        place_of.put(drawing, name, top + place * group, thick * len(series))
    for number, one in enumerate(series):
        color, _, shape = LOOKS[number % len(LOOKS)]
        there = [place for place in range(len(names)) if np.isfinite(one.values[place])]
        upper = {place: top + place * group + place_of.above + number * thick for place in there}
        spans = {place: sorted((axis.at(0), axis.at(float(one.values[place])))) for place in there}
        drawing.boxes(((a, upper[at] + 1, b - a, thick - 2) for at, (a, b) in spans.items()), color, opacity=0.35)
        if one.low is not None and one.high is not None:
            ends = ((axis.at(one.low[at]), axis.at(one.high[at]), upper[at] + thick / 2) for at in there)
            drawing.lines(((low, y, high, y) for low, high, y in ends), color, width=1.6)
        for place in there:
            value = float(one.values[place])
            hover = f"{names[place]}: {one.name} {between(one, place)}"
            put(drawing, shape, axis.at(value), upper[place] + thick / 2, color, hover)
    named = [(LOOKS[n % len(LOOKS)][2], LOOKS[n % len(LOOKS)][0], one.name) for n, one in enumerate(series)]
    last = drawing.legend(20, below + 56, named, drawing.width) if len(series) > 1 else below + 38
    drawing.height = last + 8
    return drawing.svg


def strip(
    drawing: Drawing,
    rows: Sequence[tuple[str, Sequence[Interval]]],
    axis_name: str,
    limits: tuple[float, float],
) -> str:
    """A row for each name: one value with its interval, or many as dots on one line."""
    place_of, row, top = _Names.of(drawing, [name for name, _ in rows]), 26.0, 10.0
    axis, below = Axis(*_roomy(limits), place_of.left, drawing.width - 20), top + (row + place_of.above) * len(rows)
    drawing.across(axis, below + 2, axis_name, grid=top)
    drawing.line([(axis.at(0), top), (axis.at(0), below)], MUTED, width=1)
    for place, (name, found) in enumerate(rows):
        start = top + place * (row + place_of.above)
        place_of.put(drawing, name, start, row)
        y = start + place_of.above + row / 2
        for number, one in enumerate(found, 1):
            if not np.isfinite(one.value):
                continue
            if len(found) > 1:
                drawing.dot(axis.at(one.value), y, MUTED, opacity=0.5, hover=f"{name}, {number}: {one.value:+z.3f}")
                continue
            drawing.line([(axis.at(one.low), y), (axis.at(one.high), y)], VERMILLION, width=2)
            hover = f"{name}: {with_ends(one.value, one.low, one.high)}"
            drawing.diamond(axis.at(one.value), y, VERMILLION, radius=5, hover=hover)
    drawing.height = below + 44
    return drawing.svg


def ranking(
    drawing: Drawing,
    names: Sequence[str],
    found: Sequence[Interval],
    axis_name: str,
    limits: tuple[float, float],
    band: Sequence[float] = (),
) -> str:
    """One below the other, each with its interval; grey is what chance alone would reach."""
    place_of, top, row = _Names.of(drawing, names), 26.0, 17.0
    axis, below = Axis(*_roomy(limits), place_of.left, drawing.width - 20), top + (row + place_of.above) * len(names)
    drawing.across(axis, below + 4, axis_name, grid=top - 4)
    for place, (name, one) in enumerate(zip(names, found, strict=True)):
        start = top + place * (row + place_of.above)
        place_of.put(drawing, name, start, row)
        y = start + place_of.above + row / 2
        if band:
            least, most = axis.at(-band[place]), axis.at(band[place])
            drawing.box(least, y - 6, most - least, 12, MUTED, opacity=0.22)
        if not np.isfinite(one.value):
            continue
        drawing.line([(axis.at(one.low), y), (axis.at(one.high), y)], VERMILLION if one.value > 0 else BLUE, width=2)
        hover = f"{name}: {with_ends(one.value, one.low, one.high)}"
        draw = drawing.dot if one.value > 0 else drawing.diamond
        draw(axis.at(one.value), y, VERMILLION if one.value > 0 else BLUE, hover=hover)
    if band:
        drawing.legend(
            8 if drawing.narrow else place_of.left,
            14,
            [("box", MUTED, "chance: any of them exceeds it in 5% of draws")],
        )
    drawing.height = below + 46
    return drawing.svg


@dataclass(frozen=True)
class Held:
    """An estimate with its interval, and the bar it was held to; without one it decides nothing."""

    name: str
    value: float
    low: float
    high: float
    sign: Literal[">", "<"] = ">"
    bar: float | None = None
    outcome: Outcome = "INCONCLUSIVE"


def held(drawing: Drawing, rows: Sequence[Held], limits: tuple[float, float]) -> str:
    """Estimates on one scale; the flag of a bar points to the side on which the whole interval must lie."""
    place_of, row, top = _Names.of(drawing, [one.name for one in rows]), 24.0, 8.0
    axis, below = Axis(*_roomy(limits), place_of.left, drawing.width - 20), top + (row + place_of.above) * len(rows)
    drawing.across(axis, below + 2, "", grid=top)
    drawing.line([(axis.at(0), top), (axis.at(0), below)], MUTED, width=1)
    for place, one in enumerate(rows):
        start = top + place * (row + place_of.above)
        place_of.put(drawing, one.name, start, row)
        y = start + place_of.above + row / 2
        if not np.isfinite(one.value):
            continue
        shape, color, _ = _OUTCOMES["" if one.bar is None else one.outcome]
        drawing.line([(axis.at(one.low), y), (axis.at(one.high), y)], color, width=2.2)
        if one.bar is not None:
            at, flag = axis.at(one.bar), 5 if one.sign == ">" else -5
            drawing.line([(at + flag, y - 10), (at, y - 10), (at, y + 10)], INK, width=1.6)
        hover = f"{one.name}: {with_ends(one.value, one.low, one.high)}"
        put(drawing, shape, axis.at(one.value), y, color, hover)
    seen = dict.fromkeys("" if one.bar is None else one.outcome for one in rows)
    bar = [("bar", INK, "the bar; its flag points to where all must lie")] if any(seen) else []
    drawing.height = drawing.legend(16, below + 40, [*bar, *(_OUTCOMES[key] for key in seen)], drawing.width) + 8
    return drawing.svg


def _roomy(limits: tuple[float, float]) -> tuple[float, float]:
    """So that marks at the ends do not lie on what is beside the axis."""
    room = 0.04 * (limits[1] - limits[0])
    return limits[0] - room, limits[1] + room
