"""One claim on the page: its sentence, verdicts, what is judged and its placebo; the rest stands behind one click."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.claims.claim import placebos_seen
from harness.inputs.prompts.pairs import PairSet
from harness.judging.verdict import NOT_JUDGED, Kept
from harness.report.drawing.judged_figures import is_placebo
from harness.report.remarks import remarks
from harness.report.run_figures import RunFigures
from harness.report.run_material import RunMaterial
from harness.report.templates import anchor, slug
from harness.results import wording
from harness.results.controls.control_runs import Controls, Seen
from harness.results.pair_table import kinds_asked
from harness.results.quantity_words import phrase
from harness.results.rejudged import doubt
from harness.results.run_record import Judged, Run
from harness.subjects.published.recordings import RECORDED

# Verdicts that stand open side by side; more of them are folded, since one figure shows them all.
OPEN = 2


class ClaimControls:
    """Where claims, as they were judged here, were seen to hold and to fail."""

    def __init__(self, runs: Path, run: Run) -> None:
        self._run, self._seen, self._placebos = run, Seen(runs, run), placebos_seen()

    def of(self, claim: str) -> dict[str, Any]:
        """What was seen of one claim, and what is still to be seen."""
        about = self._run.claims.get(claim)
        if about is None:
            return {"seen": Controls({}, {}), "missing": "", "placebos": None}
        seen, tried = self._seen.of(claim, about), self._placebos.get(claim)
        placebos = tried if tried and tried["claim"] == about["fingerprint"] and tried["verdicts"] else None
        return {"seen": seen, "missing": "" if seen.both else seen.missing(about), "placebos": placebos}


class ClaimSections:
    """What the page says of each claim of a run."""

    def __init__(self, material: RunMaterial, figures: RunFigures, controls: ClaimControls) -> None:
        self._material, self._figures, self._controls = material, figures, controls

    def of(self, claim: str) -> dict[str, Any]:
        """One claim, as the template wants it."""
        about = self._material.run.claims.get(claim)
        verdicts = [self._material.verdicts.get((claim, model)) for model in self._material.models]
        skipped = [one for one in verdicts if one is not None and one["word"] in NOT_JUDGED]
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
        """The verdicts on live models, or those on recorded ones, with the figure that shows all of them."""
        some = [one for one in self._material.judged(claim) if one["model"].startswith(RECORDED) == recorded]
        if not some:
            return None
        return {
            "figure": self._figures.judged(claim, recorded_ones=recorded),
            "folded": len(some) > OPEN,
            "kind": "recorded models" if recorded else "models",
            "verdicts": [self._verdict(one) for one in some],
        }

    def _verdict(self, found: Judged) -> dict[str, Any]:
        pairs, evidence = self._material.pairs(found["model"]), self._material.evidence(found)
        kinds = [] if pairs is None else kinds_asked(evidence, pairs)
        beside = found.get("beside", [])
        placebos = [one for one in beside if is_placebo(one["name"])]
        effects = [one for one in beside if one not in placebos]
        material, about = self._material.material(found), self._material.run.claims.get(found["claim"])
        return {
            "found": found,
            "doubtful": bool(doubt(found, about["bar"] if about else "")),
            "anchor": anchor(found["claim"], found["model"]),
            "words": [wording.in_words(one) for one in found["estimates"]],
            "remarks": [*self._imported(found), *([] if material is None else remarks(material, found))],
            "figures": self._figures.further.get((found["claim"], found["model"]), []),
            "placebos": [_beside(one) for one in placebos],
            "beside": [_beside(one) for one in effects],
            "rests_on": [(_rests_on(one), one.get("evidence", [])) for one in found["estimates"] if one["n"]],
            "limits": wording.limits(found, self._material.run, kinds),
            "use": self._use(found),
            "table": self._material.tables.get((found["claim"], found["model"])),
        }

    def _imported(self, found: Judged) -> Iterator[str]:
        """That strangers measured some of what a verdict read, as it was judged or as its evidence lies here."""
        if source := found.get("recording_from"):
            yield f"Its recording was imported from {source}: nobody here has seen the answers it was made of."
        sources = {one.fingerprint: one.imported["bundle"] for one in self._material.evidence(found) if one.imported}
        if keys := {*sources, *found.get("imported", ())}:
            names = f" from {', '.join(sorted(set(sources.values())))}" if sources else ""
            yield (
                f"Imported{names}: {len(keys)} of the {len(found['evidence'])} measurements it rests on. Hashes show "
                "damage and no forgery; only measuring again does."
            )

    def _use(self, found: Judged) -> dict[str, Any]:
        """How the model's pairs were used."""
        pairs, evidence = self._material.pairs(found["model"]), self._material.evidence(found)
        aside = {pair for one in evidence if one.recipe.kind == "swept" for pair in one.values["set_aside"]}
        sizes = None if pairs is None or not len(pairs.discovery) else (len(pairs.discovery), len(pairs.heldout))
        return {
            "split": sizes,
            "unit": "" if pairs is None else pairs.unit,
            "sharing": pairs.sharing if isinstance(pairs, PairSet) else 0,
            "aside": len(aside),
            "evidence": len(found["evidence"]),
            "gone": len(found["evidence"]) - len(evidence),
        }


def reasons(skipped: Sequence[Judged]) -> Iterator[tuple[str, list[str]]]:
    """Why a claim was not judged, each reason with the models of which it is true."""
    models: dict[str, list[str]] = {}
    for one in skipped:
        models.setdefault(one["reason"].removeprefix(f"{one['model']}: "), []).append(one["model"])
    yield from models.items()


def _beside(kept: Kept) -> tuple[str, str, list[str]]:
    """An estimate that decides nothing: what it is, its number and the fingerprints of its evidence."""
    return phrase(kept["name"]), wording.number(kept), kept.get("evidence", [])


def _rests_on(estimate: Mapping[str, Any]) -> str:
    """On how many what a quantity rests, and by which method its interval came about."""
    of = f"{estimate['n']:,} {estimate['unit']}"
    by = "counted over all" if estimate["method"] == "counted" else f"{estimate['method']}; on"
    return f"{phrase(estimate['name'])}: {by} {of}"
