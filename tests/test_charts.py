"""Charts draw numbers where they belong: axes, heat maps, bands, scales and diagrams; any text stays text."""

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.inputs.prompts.pairs import PairSet
from harness.measurements.evidence import Evidence
from harness.measurements.recipe import Recipe
from harness.report.drawing import charts, svg
from harness.report.drawing.charts import Series
from harness.report.drawing.figures import MOST, figures
from harness.report.drawing.svg import Axis, Drawing
from harness.results.verdict_evidence import Material
from tests.tools.planted import (
    PAIRS,
    SPACE,
    across,
    drawing,
    drawn,
    heads,
    hovers,
    joint,
    numbers,
)

HOSTILE = "<script>alert(1)</script>&]]>\u202e\x00" + "x" * 1_000_000


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.floats(0, 500), st.floats(1, 500))
def test_an_axis_leads_ends_to_ends_and_keeps_order(low: float, span: float, start: float, length: float) -> None:
    axis = Axis(low, low + span, start, start + length)
    assert math.isclose(axis.at(low), start, abs_tol=1e-6)
    assert math.isclose(axis.at(low + span), start + length, abs_tol=1e-6)
    assert axis.at(low - 1) == axis.at(low)
    ticks = axis.ticks
    assert 2 <= len(ticks) <= 8
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    places = [axis.at(tick) for tick in ticks]
    assert places == sorted(places)


@given(st.floats(0.01, 1), st.floats(0.5, 2))
def test_a_heat_map_shows_equal_sizes_equally_whatever_their_sign(value: float, limit: float) -> None:
    text = charts.heatmap(drawing(), np.array([[value, -value, 0.0]]), ["0"], ["a", "b", "c"], ("row", "column"), limit)
    cells = [mark for mark in ET.fromstring(text) if mark.findtext(f"{SPACE}title")]
    by_hover = {mark.findtext(f"{SPACE}title"): mark for mark in cells if mark.tag == f"{SPACE}rect"}
    plus, minus, none = (
        by_hover[f"row 0, column {name}: {size:+.3f}"] for name, size in (("a", value), ("b", -value), ("c", 0))
    )
    assert plus.get("fill-opacity") == minus.get("fill-opacity")
    assert plus.get("fill") != minus.get("fill")
    assert float(none.get("fill-opacity") or 1) == 0


def test_anybodys_text_stays_text_and_short() -> None:
    hostile = drawing()
    hostile.text(0, 0, HOSTILE)
    hostile.dot(1, 1, svg.BLUE, hover=HOSTILE)
    text = Drawing(HOSTILE[:200], HOSTILE, HOSTILE, 10, 10, hostile.parts).svg
    root = ET.fromstring(text)
    assert {node.tag.removeprefix(SPACE) for node in root.iter()} <= {"svg", "title", "desc", "text", "circle"}
    assert len(text) < 3000
    assert "\u202e" not in text
    assert root.findtext(f"{SPACE}text", "").startswith("<script>alert(1)</script>&]]>x")


def test_models_share_a_scale() -> None:
    weak, strong = np.full((2, 2), 0.1), np.full((2, 2), 0.1)
    strong[0, 0] = 0.9
    material = {name: Material([heads(shares)], PAIRS, 0.01) for name, shares in (("weak", weak), ("strong", strong))}
    by_model = figures("a claim", material)
    cell = {}
    for model, shown in by_model.items():
        text = next(figure.svg for figure in shown if figure.name == "heads-noise")
        root = ET.fromstring(text)
        cell[model] = next(
            mark for mark in root if (mark.findtext(f"{SPACE}title") or "").startswith("layer 1, head 1")
        )
    assert cell["weak"].get("fill-opacity") == pytest.approx(cell["strong"].get("fill-opacity"), abs=1e-6) or float(
        cell["weak"].get("fill-opacity") or 0
    ) == pytest.approx(float(cell["strong"].get("fill-opacity") or 0), abs=0.02)


def test_a_band_holds_its_line() -> None:
    series = [Series("one", [0.1, 0.5], [0.0, 0.4], [0.2, 0.6])]
    text = charts.curves(drawing(), [0, 1], series, ("across", "up"), (0, 1))
    root = ET.fromstring(text)
    band = root.find(f"{SPACE}polygon")
    assert band is not None
    points = [tuple(map(float, point.split(","))) for point in (band.get("points") or "").split()]
    marks = [
        (float(mark.get("cx") or 0), float(mark.get("cy") or 0))
        for mark in root.iter(f"{SPACE}circle")
        if mark.findtext(f"{SPACE}title")
    ]
    for x, y in marks:
        ends = [py for px, py in points if px == pytest.approx(x, abs=0.2)]
        assert min(ends) <= y <= max(ends)


@given(st.integers(1, 4), st.integers(0, 10_000), st.sampled_from([0.0, 1e-300, 1e-9, 0.1, 1.0, 30.0]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_however_few_and_wild_the_numbers_a_figure_is_drawn_or_none(n: int, seed: int, size: float, gone: bool) -> None:
    rng, heldout = np.random.default_rng(seed), PairSet("few", tuple(PAIRS.heldout)[:n])
    few = PairSet("few", (*heldout, *PAIRS.discovery))

    def of(evidence: Evidence, **more: Any) -> Recipe:
        return Recipe(
            evidence.recipe.kind,
            1,
            "m",
            {**evidence.recipe.of, "pairs": {"pairs": few.heldout.fingerprint, "n": n}, **more},
        )

    def wild(evidence: Evidence) -> Evidence:
        arrays = {name: rng.normal(0, size, (n, *array.shape[1:])) for name, array in evidence.arrays.items()}
        if gone:
            arrays["patched"][0] = np.nan
        return Evidence(of(evidence), {**evidence.values, "pairs": [pair.id for pair in heldout]}, arrays)

    parts = [f"1.head.{number}" for number in range(3)]
    blocks = [[f"{layer}.attn_out", f"{layer}.mlp_out"] for layer in range(3)]
    evidence = [
        wild(heads(np.zeros((3, 2)))),
        wild(heads(np.zeros((3, 2)), "estimated")),
        wild(joint([parts[:1], parts[:2], parts], [0.0] * 3)),
        wild(joint([[part] for part in parts], [0.0] * 3)),
        wild(joint(blocks, [0.0] * 3)),
    ]
    for side in ("harmful", "harmless"):
        for kind, arrays in (
            ("projected", {"along": rng.normal(0, size, (2, n, 3)), "length": np.ones((n, 3))}),
            ("lens", {"odds": rng.normal(0, size, (n, 3))}),
        ):
            evidence.append(Evidence(of(heads(np.zeros((1, 1))), side=side, position=-1), {}, arrays))
            evidence[-1] = Evidence(Recipe(kind, 1, "m", evidence[-1].recipe.of), {}, arrays)
    streams = rng.normal(0, size, (2 * n, 5))
    recipe = Recipe("products", 1, "m", of(evidence[0], layer=1, position=-1).of)
    evidence.append(Evidence(recipe, {}, {"products": streams @ streams.T}))
    for item in evidence:
        for shown in figures("a claim", {"m": Material([item, *evidence[-5:-1]], few, 0.0025)})["m"]:
            ET.fromstring(shown.svg)
            assert "nan" not in shown.svg
            assert "inf" not in re.sub(r"infer|info", "", shown.svg)


@given(st.floats(-0.95, 0.95))
@settings(max_examples=20, deadline=None)
def test_no_scale_cuts_a_value_off_whatever_its_sign(value: float) -> None:
    shares = np.array([[0.2, 0.0], [value, 0.05]])
    parts = [["1.head.0"], ["1.head.0", "1.head.1"]]
    blocks = [[f"{layer}.attn_out"] for layer in range(3)]
    shown = drawn(heads(shares)) | drawn(joint(parts, [0.2, value]), joint(blocks, [0.2, value, 0.0]))
    for name in ("ranking-noise", "layers-noise", "cumulative-harmful", "stages"):
        root = ET.fromstring(shown[name].svg)
        upright = name != "ranking-noise"
        marks = [
            (numbers([text])[0], (-float(mark.get("cy") or 0)) if upright else across(mark))
            for mark in root
            if (text := mark.findtext(f"{SPACE}title") or "")
        ]
        (low, start), (high, end) = min(marks), max(marks)
        for number, at in marks:
            # Every mark stands on the line between the least and the largest, as nearly as their text is rounded.
            assert at == pytest.approx(start + (number - low) / (high - low) * (end - start), abs=4), name


@pytest.mark.parametrize(("layers", "count"), [(32, 32), (80, 64), (26, 8)])
def test_many_heads_fit_a_small_file_and_the_planted_one_still_speaks(layers: int, count: int) -> None:
    values = np.random.default_rng(3).uniform(-0.2, 0.2, (layers, count))
    values[layers // 2, 5] = 0.9
    rows, columns = ([str(i) for i in range(n)] for n in values.shape)
    text = charts.heatmap(drawing(), values, rows, columns, ("layer", "head"), 0.9)
    assert len(text) < 40_000
    said = [hover for hover in hovers(text) if hover]
    assert said[0] == f"layer {layers // 2}, head 5: +0.900"
    assert len(said) == charts.MOST_HOVERS


def test_small_cells_stand_where_they_belong_and_are_as_strong_as_their_size() -> None:
    values = np.zeros((20, 20))
    values[:, :6] = 1.0  # those that speak
    values[3, 17], values[9, 2 + 10] = 0.5, -0.5
    names = [str(i) for i in range(20)]
    root = ET.fromstring(charts.heatmap(drawing(), values, names, names, ("row", "column"), 1.0))
    paths = {
        path.get("stroke"): (path.get("d"), path.get("stroke-opacity"))
        for path in root.iter(f"{SPACE}path")
        if "scale" in (path.get("transform") or "") and path.get("stroke-opacity") == "0.5"
    }
    assert paths == {svg.VERMILLION: ("M17 3h1", "0.5"), svg.BLUE: ("M12 9h1", "0.5")}


def test_two_figures_of_one_kind_have_names_of_their_own() -> None:
    shares = np.full((2, 2), 0.1)
    other = heads(shares)
    description = {**other.recipe.of["what"], "at": ["all"]}
    again = Evidence(Recipe("swept", 1, "m", {**other.recipe.of, "what": description}), other.values, other.arrays)
    shown = figures("a claim", {"m": Material([heads(shares), again], PAIRS, 0.01)})["m"]
    assert len({figure.name for figure in shown}) == len(shown) == MOST
    ids = [name for figure in shown for name in re.findall(r' id="([^"]+)"', figure.svg)]
    assert len(set(ids)) == len(ids)


def test_models_whose_names_differ_in_a_sign_alone_share_no_id() -> None:
    ids = {re.findall(r' id="([^"]+)"', Drawing(name, "t", "d", 9, 9).svg)[0] for name in ("a/b", "a-b", "a b")}
    assert len(ids) == 3


@given(st.integers(2, 100), st.integers(1, 60), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_no_two_components_of_a_diagram_lie_on_each_other(layers: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = {(int(rng.integers(layers)), int(rng.integers(99))) for _ in range(count)}
    components: dict[int, list[tuple[int, str]]] = {}
    for layer, index in sorted(places):
        components.setdefault(layer, []).append((index, f"head {layer}.{index}"))
    text = charts.diagram(drawing(), layers, components, {layer: ["neuron"] for layer in components})
    marks = [mark for mark in ET.fromstring(text).iter(f"{SPACE}circle") if len(mark)]
    at = np.array([(float(mark.get("cx") or 0), float(mark.get("cy") or 0)) for mark in marks])
    assert len(at) == len(places)
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1) + 99 * np.eye(len(at))
    assert apart.min() > 2 * 11


def test_words_are_large_enough_to_read_and_colours_are_told_apart_by_all() -> None:
    shares = np.linspace(-0.5, 0.9, 12).reshape(3, 4)
    parts = [f"1.head.{number}" for number in range(5)]
    shown = [
        *drawn(heads(shares), heads(shares, "estimated")).values(),
        *drawn(joint([parts[:2], parts], [0.1, 1])).values(),
    ]
    for figure in shown:
        sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', figure.svg)]
        assert min(sizes) >= 11
        colours = {each.upper() for each in re.findall(r"#[0-9a-fA-F]{6}\b", re.sub(r"var\([^)]*\)", "", figure.svg))}
        assert colours <= {"#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#1B1B1B", "#FFFFFF"}
        assert float(re.findall(r'viewBox="0 0 ([\d.]+)', figure.svg)[0]) <= 640
