"""The tables of the first screen: which claims hold on which models, by how much, and whether their tests can fail."""

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
    """A table of the live models, and one of the recorded models with only the claims that recordings can decide."""
    live = [name for name in material.models if not name.startswith(RECORDED)]
    recorded = [name for name in material.models if name.startswith(RECORDED)]
    filled = []
    for models in filter(None, (live, recorded)):
        asked = [claim for claim in material.claims if any((claim, model) in material.verdicts for model in models)]
        shown = asked if models is live else [claim for claim in asked if _decided(material, claim, models)]
        shown = sorted(shown, key=lambda claim: _is_exploratory(material, claim))  # what is registered comes first
        filled.append(
            {
                "recorded": models is recorded,
                "models": [model_of(material, name) for name in models],
                "rows": [_row(material, controls, claim, models) for claim in shown],
                "not_judged": [title_of(material, claim) for claim in asked if claim not in shown],
            }
        )
    return filled


def title_of(material: RunMaterial, claim: str) -> str:
    """A claim's sentence, or its name if the run did not record the claim."""
    about = material.run.claims.get(claim)
    return about["title"] if about else claim


def model_of(material: RunMaterial, name: str) -> dict[str, Any]:
    """A model's name in parts, and its record, for the template."""
    kind, _, rest = name.partition(":")
    about = material.run.models.get(name)
    return {"name": name, "kind": kind if rest else "", "rest": rest or name, "about": about}


def _decided(material: RunMaterial, claim: str, models: Sequence[str]) -> bool:
    words = [material.verdicts[claim, model]["word"] for model in models if (claim, model) in material.verdicts]
    return any(word != "SKIPPED" for word in words)


def _is_exploratory(material: RunMaterial, claim: str) -> bool:
    return claim in material.run.claims and not material.run.claims[claim].get("primary")


def _row(material: RunMaterial, controls: ClaimControls, claim: str, models: Sequence[str]) -> dict[str, Any]:
    cells = [material.verdicts.get((claim, model)) for model in models]
    judged = [cell for cell in cells if cell is not None and cell["word"] not in NOT_JUDGED]
    first = cells[0]
    estimate = wording.deciding(first) if first is not None and first in judged else None
    drawn = [(verdict, deciding) for verdict in judged if (deciding := wording.deciding(verdict)) is not None]
    height = max(18, 5 * len(drawn) + 4)
    return {
        "title": title_of(material, claim),
        "slug": slug(claim),
        "exploratory": _is_exploratory(material, claim),
        "cells": cells,
        "marks": list(_marks(drawn, height)),
        "height": height,
        "number": "" if estimate is None else wording.number(estimate),
        "estimate": estimate,
        "controls": controls.of(claim),
    }


def _marks(drawn: Sequence[tuple[Judged, Mapping[str, Any]]], height: int) -> Iterator[dict[str, Any]]:
    """The forest plot of one claim: a mark for each model with an estimate, in the order of the columns."""
    for place, (verdict, estimate) in enumerate(drawn):
        each = (height - 4) / len(drawn)  # two pixels of room above and below
        yield {
            "y": f"{2 + each * (place + 0.5):.1f}",
            "half": f"{min(7.0, each / 2):.1f}",
            "low": f"{across(estimate['low']):.1f}",
            "high": f"{across(estimate['high']):.1f}",
            "value": f"{across(estimate['value']):.1f}",
            "bar": f"{across(estimate['bar']):.1f}",
            "flag": "0" if place else "2.5" if estimate["sign"] == ">" else "-2.5",
            "word": verdict["word"],
            "title": f"{verdict['model']}, {verdict['word']}: {estimate['name']} {wording.number(estimate)}",
        }
