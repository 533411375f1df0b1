"""What makes a page short loses nothing: figures keep every mark with its look, tables every text and answer."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.report.drawing.figures import Figure, figures
from harness.report.drawing.svg import DESK, ONCE, PHONE
from harness.report.inline_svg import inline
from harness.report.run_material import words_in_short
from harness.results.verdict_evidence import Material
from tests.tools import stories
from tests.tools.planted import HELDOUT, PAIRS, answered, heads, joint

# What a page's style sheet says of the classes of texts.
CLASSES = {"m": {"text-anchor": "middle"}, "e": {"text-anchor": "end"}, "i": {"fill": "var(--ink)"}}
# Some characters that JavaScript counts as two, and some that one text shares with another.
TEXTS = st.text(st.sampled_from("ab\u00e9\uffff\U0001f600\U0001f601"), max_size=80)


def marks(element: ET.Element, inherited: dict[str, str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every mark with its text and the attributes that it has or inherits."""
    attributes = inherited | element.attrib
    for name in attributes.pop("class", "").split():
        attributes |= CLASSES[name]
    attributes = {name: re.sub(r",#\w+\)", ")", value) for name, value in attributes.items()}
    tag = element.tag.rpartition("}")[2]
    if tag == "g":
        for inner in element:
            yield from marks(inner, attributes)
    elif tag not in ("title", "desc"):
        yield tag, "".join(element.itertext()), attributes


def drawn() -> list[Figure]:
    """Figures of every kind of chart but scatter plots."""
    parts = [f"1.head.{number}" for number in range(5)]
    rng, every = np.random.default_rng(0), np.ones(len(HELDOUT))
    evidence = [
        [heads(rng.uniform(-1, 1, (4, 6))), heads(rng.uniform(-1, 1, (4, 6)), "estimated")],
        [joint([[f"{layer}.attn_out"] for layer in range(3)], [0.2, 0.5, 0.3])],
        [joint([parts, *([part] for part in parts)], [0.9, 0.1, 0.2, 0.3, 0.2, 0.1])],
        [answered(HELDOUT, "harmful", None, every), answered(HELDOUT, "harmful", stories.REMOVE, 0 * every)],
    ]
    return [shown for measured in evidence for shown in figures("c", {"m": Material(measured, PAIRS, 0.01)})["m"]]


def test_a_figure_on_a_page_has_the_marks_of_its_file_in_their_order_and_look() -> None:
    shown = drawn()
    assert {figure.name for figure in shown} >= {"gradients", "ranking-noise", "heads-noise", "stages", "categories"}
    for svg in (svg for figure in shown for svg in (figure.svg, figure.phone) if svg):
        whole, short = ET.fromstring(svg), ET.fromstring(inline(svg))
        of_file, of_page = ([mark for part in root for mark in marks(part, {})] for root in (whole, short))
        assert of_page == of_file
        assert len(inline(svg)) < 0.9 * len(svg)


def test_rows_are_drawn_once_and_what_a_phone_needs_otherwise_twice() -> None:
    for figure in drawn():
        width = float(ET.fromstring(figure.svg).get("width", ""))
        if figure.phone:
            assert float(ET.fromstring(figure.phone).get("width", "")) <= PHONE < width <= DESK + 10
        else:
            assert width <= ONCE
    rows = {figure.name for figure in drawn() if not figure.phone}
    assert rows == {"ranking-noise", "beside", "categories"}


def read_as_javascript_does(short: list[str]) -> list[str]:
    """The texts, with strings of 16-bit units, as the page's script puts them together."""
    texts, before = [], b""
    for text in short:
        before = before[: 2 * int(text[0], 36)] + text[1:].encode("utf-16-le")
        texts.append(before.decode("utf-16-le"))
    return texts


@given(st.lists(TEXTS, max_size=12))
def test_texts_in_short_are_read_as_they_were(texts: list[str]) -> None:
    assert read_as_javascript_does(words_in_short(texts)) == texts


def test_texts_that_begin_alike_are_shorter() -> None:
    texts = [f"Certainly, here is one way to {verb} a bridge." for verb in ("burn", "blast", "wreck", "flood")]
    short: Any = words_in_short(texts)
    assert short == [f"0{texts[0]}", "vlast a bridge.", "uwreck a bridge.", "uflood a bridge."]
