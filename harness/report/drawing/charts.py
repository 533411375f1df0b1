"""Heat maps, curves, scatter plots and circuit diagrams from plain numbers; nothing here knows evidence or models.

Where a drawing is as narrow as a phone, charts are laid out differently instead of shrinking their labels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.judging.numerals import rounded
from harness.report.drawing.svg import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    VERMILLION,
    Axis,
    Drawing,
)

# More points could not be told apart, and would make a page slow.
MOST_POINTS = 300
# A heat map of at most MOST_CELLS draws each cell with its number or hover text. A larger one draws its MOST_SMALL
# strongest cells, and gives a hover text to the MOST_HOVERS strongest.
MOST_CELLS, MOST_HOVERS, MOST_SMALL = 200, 100, 2000
# A circuit diagram of at most MOST_LAYERS shows all of them, MOST_COLUMNS in a row.
MOST_LAYERS, MOST_COLUMNS = 18, 9
# Colour, dash and marker of each series.
LOOKS = (
    (VERMILLION, "", "dot"),
    (BLUE, "6 3", "ring"),
    (GREEN, "2 3", "diamond"),
    (ORANGE, "8 3 2 3", "dot"),
    (PURPLE, "3 2", "ring"),
)
_PARTS = (("ring", VERMILLION, "a head, with its number"), ("box", BLUE, "how many neurons"))


@dataclass(frozen=True)
class Series:
    """One line: a value at each place, with the bounds of its intervals where it has any."""

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
    """A heat map: vermillion above zero, blue below, the stronger the nearer a value is to the limit on either side."""
    longest = min(max(map(len, rows)), 20)
    left, top = (34 + 6.2 * longest if drawing.narrow else 42.0 + 7 * longest), 12.0
    side = (drawing.width - left - (20 if drawing.narrow else 70)) / len(columns)
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
    for column, name in enumerate(columns):
        at = left + (column + 0.5) * width
        if turned:
            drawing.text(at + 4, below + 12, name, anchor="end", turn=-55)
        elif column % math.ceil((4 + 7 * max(map(len, columns))) / width) == 0:
            drawing.text(at, below + 15, name, anchor="middle")
    deep = 18 + (5.4 * min(max(map(len, columns)), 22) if turned else 0)
    drawing.text(left + wide / 2, below + deep + 16, axes[1], anchor="middle", color=INK)
    drawing.text(13, top + high / 2, axes[0], anchor="middle", color=INK, turn=-90)
    if drawing.narrow:
        _scale(drawing, (left, below + deep + 28), (wide / 10, 12), limit)
        drawing.height = below + deep + 62
    else:
        length = min(max(high, 60), 150)
        _scale(drawing, (left + wide + 16, top), (12, length / 10), limit)
        drawing.width, drawing.height = max(left + wide + 76, 240), max(below + deep + 26, top + 176)
    return drawing.svg


def curves(
    drawing: Drawing,
    places: Sequence[float],
    series: Sequence[Series],
    axes: tuple[str, str],
    limits: tuple[float, float],
    *,
    ticks: Sequence[tuple[float, str]] | None = None,
    random: Sequence[Sequence[float]] = (),
) -> str:
    """Lines over places with the bands of their intervals; lines of random counterparts are thin and grey."""
    entries = legend_entries(series) + ([("", MUTED, "random directions")] if random else [])
    left, right = 58.0, drawing.width - 18
    top = drawing.legend(8.0 if drawing.narrow else left, 16, entries, drawing.width) + 14
    below = top + 240
    across = Axis(min(places), max(places), left, right)
    up = Axis(*limits, below, top)
    drawing.upright(up, left, axes[1], grid=right)
    drawing.across(
        across, below, axes[0], ticks=_whole(places, 8 if drawing.narrow else 12) if ticks is None else ticks
    )
    for values in random:
        drawing.line(_line(across, up, places, values), MUTED, width=0.6)
    for number, line in enumerate(series):
        color, dash, shape = LOOKS[number % len(LOOKS)]
        if line.low is not None and line.high is not None:
            edge = [*_line(across, up, places, line.low), *reversed(_line(across, up, places, line.high))]
            drawing.area(edge, color, 0.18)
        drawing.line(_line(across, up, places, line.values), color, width=2, dash=dash)
        for place, value in enumerate(line.values):
            if not np.isfinite(value):
                continue
            hover = f"{line.name}, {axes[0]} {places[place]:g}: {with_interval(line, place)}"
            put(drawing, shape, across.at(places[place]), up.at(value), color, hover)
    drawing.height = below + 42
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
    """Points of a few kinds, each kind with its own marker; of very many, MOST_POINTS drawn by a fixed seed."""
    left, right, top = 62.0, drawing.width - (20 if drawing.narrow else 100), 30.0
    below = top + (right - left if drawing.narrow else 370.0)
    across, up = Axis(*limits[0], left, right), Axis(*limits[1], below, top)
    drawing.upright(up, left, axes[1], grid=right, room=44)
    drawing.across(across, below, axes[0], grid=top)
    if diagonal:
        ends = max(limits[0][0], limits[1][0]), min(limits[0][1], limits[1][1])
        drawing.line([(across.at(end), up.at(end)) for end in ends], MUTED, width=1, dash="4 3")
    most = MOST_POINTS // len(points)
    for number, (name, rows) in enumerate(points.items()):
        color, _, shape = LOOKS[number % len(LOOKS)]
        for row in _sample(len(rows), most):
            at, hover = (across.at(float(rows[row, 0])), up.at(float(rows[row, 1]))), hovers[name][row]
            if shape == "ring":
                drawing.diamond(*at, color, radius=4, opacity=0.6, hover=hover)
            else:
                drawing.dot(*at, color, opacity=0.6, hover=hover)
    if len(points) > 1:
        drawing.legend(
            left,
            16,
            [("diamond" if LOOKS[n][2] == "ring" else "dot", LOOKS[n][0], name) for n, name in enumerate(points)],
        )
    drawing.width, drawing.height = right + 20, below + 42
    return drawing.svg


def diagram(
    drawing: Drawing,
    layers: int,
    heads: Mapping[int, Sequence[tuple[int, str]]],
    neurons: Mapping[int, Sequence[str]],
) -> str:
    """A circuit by layer along the stream: above it each head with its number, below it how many neurons.

    Layers without components are drawn only if all layers fit in one row.
    """
    held = sorted(set(heads) | set(neurons))
    shown = list(range(layers)) if layers <= MOST_LAYERS else held
    lines = [shown[start : start + MOST_COLUMNS] for start in range(0, len(shown), MOST_COLUMNS)]
    step, left = (drawing.width - 80) / max(min(len(shown), MOST_COLUMNS) - 1, 1), 40.0
    step, y = min(step, 70.0), drawing.legend(22, 16, _PARTS, drawing.width)
    for line in lines:
        stream = y + 16 + 26.0 * max([len(heads.get(layer, ())) for layer in line] + [1])
        drawing.line([(left - 18, stream), (left + step * (len(line) - 1) + 18, stream)], MUTED, width=2.5)
        for place, layer in enumerate(line):
            x = left + step * place
            drawing.line([(x, stream - 4), (x, stream + 4)], MUTED, width=1)
            if above := heads.get(layer, ()):
                drawing.line([(x, stream), (x, stream - 22 - 26 * (len(above) - 1))], VERMILLION, width=1)
            for order, (head, hover) in enumerate(above):
                at = stream - 22 - 26 * order
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
    """Draws every finite cell, each with its number in it or with its hover text."""
    left, top, width, height = grid
    finite = [(int(row), int(column)) for row, column in np.argwhere(np.isfinite(values))]
    if numbered or drawing.narrow:
        _shaded(drawing, values, finite, limit, grid)
    drawing.grid(len(rows), len(columns), *grid)
    for row, column in finite:
        value = float(values[row, column])
        x, y, opacity = left + column * width, top + row * height, min(abs(value) / limit, 1)
        if numbered:
            # On a strong colour the page's own ink may lack contrast.
            ink = INK if opacity < 0.6 else "#1b1b1b" if value > 0 else "#ffffff"
            number = f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
            drawing.text(x + width / 2, y + height / 2 + 4, number, anchor="middle", color=ink, size=11)
        elif not drawing.narrow:
            hover = f"{axes[0]} {rows[row]}, {axes[1]} {columns[column]}: {value:+z.3f}"
            drawing.box(x, y, width, height, _tint(value), opacity=opacity, hover=hover)


def _small_cells(
    drawing: Drawing,
    values: Float[np.ndarray, "row column"],
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    limit: float,
    grid: tuple[float, float, float, float],
) -> None:
    """Draws the MOST_SMALL largest cells: MOST_HOVERS with a hover text each, the others one path for each colour."""
    left, top, width, height = grid
    drawing.box(left, top, width * len(columns), height * len(rows), PAPER, stroke=GRID)
    flat = np.nan_to_num(values.ravel())
    order = np.argsort(-np.abs(flat), kind="stable")[:MOST_SMALL]
    _shaded(drawing, values, [divmod(at, len(columns)) for at in sorted(order[MOST_HOVERS:].tolist())], limit, grid)
    for at in order[:MOST_HOVERS]:
        (row, column), value = divmod(int(at), len(columns)), float(flat[at])
        hover = f"{axes[0]} {rows[row]}, {axes[1]} {columns[column]}: {value:+z.3f}"
        x, y, opacity = left + column * width, top + row * height, min(abs(value) / limit, 1)
        drawing.box(x, y, width, height, _tint(value), opacity=opacity, hover=hover)


def _shaded(
    drawing: Drawing,
    values: Float[np.ndarray, "row column"],
    places: Sequence[tuple[int, int]],
    limit: float,
    grid: tuple[float, float, float, float],
) -> None:
    """Draws cells without hover text, one path for each colour."""
    strokes: dict[tuple[str, float], list[tuple[int, int]]] = {}
    for place in places:
        # Eyes tell fewer than twenty steps apart.
        value = float(np.nan_to_num(values[place]))
        if opacity := round(20 * min(abs(value) / limit, 1)) / 20:
            strokes.setdefault((_tint(value), opacity), []).append(place)
    for (color, opacity), alike in strokes.items():
        drawing.cells(alike, *grid, color, opacity)


def _tint(value: float) -> str:
    return VERMILLION if value > 0 else BLUE


def put(drawing: Drawing, shape: str, x: float, y: float, color: str, hover: str) -> None:
    """Draws the marker of a series: a dot, a ring or a diamond."""
    if shape == "diamond":
        drawing.diamond(x, y, color, hover=hover)
    else:
        drawing.dot(x, y, color, hover=hover, hollow=shape == "ring")


def legend_entries(series: Sequence[Series]) -> list[tuple[str, str, str]]:
    """Marker, colour and name of each series."""
    looks = (LOOKS[number % len(LOOKS)] for number in range(len(series)))
    return [(shape, color, line.name) for (color, _, shape), line in zip(looks, series, strict=True)]


def _whole(places: Sequence[float], most: int) -> list[tuple[float, str]] | None:
    """At most `most` ticks, all at whole numbers; None if the places are not whole numbers, as layers are."""
    if not all(float(place).is_integer() for place in places):
        return None
    step = math.ceil(len(places) / most)
    return [(place, f"{place:g}") for place in places[::step]]


def _scale(drawing: Drawing, at: tuple[float, float], cell: tuple[float, float], limit: float) -> None:
    """The colour scale in ten steps: upright at the right of a heat map, or below it on a phone."""
    (x, y), (width, height), steps = at, cell, 10
    for step in range(steps):
        value = limit * (1 - (step + 0.5) / (steps / 2))
        place = (x + (steps - 1 - step) * width, y) if drawing.narrow else (x, y + step * height)
        drawing.box(*place, width, height, _tint(value), opacity=abs(value) / limit, stroke=GRID)
    for share, value in ((0, limit), (0.5, 0), (1, -limit)):
        number = f"{value:+.2g}".replace("-", "−") if value else "0"
        if drawing.narrow:
            drawing.text(x + (1 - share) * steps * width, y + 26, number, anchor="middle")
        else:
            drawing.text(x + 17, y + share * steps * height + 4, number)


def _line(across: Axis, up: Axis, places: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    points = zip(places, values, strict=True)
    return [(across.at(place), up.at(value)) for place, value in points if np.isfinite(value)]


def with_interval(line: Series, place: int) -> str:
    """The value of a series at a place with its interval, as text."""
    bounds = (line.values if bound is None else bound for bound in (line.low, line.high))
    return with_bounds(line.values[place], *(bound[place] for bound in bounds))


def with_bounds(value: float, low: float, high: float) -> str:
    """A number as text with its interval, if that has a width; of very few pairs an interval can be unbounded."""
    numbers = rounded(value, low, high, 3)
    short = numbers.value if low == high else str(numbers)
    return short if np.isfinite([low, high]).all() else f"{numbers.value}, too few to bound it"


def _sample(count: int, most: int) -> Sequence[int]:
    if count <= most:
        return range(count)
    return sorted(np.random.default_rng(0).choice(count, most, replace=False).tolist())
