"""One run with all that its verdicts read and that is still here: pairs, evidence, recordings, tables of pairs."""

import itertools
import json
import string
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from harness.claims.claim import LEVEL
from harness.inputs.errors import AssayError
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging.verdict import NOT_JUDGED
from harness.measurements import pairs_evidence
from harness.measurements.evidence import Damaged, Evidence, Store, read
from harness.results.pair_table import Column, Table, recorded_table, row_of, table
from harness.results.run_record import Judged, Run
from harness.results.verdict_evidence import Material
from harness.subjects.published.recordings import RECORDED, Recording, recording

# The most rows of all tables on a page together, so that a browser opens it at once.
ROWS = 24_000
# The most rows of one table; `harness evidence --export` writes them all.
MOST_ROWS = 5_000
# Texts in tables are cut to this length.
SHOWN = 300
_DIGITS = string.digits + string.ascii_lowercase


class RunMaterial:
    """A run with its evidence; each file is read once."""

    def __init__(self, run: Run, store: Store) -> None:
        self.run, self._store = run, store
        self.models = list(dict.fromkeys(verdict["model"] for verdict in run.verdicts))
        self.claims = list(dict.fromkeys(verdict["claim"] for verdict in run.verdicts))
        self.verdicts = {(verdict["claim"], verdict["model"]): verdict for verdict in run.verdicts}
        self._read: dict[str, Evidence | None] = {}
        self._sets: dict[str, PromptSet | None] = {}
        self._materials: dict[tuple[str, str], Material] = {}

    def level(self, claim: str) -> float:
        """The error level of a claim's intervals."""
        return self.run.claims[claim]["level"] if claim in self.run.claims else LEVEL

    def judged(self, claim: str) -> list[Judged]:
        """The verdicts on a claim without those that did not judge it (skipped, unfit, unmeasured), model by model."""
        verdicts = [self.verdicts.get((claim, model)) for model in self.models]
        return [verdict for verdict in verdicts if verdict is not None and verdict["word"] not in NOT_JUDGED]

    def material(self, verdict: Judged) -> Material | None:
        """The evidence of a verdict on a live model, for figures; None for recordings, or if its pairs are lost."""
        if verdict["model"].startswith(RECORDED) or (pairs := self.pairs(verdict["model"])) is None:
            return None
        key = verdict["claim"], verdict["model"]
        if key not in self._materials:
            self._materials[key] = Material(self.evidence(verdict), pairs, self.level(verdict["claim"]))
        return self._materials[key]

    def pairs(self, model: str) -> PromptSet | None:
        """The pairs the model was judged on, if the evidence has them."""
        if model not in self._sets:
            self._sets[model] = self._pairs_in_evidence(model)
        return self._sets[model]

    def _pairs_in_evidence(self, model: str) -> PromptSet | None:
        if model.startswith(RECORDED):
            published = self.recording(model)
            return None if published is None else published.pairs
        verdicts = (verdict for verdict in self.run.verdicts if verdict["model"] == model)
        read_by_any = (evidence for verdict in verdicts for evidence in self.evidence(verdict))
        of_pairs = (evidence for evidence in read_by_any if evidence.recipe.kind in pairs_evidence.KINDS)
        return next(map(pairs_evidence.kept, of_pairs), None)

    def recording(self, model: str) -> Recording | None:
        """The published judgements of a recorded model."""
        try:
            return recording(model)
        except AssayError:  # an imported recording may have been deleted since
            return None

    def evidence(self, verdict: Judged) -> list[Evidence]:
        """The evidence that a verdict read, without what is missing here or damaged."""
        for key in verdict["evidence"]:
            if key not in self._read:
                try:
                    self._read[key] = read(self._store.path(key))
                except (FileNotFoundError, Damaged):
                    self._read[key] = None
        return [evidence for key in verdict["evidence"] if (evidence := self._read[key]) is not None]

    @cached_property
    def tables(self) -> Mapping[tuple[str, str], int]:
        """(claim, model) → the number of its verdict's table in `data`."""
        return {key: number for number, (key, _) in enumerate(self._tables)}

    @cached_property
    def _tables(self) -> list[tuple[tuple[str, str], Table]]:
        tables = []
        for (claim, model), verdict in self.verdicts.items():
            if verdict["word"] in NOT_JUDGED:
                continue
            rows: Table | None = None
            if model.startswith(RECORDED):
                published = self.recording(model)
                rows = None if published is None else recorded_table(published)
            elif (pairs := self.pairs(model)) is not None:
                rows = table(self.evidence(verdict), pairs)
            if rows is not None:
                tables.append(((claim, model), rows))
        most = min(MOST_ROWS, ROWS // max(1, len(tables)))
        return [(key, rows.cut(most)) for key, rows in tables]

    @property
    def data(self) -> dict[str, Any]:
        """JSON from which the page's script fills tables; equal texts, columns and lists of rows stand once."""
        texts: dict[str, int] = {}

        def number_of(text: str) -> int:
            return texts.setdefault(text[:SHOWN] + ("…" if len(text) > SHOWN else ""), len(texts))

        used: dict[str, set[int]] = {}
        columns: dict[str, int] = {}
        places: dict[tuple[int, ...], int] = {}
        tables = []
        for (_, model), rows in self._tables:
            used.setdefault(model, set()).update(rows.places)
            own = [
                {"title": column.title, "kind": column.kind, "values": _values(column, number_of)}
                for column in rows.columns
            ]
            numbers = [columns.setdefault(json.dumps(column), len(columns)) for column in own]
            at = places.setdefault(tuple(rows.places), len(places))
            tables.append({"model": model, "places": at, "columns": numbers, "whole": rows.whole})
        pairs: dict[str, int] = {}
        rows_of_models: dict[str, int] = {}
        for model, shown in used.items():
            if (whole := self.pairs(model)) is not None:
                own_rows = {place: [*map(number_of, row_of(whole, place))] for place in sorted(shown)}
                pairs[model] = rows_of_models.setdefault(json.dumps(own_rows), len(rows_of_models))
        shared = {"columns": columns, "rows": rows_of_models}
        return {"words": words_in_short(texts), "pairs": pairs, "tables": tables, "places": list(places)} | {
            name: [*map(json.loads, alike)] for name, alike in shared.items()
        }


def words_in_short(texts: Iterable[str]) -> list[str]:
    """Each text without its beginning that the text before it has too, behind that one's length (one digit, base 36).

    JavaScript counts a character beyond U+FFFF as two, so none is part of a shared beginning.
    """
    short, before = [], ""
    for text in texts:
        same = itertools.takewhile(lambda both: both[0] == both[1] <= "\uffff", zip(text, before, strict=False))
        shared = min(sum(1 for _ in same), len(_DIGITS) - 1)
        short.append(_DIGITS[shared] + text[shared:])
        before = text
    return short


def _values(column: Column, number_of: Callable[[str], int]) -> list[Any] | str:
    """A column's values as the page's script reads them: numbers of texts, numbers, or a character for each answer."""
    if column.kind == "text":
        return [*map(number_of, column.values)]
    if column.kind == "number":
        return list(column.values)
    return "".join(" " if value is None else "-" if value < 0 else str(value) for value in column.values)
