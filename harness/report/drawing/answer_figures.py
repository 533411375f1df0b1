"""Figures of refusals: by category, under each intervention, and compared with random directions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging import answer_shares, proportions
from harness.measurements.evidence import Evidence
from harness.measurements.questions import Answers, Estimated, OpeningScores, Products, Projected, Scores, Swept
from harness.report.drawing import row_charts
from harness.report.drawing.charts import Series
from harness.report.drawing.figure_plan import Limits, Plan, grouped, line_of, strip_of
from harness.report.drawing.svg import Drawing
from harness.results.verdict_evidence import Arm, Material, arms_of, prompts_fingerprint
from harness.subjects.published.recordings import Recording

# Measurements by which claims judge that generate no answers; such claims have answers only because the gate asked.
_JUDGED_WITHOUT_ANSWERS = (
    *(Scores.KIND, OpeningScores.KIND),
    *(Swept.KIND, Estimated.KIND, Projected.KIND, Products.KIND),
)
# What tells the refusals of an arm, the cheapest first. A dearer one was asked for where the cheaper did not serve.
_TELLING = (Scores.KIND, OpeningScores.KIND, Answers.KIND)


def refused_under(material: Material) -> Iterator[Plan]:
    """Bars of the refusals in each category, without and with each intervention."""

    def question(answers: Evidence) -> tuple[str, str]:
        return prompts_fingerprint(answers), answers.recipe.of["side"]

    for (fingerprint, side), group in grouped(material.kind(Answers.KIND), question):
        arms = sorted(arms_of(group), key=lambda arm: arm.of["under"] is not None)
        if arms[-1].of["under"] is None:
            continue
        names = [material.intervention_in_words(arm.of["under"]) for arm in arms]
        labels = [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names)]
        hits = {label: arm.refused for label, arm in zip(labels, arms, strict=True)}
        yield refused_by_category(
            material, material.judged_sets[fingerprint][1], hits, side, _broken(dict(zip(labels, arms, strict=True)))
        )


def _broken(arms: Mapping[str, Arm]) -> str:
    """A sentence on how many answers of each arm are broken; empty where none is, or where that was not kept."""
    known = {label: outcomes for label, arm in arms.items() if (outcomes := arm.outcomes) is not None}
    counts = {label: int(outcomes.broken.sum()) for label, outcomes in known.items()}
    listed = ", ".join(f"{count} ({label})" for label, count in counts.items() if count)
    return f" Of the answers these neither refuse nor answer: {listed}." if listed else ""


def refused_unchanged(material: Material) -> Iterator[Plan]:
    """Bars of the refusals of the unchanged model, for claims about nothing else."""
    answered = material.kind(Answers.KIND)
    intervened = any(answers.recipe.of["under"] is not None for answers in answered)
    if intervened or any(map(material.kind, _JUDGED_WITHOUT_ANSWERS)):
        return
    for fingerprint, group in grouped(answered, prompts_fingerprint):
        hits = {arm.of["side"]: arm.refused for arm in arms_of(group)}
        sides = {side: hits[side] for side in ("harmful", "harmless") if side in hits}
        prompts = material.judged_sets[fingerprint][1]
        if isinstance(prompts, PairSet):
            yield refused_by_category(material, prompts, sides, " and ".join(sides))
        else:
            yield from (refused_by_category(material, prompts, {side: hits[side]}, side) for side in sides)


def refused_by_category(
    material: Material,
    prompts: PromptSet,
    hits: Mapping[str, Bool[np.ndarray, "*sample prompt"]],
    side: str,
    remark: str = "",
) -> Plan:
    """Bars of the share refused in each category, one bar for each entry of `hits`."""
    of: PromptSide = "harmless" if side == "harmless" else "harmful"
    categories, clusters = np.array(prompts.categories_of(of)), np.array(prompts.clusters_of(of))
    names = sorted(set(categories.tolist()))

    def bars(name: str, refused: Bool[np.ndarray, "*sample prompt"]) -> Series:
        rows = [categories == category for category in names]
        return line_of(name, [answer_shares.rate(refused[..., row], material.level, clusters[row]) for row in rows])

    series = [bars(name, refused) for name, refused in hits.items()]

    def draw(drawing: Drawing, limits: Limits) -> str:
        return row_charts.bars(drawing, names, series, ("category", "share refused"), (0, 1))

    share = f"The share of {len(categories)} {side} prompts that are refused, by category, with {material.intervals}."
    return Plan(
        "categories" if side != "harmless" else "categories-harmless",
        "Refusals by category",
        share + remark,
        draw,
        once=True,
    )


def arm_by_arm(recording: Recording, level: float) -> Plan:
    """Bars of the share refused under every published intervention, and without any."""
    names = [arm.label for arm in recording.arms]
    series = [line_of("refused", [proportions.rate(arm.refused, level) for arm in recording.arms])]

    def draw(drawing: Drawing, limits: Limits) -> str:
        return row_charts.bars(drawing, names, series, ("arm", "share refused"), (0, 1))

    n, intervals = len(recording.categories), Material((), recording.pairs, level).intervals
    caption = f"The share of {n} prompts of each side that are refused, with {intervals}."
    return Plan("arms", "Refusals under each intervention", caption, draw, once=True)


@dataclass(frozen=True)
class RandomControl:
    """Refusals of the same prompts under a found direction, under random ones in its place, and unchanged."""

    fingerprint: str  # of the prompts
    side: PromptSide
    rank: int
    under_found: Sequence[Arm]
    under_random: Sequence[Arm]
    unchanged: Sequence[Arm]


def random_controls(material: Material) -> Iterator[RandomControl]:
    """Every intervention with a found direction for which random directions were measured too."""
    by_arm: dict[tuple[str, ...], Arm] = {}
    for kind in _TELLING:
        for told in arms_of(material.kind(kind)):
            under = {name: value for name, value in (told.of["under"] or {}).items() if name != "during"}
            by_arm[prompts_fingerprint(told.samples[0]), told.of["side"], str(under)] = told
    scores = list(by_arm.values())

    def arm(told: Arm) -> tuple[Any, ...]:
        under = told.of["under"] or {}
        settings = sorted((key, str(value)) for key, value in under.items() if key != "direction")
        direction = material.direction(under)
        fingerprint = prompts_fingerprint(told.samples[0])
        return fingerprint, told.of["side"], direction.rank if direction else 0, str(settings)

    for (fingerprint, side, rank, _), group in grouped(scores, arm):
        known = [(score, material.direction(score.of["under"])) for score in group]
        under_found = [score for score, direction in known if direction is not None and not direction.random]
        under_random = [score for score, direction in known if direction is not None and direction.random]
        if rank and under_found and under_random:
            alike = (score for score in scores if arm(score)[:2] == (fingerprint, side))
            unchanged = [score for score in alike if score.of["under"] is None]
            yield RandomControl(fingerprint, side, rank, under_found, under_random, unchanged)


def random_directions(material: Material) -> Iterator[Plan]:
    """Strips of how much is refused, under the found direction and under random ones in its place."""
    for control in random_controls(material):
        clusters = material.judged_sets[control.fingerprint][1].clusters_of(control.side)
        many = len(control.under_random)
        sets = "random directions" if control.rank == 1 else f"random sets of {control.rank} directions"
        arms = (
            ("as it is", control.unchanged),
            (material.intervention_in_words(control.under_found[0].of["under"]), control.under_found),
            (f"{many} {sets}", control.under_random),
        )
        rows = [
            (name, [answer_shares.rate(refusals(score), material.level, clusters) for score in scores])
            for name, scores in arms
            if scores
        ]
        compared = "direction and under random directions" if control.rank == 1 else f"directions and under {sets}"
        caption = (
            f"The share of {len(clusters)} {control.side} prompts that are refused, "
            f"under the found {compared} in {'its' if control.rank == 1 else 'their'} place (one dot each), with "
            f"{material.intervals}."
        )
        title = "Compared with random directions"
        yield strip_of("random-directions", title, caption, "share of prompts", rows, holds=1.0)


def refusals(told: Arm) -> Bool[np.ndarray, "*sample prompt"]:
    """Which prompts an arm refuses, by its answers or by a score that stands for them."""
    if told.samples[0].recipe.kind == Answers.KIND:
        return told.refused
    return np.array(told.samples[0].values["odds"]) > 0
