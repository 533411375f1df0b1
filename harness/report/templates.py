"""What all pages have in common: how templates are filled, their style, names of places, and the scale of forests."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.inputs.model_catalog import readable

PAGE = Path(__file__).parent / "template"
# The forest's scale: shares, with a little room on both sides; what lies beyond is drawn at its edge.
LEAST, MOST = -0.25, 1.1
TICKS = (0, 0.5, 1)
# What a figure needs as a file, and the shorter form that does on a page with its style sheet.
_ON_PAGES = tuple(
    (re.compile(pattern, re.DOTALL), instead)
    for pattern, instead in (
        (r"var\((--\w+),[^)]*\)", r"var(\1)"),
        (r' xmlns="[^"]*"| font-family="[^"]*"|<desc id=.*?</desc>', ""),
        (r'aria-labelledby="[^"]*"([^>]*>)<title id="[^"]*">([^<"]*)</title>', r'aria-label="\2"\1'),
        (r'text-anchor="end" fill="var\(--ink\)"', 'class="e i"'),
        (r'text-anchor="(e|m)\w+"', r'class="\1"'),
    )
)


def environment(templates: Path) -> Environment:
    """What makes pages of templates: whatever is put into one stands there as text."""
    files = FileSystemLoader(templates)
    found = Environment(loader=files, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    found.filters |= {"coded": _coded, "inline": _inline, "short": _short, "seconds": _seconds, "size": readable}
    found.globals["anchor"] = anchor
    return found


def stylesheet() -> str:
    """Of all pages; no element has a style of its own."""
    ticks = "".join(f".ticks .at-{number} {{ left: {across(at):.1f}%; }}\n" for number, at in enumerate(TICKS))
    return (PAGE / "style.css").read_text(encoding="utf-8") + ticks


def anchor(claim: str, model: str) -> str:
    """Where on the page a verdict stands."""
    return f"{slug(claim)}--{slug(model)}"


def slug(text: str) -> str:
    """For file names and links."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-").lower()


def across(value: float) -> float:
    """Where a number stands in a forest, 0 to 100; NaN stands nowhere and is not drawn."""
    return 100 * (min(max(value, LEAST), MOST) - LEAST) / (MOST - LEAST)


def _coded(text: str) -> Markup:
    """What stands between backticks as code; all else as it is, harmless."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _inline(svg: str) -> Markup:
    """A figure as it stands in the page, which sets colours and letters, and writes the description below it."""
    for pattern, instead in _ON_PAGES:
        svg = pattern.sub(instead, svg)
    return Markup(svg)  # noqa: S704


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
