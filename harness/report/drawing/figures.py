"""Draws the figures of verdicts as SVG: `MAKERS` lists which there are; each is drawn where its evidence exists."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from harness.report.drawing.answer_figures import (
    arm_by_arm,
    random_directions,
    refused_by_category,
    refused_unchanged,
    refused_under,
)
from harness.report.drawing.circuit_figures import (
    across_categories,
    compared_circuits,
    effect_by_size,
    found_circuit,
    refusal_by_size,
)
from harness.report.drawing.figure_plan import Limits, Plan
from harness.report.drawing.site_figures import gradients, head_sums, heads, positions, ranking, single_sites, stages
from harness.report.drawing.stream_figures import logit_lens, projections, stream_map
from harness.report.drawing.svg import DESK, ONCE, PHONE, Drawing
from harness.results.verdict_evidence import Material
from harness.subjects.published.recordings import Arm, Recording

# The most figures of one verdict: the first in the order of MAKERS.
MOST = 4


@dataclass(frozen=True)
class Figure:
    """A drawn figure with its caption; `name` is unique among the figures of a verdict."""

    name: str
    title: str
    caption: str
    svg: str
    phone: str  # the same figure, laid out for a phone; empty where `svg` serves there too


def figures(claim: str, by_model: Mapping[str, Material]) -> dict[str, list[Figure]]:
    """The figures of a claim for each model; figures of the same name share one scale over all models."""
    planned = {model: _planned(material) for model, material in by_model.items()}
    limits: dict[str, Limits] = {}
    for plans in planned.values():
        for name, plan in plans.items():
            low, high = limits.get(name, plan.limits)
            limits[name] = min(low, plan.limits[0]), max(high, plan.limits[1])
    return {
        model: [figure(f"{claim}-{model}", name, plan, limits[name]) for name, plan in plans.items()]
        for model, plans in planned.items()
    }


def recorded(claim: str, recording: Recording, level: float, *, by_category: bool) -> list[Figure]:
    """The figures of published judgements: every intervention, and refusals by category if the claim is about those."""
    plans = [arm_by_arm(recording, level)]
    arms = {str(arm.arm): np.array(arm.refused) for arm in recording.arms if arm.side == "harmful"}
    names = [str(arm) for arm in (Arm(), Arm("remove", where="everywhere")) if str(arm) in arms]
    if by_category and len(names) == 2:
        hits = {name: arms[name] for name in names}
        plans.insert(0, refused_by_category(Material((), recording.pairs, level), recording.pairs, hits, "harmful"))
    return [figure(f"{claim}-recorded:{recording.name}", plan.name, plan, plan.limits) for plan in plans]


def _planned(material: Material) -> dict[str, Plan]:
    """The first MOST plans by unique names."""
    plans: dict[str, Plan] = {}
    for plan in (plan for maker in MAKERS for plan in maker(material)):
        if len(plans) == MOST:
            break
        before = sum(name.partition("~")[0] == plan.name for name in plans)
        plans[f"{plan.name}~{before + 1}" if before else plan.name] = plan
    return plans


def figure(owner: str, name: str, plan: Plan, limits: Limits) -> Figure:
    """Draws a plan on a scale, once or for each place; owner and name make ids that are unique on the page."""
    widths = (ONCE,) if plan.once else (DESK, PHONE)
    drawings = (Drawing(f"{owner}-{name}", plan.title, plan.caption, width, 300) for width in widths)
    svg, *phone = (plan.draw(drawing, limits) for drawing in drawings)
    return Figure(name, plan.title, plan.caption, svg, "".join(phone))


# Functions that plan figures; those that say most about what a claim asserts come first.
MAKERS: tuple[Callable[[Material], Iterator[Plan]], ...] = (
    refused_under,
    random_directions,
    gradients,
    ranking,
    heads,
    single_sites,
    positions,
    stages,
    projections,
    logit_lens,
    across_categories,
    compared_circuits,
    refusal_by_size,
    found_circuit,
    effect_by_size,
    stream_map,
    head_sums,
    refused_unchanged,
)
