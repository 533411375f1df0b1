"""Identifies a model's weights, for its record and its fingerprint alike.

A hub model is identified by its commit, a folder by the contents of its files; never by names, sizes or times.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from huggingface_hub import constants

from harness.inputs import machine
from harness.inputs.errors import AssayError
from harness.inputs.files import differences, json_files
from harness.inputs.files.whole_files import write_whole
from harness.inputs.judges.thoughts import Markers
from harness.inputs.model_catalog import ORGANISM, KnownModel

WEIGHTS = "model*.safetensors"
# The files of a folder that decide what the model reads, computes or says.
IDENTITY = (
    WEIGHTS,
    "model.safetensors.index.json",  # lists which file holds which weight
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.jinja",
)
# Smaller files are hashed each time, which takes about a millisecond.
_WORTH_REMEMBERING = 1024**2
# A file rewritten within a tick of the clock keeps its times, so hashes of files that just changed are not remembered.
_SETTLED = 2_000_000_000
_SHA256 = re.compile("[0-9a-f]{64}")


class _Hashed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file's identity when it was hashed, and the hash of its content."""

    inode: int
    size: int
    modified: int  # nanoseconds
    changed: int  # nanoseconds; no program can set it
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

    def still(self, file: Path) -> bool:
        """Whether the file is unchanged since it was hashed."""
        at = file.stat()
        state = (at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns)
        return state == (self.inode, self.size, self.modified, self.changed)


class _Kept(msgspec.Struct):
    files: dict[str, _Hashed]
    schema: int = 1


class Hashes:
    """The SHA-256 of files, remembered in a file while inode, size and both times of a file stay the same."""

    def __init__(self, path: Path | None = None) -> None:
        """Remembers hashes in the file `path`; without a path, not at all."""
        self._path = path

    def of(self, file: Path) -> str:
        """The hash of the file's content."""
        try:
            if (name := _named_by_the_hub(file)) is not None:
                return name
            place = str(file.resolve())
            kept = self._kept().get(place)
            if kept is not None and kept.still(file):
                return kept.sha256
            read = _read(file)
        except OSError as error:
            raise AssayError(f"{file}: cannot be read ({error.strerror}); give a folder of yours") from None
        if read.size >= _WORTH_REMEMBERING and time.time_ns() - read.changed > _SETTLED:
            self._remember(place, read)
        return read.sha256

    def _kept(self) -> dict[str, _Hashed]:
        if self._path is None:
            return {}
        try:
            return json_files.read(self._path, _Kept, no="memory of hashes", do="delete it").files
        except AssayError:  # missing or damaged: all files are hashed again
            return {}

    def _remember(self, place: str, read: _Hashed) -> None:
        if self._path is None:
            return
        whole = _Kept(self._kept() | {place: read})
        with suppress(AssayError):  # not writable: all files are hashed again next time
            write_whole(self._path, msgspec.json.encode(whole), synced=False)


FORGETFUL = Hashes()
"""Reads every file each time."""


def beside(evidence: Path) -> Hashes:
    """The hashes remembered in this folder of evidence."""
    return Hashes(evidence / "hashes.json")


def recipe_of(known: KnownModel, hashes: Hashes) -> dict[str, Any]:
    """The part of a model record's recipe that identifies the weights: hub id and commit, or the files' hashes."""
    if known.folder is None:
        return {"hub": known.hub, "revision": known.revision}
    # Kept records of organisms were filed under all files of the folder, truth.json too.
    names = ("*",) if known.alias.startswith(ORGANISM) else IDENTITY
    return {name: sha256[:16] for name, sha256 in _contents(known.folder, names, hashes).items()}


def fingerprint(
    known: KnownModel,
    folder: Path,
    hashes: Hashes,
    *,
    quant: str,
    dtype: str,
    system: str | None = None,
    thoughts: Markers | None = None,
    libraries: Mapping[str, str] | None = None,
) -> str:
    """A hash of weights, tokenizer, settings, quantization, dtype and the versions of libraries that change numbers.

    `libraries` are by default those installed here.
    """
    digest = hashlib.sha256()
    for name, sha256 in _contents(folder, IDENTITY, hashes).items():
        digest.update(f"{name} {sha256}\n".encode())
    versions = machine.numeric(machine.libraries() if libraries is None else dict(libraries))
    numeric = " ".join(f"{name}={version}" for name, version in versions.items())
    digest.update(f"{quant} {dtype} {numeric}".encode())
    # Settings from the catalog or command line, which no file of the model contains.
    settings = known.chat_arguments, known.refusal_tokens, system
    if any(settings):
        digest.update(json.dumps(settings).encode())
    # Answers of reasoning models were once judged together with their thoughts.
    if thoughts is not None:
        digest.update(f"answers after {thoughts}".encode())
    return digest.hexdigest()[:16]


def _contents(folder: Path, names: Iterable[str], hashes: Hashes) -> dict[str, str]:
    files = sorted({path for name in names for path in folder.glob(name) if path.is_file()})
    if not differences.differs(folder):
        return {path.name: hashes.of(path) for path in files}
    # As if the weights were stored whole.
    stored = {path.name: hashes.of(path) for path in files if path.name != differences.DIFFERENCE}
    whole = {differences.WHOLE: hashlib.sha256(differences.weights(folder)).hexdigest()}
    return dict(sorted((stored | whole).items()))


def _named_by_the_hub(file: Path) -> str | None:
    """The SHA-256 that the hub's cache gives as a big file's name; None for all files outside of that cache."""
    if not file.is_symlink():
        return None
    blob = file.resolve()
    cache = Path(constants.HF_HUB_CACHE).resolve()
    trusted = blob.parent.name == "blobs" and blob.is_relative_to(cache) and _SHA256.fullmatch(blob.name)
    return blob.name if trusted else None


def _read(file: Path) -> _Hashed:
    before = file.stat()
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    read = _Hashed(before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns, sha256)
    if not read.still(file):
        raise AssayError(f"{file}: changed while it was read; try again when nothing writes to it")
    return read
