"""What the page says of one claim: its sentence, figure, verdicts and placebo, and the details behind one click."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.claims.claim import placebos_seen
from harness.inputs.prompts.pairs import PairSet
from harness.judging.verdict import NOT_JUDGED, Kept
from harness.measurements.questions import Swept
from harness.report.drawing.judged_figures import is_placebo
from harness.report.remarks import remarks
from harness.report.run_figures import RunFigures
from harness.report.run_material import RunMaterial
from harness.report.templates import anchor, slug
from harness.results import wording
from harness.results.controls.control_runs import Controls, KnownControls
from harness.results.pair_table import kinds_asked
from harness.results.quantity_words import phrase
from harness.results.rejudged import doubt
from harness.results.run_record import Judged, Run
from harness.results.verdict_evidence import by_openings
from harness.subjects.published.recordings import RECORDED

# If there are more verdicts than this, they are folded: the figure shows all of them.
OPEN = 2


class ClaimControls:
    """On which organisms a claim, in the form judged here, was seen to hold and to fail."""

    def __init__(self, runs: Path, run: Run) -> None:
        self._run, self._seen, self._placebos = run, KnownControls(runs, run), placebos_seen()

    def of(self, claim: str) -> dict[str, Any]:
        """A claim's controls, a sentence on missing ones, and its verdicts with random parts in place of found ones."""
        about = self._run.claims.get(claim)
        if about is None:
            return {"seen": Controls({}, {}), "missing": "", "placebos": None}
        seen, placebos = self._seen.of(claim, about), self._placebos.get(claim)
        if placebos and (placebos["claim"] != about["fingerprint"] or not placebos["verdicts"]):
            placebos = None  # judged by another version of the claim, or never
        return {"seen": seen, "missing": "" if seen.both else seen.missing(about), "placebos": placebos}


class ClaimSections:
    """The sections of a run's page, one for each claim."""

    def __init__(self, material: RunMaterial, figures: RunFigures, controls: ClaimControls) -> None:
        self._material, self._figures, self._controls = material, figures, controls

    def of(self, claim: str) -> dict[str, Any]:
        """The variables of the template for one claim."""
        about = self._material.run.claims.get(claim)
        verdicts = [self._material.verdicts.get((claim, model)) for model in self._material.models]
        skipped = [verdict for verdict in verdicts if verdict is not None and verdict["word"] in NOT_JUDGED]
        return {
            "name": claim,
            "slug": slug(claim),
            "about": about,
            "title": about["title"] if about else claim,
            "controls": self._controls.of(claim),
            "groups": [group for recorded in (False, True) if (group := self._group(claim, recorded=recorded))],
            "skipped": list(reasons(skipped)),
        }

    def _group(self, claim: str, *, recorded: bool) -> dict[str, Any] | None:
        """The verdicts on live models or on recorded ones, with the figure that shows all of them."""
        judged = self._material.judged(claim)
        verdicts = [verdict for verdict in judged if verdict["model"].startswith(RECORDED) == recorded]
        if not verdicts:
            return None
        return {
            "figure": self._figures.judged(claim, recorded_models=recorded),
            "folded": len(verdicts) > OPEN,
            "kind": "recorded models" if recorded else "models",
            "verdicts": [self._verdict(verdict) for verdict in verdicts],
        }

    def _verdict(self, verdict: Judged) -> dict[str, Any]:
        pairs, evidence = self._material.pairs(verdict["model"]), self._material.evidence(verdict)
        kinds = [] if pairs is None else kinds_asked(evidence, pairs)
        reported = verdict.get("beside", [])
        placebos = [estimate for estimate in reported if is_placebo(estimate["name"])]
        others = [estimate for estimate in reported if estimate not in placebos]
        material, about = self._material.material(verdict), self._material.run.claims.get(verdict["claim"])
        own_remarks = [] if material is None else remarks(material, verdict)
        key = verdict["claim"], verdict["model"]
        return {
            "judged": verdict,
            "doubtful": bool(doubt(verdict, about["bar"] if about else "")),
            "anchor": anchor(*key),
            "sentences": [wording.in_words(estimate) for estimate in verdict["estimates"]],
            "remarks": [*self._imported(verdict), *own_remarks],
            "figures": self._figures.supporting.get(key, []),
            "placebos": [_reported(estimate) for estimate in placebos],
            "others": [_reported(estimate) for estimate in others],
            "rests_on": [
                (_rests_on(estimate), estimate.get("evidence", []))
                for estimate in verdict["estimates"]
                if estimate["n"]
            ],
            "limits": wording.limits(verdict, self._material.run, kinds, by_openings=any(map(by_openings, evidence))),
            "use": self._use(verdict),
            "table": self._material.tables.get(key),
        }

    def _imported(self, verdict: Judged) -> Iterator[str]:
        """Warnings that others measured what the verdict read: when it was judged, or in the evidence here now."""
        if source := verdict.get("recording_from"):
            yield f"Its recording was imported from {source}: nobody here has seen the answers behind it."
        evidence = self._material.evidence(verdict)
        sources = {item.fingerprint: item.imported["bundle"] for item in evidence if item.imported}
        if keys := {*sources, *verdict.get("imported", ())}:
            names = f" from {', '.join(sorted(set(sources.values())))}" if sources else ""
            yield (
                f"Imported{names}: {len(keys)} of the {len(verdict['evidence'])} measurements it rests on. Hashes "
                "reveal damage but not forgery; only measuring again does."
            )

    def _use(self, verdict: Judged) -> dict[str, Any]:
        """How many pairs and how much evidence the verdict used, and how many of them it could not use."""
        pairs, evidence = self._material.pairs(verdict["model"]), self._material.evidence(verdict)
        sweeps = (item for item in evidence if item.recipe.kind == Swept.KIND)
        set_aside = {pair for sweep in sweeps for pair in sweep.values["set_aside"]}
        sizes = None if pairs is None or not len(pairs.discovery) else (len(pairs.discovery), len(pairs.heldout))
        return {
            "split": sizes,
            "unit": "" if pairs is None else pairs.unit,
            "sharing": pairs.sharing if isinstance(pairs, PairSet) else 0,
            "frames": (pairs.discovery.frames, pairs.heldout.frames) if isinstance(pairs, PairSet) else None,
            "set_aside": len(set_aside),
            "evidence": len(verdict["evidence"]),
            "missing": len(verdict["evidence"]) - len(evidence),
        }


def reasons(skipped: Sequence[Judged]) -> Iterator[tuple[str, list[str]]]:
    """Why a claim was not judged: each reason with the models it applies to."""
    models: dict[str, list[str]] = {}
    for verdict in skipped:
        reason = verdict["reason"].removeprefix(f"{verdict['model']}: ")
        models.setdefault(reason, []).append(verdict["model"])
    yield from models.items()


def _reported(estimate: Kept) -> tuple[str, str, list[str]]:
    """Name, number and evidence of an estimate that decides nothing."""
    return phrase(estimate["name"]), wording.number(estimate), estimate.get("evidence", [])


def _rests_on(estimate: Mapping[str, Any]) -> str:
    """On how many pairs or prompts an estimate rests, and the method of its interval."""
    units = f"{estimate['n']:,} {estimate['unit']}"
    method = "counted over all" if estimate["method"] == "counted" else f"{estimate['method']}; on"
    return f"{phrase(estimate['name'])}: {method} {units}"
