"""A figure's SVG as part of a page: what the page says already is left out, and a look of several marks stands once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

# Replacements where the page's style sheet and caption already say the same.
_SAID_BY_PAGES = tuple(
    (re.compile(pattern, re.DOTALL), instead)
    for pattern, instead in (
        (r"var\((--\w+),[^)]*\)", r"var(\1)"),
        (r' xmlns="[^"]*"| font-family="[^"]*"|<desc id=.*?</desc>', ""),
        (r'aria-labelledby="[^"]*"([^>]*>)<title id="[^"]*">([^<"]*)</title>', r'aria-label="\2"\1'),
        (r'text-anchor="end" fill="var\(--ink\)"', 'class="e i"'),
        (r'text-anchor="(e|m)\w+"', r'class="\1"'),
    )
)
# A mark or text of a drawing: tag, attributes, and the end of the element.
_MARK = re.compile(r"<(circle|path|polygon|polyline|rect|text) ([^>]*?)(/>|>.*?</\1>)", re.DOTALL)
# The attributes that a group can hand on to its marks; marks of a group may differ in their opacity.
_LOOK = re.compile(r'(?:class|font-size|fill|stroke|stroke-width|stroke-linecap|stroke-dasharray)="[^"]*" ?')
_OPACITY = re.compile(r'(?:fill|stroke)-opacity="[^"]*" ?')


def inline(svg: str) -> Markup:
    """A figure's SVG for a page."""
    for pattern, instead in _SAID_BY_PAGES:
        svg = pattern.sub(instead, svg)
    return Markup("".join(_grouped(svg)))  # noqa: S704


def _grouped(svg: str) -> Iterator[str]:
    """The parts of a drawing, neighbouring marks of one look in a group that has it."""
    end = 0
    for (_, look), marks in groupby(_marks(svg), key=lambda mark: (mark.run, mark.look)):
        alike = list(marks)
        yield svg[end : alike[0].start]
        same = len({mark.opacity for mark in alike}) == 1
        shared = f"{look} {alike[0].opacity}".strip() if same else look
        if len(alike) == 1 or not shared:
            yield svg[alike[0].start : alike[-1].end]
        else:
            own = (mark.place if same else f"{mark.place} {mark.opacity}".strip() for mark in alike)
            inner = "".join(f"<{mark.tag} {where}{mark.rest}" for mark, where in zip(alike, own, strict=True))
            yield f"<g {shared}>{inner}</g>"
        end = alike[-1].end
    yield svg[end:]


@dataclass(frozen=True)
class _Mark:
    """A mark of a drawing in parts; marks without anything else between them are of one run."""

    start: int
    end: int
    run: int
    tag: str
    place: str
    look: str
    opacity: str
    rest: str


def _marks(svg: str) -> Iterator[_Mark]:
    end = run = 0
    for match in _MARK.finditer(svg):
        tag, attributes, rest = match.groups()
        run += match.start() != end
        end = match.end()
        look, opacity = (" ".join(part.strip() for part in of.findall(attributes)) for of in (_LOOK, _OPACITY))
        place = _OPACITY.sub("", _LOOK.sub("", attributes)).strip()
        yield _Mark(match.start(), end, run, tag, place, look, opacity, rest)
