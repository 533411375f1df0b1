"""Evidence on disk: each measurement is a JSON file named by its recipe's fingerprint, with its tensors beside it.

Processes share a folder without locks. Tensors are written before the JSON, which holds their hash: without its JSON,
a file of tensors is ignored. Each file is written under another name and renamed. Damaged files are reported, renamed
and measured again.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from harness.inputs.errors import AssayError
from harness.inputs.files import json_files
from harness.inputs.files.json_files import Finite, Later, Malformed
from harness.inputs.files.terminal import shown
from harness.inputs.files.whole_files import write_whole
from harness.measurements import evidence_kinds
from harness.measurements.questions.contents import Shape
from harness.measurements.recipe import Recipe, digest

# The version of a file of evidence: raised when a member is added or changes its meaning.
SCHEMA = 2
# Measured numbers may be NaN, for "there is none"; Python's JSON writes and reads it.
_NAN = frozenset({"values"})
# The floating-point types of safetensors that numpy has too.
_FLOATS = ("F16", "F32", "F64")
_CHANGED = "has tensors that were changed after they were written"


class DamagedEvidence(UserWarning):
    """Warns that a file of evidence was damaged and has been renamed."""


class Imported(TypedDict):
    """The bundle that an imported measurement came in."""

    bundle: str  # the name of its file
    sha256: str
    when: str


@dataclass(frozen=True)
class Evidence:
    """The answer to a question: its recipe, JSON values and arrays."""

    recipe: Recipe
    values: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)  # libraries, machine, seconds, peak memory
    computed_from: tuple[str, ...] = ()  # fingerprints of other evidence
    imported: Imported | None = None  # None: measured here

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its recipe."""
        return self.recipe.fingerprint


class _Recipe(msgspec.Struct):
    kind: str
    revision: int
    subject: str
    of: dict[str, Any]


class _Environment(msgspec.Struct):
    libraries: dict[str, str] = msgspec.field(default_factory=dict)
    machine: dict[str, Any] = msgspec.field(default_factory=dict)
    device: str = ""
    when: str = ""
    seconds: Finite = 0.0
    peak_bytes: int = 0


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    recipe: _Recipe
    values: dict[str, Any]
    environment: _Environment
    computed_from: list[str]
    tensors: str | None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str  # of the body
    body: _Body
    schema: int = 1
    imported: Imported | None = None


class Store:
    """The evidence in a folder."""

    def __init__(
        self, folder: Path, *, fresh: bool = False, use_imported: bool = False, judge_only: bool = False
    ) -> None:
        """With `fresh`, `get` returns only what this store wrote; with `use_imported`, imported evidence too."""
        self.folder, self.fresh, self.use_imported, self.judge_only = folder, fresh, use_imported, judge_only
        self.imported: dict[str, Imported] = {}  # fingerprint → origin, of the imported evidence that `get` returned
        self._written: set[str] = set()
        self._tracked: list[set[str]] = []

    def for_planning(self) -> "Store":
        """The same evidence for planning: reads are not tracked, and damaged files are left alone."""
        store = _PlanningStore(
            self.folder, fresh=self.fresh, use_imported=self.use_imported, judge_only=self.judge_only
        )
        store._written = self._written
        return store

    @contextmanager
    def tracking(self) -> Iterator[set[str]]:
        """Collects the fingerprints of evidence read or written while the block runs."""
        fingerprints: set[str] = set()
        self._tracked.append(fingerprints)
        try:
            yield fingerprints
        finally:
            self._tracked = [tracked for tracked in self._tracked if tracked is not fingerprints]

    def get(self, recipe: Recipe) -> Evidence | None:
        """The evidence of a recipe; None if it is missing or damaged, or may not be used."""
        if self.fresh and recipe.fingerprint not in self._written:
            return None
        evidence = self._load(recipe.fingerprint)
        if evidence is None or (evidence.imported is not None and not self.use_imported):
            return None
        self._track(recipe.fingerprint)
        if evidence.imported is not None:
            self.imported[recipe.fingerprint] = evidence.imported
        return evidence

    def put(self, evidence: Evidence) -> Evidence:
        """Writes evidence, over an imported file if there is one; processes that measure the same write the same."""
        path = self.path(evidence.fingerprint)
        body: dict[str, Any] = {
            "recipe": evidence.recipe.as_json(),
            "values": dict(evidence.values),
            "environment": dict(evidence.environment),
            "computed_from": list(evidence.computed_from),
            "tensors": None,
        }
        if evidence.arrays:
            raw = save_tensors({name: np.ascontiguousarray(array) for name, array in evidence.arrays.items()})
            body["tensors"] = hashlib.sha256(raw).hexdigest()
            write_whole(path.with_suffix(".safetensors"), raw)
        write_whole(path, _file_of(body))
        self._written.add(evidence.fingerprint)
        self.imported.pop(evidence.fingerprint, None)
        self._track(evidence.fingerprint)
        return evidence

    def import_file(self, path: Path, imported: Imported) -> None:
        """Moves a file from a bundle, which `check` has passed, into the store, and writes its origin into it."""
        target = self.path(path.stem)
        target.parent.mkdir(parents=True, exist_ok=True)
        if (tensors := path.with_suffix(".safetensors")).exists():
            tensors.replace(target.with_suffix(".safetensors"))
        body = json_files.parsed(json_files.contents(path), nan=_NAN)["body"]
        write_whole(target, _file_of(body, imported))

    def remove(self, fingerprint: str) -> None:
        """Deletes evidence, the JSON first; tensors without their JSON are ignored."""
        path = self.path(fingerprint)
        for file in (path, path.with_suffix(".safetensors")):
            with suppress(OSError):
                file.unlink()
        for fingerprints in self._tracked:
            fingerprints.discard(fingerprint)

    def path(self, fingerprint: str) -> Path:
        """The path of the JSON file for a fingerprint, whether it exists or not."""
        return self.folder / fingerprint[:2] / f"{fingerprint}.json"

    def files(self) -> list[Path]:
        """The paths of all evidence, sorted by name."""
        return sorted(self.folder.glob("??/*.json"))

    def __iter__(self) -> Iterator[Evidence]:
        for path in self.files():
            if (evidence := self._load(path.stem)) is not None:
                yield evidence

    def _track(self, fingerprint: str) -> None:
        for fingerprints in self._tracked:
            fingerprints.add(fingerprint)

    def _load(self, fingerprint: str) -> Evidence | None:
        path = self.path(fingerprint)
        try:
            return read(path)
        except FileNotFoundError:
            return None
        except Damaged as damage:
            self._set_aside(path, str(damage))
            return None

    def _set_aside(self, path: Path, damage: str) -> None:
        for file in (path, path.with_suffix(".safetensors")):
            with suppress(OSError):  # in a read-only folder it stays, and is measured again all the same
                file.rename(file.with_name(file.name + ".damaged"))
        then = "--judge-only measures nothing in its place" if self.judge_only else "and measured again"
        warnings.warn(shown(f"{path}: {damage}; set aside, {then}"), DamagedEvidence, stacklevel=4)


class _PlanningStore(Store):
    def _set_aside(self, path: Path, damage: str) -> None:
        """Leaves the file where it is."""


class Damaged(AssayError):
    """A file of evidence was changed, or lacks something; the message says what."""


def read(path: Path) -> Evidence:
    """The evidence in a file, with its arrays, after all checks; Damaged if one fails."""
    try:
        evidence, tensors = _without_arrays(path)
    except Later as error:
        raise AssayError(f"{path}: {error}") from None
    arrays = {} if tensors is None else _arrays(path.with_suffix(".safetensors"), tensors)
    _check(evidence, {name: (array.dtype.kind, array.shape) for name, array in arrays.items()})
    return replace(evidence, arrays=arrays)


def check(path: Path) -> Evidence:
    """The evidence in a file, without its arrays, after the same checks; arrays are hashed without being loaded.

    Raises Later for a file that a later Assay wrote.
    """
    evidence, tensors = _without_arrays(path)
    shapes = {} if tensors is None else _shapes(path.with_suffix(".safetensors"), tensors)
    _check(evidence, shapes)
    return evidence


def _file_of(body: Mapping[str, Any], imported: Imported | None = None) -> bytes:
    """The bytes of a file of evidence; its origin is outside of the body, so that importing keeps the body's hash."""
    whole = {"schema": SCHEMA, "sha256": digest(body), "body": body}
    origin = {} if imported is None else {"imported": imported}
    return json.dumps(whole | origin, ensure_ascii=False).encode()


def _without_arrays(path: Path) -> tuple[Evidence, str | None]:
    """The evidence without its arrays, and the hash of their file if it has any."""
    try:
        whole = json_files.parsed(json_files.contents(path), nan=_NAN)
        file = json_files.typed(whole, _File, newest=SCHEMA)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); give a folder of yours") from None
    except Later:
        raise
    except Malformed as error:
        raise Damaged(f"is no evidence ({error})") from None
    body = whole["body"]
    if digest(body) != file.sha256:
        raise Damaged("was changed after it was written")
    kept = file.body.recipe
    recipe = Recipe(kept.kind, kept.revision, kept.subject, kept.of)
    if recipe.fingerprint != path.stem:
        raise Damaged("holds another measurement than its file name says")
    evidence = Evidence(recipe, file.body.values, {}, body["environment"], tuple(body["computed_from"]), file.imported)
    return evidence, file.body.tensors


def _check(evidence: Evidence, shapes: Mapping[str, Shape]) -> None:
    try:
        evidence_kinds.check(evidence.recipe, evidence.values, shapes)
    except Malformed as error:
        raise Damaged(f"is no evidence of its kind, {evidence.recipe.kind} ({error})") from None


def _arrays(path: Path, expected: str) -> dict[str, np.ndarray]:
    try:
        raw = path.read_bytes()
    except OSError:
        raise Damaged("has lost its tensors") from None
    if hashlib.sha256(raw).hexdigest() != expected:
        raise Damaged(_CHANGED)
    try:
        return dict(load_tensors(raw))
    except (SafetensorError, KeyError, ValueError):  # also for types that numpy lacks
        raise Damaged("has tensors that cannot be read") from None


def _shapes(path: Path, expected: str) -> dict[str, Shape]:
    try:
        if sha256_of(path) != expected:
            raise Damaged(_CHANGED)
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            return {
                name: ("f" if array.get_dtype() in _FLOATS else "", tuple(array.get_shape()))
                for name, array in slices.items()
            }
    except OSError:
        raise Damaged("has lost its tensors") from None
    except SafetensorError:
        raise Damaged("has tensors that cannot be read") from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file of any size, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
