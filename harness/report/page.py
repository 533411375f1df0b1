"""Writes a run's page and its figures as files, from the run and its evidence alone: no model is needed."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.claims.claim import verdicts_seen
from harness.inputs.files.whole_files import write_whole
from harness.measurements.evidence import Store
from harness.report.claim_section import ClaimControls, ClaimSections
from harness.report.first_screen import model_of, tables
from harness.report.page_policy import policy
from harness.report.run_figures import RunFigures
from harness.report.run_material import RunMaterial
from harness.report.templates import PAGE, TICKS, across, environment, stylesheet
from harness.results import wording
from harness.results.controls import truth_matrix
from harness.results.rejudged import doubts
from harness.results.run_record import Run


@dataclass(frozen=True)
class Written:
    """What was written, and which verdicts contradict their numbers."""

    page: Path
    bytes: int
    figures: int
    doubts: tuple[str, ...]  # a sentence for each verdict that does not follow from its numbers


def write(folder: Path, store: Store, to: Path | None = None) -> Written:
    """Writes the page of the run in `folder` there, or to `to`, and its figures into figures/ in the same place."""
    own = page_of(folder)
    to = own if to is None else to
    home = os.path.relpath(front_page_of(folder.parent), to.parent) if to == own else ""
    run = Run.load(folder)
    material, wrong = RunMaterial(run, store), doubts(run)
    figures = RunFigures(material)
    html = _html(folder, material, figures, wrong, home).encode()
    svg_folder = to.parent / "figures"
    for old in svg_folder.glob("*.svg"):
        with suppress(OSError):  # a file that cannot be deleted fails again, with a message, when it is written
            old.unlink()
    drawn = list(figures.drawn())
    for name, figure in drawn:
        write_whole(svg_folder / f"{name}.svg", figure.svg.encode(), synced=False)
    write_whole(to, html, synced=False)
    doubtful = tuple(f"{' on '.join(key)}: {why}" for key, why in wrong.items())
    return Written(to, len(html), len(drawn), doubtful)


def page_of(folder: Path) -> Path:
    """The path of a run's own page."""
    return folder / "index.html"


def front_page_of(runs: Path) -> Path:
    """The path of the list of the runs in a folder."""
    return runs.parent / "index.html"


def _html(
    folder: Path, material: RunMaterial, figures: RunFigures, wrong: Mapping[tuple[str, str], str], home: str
) -> str:
    """The page as text."""
    controls = ClaimControls(folder.parent, material.run)
    sections = ClaimSections(material, figures, controls)
    style, script = stylesheet(), (PAGE / "script.js").read_text(encoding="utf-8")
    return (
        environment(PAGE)
        .get_template("index.html")
        .render(
            run=material.run,
            name=folder.resolve().name,
            home=home,
            doubts=wrong,
            headline=wording.headline(material.run),
            union=wording.union_bound(material.run),
            models=[model_of(material, name) for name in material.models],
            tables=tables(material, controls),
            claims=[sections.of(claim) for claim in material.claims],
            truth=_truth(material),
            ticks=[(f"{across(at):.1f}", f"{at:g}") for at in TICKS],
            data=_script(material.data),
            style=style,
            script=script,
            policy=policy([style], [script]),
        )
    )


def _truth(material: RunMaterial) -> truth_matrix.Grid:
    """What the run's claims, as they stood in it, came out as on every organism."""
    fingerprints = {name: about["fingerprint"] for name, about in material.run.claims.items()}
    return truth_matrix.grid(
        {
            claim: {organism: seen for organism, seen in kept.items() if seen["claim"] == fingerprints.get(claim)}
            for claim, kept in verdicts_seen().items()
            if claim in material.claims
        }
    )


def _script(data: Mapping[str, Any]) -> str:
    """JSON without characters that could end the <script> element around it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
