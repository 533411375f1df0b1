"""The first screen: which claims hold on which models, by how much, and whether their tests can fail."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.judging.verdict import NOT_JUDGED
from harness.report.claim_section import ClaimControls
from harness.report.run_material import RunMaterial
from harness.report.templates import across, slug
from harness.results import wording
from harness.results.run_record import Judged
from harness.subjects.published.recordings import RECORDED


def tables(material: RunMaterial, controls: ClaimControls) -> list[dict[str, Any]]:
    """One table of the live models, and one of recorded models with the claims that recordings can decide."""
    live = [name for name in material.models if not name.startswith(RECORDED)]
    recorded = [name for name in material.models if name.startswith(RECORDED)]
    found = []
    for models in filter(None, (live, recorded)):
        asked = [claim for claim in material.claims if any((claim, model) in material.verdicts for model in models)]
        shown = asked if models is live else [claim for claim in asked if _decided(material, claim, models)]
        found.append(
            {
                "recorded": models is recorded,
                "models": [model_of(material, name) for name in models],
                "rows": [_row(material, controls, claim, models) for claim in shown],
                "left": [title_of(material, claim) for claim in asked if claim not in shown],
            }
        )
    return found


def title_of(material: RunMaterial, claim: str) -> str:
    """A claim's sentence, or its name where a run does not know the claim."""
    about = material.run.claims.get(claim)
    return about["title"] if about else claim


def model_of(material: RunMaterial, name: str) -> dict[str, Any]:
    """A model as a column or a line of the page."""
    kind, _, rest = name.partition(":")
    about = material.run.models.get(name)
    return {"name": name, "kind": kind if rest else "", "rest": rest or name, "about": about}


def _decided(material: RunMaterial, claim: str, models: Sequence[str]) -> bool:
    words = [material.verdicts[claim, model]["word"] for model in models if (claim, model) in material.verdicts]
    return any(word != "SKIPPED" for word in words)


def _row(material: RunMaterial, controls: ClaimControls, claim: str, models: Sequence[str]) -> dict[str, Any]:
    cells = [material.verdicts.get((claim, model)) for model in models]
    judged = [one for one in cells if one is not None and one["word"] not in NOT_JUDGED]
    first = cells[0]
    estimate = wording.deciding(first) if first is not None and first in judged else None
    drawn = [(one, rests_on) for one in judged if (rests_on := wording.deciding(one)) is not None]
    height = max(24, 5 * len(drawn) + 4)
    return {
        "title": title_of(material, claim),
        "slug": slug(claim),
        "cells": cells,
        "marks": list(_marks(drawn, height)),
        "height": height,
        "number": "" if estimate is None else wording.number(estimate),
        "estimate": estimate,
        "controls": controls.of(claim),
    }


def _marks(drawn: Sequence[tuple[Judged, Mapping[str, Any]]], height: int) -> Iterator[dict[str, Any]]:
    """The forest of one claim: a line for each model with an estimate, in the order of the columns."""
    for place, (one, estimate) in enumerate(drawn):
        each = (height - 4) / len(drawn)  # two pixels above and below part a claim from the next
        yield {
            "y": f"{2 + each * (place + 0.5):.1f}",
            "half": f"{min(8.0, each / 2):.1f}",
            "low": f"{across(estimate['low']):.1f}",
            "high": f"{across(estimate['high']):.1f}",
            "value": f"{across(estimate['value']):.1f}",
            "bar": f"{across(estimate['bar']):.1f}",
            "flag": "0" if place else "2.5" if estimate["sign"] == ">" else "-2.5",
            "word": one["word"],
            "title": f"{one['model']}, {one['word']}: {estimate['name']} {wording.number(estimate)}",
        }
