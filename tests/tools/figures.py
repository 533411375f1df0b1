"""A line chart as plain SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7f3c8d", "#666666", "#a05d00", "#118a8a")
WIDTH, HEIGHT, LEFT, TOP, PLOT_W, PLOT_H = 720, 360, 56, 44, 440, 260


@dataclass(frozen=True)
class Line:
    name: str
    points: tuple[tuple[float, float], ...]


def figure(title: str, lines: Sequence[Line], ticks: Sequence[int], top: float, mark: float, across: str) -> str:
    """Evenly spaced ticks across, values from 0 to `top` (more is cut off there), a dashed line at `mark`."""
    place = {tick: LEFT + PLOT_W * number / (len(ticks) - 1) for number, tick in enumerate(ticks)}

    def high(value: float) -> float:
        return TOP + PLOT_H * (1 - min(value, top) / top)

    height = max(HEIGHT, TOP + 20 * len(lines) + 16)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="14" fill="#111111">{escape(title)}</text>',
    ]
    for number in range(5):
        value = top * number / 4
        y = high(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}h{PLOT_W}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#444444">{value:g}</text>')
    for tick, x in place.items():
        parts.append(f'<text x="{x:.1f}" y="{TOP + PLOT_H + 18}" text-anchor="middle" fill="#444444">{tick}</text>')
    parts.append(
        f'<text x="{LEFT + PLOT_W / 2}" y="{TOP + PLOT_H + 38}" text-anchor="middle" fill="#444444">{across}</text>'
    )
    parts.append(f'<path d="M{LEFT} {high(mark):.1f}h{PLOT_W}" stroke="#111111" stroke-dasharray="5 4"/>')
    for number, line in enumerate(lines):
        # Where there are more lines than colours, these come again, dashed.
        dashes = number // len(COLOURS)
        stroke = f'stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="2"'
        stroke += f' stroke-dasharray="{8 // dashes} 3"' if dashes else ""
        points = " ".join(f"{place[int(x)]:.1f},{high(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline points="{points}" fill="none" {stroke}/>')
        y = TOP + 8 + 20 * number
        parts.append(f'<path d="M{LEFT + PLOT_W + 16} {y}h20" {stroke}/>')
        parts.append(f'<text x="{LEFT + PLOT_W + 42}" y="{y + 4}" fill="#111111">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>\n"])
