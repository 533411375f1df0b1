"""Charts: numbers to drawings. They know nothing of evidence, models or claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.stats import Interval
from harness.svg import BLUE, GREEN, GRID, INK, MUTED, ORANGE, PURPLE, VERMILLION, Axis, Drawing

# More points than this are not told apart, and make a page slow.
MOST_POINTS = 300
# Series are told apart by colour, by dash and by shape.
_LOOKS = (
    (VERMILLION, "", "dot"),
    (BLUE, "6 3", "ring"),
    (GREEN, "2 3", "diamond"),
    (ORANGE, "8 3 2 3", "dot"),
    (PURPLE, "3 2", "ring"),
)
_PLOT = 560.0


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
    width, height = min(side, 46), min(max(300 / len(rows), 9), 30)
    for row, name in enumerate(rows):
        if height >= 11 or row % 4 == 0:
            drawing.text(left - 6, top + (row + 0.5) * height + 4, name, anchor="end")
        for column, other in enumerate(columns):
            value = float(values[row, column])
            if not np.isfinite(value):
                continue
            numbered = numbers and width >= 26
            hover = "" if numbered else f"{axes[0]} {name}, {axes[1]} {other}: {value:+.3f}"
            place = left + column * width, top + row * height
            color = VERMILLION if value > 0 else BLUE
            drawing.box(*place, width, height, color, opacity=min(abs(value) / limit, 1), hover=hover, stroke=GRID)
            if numbered:
                drawing.text(
                    place[0] + width / 2,
                    place[1] + height / 2 + 4,
                    f"{round(value, 2) + 0.0:.2f}",
                    anchor="middle",
                    color=INK,
                    size=10,
                )
    below, turned = top + len(rows) * height, width < 5 + 6.5 * max(map(len, columns))
    for column, other in enumerate(columns):
        at = left + (column + 0.5) * width
        if turned and len(max(columns, key=len)) > 3:
            drawing.text(at + 4, below + 12, other, anchor="end", turn=-55)
        elif width >= 13 or column % 4 == 0:
            drawing.text(at, below + 15, other, anchor="middle")
    deep = 18 + (5.4 * min(max(map(len, columns)), 22) if turned and len(max(columns, key=len)) > 3 else 0)
    drawing.text(left + width * len(columns) / 2, below + deep + 16, axes[1], anchor="middle", color=INK)
    drawing.text(13, top + height * len(rows) / 2, axes[0], anchor="middle", color=INK, turn=-90)
    _scale(drawing, left + width * len(columns) + 16, top, min(max(below - top, 60), 150), limit)
    drawing.width, drawing.height = max(left + width * len(columns) + 76, 240), max(below + deep + 26, top + 176)
    return drawing.svg


def bars(
    drawing: Drawing, names: Sequence[str], series: Sequence[Series], axes: tuple[str, str], limits: tuple[float, float]
) -> str:
    """Lying bars, one group a name, with their intervals."""
    left = 20 + 6.6 * min(max(map(len, names)), 40)
    thick = 13.0 if len(series) == 1 else 8.0
    group = thick * len(series) + 7
    top = 26.0 if len(series) > 1 else 10.0
    below = top + group * len(names)
    axis = Axis(*limits, left, _PLOT - 20)
    drawing.across(axis, below + 2, axes[1], grid=top)
    for place, name in enumerate(names):
        drawing.text(left - 6, top + place * group + thick * len(series) / 2 + 4, name, anchor="end", color=INK)
        for number, one in enumerate(series):
            y, value = top + place * group + number * thick, float(one.values[place])
            if not np.isfinite(value):
                continue
            start, end = sorted((axis.at(0), axis.at(value)))
            hover = f"{name}: {one.name} {value:+.3f}{_between(one, place)}"
            color = _LOOKS[number % len(_LOOKS)][0]
            drawing.box(
                start,
                y,
                max(end - start, 1),
                thick - 1.5,
                color,
                opacity=0.85 - 0.5 * number,
                hover=hover,
                stroke=color,
            )
            if one.low is not None and one.high is not None:
                middle = y + (thick - 1.5) / 2
                drawing.line([(axis.at(one.low[place]), middle), (axis.at(one.high[place]), middle)], INK, width=1.2)
    if len(series) > 1:
        drawing.legend(left, 14, [("box", _LOOKS[number][0], one.name) for number, one in enumerate(series)])
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
    drawing.across(across, below, axes[0], ticks=ticks)
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
            hover = f"{one.name}, {axes[0]} {places[place]:g}: {value:+.3f}{_between(one, place)}"
            at = across.at(places[place]), up.at(value)
            if shape == "diamond":
                drawing.diamond(*at, color, hover=hover)
            else:
                drawing.dot(*at, color, hover=hover, hollow=shape == "ring")
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
    axis, below = Axis(*limits, left, _PLOT - 20), top + row * len(names)
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
        hover = f"{name}: {one.value:+.3f}{_ends(one.low, one.high)}"
        draw = drawing.dot if one.value > 0 else drawing.diamond
        draw(axis.at(one.value), y, VERMILLION if one.value > 0 else BLUE, hover=hover)
    if band:
        drawing.legend(left, 14, [("box", MUTED, "reached by chance in 5% of draws, by any of them")])
    drawing.width, drawing.height = _PLOT, below + 46
    return drawing.svg


def diagram(drawing: Drawing, layers: int, heads: Mapping[int, Sequence[int]], neurons: Mapping[int, int]) -> str:
    """Components in columns by depth, along the stream: heads above it, neurons below."""
    left, most = 40.0, max([len(some) for some in heads.values()] or [0])
    step = min((_PLOT - 2 * left) / max(layers - 1, 1), 70)
    stream = 30 + 26.0 * max(most, 1)
    end = left + step * (layers - 1)
    drawing.line([(left - 18, stream), (end + 18, stream)], MUTED, width=2.5)
    for layer in range(layers):
        x = left + step * layer
        drawing.line([(x, stream - 4), (x, stream + 4)], MUTED, width=1)
        for place, head in enumerate(heads.get(layer, ())):
            y = stream - 22 - 26 * place
            drawing.line([(x, stream), (x, y)], VERMILLION, width=1)
            drawing.dot(x, y, VERMILLION, radius=11, hover=f"head {layer}.{head}", hollow=True)
            drawing.text(x, y + 4, head, anchor="middle", color=INK, size=10.5)
        if count := neurons.get(layer, 0):
            drawing.line([(x, stream), (x, stream + 18)], BLUE, width=1)
            drawing.box(
                x - 13, stream + 18, 26, 18, BLUE, opacity=0.25, stroke=BLUE, hover=f"{count} neurons of layer {layer}"
            )
            drawing.text(x, stream + 31, count, anchor="middle", color=INK, size=10.5)
        if layers <= 16 or layer % 4 == 0:
            drawing.text(x, stream + 56, layer, anchor="middle")
    drawing.text((left + end) / 2, stream + 74, "layer", anchor="middle", color=INK)
    drawing.legend(left - 18, 16, [("ring", VERMILLION, "head, by its number"), ("box", BLUE, "neurons, how many")])
    drawing.width, drawing.height = max(end + 40, 330), stream + 84
    return drawing.svg


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
    return "" if one.low is None or one.high is None else _ends(one.low[place], one.high[place])


def _ends(low: float, high: float) -> str:
    """An interval in words; of very few pairs it may have no end."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return ", too few to bound it"
    return "" if low == high else f", {low:+.3f} to {high:+.3f}"


def _some(count: int, most: int) -> Sequence[int]:
    if count <= most:
        return range(count)
    chosen: list[int] = sorted(np.random.default_rng(0).choice(count, most, replace=False).tolist())
    return chosen
