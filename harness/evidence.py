"""Evidence: one measurement a file, under the fingerprint of its recipe. Files only, shared without locks.

Tensors are written first, then the JSON that holds their hashes: the JSON is the commit. Everything is written aside
in the same folder and renamed. What is damaged is noticed, said, set aside, and measured again.
"""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from harness.errors import AssayError
from harness.pairs import DATA

EVIDENCE = DATA.parent / "reports" / "evidence"


class DamagedEvidence(UserWarning):
    """A file of evidence that is not what was written."""


@dataclass(frozen=True)
class Recipe:
    """All that a measurement depends on; its fingerprint is known before anything is measured."""

    kind: str
    revision: int  # of the measuring function: raised when its numbers change
    subject: str  # fingerprint of the model
    of: Mapping[str, Any]  # prompts, intervention, settings

    @property
    def fingerprint(self) -> str:
        """Names the evidence."""
        return digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """For the file, and for the fingerprint."""
        return {"kind": self.kind, "revision": self.revision, "subject": self.subject, "of": dict(self.of)}


@dataclass(frozen=True)
class Evidence:
    """What was measured: values as JSON has them, and arrays."""

    recipe: Recipe
    values: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)  # libraries, machine, seconds, peak memory
    computed_from: tuple[str, ...] = ()  # fingerprints of other evidence

    @property
    def fingerprint(self) -> str:
        """Its recipe's."""
        return self.recipe.fingerprint


class Store:
    """A folder of evidence."""

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        """Fresh, it knows only what is measured from now on."""
        self.folder, self.fresh = folder, fresh
        self._written: set[str] = set()
        self._accounts: list[set[str]] = []

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
        if found is not None:
            self._note(recipe.fingerprint)
        return found

    def put(self, evidence: Evidence) -> Evidence:
        """Keeps it; whoever writes the same at the same time writes the same."""
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
        # NaN is how a number says that it is not there; JSON as Python writes it knows it.
        text = json.dumps({"sha256": digest(body), "body": body}, ensure_ascii=False)
        write_whole(path, text.encode())
        self._written.add(evidence.fingerprint)
        self._note(evidence.fingerprint)
        return evidence

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
        warnings.warn(f"{path}: {what}; set aside, and measured again", DamagedEvidence, stacklevel=4)


class Damaged(AssayError):
    """A file of evidence is not what was written."""


def read(path: Path) -> Evidence:
    """The evidence in a file, every hash checked."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); give a folder of yours") from None
    return _parsed(path.stem, raw, path.with_suffix(".safetensors"))


def digest(value: object) -> str:
    """Of anything that JSON can hold, the same on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _parsed(fingerprint: str, raw: bytes, tensors: Path) -> Evidence:
    try:
        whole = json.loads(raw)
        body = whole["body"]
        if digest(body) != whole["sha256"]:
            raise Damaged("is not what was written")
        recipe = Recipe(**body["recipe"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged("is no evidence") from None
    if recipe.fingerprint != fingerprint:
        raise Damaged("holds another measurement than its name says")
    arrays = _arrays(tensors, body["tensors"]) if body["tensors"] else {}
    return Evidence(recipe, body["values"], arrays, body["environment"], tuple(body["computed_from"]))


def _arrays(path: Path, expected: str) -> dict[str, np.ndarray]:
    try:
        raw = path.read_bytes()
    except OSError:
        raise Damaged("has lost its tensors") from None
    if hashlib.sha256(raw).hexdigest() != expected:
        raise Damaged("has tensors that are not what was written")
    try:
        return dict(load_tensors(raw))
    except SafetensorError:
        raise Damaged("has tensors that cannot be read") from None


def write_whole(path: Path, raw: bytes, *, synced: bool = True) -> None:
    """Whole or not at all; unsynced it survives a kill, and only a power cut may take it back."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                if synced:
                    os.fsync(file.fileno())
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(aside).unlink()
            raise
    except OSError as error:
        raise AssayError(
            f"{path.parent}: nothing can be written here ({error.strerror}); free some space, or mend the folder's "
            "rights; what was measured before is safe"
        ) from None
