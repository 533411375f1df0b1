"""A drawing of axes, marks and labels as SVG text, which serves on a light page, on a dark one and as a file."""

import math
import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

# Okabe and Ito's colours, which colour-blind people can tell apart too (2008, Color Universal Design).
BLUE, VERMILLION, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"
# A page sets these variables; in a file the defaults hold: dark on white.
INK, MUTED, GRID, PAPER = "var(--ink,#1b1b1b)", "var(--muted,#585858)", "var(--grid,#d4d4d0)", "var(--paper,#fff)"
SIZE = 11.5
# Widths of figures in pixels: on a desk, on a phone, where they are shown at their own size, and of one for both.
DESK, PHONE, ONCE = 560.0, 330.0, 340.0
# Labels longer than this are cut.
LONGEST = 48
# Height of a line of a legend.
LINE = 16.0


@dataclass(frozen=True)
class Axis:
    """Maps numbers from `low` to `high` onto the pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a number; numbers beyond the axis are placed at its end."""
        span = self.high - self.low
        share = (min(max(value, self.low), self.high) - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Three to seven round numbers along the axis."""
        span = self.high - self.low
        if not span:
            return [self.low]
        step = 10 ** math.floor(math.log10(span))
        step = next(size for size in (step / 5, step / 4, step / 2, step, 2 * step) if span / size <= 6)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


@dataclass
class Drawing:
    """A figure being drawn; `name` must be unique on its page, `description` says in a sentence what it shows."""

    name: str
    title: str
    description: str
    width: float
    height: float
    parts: list[str] = field(default_factory=list)

    narrow: bool = field(init=False)  # laid out for a phone; charts may still change the width

    def __post_init__(self) -> None:
        self.narrow = self.width <= PHONE

    def text(
        self,
        x: float,
        y: float,
        content: object,
        *,
        anchor: str = "start",
        color: str = MUTED,
        size: float = SIZE,
        turn: float = 0,
    ) -> None:
        """Adds a text at a place, turned by `turn` degrees."""
        turned = f' transform="rotate({turn:g} {_pixels(x)} {_pixels(y)})"' if turn else ""
        at = f'x="{_pixels(x)}" y="{_pixels(y)}"'
        # Defaults are written once, on the <svg> element.
        at += "" if anchor == "start" else f' text-anchor="{anchor}"'
        at += "" if size == SIZE else f' font-size="{size:g}"'
        at += "" if color == MUTED else f' fill="{color}"'
        self.parts.append(f"<text {at}{turned}>{label(content)}</text>")

    def line(self, points: Sequence[tuple[float, float]], color: str, *, width: float = 1.5, dash: str = "") -> None:
        """Adds straight lines from point to point."""
        if len(points) == 2 and not dash:
            (x, y), (end_x, end_y) = points
            self.lines([(x, y, end_x, end_y)], color, width=width)
            return
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<polyline points="{_points(points)}" fill="none" stroke="{color}" stroke-width="{width:g}"{dashed}/>'
        )

    def lines(
        self, lines: Iterable[tuple[float, float, float, float]], color: str, *, width: float, opacity: float = 1
    ) -> None:
        """Adds many lines of one colour and width as one path; each is (x, y, end x, end y)."""
        strokes = "".join(f"M{_pixels(x)} {_pixels(y)}{_to(x, y, end_x, end_y)}" for x, y, end_x, end_y in lines)
        if strokes:
            self._path(strokes, f'stroke="{color}" stroke-width="{width:g}"{_stroke_opacity(opacity)}')

    def area(self, points: Sequence[tuple[float, float]], color: str, opacity: float) -> None:
        """Adds the polygon that the points enclose."""
        self.parts.append(f'<polygon points="{_points(points)}" fill="{color}" fill-opacity="{opacity:.3g}"/>')

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        color: str,
        *,
        opacity: float = 1,
        hover: str = "",
        stroke: str = "",
    ) -> None:
        """Adds a rectangle."""
        edge = f' stroke="{stroke}" stroke-width="0.8"' if stroke else ""
        place = f'x="{_pixels(x)}" y="{_pixels(y)}" width="{_pixels(max(width, 0))}" height="{_pixels(max(height, 0))}"'
        self._mark("rect", f'{place} fill="{color}"{_opacity(opacity)}{edge}', hover)

    def cells(
        self,
        places: Iterable[tuple[int, int]],
        left: float,
        top: float,
        width: float,
        height: float,
        color: str,
        opacity: float,
    ) -> None:
        """Adds many cells of a grid as one path; each is (row, column)."""
        strokes = "".join(f"M{column} {row}h1" for row, column in places)
        grid = f'transform="translate({_pixels(left)} {_pixels(top + height / 2)}) scale({width:.3f} {height:.3f})"'
        self.parts.append(f'<path d="{strokes}" stroke="{color}" stroke-opacity="{opacity:.3g}" {grid}/>')

    def grid(self, rows: int, columns: int, left: float, top: float, width: float, height: float) -> None:
        """Adds the lines between the cells of a grid and around it."""
        wide, high = _pixels(columns * width), _pixels(rows * height)
        lines = [f"M{_pixels(left)} {_pixels(top + row * height)}h{wide}" for row in range(rows + 1)]
        lines += [f"M{_pixels(left + column * width)} {_pixels(top)}v{high}" for column in range(columns + 1)]
        self.parts.append(f'<path d="{"".join(lines)}" stroke="{GRID}" stroke-width="0.8"/>')

    def dot(
        self,
        x: float,
        y: float,
        color: str,
        *,
        radius: float = 3,
        opacity: float = 1,
        hover: str = "",
        hollow: bool = False,
    ) -> None:
        """Adds a disc, or a ring if `hollow`."""
        if not hollow and (self.narrow or not hover):
            look = f'stroke="{color}" stroke-width="{2 * radius:g}" stroke-linecap="round"'
            self._path(f"M{_pixels(x)} {_pixels(y)}h0", look + _stroke_opacity(opacity))
            return
        fill = f'fill="{PAPER}" stroke="{color}" stroke-width="1.5"' if hollow else f'fill="{color}"'
        self._mark("circle", f'cx="{_pixels(x)}" cy="{_pixels(y)}" r="{radius:g}" {fill}{_opacity(opacity)}', hover)

    def diamond(
        self, x: float, y: float, color: str, *, radius: float = 4, opacity: float = 1, hover: str = ""
    ) -> None:
        """Adds a square that stands on its corner."""
        r = _pixels(radius)
        strokes, look = f"M{_pixels(x)} {_pixels(y - radius)}l{r} {r}-{r} {r}-{r}-{r}z", f'fill="{color}"'
        if opacity == 1 and (self.narrow or not hover):
            self._path(strokes, look)
        else:
            self._mark("path", f'd="{strokes}" {look}{_opacity(opacity)}', hover)

    def across(
        self,
        axis: Axis,
        y: float,
        name: str,
        *,
        grid: float | None = None,
        ticks: Iterable[tuple[float, str]] | None = None,
    ) -> None:
        """Adds a horizontal axis with its name below; with `grid`, grid lines from it to that y."""
        shown = _ticks(axis, ticks)
        if grid is not None:
            self.lines(((axis.at(value), y, axis.at(value), grid) for value, _ in shown), GRID, width=0.8)
        for value, number in shown:
            self.text(axis.at(value), y + 15, number, anchor="middle")
        self.line([(axis.start, y), (axis.end, y)], MUTED, width=1)
        if name:
            self.text((axis.start + axis.end) / 2, y + 32, name, anchor="middle", color=INK)

    def upright(
        self,
        axis: Axis,
        x: float,
        name: str,
        *,
        grid: float | None = None,
        ticks: Iterable[tuple[float, str]] | None = None,
        room: float = 38,
    ) -> None:
        """Adds a vertical axis with its name at the left; with `grid`, grid lines from it to that x."""
        shown = _ticks(axis, ticks)
        if grid is not None:
            self.lines(((x, axis.at(value), grid, axis.at(value)) for value, _ in shown), GRID, width=0.8)
        for value, number in shown:
            self.text(x - 6, axis.at(value) + 4, number, anchor="end")
        self.line([(x, axis.start), (x, axis.end)], MUTED, width=1)
        self.text(x - room, (axis.start + axis.end) / 2, name, anchor="middle", color=INK, turn=-90)

    def legend(self, x: float, y: float, entries: Sequence[tuple[str, str, str]], end: float = math.inf) -> float:
        """Adds (shape, color, meaning) entries, on a new line where `end` is reached; returns the last line's y."""
        left = x
        for shape, color, meaning in entries:
            width = 30 + 6.6 * min(len(meaning), LONGEST)
            if x > left and x + width > end:
                x, y = left, y + LINE
            match shape:
                case "dot":
                    self.dot(x + 5, y - 4, color, radius=4)
                case "ring":
                    self.dot(x + 5, y - 4, color, radius=3.4, hollow=True)
                case "diamond":
                    self.diamond(x + 5, y - 4, color, radius=4.6)
                case "box":
                    self.box(x, y - 9, 10, 10, color, opacity=0.35)
                case "bar":
                    self.line([(x + 11, y - 10), (x + 6, y - 10), (x + 6, y + 2)], color, width=1.6)
                case _:
                    self.line([(x - 4, y - 4), (x + 12, y - 4)], color, width=2.2, dash=shape)
            self.text(x + 16, y, meaning, color=INK)
            x += width
        return y

    @property
    def svg(self) -> str:
        """The whole drawing as an <svg> element."""
        # A checksum keeps ids apart whose names differ only in characters that are replaced.
        checksum = zlib.crc32(self.name.encode(errors="replace"))
        name = re.sub(r"[^\w-]+", "-", self.name)[:80] + f"-{checksum:08x}" + ("-phone" if self.narrow else "")
        width, height = _pixels(self.width), _pixels(self.height)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-labelledby="{name}-t {name}-d" '
            f'font-family="system-ui,Segoe UI,Roboto,Helvetica,Arial,sans-serif" font-size="{SIZE}" fill="{MUTED}">'
        )
        titles = (
            f'<title id="{name}-t">{label(self.title)}</title><desc id="{name}-d">{shown(self.description, 600)}</desc>'
        )
        return f"{head}{titles}{''.join(self.parts)}</svg>"

    def _path(self, strokes: str, look: str) -> None:
        """Adds strokes; consecutive ones of the same look become one element."""
        before = self.parts[-1] if self.parts else ""
        if before.startswith("<path d=") and before.endswith(f'" {look}/>'):
            self.parts[-1] = before.removesuffix(f'" {look}/>') + f'{strokes}" {look}/>'
        else:
            self.parts.append(f'<path d="{strokes}" {look}/>')

    def _mark(self, tag: str, attributes: str, hover: str) -> None:
        title = "" if self.narrow or not hover else f"<title>{shown(hover, 200)}</title>"  # phones have no pointer
        self.parts.append(f"<{tag} {attributes}>{title}</{tag}>" if title else f"<{tag} {attributes}/>")


def label(content: object) -> str:
    """Any text as a short label, safe in SVG."""
    return shown(str(content), LONGEST)


def shown(text: str, longest: int) -> str:
    """Any text escaped and cut to a length, without the characters that hide text or change its direction."""
    kept = "".join(
        " " if character in "\t\n\r" else character
        for character in text[: 4 * longest]
        if character in "\t\n\r" or unicodedata.category(character) not in _INVISIBLE
    )
    return escape(kept if len(kept) <= longest else kept[: longest - 1] + "…")


_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _ticks(axis: Axis, given: Iterable[tuple[float, str]] | None) -> list[tuple[float, str]]:
    return [(value, f"{value:g}".replace("-", "−")) for value in axis.ticks] if given is None else list(given)


def _opacity(opacity: float) -> str:
    return "" if opacity == 1 else f' fill-opacity="{opacity:.3g}"'


def _stroke_opacity(opacity: float) -> str:
    return _opacity(opacity).replace("fill", "stroke")


def _to(x: float, y: float, end_x: float, end_y: float) -> str:
    """A line to its end, in the shortest command of a path."""
    if y == end_y:
        return f"H{_pixels(end_x)}"
    return f"V{_pixels(end_y)}" if x == end_x else f"L{_pixels(end_x)} {_pixels(end_y)}"


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_pixels(x)},{_pixels(y)}" for x, y in points)


def _pixels(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
