"""All figures of a run, claim by claim: what is judged, and what supports it; repeated pictures become links."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from harness.report.drawing.figures import Figure, figure, figures, recorded
from harness.report.drawing.judged_figures import judged
from harness.report.run_material import RunMaterial
from harness.report.templates import anchor, slug
from harness.results.run_record import Judged
from harness.results.verdict_evidence import Material
from harness.subjects.published.recordings import RECORDED


@dataclass(frozen=True)
class PlacedFigure:
    """A figure at its place on the page, or a link to where the same picture is drawn."""

    figure: Figure
    name: str  # of its file, and the id of its place on the page
    claim: str  # under which the picture is drawn
    repeated: bool  # drawn before: here is only a link


class RunFigures:
    """The figures of one run."""

    def __init__(self, material: RunMaterial) -> None:
        self._material = material

    def drawn(self) -> Iterator[tuple[str, Figure]]:
        """Every picture once, with the name of its file."""
        for claim in self._material.claims:
            for recorded_models in (False, True):
                if (placed := self.judged(claim, recorded_models=recorded_models)) is not None:
                    yield placed.name, placed.figure
        for verdict_figures in self.supporting.values():
            yield from ((placed.name, placed.figure) for placed in verdict_figures if not placed.repeated)

    def judged(self, claim: str, *, recorded_models: bool) -> PlacedFigure | None:
        """The figure of what a claim asserts, on all live models or on all recorded ones; None without a number."""
        verdicts = [
            verdict
            for verdict in self._material.judged(claim)
            if verdict["model"].startswith(RECORDED) == recorded_models
        ]
        plan = judged(verdicts, self._material.level(claim)) if verdicts else None
        if plan is None:
            return None
        name = f"{slug(claim)}--judged{'-recorded' if recorded_models else ''}"
        titled = replace(plan, title=f"{plan.title} in {claim}")  # two claims may have the same numbers
        return PlacedFigure(figure(name, plan.name, titled, plan.limits), name, claim, repeated=False)

    @cached_property
    def supporting(self) -> Mapping[tuple[str, str], list[PlacedFigure]]:
        """(claim, model) → the figures of the evidence behind its verdict."""
        first: dict[str, PlacedFigure] = {}
        supporting: dict[tuple[str, str], list[PlacedFigure]] = {}
        for (claim, model), drawn in self._of_evidence():
            for picture in drawn:
                name = f"{anchor(claim, model)}--{slug(picture.name)}"
                own = PlacedFigure(picture, name, claim, repeated=False)
                earlier = first.setdefault(_content(picture), own)
                if earlier is not own:
                    own = PlacedFigure(picture, earlier.name, earlier.claim, repeated=True)
                supporting.setdefault((claim, model), []).append(own)
        return supporting

    def _of_evidence(self) -> Iterator[tuple[tuple[str, str], list[Figure]]]:
        for claim in self._material.claims:
            live: dict[str, Material] = {}
            for verdict in self._material.judged(claim):
                if (material := self._material.material(verdict)) is not None:
                    live[verdict["model"]] = material
                elif drawn := self._of_recording(verdict):
                    yield (claim, verdict["model"]), drawn
            for model, drawn in figures(claim, live).items():
                yield (claim, model), drawn

    def _of_recording(self, verdict: Judged) -> list[Figure]:
        model, claim = verdict["model"], verdict["claim"]
        published = self._material.recording(model) if model.startswith(RECORDED) else None
        if published is None:
            return []
        by_category = any(estimate["name"].startswith("least") for estimate in verdict["estimates"])
        return recorded(claim, published, self._material.level(claim), by_category=by_category)


def _content(drawn: Figure) -> str:
    """All that a reader sees of a figure: without its ids, which name the claim."""
    return drawn.title + drawn.caption + re.sub(r' (id|aria-labelledby)="[^"]*"', "", drawn.svg)
