"""Figures say what was measured: planted numbers are where they belong, and any text stays text."""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.inputs.judges.phrases import PHRASES
from harness.inputs.prompts.pairs import PairSet
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import packed
from harness.measurements.evidence import Evidence
from harness.measurements.interventions import Direction, Remove
from harness.measurements.questions import described
from harness.measurements.recipe import Recipe
from harness.report.drawing import charts, svg
from harness.report.drawing.charts import Series
from harness.report.drawing.figures import MOST, figures, recorded
from harness.report.drawing.stream_figures import principal
from harness.report.drawing.svg import Axis, Drawing
from harness.results.verdict_evidence import Material
from harness.subjects.published.recordings import published, recording
from harness.subjects.quantities.refusals import RANDOM
from tests.tools import stories

PAIRS = stories.pairs(120)
HELDOUT = PAIRS.heldout
HOSTILE = "<script>alert(1)</script>&]]>\u202e\x00" + "x" * 1_000_000
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
    assert numbers(layers) == pytest.approx(shares.sum(1), abs=0.02)


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
        start = float(band.get("x") or 0)
        inside += start - 1 <= across(mark) <= start + float(band.get("width") or 0) + 1
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
    assert numbers(said) == pytest.approx([0, 0.1, 0.4, 0.6, 1], abs=0.01)
    refused = numbers([text for text in hovers(found["dose-harmful"].svg) if text])
    # A gap from 2 to −2 in log-odds: the first token turns where half of it is gone.
    assert refused == [1, 1, 1, 0, 0]
    ticks = [one.text for one in ET.fromstring(found["dose-harmful"].svg).iter(f"{SPACE}text")]
    assert {"0", "1", "2", "3", "5"} <= set(ticks)


def test_a_circuit_stands_beside_others_of_its_size() -> None:
    found = drawn(joint([["1.head.1"], ["1.head.2"], ["1.head.3"]], [0.9, 0.02, 0.05]))
    said = [text for text in hovers(found["beside"].svg) if text]
    assert [text.partition(":")[0] for text in said] == [
        "1 head, layer 1",
        "2 other circuits, as large in each layer, 1",
        "2 other circuits, as large in each layer, 2",
    ]
    assert numbers(said) == pytest.approx([0.9, 0.02, 0.05], abs=0.01)


def test_others_are_called_what_they_are() -> None:
    whole, parts = ["1.head.1", "2.neuron.7"], [["1.head.1"], ["2.neuron.7"]]
    norms = {"head": np.ones((3, 3)), "neuron": np.ones((3, 9))}
    norms["head"][0, 2], norms["neuron"][2, 3] = 5, 5
    loud = Evidence(Recipe("norms", 1, "m", {}), {}, norms)
    circuit = Evidence(
        Recipe("circuit", 1, "m", {"pairs": {"pairs": PAIRS.discovery.fingerprint, "n": 1}}),
        {"heads": [[1, 1]], "neurons": [[2, 7]]},
    )
    evidence = [
        joint([whole, *parts], [0.9, 0.3, 0.2]),
        joint([whole, ["0.head.2", "2.neuron.3"]], [0.9, 0.1]),
        joint([["1.mlp_out", "2.mlp_out"], ["0.mlp_out"]], [0.8, -0.4]),
        circuit,
        loud,
    ]
    said = [text for text in hovers(drawn(*evidence)["beside"].svg) if text]
    names = [text.partition(":")[0] for text in said]
    assert names == [
        "the found circuit (1 head, 1 neuron)",
        "its 2 parts, each alone, 1",
        "its 2 parts, each alone, 2",
        "the sum over its parts",
        "as many other parts, with the largest outputs",
        "2 MLP outputs, layers 1, 2",
        "1 MLP output, layer 0",
    ]
    assert numbers(said) == pytest.approx([0.9, 0.3, 0.2, 0.5, 0.1, 0.8, -0.4], abs=0.01)
    norms["head"][2, 2] = 9
    assert "largest outputs" not in drawn(*evidence)["beside"].svg


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
        peaks[name] = max(peaks.get(name, (-9.0, 0)), (numbers([text])[0], int(rest.partition(":")[0])))
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
    each = Evidence(one.recipe, one.values, dict(one.arrays) | {"patched": patched})
    root = ET.fromstring(drawn(each, *found_on)["transfer"].svg)
    cells = [text.text for text in root.iter(f"{SPACE}text") if re.fullmatch(r"-?\d\.\d\d", text.text or "")]
    assert np.array(cells, dtype=float).reshape(len(names), len(names)) == pytest.approx(np.eye(len(names)))


def test_a_map_keeps_distances_that_lie_in_a_plane() -> None:
    rng = np.random.default_rng(1)
    plane, turn = rng.normal(size=(2 * len(HELDOUT), 2)) * (5, 2), np.linalg.qr(rng.normal(size=(30, 30)))[0][:, :2]
    streams = plane @ turn.T + 3
    of = {"pairs": {"pairs": HELDOUT.fingerprint, "n": len(HELDOUT)}, "layer": 3, "position": -1}
    found = drawn(Evidence(Recipe("products", 1, "m", of), {}, {"products": streams @ streams.T}))["map"]
    root = ET.fromstring(found.svg)
    at = np.array(
        [(float(one.get("cx") or 0), float(one.get("cy") or 0)) for one in root.iter(f"{SPACE}circle") if len(one)]
    )
    own = plane[: len(HELDOUT)]
    # Axes are scaled by themselves, so distances are compared after a fit of the axes' turn and scale.
    ones = np.column_stack([own - own.mean(0), np.ones(len(own))])
    rest = at - ones @ np.linalg.lstsq(ones, at, rcond=None)[0]
    assert np.abs(rest).max() < 0.2


@given(st.integers(0, 1000), st.integers(2, 40))
@settings(max_examples=25, deadline=None)
def test_the_plane_keeps_the_distances_of_a_plane(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    flat = rng.normal(size=(n, 2)) * rng.uniform(0.1, 10, 2)
    streams = flat @ np.linalg.qr(rng.normal(size=(8, 8)))[0][:2] + rng.normal(size=8)
    plane, parts = principal(streams @ streams.T)

    def distances(points: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.norm(points[:, None] - points[None], axis=-1))

    assert distances(plane) == pytest.approx(distances(flat), abs=1e-5)
    assert parts.sum() == pytest.approx(1)
    assert parts[0] >= parts[1]


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
        text.partition(",")[0]: numbers([text])[0] for text in hovers(found["projection"].svg) if "enters 4:" in text
    }
    assert last["harmful"] == pytest.approx(0.8, abs=0.01)
    assert last["harmless"] == pytest.approx(0, abs=0.01)
    read = {text.partition(",")[0]: numbers([text])[0] for text in hovers(found["lens"].svg) if "enters 4:" in text}
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
    assert len(recording(name).arms) == 5
    for arm in recording(name).arms:
        assert f"refused {sum(arm.refused) / len(arm.refused):+.3f}" in said[arm.label]


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


def answered(pairs: PairSet, side: str, under: dict[str, Any] | None, refused: np.ndarray) -> Evidence:
    of = {"pairs": {"pairs": pairs.fingerprint, "n": len(pairs)}, "side": side, "under": under}
    return Evidence(Recipe("answers", 1, "m", of), {PHRASES: refused.astype(int).tolist()})


def scored(side: str, under: dict[str, Any] | None, odds: float) -> Evidence:
    of = {"pairs": {"pairs": HELDOUT.fingerprint, "n": len(HELDOUT)}, "side": side, "under": under}
    return Evidence(Recipe("scores", 1, "m", of), {"odds": [odds] * len(HELDOUT)})


@given(st.integers(0, 1000), st.sampled_from(["harmful", "harmless"]))
@settings(max_examples=10, deadline=None)
def test_bars_are_the_share_of_each_category_before_and_after(seed: int, side: str) -> None:
    rng = np.random.default_rng(seed)
    hits = {"as it is": rng.random(len(HELDOUT)) < 0.8, "direction removed": rng.random(len(HELDOUT)) < 0.3}
    found = drawn(
        answered(HELDOUT, side, stories.REMOVE, hits["direction removed"]),
        answered(HELDOUT, side, None, hits["as it is"]),
        answered(HELDOUT, "harmful" if side == "harmless" else "harmless", None, hits["as it is"]),
    )
    assert list(found) == ["categories" if side == "harmful" else "categories-harmless"]
    svg_text = next(iter(found.values())).svg
    own = np.array([pair.category for pair in HELDOUT])
    said = [text for text in hovers(svg_text) if text]
    expected = {f"{name}: {arm}": hits[arm][own == name].mean() for name in HELDOUT.categories for arm in hits}
    seen = {text.rpartition(" ")[0]: text for text in map(without_interval, said)}
    assert {key: float(text.rpartition(" ")[2]) for key, text in seen.items()} == pytest.approx(expected, abs=1e-3)


def test_where_nothing_was_done_both_sides_are_shown() -> None:
    every = np.ones(len(HELDOUT))
    found = drawn(answered(HELDOUT, "harmful", None, every), answered(HELDOUT, "harmless", None, 0 * every))
    said = {without_interval(text) for text in hovers(found["categories"].svg) if text}
    assert said == {
        f"{name}: {side} {value}"
        for name in HELDOUT.categories
        for side, value in (("harmful", "+1.000"), ("harmless", "+0.000"))
    }


def test_directions_are_known_by_what_they_are() -> None:
    prompts = tuple(HELDOUT.harmful[:2]), tuple(HELDOUT.harmless[:2])
    sides = PAIRS.discovery.harmful, PAIRS.discovery.harmless
    one, five = Direction("difference", 2, -1, *prompts), Direction("principal", 2, -1, *sides, rank=5)
    values = {"layer": 2, "position": -1, "harmful": list(prompts[0]), "harmless": list(prompts[1])}
    of = {"pairs": {"pairs": PAIRS.discovery.fingerprint, "n": len(PAIRS.discovery)}}
    every = np.ones(len(HELDOUT))

    def removed(direction: Direction, where: str = "everywhere") -> dict[str, Any]:
        return described(Remove(direction, where))  # type: ignore[arg-type,no-any-return]

    found = drawn(
        Evidence(Recipe("direction", 1, "m", of), values),
        answered(HELDOUT, "harmful", None, every),
        answered(HELDOUT, "harmful", removed(one, "mlp"), every),
        answered(HELDOUT, "harmful", removed(five), 0 * every),
        scored("harmful", None, 3.0),
        scored("harmful", removed(one), -3.0),
        *(scored("harmful", removed(one.random(seed)), 1.0 - 2 * (seed == 4)) for seed in range(RANDOM)),
        scored("harmful", removed(Direction.given([[1.0, 0.0]])), -3.0),
    )
    arms = {without_interval(text).partition(": ")[2] for text in hovers(found["categories"].svg) if text}
    assert {"as it is", "direction removed from MLPs", "5 directions removed"} == {
        arm.partition(" +")[0] for arm in arms
    }
    said = [text for text in hovers(found["random-directions"].svg) if text]
    assert [text.partition(":")[0] for text in said] == [
        "as it is",
        "direction removed",
        *(f"{RANDOM} random directions, {seed + 1}" for seed in range(RANDOM)),
    ]
    assert numbers(said) == [1, 0, *(float(seed != 4) for seed in range(RANDOM))]


@given(st.floats(-0.95, 0.95))
@settings(max_examples=20, deadline=None)
def test_no_scale_cuts_a_value_off_whatever_its_sign(value: float) -> None:
    shares = np.array([[0.2, 0.0], [value, 0.05]])
    parts = [["1.head.0"], ["1.head.0", "1.head.1"]]
    blocks = [[f"{layer}.attn_out"] for layer in range(3)]
    found = drawn(heads(shares)) | drawn(joint(parts, [0.2, value]), joint(blocks, [0.2, value, 0.0]))
    for name in ("ranking-noise", "layers-noise", "cumulative-harmful", "stages"):
        root = ET.fromstring(found[name].svg)
        upright = name != "ranking-noise"
        marks = [
            (numbers([text])[0], (-float(one.get("cy") or 0)) if upright else across(one))
            for one in root
            if (text := one.findtext(f"{SPACE}title") or "")
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
    said = [one for one in hovers(text) if one]
    assert said[0] == f"layer {layers // 2}, head 5: +0.900"
    assert len(said) == charts.MOST_HOVERS


def test_small_cells_stand_where_they_belong_and_are_as_strong_as_their_size() -> None:
    values = np.zeros((20, 20))
    values[:, :6] = 1.0  # those that speak
    values[3, 17], values[9, 2 + 10] = 0.5, -0.5
    names = [str(i) for i in range(20)]
    root = ET.fromstring(charts.heatmap(drawing(), values, names, names, ("row", "column"), 1.0))
    paths = {
        one.get("stroke"): (one.get("d"), one.get("stroke-opacity"))
        for one in root.iter(f"{SPACE}path")
        if "scale" in (one.get("transform") or "") and one.get("stroke-opacity") == "0.5"
    }
    assert paths == {svg.VERMILLION: ("M17 3h1", "0.5"), svg.BLUE: ("M12 9h1", "0.5")}


def test_two_figures_of_one_kind_have_names_of_their_own() -> None:
    shares = np.full((2, 2), 0.1)
    other = heads(shares)
    what = {**other.recipe.of["what"], "at": ["all"]}
    again = Evidence(Recipe("swept", 1, "m", {**other.recipe.of, "what": what}), other.values, other.arrays)
    found = figures("a claim", {"m": Material([heads(shares), again], PAIRS, 0.01)})["m"]
    assert len({one.name for one in found}) == len(found) == MOST
    ids = [name for one in found for name in re.findall(r' id="([^"]+)"', one.svg)]
    assert len(set(ids)) == len(ids)


def test_models_whose_names_differ_in_a_sign_alone_share_no_id() -> None:
    ids = {re.findall(r' id="([^"]+)"', Drawing(name, "t", "d", 9, 9).svg)[0] for name in ("a/b", "a-b", "a b")}
    assert len(ids) == 3


def test_one_category_alone_has_its_figures() -> None:
    name = HELDOUT.categories[2]
    part = HELDOUT.category(name)
    every = np.ones(len(part))
    found = drawn(answered(part, "harmful", None, every), answered(part, "harmful", stories.REMOVE, 0 * every))
    assert f"{len(part)} harmful" in found["categories"].caption
    one = heads(np.full((2, 2), 0.4))
    rows = [at for at, pair in enumerate(HELDOUT) if pair.category == name]
    of = {**one.recipe.of, "pairs": {"pairs": part.fingerprint, "n": len(part)}}
    values = {**one.values, "pairs": [pair.id for pair in part]}
    arrays = {key: array[rows] for key, array in one.arrays.items()}
    shown = drawn(Evidence(Recipe("swept", 1, "m", of), values, arrays))
    assert f"on {len(part)} held-out pairs of “{name}”" in shown["heads-noise"].caption


def test_the_sum_of_single_ones_runs_beside_what_they_carry_jointly() -> None:
    parts = [f"1.head.{number}" for number in range(3)]
    grown = joint([parts[:1], parts[:2], parts], [0.4, 0.5, 0.6])
    said = hovers(drawn(grown, joint([[one] for one in parts], [0.4, 0.3, 0.2]))["cumulative-harmful"].svg)
    summed = [text for text in said if text.startswith("sum of each alone")]
    assert numbers(summed) == pytest.approx([0, 0.4, 0.7, 0.9], abs=0.01)
    # Where single ones were not measured on these pairs, those found on discovery pairs stand in, and it is said.
    of = {"pairs": {"pairs": PAIRS.discovery.fingerprint, "n": len(PAIRS.discovery)}}
    values = {"heads": [[1, 0], [1, 1], [1, 2]], "neurons": [], "effects": {"heads": [0.3, 0.2, 0.1], "neurons": []}}
    found = drawn(grown, Evidence(Recipe("circuit", 2, "m", of), values))["cumulative-harmful"]
    summed = [text for text in hovers(found.svg) if text.startswith("sum of each alone")]
    assert numbers(summed) == pytest.approx([0, 0.3, 0.5, 0.6], abs=1e-3)
    assert "discovery pairs" in found.caption


@given(st.integers(2, 100), st.integers(1, 60), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_no_two_components_of_a_diagram_lie_on_each_other(layers: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = {(int(rng.integers(layers)), int(rng.integers(99))) for _ in range(count)}
    found: dict[int, list[tuple[int, str]]] = {}
    for layer, index in sorted(places):
        found.setdefault(layer, []).append((index, f"head {layer}.{index}"))
    text = charts.diagram(drawing(), layers, found, {layer: ["neuron"] for layer in found})
    marks = [one for one in ET.fromstring(text).iter(f"{SPACE}circle") if len(one)]
    at = np.array([(float(one.get("cx") or 0), float(one.get("cy") or 0)) for one in marks])
    assert len(at) == len(places)
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1) + 99 * np.eye(len(at))
    assert apart.min() > 2 * 11


def test_words_are_large_enough_to_read_and_colours_are_told_apart_by_all() -> None:
    shares = np.linspace(-0.5, 0.9, 12).reshape(3, 4)
    parts = [f"1.head.{number}" for number in range(5)]
    some = [
        *drawn(heads(shares), heads(shares, "estimated")).values(),
        *drawn(joint([parts[:2], parts], [0.1, 1])).values(),
    ]
    for one in some:
        sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', one.svg)]
        assert min(sizes) >= 11
        colours = {each.upper() for each in re.findall(r"#[0-9a-fA-F]{6}\b", re.sub(r"var\([^)]*\)", "", one.svg))}
        assert colours <= {"#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#1B1B1B", "#FFFFFF"}
        assert float(re.findall(r'viewBox="0 0 ([\d.]+)', one.svg)[0]) <= 640
