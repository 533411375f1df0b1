"""Charts: numbers to drawings. They know nothing of evidence, models or claims."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.judging.numerals import rounded
from harness.judging.proportions import Interval
from harness.report.drawing.svg import (
    BLUE,
    GREEN,
    GRID,
    INK,
    LONGEST,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    VERMILLION,
    Axis,
    Drawing,
)

# More points than this are not told apart, and make a page slow.
MOST_POINTS = 300
# Of a heat map: cells that are drawn one by one; of more, those that say what they are, and those that are drawn.
MOST_CELLS, MOST_HOVERS, MOST_SMALL = 200, 100, 2000
# Columns of a diagram, one beside the other.
MOST_COLUMNS = 18
# Series are told apart by colour, by dash and by shape.
_LOOKS = (
    (VERMILLION, "", "dot"),
    (BLUE, "6 3", "ring"),
    (GREEN, "2 3", "diamond"),
    (ORANGE, "8 3 2 3", "dot"),
    (PURPLE, "3 2", "ring"),
)
_PLOT = 560.0
_PARTS = (("ring", VERMILLION, "head, by its number"), ("box", BLUE, "neurons, how many"))


@dataclass(frozen=True)
class Series:
    """One line: a value at each place, and ends of its interval if it has any."""

    name: str
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def heatmap(
    drawing: Drawing,
    values: Float[np.ndarray, "row column"],
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    limit: float,
    *,
    numbers: bool = False,
) -> str:
    """Vermillion above zero, blue below, nothing at it; drawn to the limit on both sides."""
    left, top = 20 + 7 * min(max(map(len, rows)), 20) + 22.0, 12.0
    side = (_PLOT - left - 70) / len(columns)
    width, height = min(side, 46), min(max(300 / len(rows), 6), 30)
    wide, high = width * len(columns), height * len(rows)
    for row, name in enumerate(rows):
        if row % math.ceil(12 / height) == 0:
            drawing.text(left - 6, top + (row + 0.5) * height + 4, name, anchor="end")
    if values.size <= MOST_CELLS:
        _cells(drawing, values, rows, columns, axes, limit, (left, top, width, height), numbers and width >= 28)
    else:
        _small_cells(drawing, values, rows, columns, axes, limit, (left, top, width, height))
    below, turned = top + high, width < 5 + 6.5 * max(map(len, columns)) and max(map(len, columns)) > 3
    for column, other in enumerate(columns):
        at = left + (column + 0.5) * width
        if turned:
            drawing.text(at + 4, below + 12, other, anchor="end", turn=-55)
        elif column % math.ceil((4 + 7 * max(map(len, columns))) / width) == 0:
            drawing.text(at, below + 15, other, anchor="middle")
    deep = 18 + (5.4 * min(max(map(len, columns)), 22) if turned else 0)
    drawing.text(left + wide / 2, below + deep + 16, axes[1], anchor="middle", color=INK)
    drawing.text(13, top + high / 2, axes[0], anchor="middle", color=INK, turn=-90)
    _scale(drawing, left + wide + 16, top, min(max(high, 60), 150), limit)
    drawing.width, drawing.height = max(left + wide + 76, 240), max(below + deep + 26, top + 176)
    return drawing.svg


def bars(
    drawing: Drawing, names: Sequence[str], series: Sequence[Series], axes: tuple[str, str], limits: tuple[float, float]
) -> str:
    """Lying bars, one group a name, with their intervals; each series ends in a mark of its own."""
    left = 20 + 6.6 * min(max(map(len, names)), LONGEST)
    thick = 14.0 if len(series) == 1 else 10.0
    group = thick * len(series) + 6
    top, below = 10.0, 10.0 + group * len(names)
    axis = Axis(*limits, left, _PLOT - 20)
    drawing.across(axis, below + 2, axes[1], grid=top)
    for place, name in enumerate(names):
        drawing.text(left - 6, top + place * group + thick * len(series) / 2 + 4, name, anchor="end", color=INK)
        for number, one in enumerate(series):
            y, value = top + place * group + number * thick, float(one.values[place])
            if not np.isfinite(value):
                continue
            color, _, shape = _LOOKS[number % len(_LOOKS)]
            start, end = sorted((axis.at(0), axis.at(value)))
            middle = y + thick / 2
            drawing.box(start, y + 1, end - start, thick - 2, color, opacity=0.35)
            if one.low is not None and one.high is not None:
                drawing.line([(axis.at(one.low[place]), middle), (axis.at(one.high[place]), middle)], color, width=1.6)
            hover = f"{name}: {one.name} {_between(one, place)}"
            _put(drawing, shape, axis.at(value), middle, color, hover)
    named = [(_LOOKS[n % len(_LOOKS)][2], _LOOKS[n % len(_LOOKS)][0], one.name) for n, one in enumerate(series)]
    last = drawing.legend(20, below + 56, named, _PLOT) if len(series) > 1 else below + 38
    drawing.width, drawing.height = _PLOT, last + 8
    return drawing.svg


def strip(
    drawing: Drawing,
    rows: Sequence[tuple[str, Sequence[Interval]]],
    axis_name: str,
    limits: tuple[float, float],
) -> str:
    """A row for each name: one value with its interval, or many as dots on one line."""
    left, row, top = 26 + 6.6 * min(max(len(name) for name, _ in rows), LONGEST), 26.0, 10.0
    axis, below = Axis(*_roomy(limits), left, _PLOT - 20), top + row * len(rows)
    drawing.across(axis, below + 2, axis_name, grid=top)
    drawing.line([(axis.at(0), top), (axis.at(0), below)], MUTED, width=1)
    for place, (name, found) in enumerate(rows):
        y = top + (place + 0.5) * row
        drawing.text(left - 8, y + 4, name, anchor="end", color=INK)
        for number, one in enumerate(found, 1):
            if not np.isfinite(one.value):
                continue
            if len(found) > 1:
                drawing.dot(axis.at(one.value), y, MUTED, opacity=0.5, hover=f"{name}, {number}: {one.value:+z.3f}")
                continue
            drawing.line([(axis.at(one.low), y), (axis.at(one.high), y)], VERMILLION, width=2)
            hover = f"{name}: {_number(one.value, one.low, one.high)}"
            drawing.diamond(axis.at(one.value), y, VERMILLION, radius=5, hover=hover)
    drawing.width, drawing.height = _PLOT, below + 44
    return drawing.svg


def curves(
    drawing: Drawing,
    places: Sequence[float],
    series: Sequence[Series],
    axes: tuple[str, str],
    limits: tuple[float, float],
    *,
    ticks: Sequence[tuple[float, str]] | None = None,
    beside: Sequence[Sequence[float]] = (),
) -> str:
    """Lines over places, each with the band of its interval; those of random ones thin and grey."""
    left, right, top, below = 58.0, _PLOT - 18, 30.0, 270.0
    across = Axis(min(places), max(places), left, right)
    up = Axis(*limits, below, top)
    drawing.upright(up, left, axes[1], grid=right)
    drawing.across(across, below, axes[0], ticks=_whole(places) if ticks is None else ticks)
    for values in beside:
        drawing.line(_line(across, up, places, values), MUTED, width=0.6)
    for number, one in enumerate(series):
        color, dash, shape = _LOOKS[number % len(_LOOKS)]
        if one.low is not None and one.high is not None:
            edge = [*_line(across, up, places, one.low), *reversed(_line(across, up, places, one.high))]
            drawing.area(edge, color, 0.18)
        drawing.line(_line(across, up, places, one.values), color, width=2, dash=dash)
        for place, value in enumerate(one.values):
            if not np.isfinite(value):
                continue
            hover = f"{one.name}, {axes[0]} {places[place]:g}: {_between(one, place)}"
            _put(drawing, shape, across.at(places[place]), up.at(value), color, hover)
    named = [
        (_LOOKS[number % len(_LOOKS)][2], _LOOKS[number % len(_LOOKS)][0], one.name)
        for number, one in enumerate(series)
    ]
    drawing.legend(left, 16, [*named, ("", MUTED, "random ones")] if beside else named)
    drawing.width, drawing.height = _PLOT, below + 42
    return drawing.svg


def scatter(
    drawing: Drawing,
    points: Mapping[str, Float[np.ndarray, "point 2"]],
    hovers: Mapping[str, Sequence[str]],
    axes: tuple[str, str],
    limits: tuple[tuple[float, float], tuple[float, float]],
    *,
    diagonal: bool = False,
) -> str:
    """Points of a few kinds, each in a shape of its own; of very many, some by a fixed seed."""
    left, right, top, below = 62.0, _PLOT - 100, 30.0, 400.0
    across, up = Axis(*limits[0], left, right), Axis(*limits[1], below, top)
    drawing.upright(up, left, axes[1], grid=right, room=44)
    drawing.across(across, below, axes[0], grid=top)
    if diagonal:
        ends = max(limits[0][0], limits[1][0]), min(limits[0][1], limits[1][1])
        drawing.line([(across.at(end), up.at(end)) for end in ends], MUTED, width=1, dash="4 3")
    most = MOST_POINTS // len(points)
    for number, (name, rows) in enumerate(points.items()):
        color, _, shape = _LOOKS[number % len(_LOOKS)]
        for row in _some(len(rows), most):
            at, hover = (across.at(float(rows[row, 0])), up.at(float(rows[row, 1]))), hovers[name][row]
            if shape == "ring":
                drawing.diamond(*at, color, radius=4, opacity=0.6, hover=hover)
            else:
                drawing.dot(*at, color, opacity=0.6, hover=hover)
    if len(points) > 1:
        drawing.legend(
            left,
            16,
            [("diamond" if _LOOKS[n][2] == "ring" else "dot", _LOOKS[n][0], name) for n, name in enumerate(points)],
        )
    drawing.width, drawing.height = right + 20, below + 42
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
    left, top, row = 26 + 6.8 * min(max(map(len, names)), 34), 26.0, 17.0
    axis, below = Axis(*_roomy(limits), left, _PLOT - 20), top + row * len(names)
    drawing.across(axis, below + 4, axis_name, grid=top - 4)
    for place, (name, one) in enumerate(zip(names, found, strict=True)):
        y = top + (place + 0.5) * row
        drawing.text(left - 8, y + 4, name, anchor="end", color=INK)
        if band:
            start, end = axis.at(-band[place]), axis.at(band[place])
            drawing.box(start, y - 6, end - start, 12, MUTED, opacity=0.22)
        if not np.isfinite(one.value):
            continue
        drawing.line([(axis.at(one.low), y), (axis.at(one.high), y)], VERMILLION if one.value > 0 else BLUE, width=2)
        hover = f"{name}: {_number(one.value, one.low, one.high)}"
        draw = drawing.dot if one.value > 0 else drawing.diamond
        draw(axis.at(one.value), y, VERMILLION if one.value > 0 else BLUE, hover=hover)
    if band:
        drawing.legend(left, 14, [("box", MUTED, "reached by chance in 5% of draws, by any of them")])
    drawing.width, drawing.height = _PLOT, below + 46
    return drawing.svg


def diagram(
    drawing: Drawing,
    layers: int,
    heads: Mapping[int, Sequence[tuple[int, str]]],
    neurons: Mapping[int, Sequence[str]],
) -> str:
    """Components in columns by depth, along the stream: heads above it, neurons below, by number or counted.

    Layers that hold none stand there only while there is room for all.
    """
    held = sorted(set(heads) | set(neurons))
    shown = list(range(layers)) if layers <= MOST_COLUMNS else held
    lines = [shown[start : start + MOST_COLUMNS] for start in range(0, len(shown), MOST_COLUMNS)]
    step, left = (_PLOT - 70) / max(min(len(shown), MOST_COLUMNS) - 1, 1), 40.0
    step, y = min(step, 70.0), drawing.legend(22, 16, _PARTS)
    for line in lines:
        stream = y + 16 + 26.0 * max([len(heads.get(layer, ())) for layer in line] + [1])
        drawing.line([(left - 18, stream), (left + step * (len(line) - 1) + 18, stream)], MUTED, width=2.5)
        for place, layer in enumerate(line):
            x = left + step * place
            drawing.line([(x, stream - 4), (x, stream + 4)], MUTED, width=1)
            if some := heads.get(layer, ()):
                drawing.line([(x, stream), (x, stream - 22 - 26 * (len(some) - 1))], VERMILLION, width=1)
            for number, (head, hover) in enumerate(heads.get(layer, ())):
                at = stream - 22 - 26 * number
                drawing.dot(x, at, VERMILLION, radius=11, hover=hover, hollow=True)
                drawing.text(x, at + 4, head, anchor="middle", color=INK, size=11)
            if below := neurons.get(layer, ()):
                drawing.line([(x, stream), (x, stream + 18)], BLUE, width=1)
                drawing.box(x - 12, stream + 18, 24, 18, BLUE, opacity=0.25, stroke=BLUE, hover="; ".join(below))
                drawing.text(x, stream + 31, len(below), anchor="middle", color=INK, size=11)
            drawing.text(x, stream + 54, layer, anchor="middle")
        y = stream + 62
    drawing.text(left + step * (len(lines[0]) - 1) / 2, y + 10, "layer", anchor="middle", color=INK)
    drawing.width, drawing.height = max(left + step * (len(lines[0]) - 1) + 40, 330), y + 20
    return drawing.svg


def _cells(
    drawing: Drawing,
    values: Float[np.ndarray, "row column"],
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    limit: float,
    grid: tuple[float, float, float, float],
    numbered: bool,
) -> None:
    """Each with its hover text, or its number."""
    left, top, width, height = grid
    drawing.grid(len(rows), len(columns), *grid)
    for row, column in np.argwhere(np.isfinite(values)):
        value = float(values[row, column])
        x, y, opacity = left + column * width, top + row * height, min(abs(value) / limit, 1)
        hover = "" if numbered else f"{axes[0]} {rows[row]}, {axes[1]} {columns[column]}: {value:+z.3f}"
        drawing.box(x, y, width, height, _tint(value), opacity=opacity, hover=hover)
        if numbered:
            # On a full colour the page's ink may be too like it.
            ink = INK if opacity < 0.6 else "#1b1b1b" if value > 0 else "#ffffff"
            said = f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
            drawing.text(x + width / 2, y + height / 2 + 4, said, anchor="middle", color=ink, size=11)


def _small_cells(
    drawing: Drawing,
    values: Float[np.ndarray, "row column"],
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    limit: float,
    grid: tuple[float, float, float, float],
) -> None:
    """Very many: those of a colour in one stroke, the largest with their hover text; of thousands, the largest."""
    left, top, width, height = grid
    drawing.box(left, top, width * len(columns), height * len(rows), PAPER, stroke=GRID)
    flat = np.nan_to_num(values.ravel())
    order = np.argsort(-np.abs(flat), kind="stable")[:MOST_SMALL]
    strokes: dict[tuple[str, float], list[tuple[int, int]]] = {}
    for at in sorted(order[MOST_HOVERS:].tolist()):
        # Twenty steps are more than eyes tell apart.
        opacity = round(20 * min(abs(float(flat[at])) / limit, 1)) / 20
        if opacity:
            strokes.setdefault((_tint(float(flat[at])), opacity), []).append(divmod(at, len(columns)))
    for (color, opacity), places in strokes.items():
        drawing.cells(places, left, top, width, height, color, opacity)
    for at in order[:MOST_HOVERS]:
        (row, column), value = divmod(int(at), len(columns)), float(flat[at])
        hover = f"{axes[0]} {rows[row]}, {axes[1]} {columns[column]}: {value:+z.3f}"
        x, y, opacity = left + column * width, top + row * height, min(abs(value) / limit, 1)
        drawing.box(x, y, width, height, _tint(value), opacity=opacity, hover=hover)


def _tint(value: float) -> str:
    return VERMILLION if value > 0 else BLUE


def _put(drawing: Drawing, shape: str, x: float, y: float, color: str, hover: str) -> None:
    if shape == "diamond":
        drawing.diamond(x, y, color, hover=hover)
    else:
        drawing.dot(x, y, color, hover=hover, hollow=shape == "ring")


def _roomy(limits: tuple[float, float]) -> tuple[float, float]:
    """So that marks at the ends do not lie on what is beside the axis."""
    room = 0.04 * (limits[1] - limits[0])
    return limits[0] - room, limits[1] + room


def _whole(places: Sequence[float]) -> list[tuple[float, str]] | None:
    """Ticks at whole places, if all of them are whole: there is no layer between two."""
    if not all(float(place).is_integer() for place in places):
        return None
    step = math.ceil(len(places) / 12)
    return [(place, f"{place:g}") for place in places[::step]]


def _scale(drawing: Drawing, x: float, top: float, height: float, limit: float) -> None:
    steps = 10
    for step in range(steps):
        value = limit * (1 - (step + 0.5) / (steps / 2))
        color = VERMILLION if value > 0 else BLUE
        drawing.box(x, top + step * height / steps, 12, height / steps, color, opacity=abs(value) / limit, stroke=GRID)
    for share, value in ((0, limit), (0.5, 0), (1, -limit)):
        drawing.text(x + 17, top + share * height + 4, f"{value:+.2g}".replace("-", "−") if value else "0")


def _line(across: Axis, up: Axis, places: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    points = zip(places, values, strict=True)
    return [(across.at(place), up.at(value)) for place, value in points if np.isfinite(value)]


def _between(one: Series, place: int) -> str:
    ends = (one.values if end is None else end for end in (one.low, one.high))
    return _number(one.values[place], *(end[place] for end in ends))


def _number(value: float, low: float, high: float) -> str:
    """A number with its interval, where that has a width; of very few pairs it may have no end."""
    numbers = rounded(value, low, high, 3)
    short = numbers.value if low == high else str(numbers)
    return short if np.isfinite([low, high]).all() else f"{numbers.value}, too few to bound it"


def _some(count: int, most: int) -> Sequence[int]:
    if count <= most:
        return range(count)
    return sorted(np.random.default_rng(0).choice(count, most, replace=False).tolist())
