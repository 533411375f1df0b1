"""Adding a figure: what docs/adding-a-figure.md shows draws planted numbers where they belong, for desk and phone."""

import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from harness.inputs.places import HOME
from harness.measurements.evidence import Evidence
from harness.measurements.questions import Attended
from harness.measurements.recipe import Recipe
from harness.report.drawing import figures as drawing
from harness.results.verdict_evidence import Material
from tests.tools.planted import HELDOUT, PAIRS, heads, hovers

PAGE = (HOME / "docs" / "adding-a-figure.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
REPORT = (HOME / "docs" / "report.md").read_text(encoding="utf-8")


@pytest.fixture
def attention(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page's function, in its place among the makers of figures."""
    names: dict[str, Any] = {"__name__": "page"}
    exec(CODE, names)  # noqa: S102 - the page's own code
    monkeypatch.setattr(drawing, "MAKERS", (names["attention"], *drawing.MAKERS))
    return names["attention"]


def attended(planted: float) -> Evidence:
    """Every head attends to the differing words by 0.05, head 3 of layer 2 by more."""
    shares = np.full((len(HELDOUT), 4, 6), 0.05)
    shares[:, 2, 3] = planted
    of = {"pairs": {"pairs": HELDOUT.fingerprint, "n": len(HELDOUT)}}
    return Evidence(Recipe(Attended.KIND, 1, "m", of), {}, {"words": shares})


def test_the_figure_of_the_page_shows_the_planted_head(attention: Any) -> None:
    (figure,) = drawing.figures("a claim", {"m": Material([attended(0.6)], PAIRS, 0.01)})["m"]
    said = [text for text in hovers(figure.svg) if text]
    assert len(said) == 24
    assert max(said, key=lambda text: float(text.rpartition(" ")[2])) == "layer 2, head 3: +0.600"
    assert f"on {len(HELDOUT)} held-out pairs." in figure.caption
    assert float(ET.fromstring(figure.phone).get("width", "")) < float(ET.fromstring(figure.svg).get("width", ""))


def test_models_share_the_scale_of_the_figure_of_the_page(attention: Any) -> None:
    materials = {name: Material([attended(share)], PAIRS, 0.01) for name, share in (("weak", 0.1), ("strong", 1.0))}
    opacity = {}
    for model, (figure,) in drawing.figures("a claim", materials).items():
        cells = ET.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}rect")
        planted = next(cell for cell in cells if "layer 2, head 3" in "".join(cell.itertext()))
        opacity[model] = float(planted.get("fill-opacity") or 1)
    assert opacity == pytest.approx({"weak": 0.1, "strong": 1.0})


def test_where_its_measurement_is_missing_the_figure_of_the_page_is_not_drawn(attention: Any) -> None:
    assert list(attention(Material([heads(np.ones((2, 2)))], PAIRS, 0.01))) == []


def test_the_makers_of_the_page_are_those_of_the_code() -> None:
    """At most four figures, as both pages say, in modules that exist."""
    assert drawing.MOST == 4
    assert "at most four figures are drawn" in PAGE
    assert "at most four of a verdict" in REPORT
    for module in re.findall(r"`(?:drawing/)?(\w+\.py)`", PAGE):
        assert (HOME / "harness" / "report" / "drawing" / module).exists(), module
