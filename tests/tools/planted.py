"""Evidence with planted numbers, the figures drawn from it, and what their marks say."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.inputs.judges.phrases import PHRASES
from harness.inputs.prompts.pairs import PairSet
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import packed
from harness.measurements.evidence import Evidence
from harness.measurements.recipe import Recipe
from harness.report.drawing.figures import figures
from harness.report.drawing.svg import Drawing
from harness.results.verdict_evidence import Material
from tests.tools import stories

PAIRS = stories.pairs(120)
HELDOUT = PAIRS.heldout
SPACE = "{http://www.w3.org/2000/svg}"


def drawing() -> Drawing:
    return Drawing("a figure", "A title", "What it says.", 560, 300)


def hovers(text: str) -> list[str]:
    root = ET.fromstring(text)
    return [mark.findtext(f"{SPACE}title", "") for mark in root if mark.tag != f"{SPACE}title"]


def across(mark: ET.Element) -> float:
    """Where a mark stands, whatever its shape."""
    return float(mark.get("cx") or (mark.get("d") or "M0").split(" ")[0].removeprefix("M"))


def without_interval(text: str) -> str:
    """A hover's name and value."""
    return re.split(r" \[|, too few", text)[0]


def numbers(said: Sequence[str]) -> list[float]:
    """The number that follows the name."""
    return [float(without_interval(text).partition(": ")[2]) for text in said]


def swept(what: dict[str, Any], axes: Mapping[str, Sequence[str]], shares: np.ndarray, kind: str = "swept") -> Evidence:
    """Effects of these shares of a gap of 4, the same on every pair but for a little noise."""
    n, rng = len(HELDOUT), np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (n, *shares.shape))
    clean, source = np.full(n, 2.0), np.full(n, -2.0)
    patched = 2.0 - 4 * (shares[None] + noise)
    effects = Effects(
        tuple(pair.id for pair in HELDOUT),
        (),
        {k: tuple(v) for k, v in axes.items()},
        patched,
        0 * patched,
        clean,
        source,
    )
    of = {"pairs": {"pairs": HELDOUT.fingerprint, "n": n}, "what": what, "mode": "noise"}
    return Evidence(Recipe(kind, 1, "m", of), *packed(effects))


def heads(shares: np.ndarray, kind: str = "swept") -> Evidence:
    axes = {
        "layer": [str(i) for i in range(len(shares))],
        "head": [str(i) for i in range(shares.shape[1])],
        "position": ["post"],
    }
    return swept({"a": "Sweep", "kind": "head"}, axes, shares[..., None], kind)


def joint(circuits: list[list[str]], shares: list[float], **more: Any) -> Evidence:
    what = {
        "a": "Joint",
        "circuits": [{"circuit": circuit} for circuit in circuits],
        "at": "post",
        "direct": False,
    } | more
    return swept(what, {"circuit": [str(i) for i in range(len(circuits))]}, np.array(shares))


def drawn(*evidence: Evidence) -> dict[str, Any]:
    shown = figures("a claim", {"m": Material(evidence, PAIRS, 0.01)})["m"]
    for figure in shown:
        ET.fromstring(figure.svg)
        assert len(figure.svg) < 40_000
        assert figure.caption
    return {figure.name: figure for figure in shown}


def answered(pairs: PairSet, side: str, under: dict[str, Any] | None, refused: np.ndarray) -> Evidence:
    of = {"pairs": {"pairs": pairs.fingerprint, "n": len(pairs)}, "side": side, "under": under}
    return Evidence(Recipe("answers", 1, "m", of), {PHRASES: refused.astype(int).tolist()})


def scored(side: str, under: dict[str, Any] | None, odds: float) -> Evidence:
    of = {"pairs": {"pairs": HELDOUT.fingerprint, "n": len(HELDOUT)}, "side": side, "under": under}
    return Evidence(Recipe("scores", 1, "m", of), {"odds": [odds] * len(HELDOUT)})
