"""One run with what its verdicts read, as far as that is here: pairs, evidence, recordings, tables of pairs."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from harness.claims.claim import LEVEL
from harness.inputs.errors import AssayError
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging.verdict import NOT_JUDGED
from harness.measurements import pairs_evidence
from harness.measurements.evidence import Damaged, Evidence, Store, read
from harness.results.pair_table import Table, recorded_table, row_of, table
from harness.results.run_record import Judged, Run
from harness.results.verdict_evidence import Material
from harness.subjects.published.recordings import RECORDED, Recording, recording

# Rows of pairs on the page, all tables together: a browser opens it at once.
ROWS = 24_000
# Of one table however short the run; all of it is a command away.
MOST_ROWS = 5_000
# A pair's prompt, as far as it is shown.
SHOWN = 300


class RunMaterial:
    """One run, read once."""

    def __init__(self, run: Run, store: Store) -> None:
        self.run, self._store = run, store
        self.models = list(dict.fromkeys(one["model"] for one in run.verdicts))
        self.claims = list(dict.fromkeys(one["claim"] for one in run.verdicts))
        self.verdicts = {(one["claim"], one["model"]): one for one in run.verdicts}
        self._read: dict[str, Evidence | None] = {}
        self._sets: dict[str, PromptSet | None] = {}
        self._materials: dict[tuple[str, str], Material] = {}

    def level(self, claim: str) -> float:
        """The error level of a claim's intervals."""
        return self.run.claims[claim]["level"] if claim in self.run.claims else LEVEL

    def judged(self, claim: str) -> list[Judged]:
        """The verdicts on a claim that say something of it, in the order of the models."""
        found = [self.verdicts.get((claim, model)) for model in self.models]
        return [one for one in found if one is not None and one["word"] not in NOT_JUDGED]

    def material(self, found: Judged) -> Material | None:
        """What a verdict on a live model read, for figures; nothing of a recording, or where its pairs are lost."""
        if found["model"].startswith(RECORDED) or (pairs := self.pairs(found["model"])) is None:
            return None
        key = found["claim"], found["model"]
        if key not in self._materials:
            self._materials[key] = Material(self.evidence(found), pairs, self.level(found["claim"]))
        return self._materials[key]

    def pairs(self, model: str) -> PromptSet | None:
        """The pairs the model was judged on, if the evidence has them."""
        if model not in self._sets:
            self._sets[model] = self._found_pairs(model)
        return self._sets[model]

    def _found_pairs(self, model: str) -> PromptSet | None:
        if model.startswith(RECORDED):
            published = self.recording(model)
            return None if published is None else published.pairs
        own = (one for verdict in self.run.verdicts if verdict["model"] == model for one in self.evidence(verdict))
        return next((pairs_evidence.kept(one) for one in own if one.recipe.kind in pairs_evidence.KINDS), None)

    def recording(self, model: str) -> Recording | None:
        """The published judgements of a recorded model."""
        try:
            return recording(model)
        except AssayError:  # a bundle's recording may since have been moved away
            return None

    def evidence(self, found: Judged) -> list[Evidence]:
        """What a verdict read, as far as it is here and whole."""
        for key in found["evidence"]:
            if key not in self._read:
                try:
                    self._read[key] = read(self._store.path(key))
                except (FileNotFoundError, Damaged):
                    self._read[key] = None
        return [one for key in found["evidence"] if (one := self._read[key]) is not None]

    @cached_property
    def tables(self) -> Mapping[tuple[str, str], int]:
        """Which table of the page's data belongs to which verdict."""
        return {key: number for number, (key, _) in enumerate(self._whole)}

    @cached_property
    def _whole(self) -> list[tuple[tuple[str, str], Table]]:
        found = []
        for (claim, model), one in self.verdicts.items():
            if one["word"] in NOT_JUDGED:
                continue
            rows: Table | None = None
            if model.startswith(RECORDED):
                published = self.recording(model)
                rows = None if published is None else recorded_table(published)
            elif (pairs := self.pairs(model)) is not None:
                rows = table(self.evidence(one), pairs)
            if rows is not None:
                found.append(((claim, model), rows))
        most = min(MOST_ROWS, ROWS // max(1, len(found)))
        return [(key, rows.cut(most)) for key, rows in found]

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script fills tables from; each text, each column and each row of places once."""
        words: dict[str, int] = {}

        def of(text: str) -> int:
            return words.setdefault(text[:SHOWN] + ("…" if len(text) > SHOWN else ""), len(words))

        used: dict[str, set[int]] = {}
        columns: dict[str, int] = {}
        places: dict[tuple[int, ...], int] = {}
        tables = []
        for (_, model), rows in self._whole:
            used.setdefault(model, set()).update(rows.places)
            own = [
                {
                    "title": one.title,
                    "kind": one.kind,
                    "values": [*map(of, one.values)] if one.kind == "text" else one.values,
                }
                for one in rows.columns
            ]
            numbers = [columns.setdefault(json.dumps(one), len(columns)) for one in own]
            at = places.setdefault(tuple(rows.places), len(places))
            tables.append({"model": model, "places": at, "columns": numbers, "whole": rows.whole})
        pairs: dict[str, dict[int, list[int]]] = {}
        for model, shown in used.items():
            if (whole := self.pairs(model)) is not None:
                pairs[model] = {place: [*map(of, row_of(whole, place))] for place in sorted(shown)}
        kept = {"columns": [*map(json.loads, columns)], "places": list(places)}
        return {"words": list(words), "pairs": pairs, "tables": tables} | kept
