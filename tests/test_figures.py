"""Figures show what was measured: planted numbers are where they belong."""

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measurements.evidence import Evidence
from harness.measurements.interventions import Direction, Remove
from harness.measurements.questions import described
from harness.measurements.recipe import Recipe
from harness.report.drawing.figures import MOST, recorded
from harness.report.drawing.stream_figures import principal
from harness.subjects.published.recordings import published, recording
from harness.subjects.quantities.refusals import RANDOM
from tests.tools import stories
from tests.tools.planted import (
    HELDOUT,
    PAIRS,
    SPACE,
    across,
    answered,
    drawn,
    heads,
    hovers,
    joint,
    numbers,
    scored,
    without_interval,
)


def test_the_planted_head_stands_out_in_every_figure_of_heads() -> None:
    shares = np.zeros((4, 6))
    shares[2, 3], shares[1, 0] = 0.8, -0.3
    shown = drawn(heads(shares))
    cells = [text for text in hovers(shown["heads-noise"].svg) if text]
    planted = next(text for text in cells if text.startswith("layer 2, head 3"))
    assert float(planted.rpartition(" ")[2]) == pytest.approx(0.8, abs=0.01)
    assert max(cells, key=lambda text: float(text.rpartition(" ")[2])) == planted
    ranked = [text for text in hovers(shown["ranking-noise"].svg) if text]
    assert [text.partition(":")[0] for text in ranked[:2]] == ["head 2.3", "head 1.0"]
    layers = [text for text in hovers(shown["layers-noise"].svg) if text]
    assert numbers(layers) == pytest.approx(shares.sum(1), abs=0.02)


def test_a_head_without_effect_lies_within_the_band_of_chance() -> None:
    shares = np.zeros((2, 4))
    shares[1, 1] = 0.5
    ranking = drawn(heads(shares))["ranking-noise"].svg
    root = ET.fromstring(ranking)
    bands = [band for band in root.iter(f"{SPACE}rect") if band.get("fill-opacity") == "0.22"]
    marks = [mark for mark in root if mark.findtext(f"{SPACE}title")]
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
    shown = drawn(heads(shares), heads(shares, "estimated"))
    numbers = [re.findall(r"[+-]\d\.\d+", text) for text in hovers(shown["gradients"].svg) if text]
    assert len(numbers) == 12
    assert all(float(x) == pytest.approx(float(y), abs=1e-3) for x, y in numbers)
    assert len(shown) == MOST


def test_growing_circuits_are_drawn_by_their_number_of_parts() -> None:
    parts = [f"1.head.{number}" for number in range(5)]
    shown = drawn(joint([parts[:1], parts[:2], parts[:3], parts], [0.1, 0.4, 0.6, 1.0]))
    said = [text for text in hovers(shown["cumulative-harmful"].svg) if text]
    assert numbers(said) == pytest.approx([0, 0.1, 0.4, 0.6, 1], abs=0.01)
    refused = numbers([text for text in hovers(shown["dose-harmful"].svg) if text])
    # A gap from 2 to −2 in log-odds: the first token turns where half of it is gone.
    assert refused == [1, 1, 1, 0, 0]
    ticks = [text.text for text in ET.fromstring(shown["dose-harmful"].svg).iter(f"{SPACE}text")]
    assert {"0", "1", "2", "3", "5"} <= set(ticks)


def test_a_circuit_stands_beside_others_of_its_size() -> None:
    shown = drawn(joint([["1.head.1"], ["1.head.2"], ["1.head.3"]], [0.9, 0.02, 0.05]))
    said = [text for text in hovers(shown["beside"].svg) if text]
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
    shown = drawn(
        joint(blocks, [0.9, 0.1, 0, 0, 0], at="slot"),
        joint(blocks, [0, 0, 0.7, 0.1, 0], at="later"),
        joint(blocks, [0, 0, 0, 0.2, 0.6], at=[-1], direct=True),
    )
    peaks: dict[str, tuple[float, int]] = {}
    for text in filter(None, hovers(shown["stages"].svg)):
        name, rest = text.split(", layer ")
        peaks[name] = max(peaks.get(name, (-9.0, 0)), (numbers([text])[0], int(rest.partition(":")[0])))
    assert {name: layer for name, (_, layer) in peaks.items()} == {"at the words": 0, "after them": 2, "direct": 4}


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
    transfer = joint([[f"0.head.{at}"] for at in range(len(names))], [0.5] * len(names))
    # Each circuit serves its own category alone.
    patched = np.array(transfer.arrays["patched"])
    for row, pair in enumerate(HELDOUT):
        for at, name in enumerate(names):
            patched[row, at] = -2.0 if pair.category == name else 2.0
    own_alone = Evidence(transfer.recipe, transfer.values, dict(transfer.arrays) | {"patched": patched})
    root = ET.fromstring(drawn(own_alone, *found_on)["transfer"].svg)
    cells = [text.text for text in root.iter(f"{SPACE}text") if re.fullmatch(r"-?\d\.\d\d", text.text or "")]
    assert np.array(cells, dtype=float).reshape(len(names), len(names)) == pytest.approx(np.eye(len(names)))


def test_a_map_keeps_distances_that_lie_in_a_plane() -> None:
    rng = np.random.default_rng(1)
    plane, turn = rng.normal(size=(2 * len(HELDOUT), 2)) * (5, 2), np.linalg.qr(rng.normal(size=(30, 30)))[0][:, :2]
    streams = plane @ turn.T + 3
    of = {"pairs": {"pairs": HELDOUT.fingerprint, "n": len(HELDOUT)}, "layer": 3, "position": -1}
    shown = drawn(Evidence(Recipe("products", 1, "m", of), {}, {"products": streams @ streams.T}))["map"]
    root = ET.fromstring(shown.svg)
    at = np.array(
        [(float(dot.get("cx") or 0), float(dot.get("cy") or 0)) for dot in root.iter(f"{SPACE}circle") if len(dot)]
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
    evidence = []
    for side, size in (("harmful", 1.0), ("harmless", 0.0)):
        along = np.random.default_rng(2).normal(0, 0.01, (3, n, layers))
        along[0] += size * np.linspace(0, 0.8, layers)
        arrays = {"along": along, "length": np.ones((n, layers))}
        evidence.append(Evidence(Recipe("projected", 1, "m", of | {"side": side}), {}, arrays))
        odds = np.tile(np.linspace(-4, 4 if size else -4, layers), (n, 1))
        evidence.append(Evidence(Recipe("lens", 1, "m", of | {"side": side}), {}, {"odds": odds}))
    shown = drawn(*evidence)
    last = {
        text.partition(",")[0]: numbers([text])[0] for text in hovers(shown["projection"].svg) if "enters 4:" in text
    }
    assert last["harmful"] == pytest.approx(0.8, abs=0.01)
    assert last["harmless"] == pytest.approx(0, abs=0.01)
    read = {text.partition(",")[0]: numbers([text])[0] for text in hovers(shown["lens"].svg) if "enters 4:" in text}
    assert read["harmful"] == pytest.approx(1 / (1 + math.exp(-4)), abs=1e-3)


def test_of_nothing_there_is_no_figure() -> None:
    shares = np.zeros((2, 2))
    evidence = heads(shares)
    alike = Evidence(evidence.recipe, evidence.values, dict(evidence.arrays) | {"source": evidence.arrays["clean"]})
    assert drawn(alike) == {}
    assert drawn() == {}


@pytest.mark.parametrize("name", published())
def test_published_bars_are_the_published_counts(name: str) -> None:
    shown = recorded("a claim", recording(name), 0.0025, by_category=True)
    assert [figure.name for figure in shown] == ["categories", "arms"]
    said = {text.partition(":")[0]: text for text in hovers(shown[1].svg) if text}
    assert len(recording(name).arms) == 5
    for arm in recording(name).arms:
        assert f"refused {sum(arm.refused) / len(arm.refused):+.3f}" in said[arm.label]


@given(st.integers(0, 1000), st.sampled_from(["harmful", "harmless"]))
@settings(max_examples=10, deadline=None)
def test_bars_are_the_share_of_each_category_before_and_after(seed: int, side: str) -> None:
    rng = np.random.default_rng(seed)
    hits = {"as it is": rng.random(len(HELDOUT)) < 0.8, "direction removed": rng.random(len(HELDOUT)) < 0.3}
    shown = drawn(
        answered(HELDOUT, side, stories.REMOVE, hits["direction removed"]),
        answered(HELDOUT, side, None, hits["as it is"]),
        answered(HELDOUT, "harmful" if side == "harmless" else "harmless", None, hits["as it is"]),
    )
    assert list(shown) == ["categories" if side == "harmful" else "categories-harmless"]
    svg_text = next(iter(shown.values())).svg
    own = np.array([pair.category for pair in HELDOUT])
    said = [text for text in hovers(svg_text) if text]
    expected = {f"{name}: {arm}": hits[arm][own == name].mean() for name in HELDOUT.categories for arm in hits}
    seen = {text.rpartition(" ")[0]: text for text in map(without_interval, said)}
    assert {key: float(text.rpartition(" ")[2]) for key, text in seen.items()} == pytest.approx(expected, abs=1e-3)


def test_where_nothing_was_done_both_sides_are_shown() -> None:
    every = np.ones(len(HELDOUT))
    shown = drawn(answered(HELDOUT, "harmful", None, every), answered(HELDOUT, "harmless", None, 0 * every))
    said = {without_interval(text) for text in hovers(shown["categories"].svg) if text}
    assert said == {
        f"{name}: {side} {value}"
        for name in HELDOUT.categories
        for side, value in (("harmful", "+1.000"), ("harmless", "+0.000"))
    }


def test_directions_are_known_by_what_they_are() -> None:
    prompts = tuple(HELDOUT.harmful[:2]), tuple(HELDOUT.harmless[:2])
    sides = PAIRS.discovery.harmful, PAIRS.discovery.harmless
    single, five = Direction("difference", 2, -1, *prompts), Direction("principal", 2, -1, *sides, rank=5)
    values = {"layer": 2, "position": -1, "harmful": list(prompts[0]), "harmless": list(prompts[1])}
    of = {"pairs": {"pairs": PAIRS.discovery.fingerprint, "n": len(PAIRS.discovery)}}
    every = np.ones(len(HELDOUT))

    def removed(direction: Direction, where: str = "everywhere") -> dict[str, Any]:
        return described(Remove(direction, where))  # type: ignore[arg-type,no-any-return]

    shown = drawn(
        Evidence(Recipe("direction", 1, "m", of), values),
        answered(HELDOUT, "harmful", None, every),
        answered(HELDOUT, "harmful", removed(single, "mlp"), every),
        answered(HELDOUT, "harmful", removed(five), 0 * every),
        scored("harmful", None, 3.0),
        scored("harmful", removed(single), -3.0),
        *(scored("harmful", removed(single.random(seed)), 1.0 - 2 * (seed == 4)) for seed in range(RANDOM)),
        scored("harmful", removed(Direction.given([[1.0, 0.0]])), -3.0),
    )
    arms = {without_interval(text).partition(": ")[2] for text in hovers(shown["categories"].svg) if text}
    assert {"as it is", "direction removed from MLPs", "5 directions removed"} == {
        arm.partition(" +")[0] for arm in arms
    }
    said = [text for text in hovers(shown["random-directions"].svg) if text]
    assert [text.partition(":")[0] for text in said] == [
        "as it is",
        "direction removed",
        *(f"{RANDOM} random directions, {seed + 1}" for seed in range(RANDOM)),
    ]
    assert numbers(said) == [1, 0, *(float(seed != 4) for seed in range(RANDOM))]


def test_one_category_alone_has_its_figures() -> None:
    name = HELDOUT.categories[2]
    part = HELDOUT.category(name)
    every = np.ones(len(part))
    shown = drawn(answered(part, "harmful", None, every), answered(part, "harmful", stories.REMOVE, 0 * every))
    assert f"{len(part)} harmful" in shown["categories"].caption
    whole = heads(np.full((2, 2), 0.4))
    rows = [at for at, pair in enumerate(HELDOUT) if pair.category == name]
    of = {**whole.recipe.of, "pairs": {"pairs": part.fingerprint, "n": len(part)}}
    values = {**whole.values, "pairs": [pair.id for pair in part]}
    arrays = {key: array[rows] for key, array in whole.arrays.items()}
    shown = drawn(Evidence(Recipe("swept", 1, "m", of), values, arrays))
    assert f"on {len(part)} held-out pairs of “{name}”" in shown["heads-noise"].caption


def test_the_sum_of_single_ones_runs_beside_what_they_carry_jointly() -> None:
    parts = [f"1.head.{number}" for number in range(3)]
    grown = joint([parts[:1], parts[:2], parts], [0.4, 0.5, 0.6])
    said = hovers(drawn(grown, joint([[part] for part in parts], [0.4, 0.3, 0.2]))["cumulative-harmful"].svg)
    summed = [text for text in said if text.startswith("sum of each alone")]
    assert numbers(summed) == pytest.approx([0, 0.4, 0.7, 0.9], abs=0.01)
    # Where single ones were not measured on these pairs, those found on discovery pairs stand in, and it is said.
    of = {"pairs": {"pairs": PAIRS.discovery.fingerprint, "n": len(PAIRS.discovery)}}
    values = {"heads": [[1, 0], [1, 1], [1, 2]], "neurons": [], "effects": {"heads": [0.3, 0.2, 0.1], "neurons": []}}
    shown = drawn(grown, Evidence(Recipe("circuit", 2, "m", of), values))["cumulative-harmful"]
    summed = [text for text in hovers(shown.svg) if text.startswith("sum of each alone")]
    assert numbers(summed) == pytest.approx([0, 0.3, 0.5, 0.6], abs=1e-3)
    assert "discovery pairs" in shown.caption
