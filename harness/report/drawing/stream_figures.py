"""Figures of residual streams: along a direction, read out by the logit lens, and on their principal plane."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float

from harness.inputs.prompts.pairs import SIDES
from harness.inputs.prompts.prompt_lists import PromptLists
from harness.judging import means
from harness.judging.proportions import Interval
from harness.measurements.evidence import Evidence
from harness.measurements.questions import Lens, Products, Projected
from harness.report.drawing import charts
from harness.report.drawing.figure_plan import Limits, Plan, bounds_of, grouped, line_of, scale
from harness.report.drawing.svg import Drawing
from harness.results.verdict_evidence import Material


def projections(material: Material) -> Iterator[Plan]:
    """Curves of how much of the streams lies along the direction, layer by layer, for both sides."""
    for sides in _both_sides(material, Projected.KIND):
        shares = {
            side: evidence.arrays["along"].astype(float) / evidence.arrays["length"] for side, evidence in sides.items()
        }
        yield _projection(material, sides, shares)


def _projection(material: Material, sides: Mapping[str, Evidence], shares: Mapping[str, np.ndarray]) -> Plan:
    """The first row of `shares` is the found direction, the others are random ones."""
    means_by_side = {side: _means(material, evidence, shares[side][0].T) for side, evidence in sides.items()}
    series = [line_of(side, intervals) for side, intervals in means_by_side.items()]
    random_gaps = shares["harmful"][1:].mean(1) - shares["harmless"][1:].mean(1)
    middle = (shares["harmful"][0].mean(0) + shares["harmless"][0].mean(0)) / 2
    random = [(middle + sign * gap / 2).tolist() for gap in random_gaps for sign in (1, -1)]

    def draw(drawing: Drawing, limits: Limits) -> str:
        axes = ("layer that the stream enters", "share along the direction")
        return charts.curves(drawing, list(range(len(middle))), series, axes, limits, random=random)

    caption = (
        f"The mean share of the residual stream's length that lies along the direction, of "
        f"{material.prompts_in_words(*sides.values())}, with {material.intervals} of the means."
    )
    if random:
        caption += f" Grey: how far apart the two sides are along {len(random_gaps)} random directions."
    every = [
        *(bound for intervals in means_by_side.values() for bound in bounds_of(intervals)),
        *(value for line in random for value in line),
    ]
    return Plan("projection", "Projection on the direction, by layer", caption, draw, scale(every))


def logit_lens(material: Material) -> Iterator[Plan]:
    """Curves of the probability of refusing if each layer's stream were the last (logit lens), for both sides."""
    for sides in _both_sides(material, Lens.KIND):
        yield _lens_plan(material, sides)


def _lens_plan(material: Material, sides: Mapping[str, Evidence]) -> Plan:
    probabilities = {
        side: 1 / (1 + np.exp(-evidence.arrays["odds"].astype(float).T)) for side, evidence in sides.items()
    }
    series = [line_of(side, _means(material, sides[side], rows, (0.0, 1.0))) for side, rows in probabilities.items()]

    def draw(drawing: Drawing, limits: Limits) -> str:
        axes = ("layer that the stream enters", "probability of refusing")
        return charts.curves(drawing, list(range(len(series[0].values))), series, axes, (0, 1))

    caption = (
        "The mean probability that the first token refuses, if the residual stream before each layer were read out "
        f"through the unembedding (logit lens), of {material.prompts_in_words(*sides.values())}, with "
        f"{material.intervals} of the means. The last point is the model's own output."
    )
    return Plan("lens", "Refusing, read out layer by layer", caption, draw)


def _both_sides(material: Material, kind: str) -> Iterator[dict[str, Evidence]]:
    """Evidence on harmful and on harmless prompts, for each question that was asked of both."""

    def question(evidence: Evidence) -> str:
        return str(sorted((key, str(value)) for key, value in evidence.recipe.of.items() if key != "side"))

    for _, group in grouped(material.kind(kind), question):
        sides = {evidence.recipe.of["side"]: evidence for evidence in group}
        if len(sides) == 2:
            yield {side: sides[side] for side in ("harmful", "harmless")}


def _means(
    material: Material,
    evidence: Evidence,
    rows: Float[np.ndarray, "layer pair"],
    bounds: Limits = means.UNBOUNDED,
) -> list[Interval]:
    clusters = material.prompts_of(evidence).clusters_of(evidence.recipe.of["side"])
    return [means.mean(np.clip(row, *bounds), material.level, clusters, bounds) for row in rows]


def stream_map(material: Material) -> Iterator[Plan]:
    """Scatter plots of prompts by the first two principal components of their streams."""
    for evidence in material.kind(Products.KIND):
        places, variance = principal(evidence.arrays["products"].astype(float))
        if variance[1] > 0:
            yield _on_plane(material, evidence, places, variance)


def principal(
    products: Float[np.ndarray, "prompt prompt"],
) -> tuple[Float[np.ndarray, "prompt 2"], Float[np.ndarray, " 2"]]:
    """Scores on the first two principal components, and their shares of the variance, from inner products alone.

    Classical scaling: the eigenvectors of the doubly centred products (Torgerson 1952, Psychometrika 17:401).
    """
    centred = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    sizes, vectors = np.linalg.eigh(centred)
    sizes = np.maximum(sizes[::-1], 0)
    scores = vectors[:, ::-1][:, :2] * np.sqrt(sizes[:2])
    # Eigenvectors have no sign: the prompt farthest from zero is put on the positive side.
    scores = scores * np.sign(scores[np.abs(scores).argmax(0), [0, 1]])
    return scores, sizes[:2] / max(float(sizes.sum()), 1e-300)


def _on_plane(material: Material, evidence: Evidence, places: np.ndarray, variance: np.ndarray) -> Plan:
    prompts, recipe = material.prompts_of(evidence), evidence.recipe.of
    rows = {"harmful": places[: len(prompts.harmful)], "harmless": places[len(prompts.harmful) :]}
    hovers: dict[str, list[str]] = {side: [name[:40] for name in prompts.named(side)] for side in SIDES}
    across, up = ((float(places[:, k].min()) * 1.05, float(places[:, k].max()) * 1.05) for k in (0, 1))

    def draw(drawing: Drawing, limits: Limits) -> str:
        axes = (f"first component ({variance[0]:.0%} of the variance)", f"second ({variance[1]:.0%})")
        return charts.scatter(drawing, rows, hovers, axes, (across, up))

    subject = material.prompts_in_words(evidence)
    subject = subject if isinstance(prompts, PromptLists) else f"both prompts of {subject}"
    position = str(recipe["position"]).replace("-", "−")
    caption = (
        f"The residual streams of {subject} where they enter layer {recipe['layer']}, at position {position}, by the "
        "first two principal components: the plane on which the streams differ most."
    )
    if len(places) > charts.MOST_POINTS:
        caption += f" {charts.MOST_POINTS} of {len(places)} are drawn, chosen at random."
    return Plan("map", "Streams on a plane", caption, draw)
