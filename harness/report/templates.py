"""What all pages share: template filters, the style sheet, anchors, and the scale of forest plots."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.inputs.model_catalog import readable
from harness.report.inline_svg import inline

PAGE = Path(__file__).parent / "template"
# Scale of the forest plots: shares, with some room on both sides; values beyond it are drawn at its edge.
LEAST, MOST = -0.25, 1.1
TICKS = (0, 0.5, 1)


def environment(templates: Path) -> Environment:
    """A Jinja environment that escapes every value, and fails on an undefined one."""
    files = FileSystemLoader(templates)
    jinja = Environment(loader=files, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    jinja.filters |= {"coded": _coded, "inline": inline, "short": _short, "seconds": _seconds, "size": readable}
    jinja.globals["anchor"] = anchor
    return jinja


def stylesheet() -> str:
    """The style sheet of all pages; the policy forbids style attributes, so the ticks' places are rules in it."""
    ticks = "".join(f".ticks .at-{number} {{ left: {across(at):.1f}%; }}\n" for number, at in enumerate(TICKS))
    return (PAGE / "style.css").read_text(encoding="utf-8") + ticks


def anchor(claim: str, model: str) -> str:
    """The id of a verdict's element on the page."""
    return f"{slug(claim)}--{slug(model)}"


def slug(text: str) -> str:
    """A text as a part of file names and links."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-").lower()


def across(value: float) -> float:
    """The place of a number in a forest plot, from 0 to 100; NaN gives NaN."""
    return 100 * (min(max(value, LEAST), MOST) - LEAST) / (MOST - LEAST)


def _coded(text: str) -> Markup:
    """Escaped text in which parts between backticks are <code>."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
