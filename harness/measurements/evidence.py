"""Evidence: one measurement a file, under the fingerprint of its recipe. Files only, shared without locks.

Tensors are written first, then the JSON that holds their hashes: the JSON is the commit. Everything is written aside
in the same folder and renamed. What is damaged is noticed, said, set aside, and measured again.
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

# Of a file of evidence: raised when a member is added or means something else.
SCHEMA = 2
# NaN is how a measured number says that it is not there; JSON as Python writes it knows it.
_NAN = frozenset({"values"})
# What numpy knows as floating-point.
_FLOATS = ("F16", "F32", "F64")


class DamagedEvidence(UserWarning):
    """A file of evidence that is not what was written."""


class Imported(TypedDict):
    """Where a stranger's measurement came from."""

    bundle: str  # the name of its file
    sha256: str
    when: str


@dataclass(frozen=True)
class Evidence:
    """What was measured: values as JSON has them, and arrays."""

    recipe: Recipe
    values: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)  # libraries, machine, seconds, peak memory
    computed_from: tuple[str, ...] = ()  # fingerprints of other evidence
    imported: Imported | None = None  # none: measured here

    @property
    def fingerprint(self) -> str:
        """Its recipe's."""
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
    """A folder of evidence."""

    def __init__(
        self, folder: Path, *, fresh: bool = False, use_imported: bool = False, judge_only: bool = False
    ) -> None:
        """Fresh, it knows only what is measured from now on; what was imported answers only if it is to be used."""
        self.folder, self.fresh, self.use_imported, self.judge_only = folder, fresh, use_imported, judge_only
        self.imported: dict[str, Imported] = {}  # by fingerprint, of what answered
        self._written: set[str] = set()
        self._accounts: list[set[str]] = []

    def glance(self) -> "Store":
        """The same evidence for planning: what is looked at counts as read nowhere, and damage is left to readers."""
        seen = _Glance(self.folder, fresh=self.fresh, use_imported=self.use_imported, judge_only=self.judge_only)
        seen._written = self._written
        return seen

    @contextmanager
    def account(self) -> Iterator[set[str]]:
        """Fingerprints of what is read or written while the block runs."""
        read: set[str] = set()
        self._accounts.append(read)
        try:
            yield read
        finally:
            self._accounts = [one for one in self._accounts if one is not read]

    def get(self, recipe: Recipe) -> Evidence | None:
        """What was measured by this recipe, if it is here whole."""
        if self.fresh and recipe.fingerprint not in self._written:
            return None
        found = self._load(recipe.fingerprint)
        if found is None or (found.imported is not None and not self.use_imported):
            return None
        self._note(recipe.fingerprint)
        if found.imported is not None:
            self.imported[recipe.fingerprint] = found.imported
        return found

    def put(self, evidence: Evidence) -> Evidence:
        """Keeps it, in place of what was imported; whoever writes the same at the same time writes the same."""
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
        write_whole(path, _text(body))
        self._written.add(evidence.fingerprint)
        self.imported.pop(evidence.fingerprint, None)
        self._note(evidence.fingerprint)
        return evidence

    def bring(self, path: Path, imported: Imported) -> None:
        """Puts a stranger's file, which `check` found right, in its place; where it came from stays with it."""
        target = self.path(path.stem)
        target.parent.mkdir(parents=True, exist_ok=True)
        if (tensors := path.with_suffix(".safetensors")).exists():
            tensors.replace(target.with_suffix(".safetensors"))
        body = json_files.parsed(json_files.contents(path), nan=_NAN)["body"]
        write_whole(target, _text(body, imported))

    def remove(self, fingerprint: str) -> None:
        """Lets go of it, tensors last: what is left half is nothing."""
        path = self.path(fingerprint)
        for one in (path, path.with_suffix(".safetensors")):
            with suppress(OSError):
                one.unlink()
        for read in self._accounts:
            read.discard(fingerprint)

    def path(self, fingerprint: str) -> Path:
        """Where evidence of that fingerprint lies."""
        return self.folder / fingerprint[:2] / f"{fingerprint}.json"

    def files(self) -> list[Path]:
        """Every file of evidence, in the order of their names."""
        return sorted(self.folder.glob("??/*.json"))

    def __iter__(self) -> Iterator[Evidence]:
        for path in self.files():
            if (found := self._load(path.stem)) is not None:
                yield found

    def _note(self, fingerprint: str) -> None:
        for read in self._accounts:
            read.add(fingerprint)

    def _load(self, fingerprint: str) -> Evidence | None:
        path = self.path(fingerprint)
        try:
            return read(path)
        except FileNotFoundError:
            return None
        except Damaged as damage:
            self._set_aside(path, str(damage))
            return None

    def _set_aside(self, path: Path, what: str) -> None:
        for one in (path, path.with_suffix(".safetensors")):
            with suppress(OSError):  # a read-only folder keeps it; it is measured again all the same
                one.rename(one.with_name(one.name + ".damaged"))
        then = "--judge-only measures nothing in its place" if self.judge_only else "and measured again"
        warnings.warn(shown(f"{path}: {what}; set aside, {then}"), DamagedEvidence, stacklevel=4)


class _Glance(Store):
    def _set_aside(self, path: Path, what: str) -> None:
        """Not while planning."""


class Damaged(AssayError):
    """A file of evidence is not what was written."""


def read(path: Path) -> Evidence:
    """The evidence in a file, every hash checked."""
    try:
        found, tensors = _opened(path)
    except Later as error:
        raise AssayError(f"{path}: {error}") from None
    arrays = {} if tensors is None else _arrays(path.with_suffix(".safetensors"), tensors)
    _check(found, {name: (array.dtype.kind, array.shape) for name, array in arrays.items()})
    return replace(found, arrays=arrays)


def check(path: Path) -> Evidence:
    """The same without its arrays: their hash and shapes are checked, and never all of them held.

    Of a file that a later Assay wrote, Later says so.
    """
    found, tensors = _opened(path)
    shapes = {} if tensors is None else _shapes(path.with_suffix(".safetensors"), tensors)
    _check(found, shapes)
    return found


def _text(body: Mapping[str, Any], imported: Imported | None = None) -> bytes:
    """The file: what is said of the body stands beside it, so that its hash stays."""
    whole = {"schema": SCHEMA, "sha256": digest(body), "body": body}
    beside = {} if imported is None else {"imported": imported}
    return json.dumps(whole | beside, ensure_ascii=False).encode()


def _opened(path: Path) -> tuple[Evidence, str | None]:
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
        raise Damaged("is not what was written")
    kept = file.body.recipe
    recipe = Recipe(kept.kind, kept.revision, kept.subject, kept.of)
    if recipe.fingerprint != path.stem:
        raise Damaged("holds another measurement than its name says")
    found = Evidence(recipe, file.body.values, {}, body["environment"], tuple(body["computed_from"]), file.imported)
    return found, file.body.tensors


def _check(found: Evidence, shapes: Mapping[str, Shape]) -> None:
    try:
        evidence_kinds.check(found.recipe.kind, found.recipe.of, found.values, shapes)
    except Malformed as error:
        raise Damaged(f"is no evidence of its kind, {found.recipe.kind} ({error})") from None


def _arrays(path: Path, expected: str) -> dict[str, np.ndarray]:
    try:
        raw = path.read_bytes()
    except OSError:
        raise Damaged("has lost its tensors") from None
    if hashlib.sha256(raw).hexdigest() != expected:
        raise Damaged("has tensors that are not what was written")
    try:
        return dict(load_tensors(raw))
    except (SafetensorError, KeyError, ValueError):  # numpy has no such numbers
        raise Damaged("has tensors that cannot be read") from None


def _shapes(path: Path, expected: str) -> dict[str, Shape]:
    try:
        if sha256_of(path) != expected:
            raise Damaged("has tensors that are not what was written")
        with safe_open(path, framework="numpy") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            return {
                name: ("f" if one.get_dtype() in _FLOATS else "", tuple(one.get_shape())) for name, one in parts.items()
            }
    except OSError:
        raise Damaged("has lost its tensors") from None
    except SafetensorError:
        raise Damaged("has tensors that cannot be read") from None


def sha256_of(path: Path) -> str:
    """Of a file of any size, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
