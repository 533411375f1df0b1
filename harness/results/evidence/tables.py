"""Evidence as tables: a list of measurements, and an export of every number of measurements and estimates.

Loads neither torch nor pandas.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import chain, islice, product
from pathlib import Path
from typing import Any

from harness.inputs.errors import AssayError
from harness.measurements.evidence import Damaged, Evidence, Store, read
from harness.measurements.evidence_kinds import MODEL_RECORD, content, holds_effects
from harness.results.evidence.words import arm_in_words, prompts_of, row_names, without_arrays
from harness.results.run_list import all_runs
from harness.results.run_record import Run, runs_beside

# Spreadsheets take cells that begin with these for formulas (OWASP, CSV injection).
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Columns of the export: text, or numbers that may be missing.
COLUMNS: Mapping[str, type] = {
    "run": str,
    "claim": str,
    "model": str,
    "verdict": str,
    "kind": str,
    "side": str,
    "arm": str,
    "pair": str,
    "at": str,
    "quantity": str,
    "value": float,
    "low": float,
    "high": float,
    "sign": str,
    "bar": float,
    "n": float,
    "unit": str,
    "method": str,
    "evidence": str,
}
# How many digits of a fingerprint are written.
DIGITS = 12
# Rows in memory at once while a .parquet file is written.
_BATCH = 100_000

Row = dict[str, str | float | None]


@dataclass(frozen=True)
class Entry:
    """A measurement in the list."""

    fingerprint: str
    claims: tuple[str, ...]  # that read it in any run of the folder
    model: str
    kind: str
    side: str
    arm: str
    prompts: str
    n: int | None
    when: str
    size: int


class _Library:
    """The evidence and runs of a folder, to name models, prompts and interventions; each name is looked up once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.others = list(without_arrays(store))
        records = (evidence for evidence in self.others if evidence.recipe.kind == MODEL_RECORD)
        self._models = {str(record.values["fingerprint"]): record.recipe.subject for record in records}
        self._arm: Callable[[str, str], str] = cache(self._arm_of)
        self._under: dict[str, Evidence] = {}

    @property
    def runs(self) -> Iterator[tuple[str, Run]]:
        """The readable runs, each with the name of its folder."""
        for folder in all_runs(runs_beside(self.store.folder)):
            try:
                yield folder.name, Run.load(folder)
            except AssayError:  # the command `runs` reports it
                continue

    def model(self, evidence: Evidence) -> str:
        """The name of the measured model; its fingerprint if its record is not in the store."""
        return self._models.get(evidence.recipe.subject, evidence.recipe.subject)

    def arm(self, evidence: Evidence) -> str:
        """The intervention in words; empty if the measurement has none."""
        if "under" not in evidence.recipe.of or content(evidence.recipe.kind) is None:
            return ""
        key = str((evidence.recipe.of["under"], evidence.recipe.of.get("sample")))
        self._under.setdefault(key, evidence)
        return self._arm(key, evidence.recipe.subject)

    def _arm_of(self, key: str, subject: str) -> str:
        return arm_in_words(self._under[key], self.others)


def entries(store: Store) -> list[Entry]:
    """Every measurement in the store, sorted by model, claims, kind and date."""
    library, listed = _Library(store), []
    claims: dict[str, dict[str, None]] = defaultdict(dict)
    for _, run in library.runs:
        for judged in run.verdicts:
            for fingerprint in judged["evidence"]:
                claims[fingerprint][judged["claim"]] = None
    for evidence in store:
        path = store.path(evidence.fingerprint)
        files = [file for file in (path, path.with_suffix(".safetensors")) if file.exists()]
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        prompts = prompts_of(evidence, library.others)
        listed.append(
            Entry(
                fingerprint=evidence.fingerprint,
                claims=tuple(claims[evidence.fingerprint]),
                model=library.model(evidence),
                kind=evidence.recipe.kind,
                side=str(evidence.recipe.of.get("side", "")),
                arm=library.arm(evidence),
                prompts="" if prompts is None else prompts[0],
                n=_n(evidence),
                when=str(evidence.environment.get("when", written)),
                size=sum(file.stat().st_size for file in files),
            )
        )
    return sorted(listed, key=lambda entry: (entry.model, entry.claims, entry.kind, entry.when))


def verify(store: Store) -> int:
    """The number of files, after checking every hash; raises AssayError, naming the first damaged file."""
    files, damaged = store.files(), []
    for path in files:
        try:
            read(path)
        except Damaged as damage:
            damaged.append(f"{path} {damage}")
    if damaged:
        raise AssayError(
            f"{len(damaged)} of {len(files)} files are damaged, the first: {damaged[0]}; the next run sets them aside "
            "and measures them again"
        )
    return len(files)


def export(store: Store, to: Path) -> int:
    """Writes a row for every estimate and measured number to a .csv or .parquet file; returns the number of rows."""
    if to.suffix not in (".csv", ".parquet"):
        raise AssayError(f"{to}: tables are written as .csv or .parquet; give a file name that ends in one of them")
    try:
        return (_parquet if to.suffix == ".parquet" else _csv)(_rows(store), to)
    except OSError as error:
        raise AssayError(f"{to}: cannot be written ({error.strerror}); give another path") from None


def _csv(rows: Iterator[Row], to: Path) -> int:
    count = 0
    with to.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([_as_text(row.get(name)) for name in COLUMNS])
            count += 1
    return count


def _as_text(cell: str | float | None) -> str | float | None:
    """A cell, with an apostrophe before text that spreadsheets would take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell


def _parquet(rows: Iterator[Row], to: Path) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise AssayError(
            f"{to}: Parquet files are written by pyarrow, which is not installed; install it, or give a .csv file"
        ) from None
    types = {str: pyarrow.string(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    count = 0
    with pyarrow.parquet.ParquetWriter(to, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
            count += len(batch)
    return count


def _rows(store: Store) -> Iterator[Row]:
    """Rows for the estimates of every run, then for the numbers of every measurement."""
    library = _Library(store)
    for name, run in library.runs:
        for judged in run.verdicts:
            head: Row = {"run": name, "claim": judged["claim"], "model": judged["model"], "verdict": judged["word"]}
            estimates: Iterator[Mapping[str, Any]] = chain(judged["estimates"], judged.get("beside", ()))
            for estimate in estimates:
                numbers = {key: float(estimate[key]) for key in ("value", "low", "high", "n", "bar") if key in estimate}
                texts = {key: str(estimate[key]) for key in ("sign", "unit", "method") if key in estimate}
                evidence = " ".join(fingerprint[:DIGITS] for fingerprint in estimate.get("evidence", ()))
                yield head | numbers | texts | {"kind": "estimate", "quantity": estimate["name"], "evidence": evidence}
    for measured in store:
        yield from _numbers(measured, library)


def _numbers(evidence: Evidence, library: _Library) -> Iterator[Row]:
    prompts = prompts_of(evidence, library.others)
    names = row_names(evidence, None if prompts is None else prompts[1])
    head: Row = {
        "model": library.model(evidence),
        "kind": evidence.recipe.kind,
        "side": str(evidence.recipe.of.get("side", "")),
        "arm": library.arm(evidence),
        "evidence": evidence.fingerprint[:DIGITS],
    }
    n = _n(evidence)
    for quantity, values in evidence.values.items():
        if isinstance(values, list) and len(values) in (n, len(names)) and all(_is_number(value) for value in values):
            for number, value in enumerate(values):
                yield head | {"pair": _named(names, number), "quantity": quantity, "value": float(value)}
    axes = evidence.values["axes"] if holds_effects(evidence.recipe.kind) else {}
    places = [" ".join(map(" ".join, zip(axes, labels, strict=True))) for labels in product(*axes.values())]
    for quantity, array in evidence.arrays.items():
        labelled = array.ndim > 1 and array[0].size == len(places)
        for number, row in enumerate(array):
            pair = _named(names, number) if len(array) == len(names) else str(number)
            for place, value in enumerate(row.ravel()):
                at = places[place] if labelled else str(place) if row.size > 1 else ""
                yield head | {"pair": pair, "at": at, "quantity": quantity, "value": float(value)}


def _named(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else str(number)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _n(evidence: Evidence) -> int | None:
    """The number of prompts or pairs that were measured; None if the recipe does not say."""
    pairs = evidence.recipe.of.get("pairs")
    counted = pairs.get("n") if isinstance(pairs, dict) else len(pairs) if isinstance(pairs, list) else None
    return counted if isinstance(counted, int) else None
