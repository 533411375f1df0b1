"""Figures say what was measured: planted numbers are where they belong, and any text stays text."""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import charts, svg
from harness.charts import Series
from harness.effects import Effects
from harness.evidence import Evidence, Recipe
from harness.figures import MOST, Material, figures, recorded
from harness.pairs import PairSet
from harness.parts import packed
from harness.recorded import published, recording
from harness.svg import Axis, Drawing
from tests import stories

PAIRS = stories.pairs(120)
HELDOUT = PAIRS.heldout
HOSTILE = "<script>alert(1)</script>&]]>\u202e\x00" + "x" * 1_000_000
SPACE = "{http://www.w3.org/2000/svg}"


def drawing() -> Drawing:
    return Drawing("a figure", "A title", "What it says.", 560, 300)


def hovers(text: str) -> list[str]:
    root = ET.fromstring(text)
    return [mark.findtext(f"{SPACE}title", "") for mark in root if mark.tag != f"{SPACE}title"]


def swept(what: dict[str, Any], axes: dict[str, Sequence[str]], shares: np.ndarray, kind: str = "swept") -> Evidence:
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
    what = {"a": "Joint", "circuits": [{"circuit": one} for one in circuits], "at": "post", "direct": False} | more
    return swept(what, {"circuit": [str(i) for i in range(len(circuits))]}, np.array(shares))


def drawn(*evidence: Evidence) -> dict[str, Any]:
    found = figures("a claim", {"m": Material(evidence, PAIRS, 0.01)})["m"]
    for one in found:
        ET.fromstring(one.svg)
        assert len(one.svg) < 40_000
        assert one.caption
    return {one.name: one for one in found}


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
    cells = [one for one in ET.fromstring(text) if one.findtext(f"{SPACE}title")]
    by_hover = {one.findtext(f"{SPACE}title"): one for one in cells if one.tag == f"{SPACE}rect"}
    plus, minus, none = (
        by_hover[f"row 0, column {name}: {size:+.3f}"] for name, size in (("a", value), ("b", -value), ("c", 0))
    )
    assert plus.get("fill-opacity") == minus.get("fill-opacity")
    assert plus.get("fill") != minus.get("fill")
    assert float(none.get("fill-opacity") or 1) == 0


def test_anybodys_text_stays_text_and_short() -> None:
    one = drawing()
    one.text(0, 0, HOSTILE)
    one.dot(1, 1, svg.BLUE, hover=HOSTILE)
    text = Drawing(HOSTILE[:200], HOSTILE, HOSTILE, 10, 10, one.parts).svg
    root = ET.fromstring(text)
    assert {node.tag.removeprefix(SPACE) for node in root.iter()} <= {"svg", "title", "desc", "text", "circle"}
    assert len(text) < 3000
    assert "\u202e" not in text
    assert root.findtext(f"{SPACE}text", "").startswith("<script>alert(1)</script>&]]>x")


def test_the_planted_head_stands_out_in_every_figure_of_heads() -> None:
    shares = np.zeros((4, 6))
    shares[2, 3], shares[1, 0] = 0.8, -0.3
    found = drawn(heads(shares))
    cells = [text for text in hovers(found["heads-noise"].svg) if text]
    planted = next(text for text in cells if text.startswith("layer 2, head 3"))
    assert float(planted.rpartition(" ")[2]) == pytest.approx(0.8, abs=0.01)
    assert max(cells, key=lambda text: float(text.rpartition(" ")[2])) == planted
    ranked = [text for text in hovers(found["ranking-noise"].svg) if text]
    assert [text.partition(":")[0] for text in ranked[:2]] == ["head 2.3", "head 1.0"]
    layers = [text for text in hovers(found["layers-noise"].svg) if text]
    assert [float(text.rpartition(" ")[2]) for text in layers] == pytest.approx(shares.sum(1), abs=0.02)


def test_a_head_without_effect_lies_within_the_band_of_chance() -> None:
    shares = np.zeros((2, 4))
    shares[1, 1] = 0.5
    found = drawn(heads(shares))["ranking-noise"].svg
    root = ET.fromstring(found)
    bands = [one for one in root.iter(f"{SPACE}rect") if one.get("fill-opacity") == "0.22"]
    marks = [one for one in root if one.findtext(f"{SPACE}title")]
    first = float(marks[0].get("cx") or 0)
    assert (
        not float(bands[0].get("x") or 0) <= first <= float(bands[0].get("x") or 0) + float(bands[0].get("width") or 0)
    )
    inside = 0
    for band, mark in zip(bands[1:], marks[1:], strict=True):
        points = mark.get("points")
        x = float(mark.get("cx") or 0) if points is None else float(points.split(",")[0])
        inside += float(band.get("x") or 0) - 1 <= x <= float(band.get("x") or 0) + float(band.get("width") or 0) + 1
    assert inside == len(bands) - 1


def test_gradients_that_agree_lie_on_the_diagonal() -> None:
    shares = np.linspace(-0.5, 0.9, 12).reshape(3, 4)
    found = drawn(heads(shares), heads(shares, "estimated"))
    numbers = [re.findall(r"[+-]\d\.\d+", text) for text in hovers(found["gradients"].svg) if text]
    assert len(numbers) == 12
    assert all(float(x) == pytest.approx(float(y), abs=1e-3) for x, y in numbers)
    assert len(found) == MOST


def test_models_share_a_scale() -> None:
    weak, strong = np.full((2, 2), 0.1), np.full((2, 2), 0.1)
    strong[0, 0] = 0.9
    material = {name: Material([heads(one)], PAIRS, 0.01) for name, one in (("weak", weak), ("strong", strong))}
    found = figures("a claim", material)
    cell = {}
    for model, some in found.items():
        text = next(one.svg for one in some if one.name == "heads-noise")
        root = ET.fromstring(text)
        cell[model] = next(one for one in root if (one.findtext(f"{SPACE}title") or "").startswith("layer 1, head 1"))
    assert cell["weak"].get("fill-opacity") == pytest.approx(cell["strong"].get("fill-opacity"), abs=1e-6) or float(
        cell["weak"].get("fill-opacity") or 0
    ) == pytest.approx(float(cell["strong"].get("fill-opacity") or 0), abs=0.02)


def test_growing_circuits_are_drawn_by_their_number_of_parts() -> None:
    parts = [f"1.head.{number}" for number in range(5)]
    found = drawn(joint([parts[:1], parts[:2], parts[:3], parts], [0.1, 0.4, 0.6, 1.0]))
    said = [text for text in hovers(found["cumulative-harmful"].svg) if text]
    assert [float(text.partition(": ")[2].partition(",")[0]) for text in said] == pytest.approx(
        [0, 0.1, 0.4, 0.6, 1], abs=0.01
    )
    refused = [float(text.partition(": ")[2].partition(",")[0]) for text in hovers(found["dose-harmful"].svg) if text]
    # A gap from 2 to −2 in log-odds: the first token turns where half of it is gone.
    assert refused == [1, 1, 1, 0, 0]
    ticks = [one.text for one in ET.fromstring(found["dose-harmful"].svg).iter(f"{SPACE}text")]
    assert {"0", "1", "2", "3", "5"} <= set(ticks)


def test_a_circuit_stands_beside_random_ones() -> None:
    found = drawn(joint([["1.head.1"], ["1.head.2"], ["1.head.3"]], [0.9, 0.02, 0.05]))
    said = [text for text in hovers(found["beside"].svg) if text]
    assert [text.partition(":")[0] for text in said] == ["found", "random 1", "random 2"]
    values = [float(text.partition(": ")[2].partition(",")[0]) for text in said]
    assert values == pytest.approx([0.9, 0.05, 0.02], abs=0.01)


def test_stages_peak_where_they_were_planted() -> None:
    blocks = [[f"{layer}.attn_out", f"{layer}.mlp_out"] for layer in range(5)]
    found = drawn(
        joint(blocks, [0.9, 0.1, 0, 0, 0], at="slot"),
        joint(blocks, [0, 0, 0.7, 0.1, 0], at="later"),
        joint(blocks, [0, 0, 0, 0.2, 0.6], at=[-1], direct=True),
    )
    peaks: dict[str, tuple[float, int]] = {}
    for text in filter(None, hovers(found["stages"].svg)):
        name, rest = text.split(", layer ")
        layer, value = rest.split(": ")
        peaks[name] = max(peaks.get(name, (-9.0, 0)), (float(value), int(layer)))
    assert {name: layer for name, (_, layer) in peaks.items()} == {"detect": 0, "assess": 2, "execute": 4}


def test_circuits_across_categories_are_rows_found_on_and_columns_judged_on() -> None:
    names = sorted(PAIRS.categories)
    found_on = [
        Evidence(
            Recipe(
                "circuit",
                1,
                "m",
                {"pairs": {"pairs": (own := PAIRS.discovery.category(name)).fingerprint, "n": len(own)}},
            ),
            {"heads": [[0, at]], "neurons": []},
        )
        for at, name in enumerate(names)
    ]
    one = joint([[f"0.head.{at}"] for at in range(len(names))], [0.5] * len(names))
    # Each circuit serves its own category alone.
    patched = np.array(one.arrays["patched"])
    for row, pair in enumerate(HELDOUT):
        for at, name in enumerate(names):
            patched[row, at] = -2.0 if pair.category == name else 2.0
    own = Evidence(one.recipe, one.values, dict(one.arrays) | {"patched": patched})
    root = ET.fromstring(drawn(own, *found_on)["transfer"].svg)
    cells = [text.text for text in root.iter(f"{SPACE}text") if re.fullmatch(r"-?\d\.\d\d", text.text or "")]
    assert np.array(cells, dtype=float).reshape(len(names), len(names)) == pytest.approx(np.eye(len(names)))


def test_a_map_keeps_distances_that_lie_in_a_plane() -> None:
    rng = np.random.default_rng(1)
    plane, turn = rng.normal(size=(2 * len(HELDOUT), 2)) * (5, 2), np.linalg.qr(rng.normal(size=(30, 30)))[0][:, :2]
    streams = plane @ turn.T + 3
    of = {"pairs": {"pairs": HELDOUT.fingerprint, "n": len(HELDOUT)}, "layer": 3, "position": -1}
    found = drawn(Evidence(Recipe("products", 1, "m", of), {}, {"products": streams @ streams.T}))["map"]
    assert "(100%" not in found.svg
    root = ET.fromstring(found.svg)
    marks = [one for one in root if (one.findtext(f"{SPACE}title") or "").startswith("harmful")]
    at = np.array([(float(one.get("cx") or 0), float(one.get("cy") or 0)) for one in marks])
    own = plane[: len(HELDOUT)]
    # Axes are scaled by themselves, so distances are compared after a fit of the axes' turn and scale.
    ones = np.column_stack([own - own.mean(0), np.ones(len(own))])
    rest = at - ones @ np.linalg.lstsq(ones, at, rcond=None)[0]
    assert np.abs(rest).max() < 0.2


def test_streams_that_part_are_drawn_apart_where_they_do() -> None:
    layers, n = 5, len(HELDOUT)
    of = {"pairs": {"pairs": HELDOUT.fingerprint, "n": n}, "position": -1}
    some = []
    for side, size in (("harmful", 1.0), ("harmless", 0.0)):
        along = np.random.default_rng(2).normal(0, 0.01, (3, n, layers))
        along[0] += size * np.linspace(0, 0.8, layers)
        arrays = {"along": along, "length": np.ones((n, layers))}
        some.append(Evidence(Recipe("projected", 1, "m", of | {"side": side}), {}, arrays))
        odds = np.tile(np.linspace(-4, 4 if size else -4, layers), (n, 1))
        some.append(Evidence(Recipe("lens", 1, "m", of | {"side": side}), {}, {"odds": odds}))
    found = drawn(*some)
    last = {
        text.partition(",")[0]: float(text.partition(": ")[2].partition(",")[0])
        for text in hovers(found["projection"].svg)
        if "enters 4:" in text
    }
    assert last["harmful"] == pytest.approx(0.8, abs=0.01)
    assert last["harmless"] == pytest.approx(0, abs=0.01)
    read = {
        text.partition(",")[0]: float(text.partition(": ")[2].partition(",")[0])
        for text in hovers(found["lens"].svg)
        if "enters 4:" in text
    }
    assert read["harmful"] == pytest.approx(1 / (1 + math.exp(-4)), abs=1e-3)


def test_of_nothing_there_is_no_figure() -> None:
    shares = np.zeros((2, 2))
    one = heads(shares)
    alike = Evidence(one.recipe, one.values, dict(one.arrays) | {"source": one.arrays["clean"]})
    assert drawn(alike) == {}
    assert drawn() == {}


@pytest.mark.parametrize("name", published())
def test_published_bars_are_the_published_counts(name: str) -> None:
    found = recorded("a claim", recording(name), 0.0025, by_category=True)
    assert [one.name for one in found] == ["categories", "arms"]
    said = {text.partition(":")[0]: text for text in hovers(found[1].svg) if text}
    for key, hits in recording(name).refused.items():
        side, _, arm = key.partition(", ")
        words = {"baseline": "as it is", "ablation": "direction removed", "actadd": "direction added"}[arm]
        assert f"refused {sum(hits) / len(hits):+.3f}" in said[f"{side}, {words}"]


def test_a_band_holds_its_line() -> None:
    series = [Series("one", [0.1, 0.5], [0.0, 0.4], [0.2, 0.6])]
    text = charts.curves(drawing(), [0, 1], series, ("across", "up"), (0, 1))
    root = ET.fromstring(text)
    band = root.find(f"{SPACE}polygon")
    assert band is not None
    points = [tuple(map(float, point.split(","))) for point in (band.get("points") or "").split()]
    marks = [
        (float(one.get("cx") or 0), float(one.get("cy") or 0))
        for one in root.iter(f"{SPACE}circle")
        if one.findtext(f"{SPACE}title")
    ]
    for x, y in marks:
        ends = [py for px, py in points if px == pytest.approx(x, abs=0.2)]
        assert min(ends) <= y <= max(ends)


@given(st.integers(1, 4), st.integers(0, 10_000), st.sampled_from([0.0, 1e-300, 1e-9, 0.1, 1.0, 30.0]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_however_few_and_wild_the_numbers_a_figure_is_drawn_or_none(n: int, seed: int, size: float, gone: bool) -> None:
    rng, some = np.random.default_rng(seed), PairSet("few", tuple(PAIRS.heldout)[:n])
    few = PairSet("few", (*some, *PAIRS.discovery))

    def of(one: Evidence, **more: Any) -> Recipe:
        return Recipe(
            one.recipe.kind, 1, "m", {**one.recipe.of, "pairs": {"pairs": few.heldout.fingerprint, "n": n}, **more}
        )

    def wild(one: Evidence) -> Evidence:
        arrays = {name: rng.normal(0, size, (n, *array.shape[1:])) for name, array in one.arrays.items()}
        if gone:
            arrays["patched"][0] = np.nan
        return Evidence(of(one), {**one.values, "pairs": [pair.id for pair in some]}, arrays)

    parts = [f"1.head.{number}" for number in range(3)]
    blocks = [[f"{layer}.attn_out", f"{layer}.mlp_out"] for layer in range(3)]
    evidence = [
        wild(heads(np.zeros((3, 2)))),
        wild(heads(np.zeros((3, 2)), "estimated")),
        wild(joint([parts[:1], parts[:2], parts], [0.0] * 3)),
        wild(joint([[one] for one in parts], [0.0] * 3)),
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
    for one in evidence:
        for shown in figures("a claim", {"m": Material([one, *evidence[-5:-1]], few, 0.0025)})["m"]:
            ET.fromstring(shown.svg)
            assert "nan" not in shown.svg
            assert "inf" not in re.sub(r"infer|info", "", shown.svg)
