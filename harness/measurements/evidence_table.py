"""Evidence as people read it: a list of what is there, and long tables for pandas. Loads neither torch nor pandas."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from harness.inputs.errors import AssayError
from harness.measurements import evidence_kinds
from harness.measurements.evidence import Damaged, Evidence, Store, read
from harness.measurements.recipe import digest

# What spreadsheets compute, where a cell begins so (OWASP, CSV injection).
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
COLUMNS = ("fingerprint", "kind", "model", "side", "under", "what", "pair", "at", "quantity", "value")


@dataclass(frozen=True)
class Entry:
    """One measurement in a line."""

    kind: str
    model: str
    n: int | None
    when: str
    size: int
    fingerprint: str


def entries(store: Store) -> list[Entry]:
    """What is there, by model and kind."""
    names, found = _names(store), []
    for one in store:
        path = store.path(one.fingerprint)
        files = [file for file in (path, path.with_suffix(".safetensors")) if file.exists()]
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        when = str(one.environment.get("when", written))
        size = sum(file.stat().st_size for file in files)
        found.append(Entry(one.recipe.kind, _model(one, names), _n(one), when, size, one.fingerprint))
    return sorted(found, key=lambda one: (one.model, one.kind, one.when))


def verify(store: Store) -> int:
    """How many files there are, every hash right; one sentence names the first that is damaged."""
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
    """Every number of every measurement, one a row, as .csv or .parquet; the count of rows."""
    if to.suffix not in (".csv", ".parquet"):
        raise AssayError(f"{to}: tables are written as .csv or .parquet; give a name that ends so")
    rows = list(_rows(store))
    try:
        if to.suffix == ".parquet":
            _parquet(rows, to)
        else:
            with to.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([COLUMNS, *([_as_text(cell) for cell in row] for row in rows)])
    except OSError as error:
        raise AssayError(f"{to}: cannot be written ({error.strerror}); give another place") from None
    return len(rows)


def _as_text(cell: str | float) -> str | float:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell


def _parquet(rows: list[tuple[Any, ...]], to: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise AssayError(f"{to}: Parquet is written by pyarrow, which is not installed; give a .csv instead") from None
    columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
    pyarrow.parquet.write_table(pyarrow.table(columns), to)


def _rows(store: Store) -> Iterator[tuple[Any, ...]]:
    names = _names(store)
    for one in store:
        of, n = one.recipe.of, _n(one)
        asked = (of.get("side", ""), _short(of.get("under")), _short(of.get("what")))
        head = (one.fingerprint[:16], one.recipe.kind, _model(one, names), *asked)
        for quantity, values in one.values.items():
            if isinstance(values, list) and len(values) == n and all(isinstance(v, int | float) for v in values):
                yield from ((*head, str(pair), "", quantity, float(value)) for pair, value in enumerate(values))
        effects = evidence_kinds.holds_effects(one.recipe.kind)
        axes = one.values["axes"] if effects else {}
        places = [" ".join(map(" ".join, zip(axes, labels, strict=True))) for labels in product(*axes.values())]
        pairs = one.values["pairs"] if effects else None
        for quantity, array in one.arrays.items():
            labelled = array.ndim > 1 and array[0].size == len(places)
            for pair, row in enumerate(array):
                name = str(pair) if pairs is None else pairs[pair]
                for number, value in enumerate(row.ravel()):
                    yield (*head, name, places[number] if labelled else str(number), quantity, float(value))


def _names(store: Store) -> dict[str, str]:
    """Models by their fingerprint."""
    return {one.values["fingerprint"]: one.recipe.subject for one in store if one.recipe.kind == "model-record"}


def _model(one: Evidence, names: dict[str, str]) -> str:
    return names.get(one.recipe.subject, one.recipe.subject)


def _n(one: Evidence) -> int | None:
    pairs = one.recipe.of.get("pairs")
    counted = pairs.get("n") if isinstance(pairs, dict) else len(pairs) if isinstance(pairs, list) else None
    return counted if isinstance(counted, int) else None


def _short(value: Any) -> str:
    """An intervention or sweep by its name, and a hash of all that it is."""
    return f"{value.get('a', '')} {digest(value)[:8]}" if isinstance(value, dict) else ""
