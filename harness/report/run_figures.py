"""All figures of a run: what is judged, claim by claim, and what speaks for it; each picture is drawn once."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from harness.report.drawing.figures import Figure, figure, figures, recorded
from harness.report.drawing.judged_figures import judged
from harness.report.run_material import RunMaterial
from harness.report.templates import anchor, slug
from harness.results.run_record import Judged
from harness.results.verdict_evidence import Material
from harness.subjects.published.recordings import RECORDED


@dataclass(frozen=True)
class Shown:
    """A figure at its place on the page, or where the same picture already stands."""

    figure: Figure
    name: str  # of its file and its place
    claim: str  # under which the picture stands
    again: bool  # drawn before: only linked to


class RunFigures:
    """The figures of one run."""

    def __init__(self, material: RunMaterial) -> None:
        self._material = material

    def drawn(self) -> Iterator[tuple[str, Figure]]:
        """Every picture once, with the name of its file."""
        for claim in self._material.claims:
            for recorded_ones in (False, True):
                if (shown := self.judged(claim, recorded_ones=recorded_ones)) is not None:
                    yield shown.name, shown.figure
        for some in self.further.values():
            yield from ((one.name, one.figure) for one in some if not one.again)

    def judged(self, claim: str, *, recorded_ones: bool) -> Shown | None:
        """What a claim asserts, of all live models or of all recorded ones."""
        some = [one for one in self._material.judged(claim) if one["model"].startswith(RECORDED) == recorded_ones]
        plan = judged(some, self._material.level(claim)) if some else None
        if plan is None:
            return None
        name = f"{slug(claim)}--judged{'-recorded' if recorded_ones else ''}"
        return Shown(figure(name, plan.name, plan, plan.limits), name, claim, again=False)

    @cached_property
    def further(self) -> Mapping[tuple[str, str], list[Shown]]:
        """(claim, model) → the figures behind its verdict."""
        first: dict[str, Shown] = {}
        found: dict[tuple[str, str], list[Shown]] = {}
        for (claim, model), some in self._of_evidence():
            for one in some:
                shown = Shown(one, f"{anchor(claim, model)}--{slug(one.name)}", claim, again=False)
                before = first.setdefault(_picture(one), shown)
                again = shown if before is shown else Shown(one, before.name, before.claim, again=True)
                found.setdefault((claim, model), []).append(again)
        return found

    def _of_evidence(self) -> Iterator[tuple[tuple[str, str], list[Figure]]]:
        for claim in self._material.claims:
            live: dict[str, Material] = {}
            for one in self._material.judged(claim):
                if (material := self._material.material(one)) is not None:
                    live[one["model"]] = material
                elif some := self._of_recording(one):
                    yield (claim, one["model"]), some
            for model, drawn in figures(claim, live).items():
                yield (claim, model), drawn

    def _of_recording(self, found: Judged) -> list[Figure]:
        published = self._material.recording(found["model"]) if found["model"].startswith(RECORDED) else None
        if published is None:
            return []
        least = any(estimate["name"].startswith("least") for estimate in found["estimates"])
        return recorded(found["claim"], published, self._material.level(found["claim"]), by_category=least)


def _picture(one: Figure) -> str:
    """What is seen, whatever it is called: ids name the claim."""
    return one.title + one.caption + re.sub(r' (id|aria-labelledby)="[^"]*"', "", one.svg)
