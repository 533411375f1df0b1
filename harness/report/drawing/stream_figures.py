"""Where streams go: along a direction, read out layer by layer, on a plane."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float

from harness.inputs.prompts.pairs import SIDES
from harness.inputs.prompts.prompt_lists import PromptLists
from harness.judging import means
from harness.judging.proportions import Interval
from harness.measurements.evidence import Evidence
from harness.report.drawing import charts
from harness.report.drawing.figure_plan import Limits, Plan, bounds_of, grouped, line_of, scale
from harness.report.drawing.svg import Drawing
from harness.results.verdict_evidence import Material


def projected(material: Material) -> Iterator[Plan]:
    """How far streams go along the direction, layer by layer."""
    for sides in _both(material, "projected"):
        shares = {side: one.arrays["along"].astype(float) / one.arrays["length"] for side, one in sides.items()}
        yield _projection(material, sides, shares)


def _projection(material: Material, sides: Mapping[str, Evidence], shares: Mapping[str, np.ndarray]) -> Plan:
    found = {side: _means(material, one, shares[side][0].T) for side, one in sides.items()}
    series = [line_of(side, each) for side, each in found.items()]
    gaps = shares["harmful"][1:].mean(1) - shares["harmless"][1:].mean(1)
    middle = (shares["harmful"][0].mean(0) + shares["harmless"][0].mean(0)) / 2
    beside = [(middle + sign * gap / 2).tolist() for gap in gaps for sign in (1, -1)]

    def draw(drawing: Drawing, limits: Limits) -> str:
        axes = ("layer that the stream enters", "along the direction, of its length")
        return charts.curves(drawing, list(range(len(middle))), series, axes, limits, beside=beside)

    random = f" Grey: how far the two part along {len(gaps)} random directions." if len(gaps) else ""
    caption = (
        f"Mean share of the stream's length that lies along the direction, of {material.on(*sides.values())}, with "
        f"{material.intervals} of the means.{random}"
    )
    every = [
        *(end for each in found.values() for end in bounds_of(each)),
        *(value for line in beside for value in line),
    ]
    return Plan("projection", "Projection on the direction, by layer", caption, draw, scale(every))


def read_out(material: Material) -> Iterator[Plan]:
    """How probable refusing would be, were each layer the last."""
    for sides in _both(material, "lens"):
        yield _lens_plan(material, sides)


def _lens_plan(material: Material, sides: Mapping[str, Evidence]) -> Plan:
    rows = {side: 1 / (1 + np.exp(-one.arrays["odds"].astype(float).T)) for side, one in sides.items()}
    series = [line_of(side, _means(material, sides[side], each, (0.0, 1.0))) for side, each in rows.items()]

    def draw(drawing: Drawing, limits: Limits) -> str:
        axes = ("layer that the stream enters", "probability of refusing")
        return charts.curves(drawing, list(range(len(series[0].values))), series, axes, (0, 1))

    caption = (
        "Mean probability that the first token refuses, were the stream read out before each layer (logit lens), of "
        f"{material.on(*sides.values())}, with {material.intervals} of the means. The last one is the model's own."
    )
    return Plan("lens", "Refusing, read out layer by layer", caption, draw)


def _both(material: Material, kind: str) -> Iterator[dict[str, Evidence]]:
    """Harmful and harmless of the same question."""

    def question(one: Evidence) -> str:
        return str(sorted((key, str(value)) for key, value in one.recipe.of.items() if key != "side"))

    for _, some in grouped(material.kind(kind), question):
        sides = {one.recipe.of["side"]: one for one in some}
        if len(sides) == 2:
            yield {side: sides[side] for side in ("harmful", "harmless")}


def _means(
    material: Material,
    one: Evidence,
    rows: Float[np.ndarray, "layer pair"],
    bounds: Limits = means.UNBOUNDED,
) -> list[Interval]:
    clusters = material.of(one).clusters_of(one.recipe.of["side"])
    return [means.mean(np.clip(row, *bounds), material.level, clusters, bounds) for row in rows]


def stream_map(material: Material) -> Iterator[Plan]:
    """Streams of prompts on the plane on which they differ most."""
    for one in material.kind("products"):
        plane, parts = principal(one.arrays["products"].astype(float))
        if parts[1] > 0:
            yield _on_plane(material, one, plane, parts)


def principal(products: Float[np.ndarray, "one one"]) -> tuple[Float[np.ndarray, "one 2"], Float[np.ndarray, " 2"]]:
    """Places on the first two principal components, and their shares of the variance, from inner products alone.

    Classical scaling: the eigenvectors of the doubly centred products (Torgerson 1952, Psychometrika 17:401).
    """
    centred = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    sizes, vectors = np.linalg.eigh(centred)
    sizes = np.maximum(sizes[::-1], 0)
    plane = vectors[:, ::-1][:, :2] * np.sqrt(sizes[:2])
    # Of the two ways round, the one in which the farthest lies on the positive side.
    plane = plane * np.sign(plane[np.abs(plane).argmax(0), [0, 1]])
    return plane, sizes[:2] / max(float(sizes.sum()), 1e-300)


def _on_plane(material: Material, one: Evidence, plane: np.ndarray, parts: np.ndarray) -> Plan:
    prompts = material.of(one)
    rows = {"harmful": plane[: len(prompts.harmful)], "harmless": plane[len(prompts.harmful) :]}
    hovers: dict[str, list[str]] = {side: [name[:40] for name in prompts.named(side)] for side in SIDES}
    across, up = ((float(plane[:, k].min()) * 1.05, float(plane[:, k].max()) * 1.05) for k in (0, 1))

    def draw(drawing: Drawing, limits: Limits) -> str:
        axes = (f"first component ({parts[0]:.0%} of the variance)", f"second ({parts[1]:.0%})")
        return charts.scatter(drawing, rows, hovers, axes, (across, up))

    some = f"; {charts.MOST_POINTS} are drawn" if len(plane) > charts.MOST_POINTS else ""
    of = one.recipe.of
    whose = material.on(one) if isinstance(prompts, PromptLists) else f"both prompts of {material.on(one)}"
    caption = (
        f"The streams of {whose} where they enter layer {of['layer']}, at position {of['position']}, on the plane on "
        f"which they differ most (principal components){some}."
    )
    return Plan("map", "Streams on a plane", caption.replace("position -", "position −"), draw)
