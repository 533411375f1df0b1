"""Drawing: axes, marks and labels as plain SVG text, the same in a light page, a dark one, and as a file."""

import math
import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

# Okabe and Ito's colours, which people tell apart however they see colour (2008, Color Universal Design).
BLUE, VERMILLION, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"
# A page sets these; as a file a figure is dark on white.
INK, MUTED, GRID, PAPER = "var(--ink,#1b1b1b)", "var(--muted,#585858)", "var(--grid,#d4d4d0)", "var(--paper,#fff)"
SIZE = 11.5
# How wide figures are laid out: beside text, and in a hand, where they are shown as large as they are drawn.
DESK, PHONE = 560.0, 330.0
# Longer labels are cut.
LONGEST = 48
# From one line of a legend to the next.
LINE = 16.0


@dataclass(frozen=True)
class Axis:
    """Numbers on a line of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a number stands; what lies beyond the axis stands at its end."""
        span = self.high - self.low
        share = (min(max(value, self.low), self.high) - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round numbers along it, three to seven of them."""
        span = self.high - self.low
        if not span:
            return [self.low]
        step = 10 ** math.floor(math.log10(span))
        step = next(one for one in (step / 5, step / 4, step / 2, step, 2 * step) if span / one <= 6)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


@dataclass
class Drawing:
    """A figure that is being drawn; `name` is unique on its page, `says` what it shows in a sentence."""

    name: str
    title: str
    says: str
    width: float
    height: float
    parts: list[str] = field(default_factory=list)

    narrow: bool = field(init=False)  # whether it is laid out for a phone, however wide it turns out

    def __post_init__(self) -> None:
        self.narrow = self.width <= PHONE

    def text(
        self,
        x: float,
        y: float,
        words: object,
        *,
        anchor: str = "start",
        color: str = MUTED,
        size: float = SIZE,
        turn: float = 0,
    ) -> None:
        """Words at a place; turned by so many degrees."""
        turned = f' transform="rotate({turn:g} {_n(x)} {_n(y)})"' if turn else ""
        at = f'x="{_n(x)}" y="{_n(y)}"'
        # What is so of most words stands on the whole drawing.
        at += "" if anchor == "start" else f' text-anchor="{anchor}"'
        at += "" if size == SIZE else f' font-size="{size:g}"'
        at += "" if color == MUTED else f' fill="{color}"'
        self.parts.append(f"<text {at}{turned}>{label(words)}</text>")

    def line(self, points: Sequence[tuple[float, float]], color: str, *, width: float = 1.5, dash: str = "") -> None:
        """Straight from point to point."""
        if len(points) == 2 and not dash:
            (x, y), (to, on) = points
            self.lines([(x, y, to, on)], color, width=width)
            return
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<polyline points="{_points(points)}" fill="none" stroke="{color}" stroke-width="{width:g}"{dashed}/>'
        )

    def lines(self, ends: Iterable[tuple[float, float, float, float]], color: str, *, width: float) -> None:
        """Many straight lines of one look in one stroke: (x, y) to (x, y)."""
        strokes = "".join(f"M{_n(x)} {_n(y)}L{_n(to)} {_n(on)}" for x, y, to, on in ends)
        if strokes:
            self._path(strokes, f'stroke="{color}" stroke-width="{width:g}"')

    def boxes(self, places: Iterable[tuple[float, float, float, float]], color: str, *, opacity: float) -> None:
        """Many rectangles of one look: (x, y, width, height)."""
        shapes = "".join(f"M{_n(x)} {_n(y)}h{_n(wide)}v{_n(high)}h-{_n(wide)}z" for x, y, wide, high in places)
        if shapes:
            self.parts.append(f'<path d="{shapes}" fill="{color}"{_see(opacity)}/>')

    def area(self, points: Sequence[tuple[float, float]], color: str, opacity: float) -> None:
        """What the points enclose."""
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
        """A rectangle."""
        edge = f' stroke="{stroke}" stroke-width="0.8"' if stroke else ""
        place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0))}" height="{_n(max(height, 0))}"'
        self._mark("rect", f'{place} fill="{color}"{_see(opacity)}{edge}', hover)

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
        """Many cells of a grid in one stroke: (row, column)."""
        strokes = "".join(f"M{column} {row}h1" for row, column in places)
        grid = f'transform="translate({_n(left)} {_n(top + height / 2)}) scale({width:.3f} {height:.3f})"'
        self.parts.append(f'<path d="{strokes}" stroke="{color}" stroke-opacity="{opacity:.3g}" {grid}/>')

    def grid(self, rows: int, columns: int, left: float, top: float, width: float, height: float) -> None:
        """The lines between the cells of a grid, and around it."""
        wide, high = _n(columns * width), _n(rows * height)
        lines = [f"M{_n(left)} {_n(top + row * height)}h{wide}" for row in range(rows + 1)]
        lines += [f"M{_n(left + column * width)} {_n(top)}v{high}" for column in range(columns + 1)]
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
        """A disc, or a ring."""
        if not hollow and (self.narrow or not hover):
            look = f'stroke="{color}" stroke-width="{2 * radius:g}" stroke-linecap="round"'
            self._path(f"M{_n(x)} {_n(y)}h0", look + _see(opacity).replace("fill", "stroke"))
            return
        fill = f'fill="{PAPER}" stroke="{color}" stroke-width="1.5"' if hollow else f'fill="{color}"'
        self._mark("circle", f'cx="{_n(x)}" cy="{_n(y)}" r="{radius:g}" {fill}{_see(opacity)}', hover)

    def diamond(
        self, x: float, y: float, color: str, *, radius: float = 4, opacity: float = 1, hover: str = ""
    ) -> None:
        """A square on its corner."""
        r = _n(radius)
        self._mark(
            "path", f'd="M{_n(x)} {_n(y - radius)}l{r} {r}-{r} {r}-{r}-{r}z" fill="{color}"{_see(opacity)}', hover
        )

    def across(
        self,
        axis: Axis,
        y: float,
        name: str,
        *,
        grid: float | None = None,
        ticks: Iterable[tuple[float, str]] | None = None,
    ) -> None:
        """An axis along the bottom, its grid up to a height, its name below."""
        shown = _ticks(axis, ticks)
        if grid is not None:
            self.lines(((axis.at(value), y, axis.at(value), grid) for value, _ in shown), GRID, width=0.8)
        for value, words in shown:
            self.text(axis.at(value), y + 15, words, anchor="middle")
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
        """An axis along the left, its grid up to a width, its name beside."""
        shown = _ticks(axis, ticks)
        if grid is not None:
            self.lines(((x, axis.at(value), grid, axis.at(value)) for value, _ in shown), GRID, width=0.8)
        for value, words in shown:
            self.text(x - 6, axis.at(value) + 4, words, anchor="end")
        self.line([(x, axis.start), (x, axis.end)], MUTED, width=1)
        self.text(x - room, (axis.start + axis.end) / 2, name, anchor="middle", color=INK, turn=-90)

    def legend(self, x: float, y: float, entries: Sequence[tuple[str, str, str]], end: float = math.inf) -> float:
        """What shapes and colours mean, side by side: (shape, color, words); new lines before `end`, the last's y."""
        left = x
        for shape, color, words in entries:
            width = 30 + 6.6 * min(len(words), LONGEST)
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
            self.text(x + 16, y, words, color=INK)
            x += width
        return y

    @property
    def svg(self) -> str:
        """The whole."""
        # Names that differ in other signs alone stay apart.
        own = zlib.crc32(self.name.encode(errors="replace"))
        name = re.sub(r"[^\w-]+", "-", self.name)[:80] + f"-{own:08x}" + ("-phone" if self.narrow else "")
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(self.width)} {_n(self.height)}" '
            f'width="{_n(self.width)}" height="{_n(self.height)}" role="img" aria-labelledby="{name}-t {name}-d" '
            f'font-family="system-ui,Segoe UI,Roboto,Helvetica,Arial,sans-serif" font-size="{SIZE}" fill="{MUTED}">'
        )
        named = f'<title id="{name}-t">{label(self.title)}</title><desc id="{name}-d">{shown(self.says, 600)}</desc>'
        return f"{head}{named}{''.join(self.parts)}</svg>"

    def _path(self, strokes: str, look: str) -> None:
        """Strokes; those of one look that follow each other are one element."""
        before = self.parts[-1] if self.parts else ""
        if before.startswith("<path d=") and before.endswith(f'" {look}/>'):
            self.parts[-1] = before.removesuffix(f'" {look}/>') + f'{strokes}" {look}/>'
        else:
            self.parts.append(f'<path d="{strokes}" {look}/>')

    def _mark(self, tag: str, attributes: str, hover: str) -> None:
        said = "" if self.narrow or not hover else f"<title>{shown(hover, 200)}</title>"  # nobody points on a phone
        self.parts.append(f"<{tag} {attributes}>{said}</{tag}>" if said else f"<{tag} {attributes}/>")


def label(words: object) -> str:
    """Anybody's text as a short label."""
    return shown(str(words), LONGEST)


def shown(words: str, longest: int) -> str:
    """Anybody's text, harmless and no longer than that: marks that turn or hide text are taken out."""
    kept = "".join(
        " " if one in "\t\n\r" else one
        for one in words[: 4 * longest]
        if one in "\t\n\r" or unicodedata.category(one) not in _UNSEEN
    )
    return escape(kept if len(kept) <= longest else kept[: longest - 1] + "…")


_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _ticks(axis: Axis, given: Iterable[tuple[float, str]] | None) -> list[tuple[float, str]]:
    return [(value, f"{value:g}".replace("-", "−")) for value in axis.ticks] if given is None else list(given)


def _see(opacity: float) -> str:
    return "" if opacity == 1 else f' fill-opacity="{opacity:.3g}"'


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
