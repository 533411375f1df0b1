"""What is refused before and after, by category, arm by arm, and under random directions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from harness.inputs.judges.phrases import PHRASES
from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging import proportions
from harness.measurements.evidence import Evidence
from harness.report.drawing import row_charts
from harness.report.drawing.charts import Series
from harness.report.drawing.figure_plan import Limits, Plan, grouped, line_of, strip_of
from harness.report.drawing.svg import Drawing
from harness.results.verdict_evidence import Material, asked_of
from harness.subjects.published.recordings import Recording

# What claims that generate nothing judge by.
_JUDGED_BY = ("scores", "swept", "estimated", "projected", "products")


def refused_under(material: Material) -> Iterator[Plan]:
    """Refused before and after, category by category."""
    for (own, side), some in grouped(material.kind("answers"), lambda one: (asked_of(one), one.recipe.of["side"])):
        arms = sorted(some, key=lambda one: one.recipe.of["under"] is not None)
        if arms[-1].recipe.of["under"] is None:
            continue
        names = [material.done(one.recipe.of["under"]) for one in arms]
        apart = [name if names.count(name) == 1 else f"{name} ({at})" for at, name in enumerate(names)]
        hits = {name: np.array(one.values[PHRASES]) > 0 for name, one in zip(apart, arms, strict=True)}
        yield refused_by_category(material, material.judged[own][1], hits, side)


def refused_unchanged(material: Material) -> Iterator[Plan]:
    """Refused as the model is, where a claim is about that: of any other only the gate has asked for it."""
    shown = material.kind("answers")
    if any(one.recipe.of["under"] is not None for one in shown) or any(map(material.kind, _JUDGED_BY)):
        return
    for own, some in grouped(shown, asked_of):
        hits = {one.recipe.of["side"]: np.array(one.values[PHRASES]) > 0 for one in some}
        sides = {side: hits[side] for side in ("harmful", "harmless") if side in hits}
        pairs = material.judged[own][1]
        if isinstance(pairs, PairSet):
            yield refused_by_category(material, pairs, sides, " and ".join(sides))
        else:
            yield from (refused_by_category(material, pairs, {side: hits[side]}, side) for side in sides)


def refused_by_category(
    material: Material, pairs: PromptSet, hits: Mapping[str, Bool[np.ndarray, " pair"]], side: str
) -> Plan:
    """The share refused in each category, a bar an arm."""
    of: PromptSide = "harmless" if side == "harmless" else "harmful"
    own, clusters = np.array(pairs.categories_of(of)), np.array(pairs.clusters_of(of))
    names = sorted(set(own.tolist()))

    def series(name: str, refused: Bool[np.ndarray, " pair"]) -> Series:
        rows = [own == category for category in names]
        return line_of(name, [proportions.rate(refused[row], material.level, clusters[row]) for row in rows])

    every = [series(name, refused) for name, refused in hits.items()]

    def draw(drawing: Drawing, limits: Limits) -> str:
        return row_charts.bars(drawing, names, every, ("category", "share refused"), (0, 1))

    caption = f"The share of {len(own)} {side} prompts that is refused, by category, with {material.intervals}."
    return Plan("categories" if side != "harmless" else "categories-harmless", "Refused, by category", caption, draw)


def arm_by_arm(recording: Recording, level: float) -> Plan:
    """The share refused under every published arm."""
    names = [arm.label for arm in recording.arms]
    series = [line_of("refused", [proportions.rate(arm.refused, level) for arm in recording.arms])]

    def draw(drawing: Drawing, limits: Limits) -> str:
        return row_charts.bars(drawing, names, series, ("arm", "share refused"), (0, 1))

    n, intervals = len(recording.categories), Material((), recording.pairs, level).intervals
    caption = f"The share of {n} prompts a side that is refused, with {intervals}."
    return Plan("arms", "Refused, arm by arm", caption, draw)


@dataclass(frozen=True)
class BesideRandom:
    """First tokens' scores of one side under a direction that was found, under random ones, and as the model is."""

    own: str  # the fingerprint of the prompts
    side: PromptSide
    rank: int
    found: Sequence[Evidence]
    random: Sequence[Evidence]
    clean: Sequence[Evidence]


def beside_random(material: Material) -> Iterator[BesideRandom]:
    """Every arm of a found direction for which random directions were measured too."""
    scores = material.kind("scores")

    def arm(one: Evidence) -> tuple[Any, ...]:
        under = one.recipe.of["under"] or {}
        rest = sorted((key, str(value)) for key, value in under.items() if key != "direction")
        known = material.direction(under)
        return asked_of(one), one.recipe.of["side"], known.rank if known else 0, str(rest)

    for (own, side, rank, _), some in grouped(scores, arm):
        known = [(one, material.direction(one.recipe.of["under"])) for one in some]
        found = [one for one, direction in known if direction is not None and not direction.random]
        random = [one for one, direction in known if direction is not None and direction.random]
        if rank and found and random:
            clean = [one for one in scores if arm(one)[:2] == (own, side) and one.recipe.of["under"] is None]
            yield BesideRandom(own, side, rank, found, random, clean)


def random_directions(material: Material) -> Iterator[Plan]:
    """What the first token says with the direction that was found, and with random ones in its place."""
    for arms in beside_random(material):
        clusters = material.judged[arms.own][1].clusters_of(arms.side)
        many = len(arms.random)
        words = f"{many} random ones" if arms.rank == 1 else f"{many} times {arms.rank} random ones"
        named = (
            ("as it is", arms.clean),
            (material.done(arms.found[0].recipe.of["under"]), arms.found),
            (words, arms.random),
        )
        rows = [
            (name, [proportions.rate(np.array(one.values["odds"]) > 0, material.level, clusters) for one in some])
            for name, some in named
            if some
        ]
        caption = (
            f"The share of {len(clusters)} {arms.side} prompts whose first token is likelier to refuse than not, with "
            f"the found direction and with random directions in its place (dots), with {material.intervals}."
        )
        yield strip_of("random-directions", "Beside random directions", caption, "share of prompts", rows, holds=1.0)
