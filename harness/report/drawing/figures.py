"""Figures: from the evidence that a verdict read to SVG. What is drawn follows from what was measured."""

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
from harness.report.drawing.circuit_figures import across_categories, circuits_beside, cumulative, dose, found_circuit
from harness.report.drawing.figure_plan import Limits, Plan
from harness.report.drawing.site_figures import gradients, head_sums, heads, positions, ranking, single, stages
from harness.report.drawing.stream_figures import projected, read_out, stream_map
from harness.report.drawing.svg import DESK, PHONE, Drawing
from harness.results.verdict_evidence import Material
from harness.subjects.published.recordings import Arm, Recording

# Of one verdict; the first are nearest to what is asserted.
MOST = 4


@dataclass(frozen=True)
class Figure:
    """A picture, and what it shows; `name` is unique among those of a verdict."""

    name: str
    title: str
    caption: str
    svg: str
    phone: str  # the same, laid out for a phone


def figures(claim: str, by_model: Mapping[str, Material]) -> dict[str, list[Figure]]:
    """The figures of each model, on scales that they share."""
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
    """Published judgements: every arm, and by category where that is what is claimed."""
    plans = [arm_by_arm(recording, level)]
    arms = {str(one.arm): np.array(one.refused) for one in recording.arms if one.side == "harmful"}
    names = [str(arm) for arm in (Arm(), Arm("remove", where="everywhere")) if str(arm) in arms]
    if by_category and len(names) == 2:
        hits = {name: arms[name] for name in names}
        plans.insert(0, refused_by_category(Material((), recording.pairs, level), recording.pairs, hits, "harmful"))
    return [figure(f"{claim}-recorded:{recording.name}", plan.name, plan, plan.limits) for plan in plans]


def _planned(material: Material) -> dict[str, Plan]:
    """Those nearest to what is asserted, under names of their own."""
    found: dict[str, Plan] = {}
    for plan in (plan for maker in MAKERS for plan in maker(material)):
        if len(found) == MOST:
            break
        again = sum(name.partition("~")[0] == plan.name for name in found)
        found[f"{plan.name}~{again + 1}" if again else plan.name] = plan
    return found


def figure(of: str, name: str, plan: Plan, limits: Limits) -> Figure:
    """A plan drawn on this scale, for a desk and for a phone."""
    wide, narrow = (Drawing(f"{of}-{name}", plan.title, plan.caption, width, 300) for width in (DESK, PHONE))
    return Figure(name, plan.title, plan.caption, plan.draw(wide, limits), plan.draw(narrow, limits))


# In the order in which they speak for what is asserted.
MAKERS: tuple[Callable[[Material], Iterator[Plan]], ...] = (
    refused_under,
    random_directions,
    gradients,
    ranking,
    heads,
    single,
    positions,
    stages,
    projected,
    read_out,
    across_categories,
    circuits_beside,
    dose,
    found_circuit,
    cumulative,
    stream_map,
    head_sums,
    refused_unchanged,
)
