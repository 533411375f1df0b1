"""Bundles: a run and the evidence it read in one file, for someone without the model. Nothing in them is run.

A bundle is a stranger's file: it is counted, measured and checked, all of it, before anything of it is put in place.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.files import json_files
from harness.inputs.files.archives import Unfit, opened, unpack
from harness.inputs.files.json_files import Count, Later, Malformed
from harness.inputs.files.terminal import shown
from harness.inputs.files.whole_files import folder_aside
from harness.inputs.judges.phrases import contradiction
from harness.inputs.model_record import ModelRecord, Sizes
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.measurements import evidence_kinds, pairs_evidence
from harness.measurements.evidence import Damaged, Evidence, Imported, Store, check, read, sha256_of
from harness.results.run_record import Run
from harness.subjects.published.recordings import RECORDED, Recording, keep, may_be_called, read_recording

# Of manifest.json; the first bundles had none.
SCHEMA = 1
_RUN, _MANIFEST = "run.json", "manifest.json"
_EVIDENCE = re.compile(r"evidence/([0-9a-f]{64})\.(json|safetensors)")
_RECORDED = re.compile(r"recorded/([^/\\]+)\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Of models and claims: what may stand on a command line, and is no option there.
_SAYABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f-][^\x00-\x1f\x7f-\x9f]*")
# A folder's name among the runs.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class _Member(msgspec.Struct, forbid_unknown_fields=True):
    bytes: Count
    sha256: str


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    run: str  # the name of its folder
    members: dict[str, _Member]
    schema: int = 1


@dataclass(frozen=True)
class Bundled:
    """A bundle that was written."""

    measurements: int
    sha256: str


@dataclass(frozen=True)
class Unbundled:
    """What a bundle brought."""

    run: Run
    folder: Path  # where its run lies now
    placed: int  # files of evidence that were not here
    kept: int  # measured here already
    sha256: str


def bundle(folder: Path, store: Store, to: Path) -> Bundled:
    """Writes a run with the evidence it read, every hash checked."""
    run = Run.load(folder)
    members = {_RUN: folder / _RUN} | _evidence_of(run, store) | _recordings_of(run)
    listed = {name: _Member(path.stat().st_size, sha256_of(path)) for name, path in members.items()}
    manifest = msgspec.to_builtins(_Manifest(folder.resolve().name, listed, SCHEMA))
    aside = to.with_name(to.name + ".writing")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(_MANIFEST, json.dumps(manifest, indent=1))
            for name, path in members.items():
                file.write(path, name)
        with opened(aside):  # whoever gets it must be able to take it
            pass
        aside.replace(to)
        return Bundled(len(run.evidence), sha256_of(to))
    except OSError as error:
        raise AssayError(f"{to}: cannot be written ({error.strerror}); give --to another place") from None
    except Unfit as error:
        raise AssayError(f"{to}: this run is too large for a bundle ({error}); bundle runs of fewer claims") from None
    finally:
        aside.unlink(missing_ok=True)


def unbundle(path: Path, store: Store, runs: Path, sha256: str = "") -> Unbundled:
    """Puts a bundle's evidence and run in place, once all of it is right; `sha256` is what its file must have."""
    try:
        found = _digest(path, sha256)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        source = Imported(bundle=shown(path.name), sha256=found, when=now)
        with folder_aside(store.folder) as aside:
            return _checked(path, Path(aside)).place(store, runs, source)
    except Later as error:
        raise AssayError(f"{path}: {error}") from None
    except (Unfit, Malformed, Damaged) as error:
        raise AssayError(f"{path}: is no bundle, or a damaged one ({error}); ask for it again") from None
    except OSError as error:
        raise AssayError(
            f"{path}: cannot be read ({error.strerror}); give the .zip that `bundle` wrote, or a run's folder"
        ) from None


def _digest(path: Path, wanted: str) -> str:
    if wanted and not _DIGEST.fullmatch(wanted.lower()):
        raise AssayError(f"--sha256 {wanted}: is no SHA-256; give the 64 hexadecimal digits that `bundle` printed")
    if path.exists() and not path.is_file():
        raise Unfit("no regular file")
    found = sha256_of(path)
    if wanted and found != wanted.lower():
        raise AssayError(
            f"{path}: its SHA-256 is {found} and not {wanted.lower()}: it is another file than was meant, and was "
            "not opened"
        )
    return found


def _evidence_of(run: Run, store: Store) -> dict[str, Path]:
    members: dict[str, Path] = {}
    for fingerprint in run.evidence:
        path = store.path(fingerprint)
        try:
            read(path)
        except (FileNotFoundError, Damaged):
            raise AssayError(
                f"{path}: the run read this evidence, and it is gone or damaged; judge again, then bundle that run"
            ) from None
        for file in (path, path.with_suffix(".safetensors")):
            if file.exists():
                members[f"evidence/{file.name}"] = file
    return members


def _recordings_of(run: Run) -> dict[str, Path]:
    """Published recordings come with the project; those that people brought are theirs alone."""
    names = [name.removeprefix(RECORDED) for name in run.models if name.startswith(RECORDED)]
    paths = [places.recordings() / f"{name}.json" for name in names if may_be_called(name)]
    return {f"recorded/{path.name}": path for path in paths if path.exists()}


@dataclass(frozen=True)
class _Brought:
    """A bundle's content, unpacked and found right."""

    name: str
    run: Run
    evidence: Mapping[str, Path]
    recordings: Sequence[Recording]  # that are not here

    def place(self, store: Store, runs: Path, source: Imported) -> Unbundled:
        """Evidence first, the run last: what is cut short is no run, and evidence that is marked as imported."""
        new = [fingerprint for fingerprint in self.evidence if not _here(store, fingerprint)]
        for fingerprint in new:
            store.import_file(self.evidence[fingerprint], source)
        for recording in self.recordings:
            keep(replace(recording, imported=source))
        folder = _folder(runs, self.name, self.run)
        if not (folder / _RUN).exists():
            replace(self.run, imported=source).save(folder)
        return Unbundled(self.run, folder, len(new), len(self.evidence) - len(new), source["sha256"])


def _checked(path: Path, aside: Path) -> _Brought:
    """All that the bundle holds, unpacked aside; refused whole if anything in it is not as it must be."""
    with opened(path) as archive:
        name = archive.comment.decode(errors="replace")
        files = {member.filename: _place(aside, member) for member in archive.infolist()}
        for member in archive.infolist():
            files[member.filename].parent.mkdir(exist_ok=True)
            unpack(archive, member, files[member.filename])
    if _RUN not in files:
        raise Unfit(f"it has no {_RUN}")
    if (manifest := files.pop(_MANIFEST, None)) is not None:
        name = _listed(manifest, files)
    run = Run.parsed(json_files.contents(files[_RUN]))
    asked = (one[of] for one in run.verdicts for of in ("claim", "model"))
    if strange := next((one for one in (*run.models, *run.claims, *asked) if not _SAYABLE.fullmatch(one)), None):
        raise Unfit(f"it has a model or a claim called {strange!r}")
    evidence, recordings = _evidence_in(run, files), tuple(_recordings_in(run, files))
    plain = next((one for one in (name, path.stem) if _PLAIN.fullmatch(one)), "run")
    return _Brought(plain, run, evidence, recordings)


def _place(aside: Path, member: zipfile.ZipInfo) -> Path:
    """Where a member is unpacked: its name is one of ours, letter by letter, or the bundle is refused."""
    name = member.filename
    ours = name in (_RUN, _MANIFEST) or _EVIDENCE.fullmatch(name) or _RECORDED.fullmatch(name)
    if not ours or member.orig_filename != name:
        raise Unfit(f"it holds {name!r}, as no bundle does")
    if (recording := _RECORDED.fullmatch(name)) and not may_be_called(recording[1]):
        raise Unfit(f"it holds a recording called {recording[1]!r}: a published one is, or it is no plain name")
    if not name.endswith(".safetensors") and member.file_size > json_files.MOST_BYTES:
        raise Unfit(f"{name} is larger than {json_files.MOST_BYTES // 1024**2} MiB")
    return aside / name


def _listed(path: Path, files: Mapping[str, Path]) -> str:
    """The run's name, if the members are those that were bundled."""
    manifest = json_files.typed(json_files.parsed(json_files.contents(path)), _Manifest, newest=SCHEMA)
    if other := sorted(manifest.members.keys() ^ files.keys()):
        raise Unfit(f"{other[0]} is in its list or in it, and not in both")
    for name, member in manifest.members.items():
        if member.bytes != files[name].stat().st_size or member.sha256 != sha256_of(files[name]):
            raise Unfit(f"{name} is not what was bundled")
    return manifest.run


def _evidence_in(run: Run, files: Mapping[str, Path]) -> dict[str, Path]:
    """What the run read, each measurement checked, by itself and beside the others; no more of it than that."""
    brought = {match[1] for name in files if (match := _EVIDENCE.fullmatch(name))}
    if other := sorted(brought - set(run.evidence)):
        raise Unfit(f"evidence {other[0][:12]} is in it, and its run did not read it")
    if missing := [fingerprint for fingerprint in run.evidence if f"evidence/{fingerprint}.json" not in files]:
        raise Unfit(f"evidence {missing[0][:12]} is missing in it")
    found = {fingerprint: files[f"evidence/{fingerprint}.json"] for fingerprint in run.evidence}
    beside = _Beside()
    # Those first by which the others are checked; never all of them are held.
    for turn in (True, False):
        for fingerprint, path in found.items():
            try:
                one = check(path)
                if (one.recipe.kind in (*pairs_evidence.KINDS, "model-record")) == turn:
                    beside.check(one)
            except (Damaged, Later, Malformed) as wrong:
                raise type(wrong)(f"evidence {fingerprint[:12]} {wrong}") from None
    return found


@dataclass
class _Beside:
    """What measurements of one run must agree with: its pairs, its models, and each with what is kept of it."""

    sets: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # fingerprint → what recipes say of the set
    ids: set[str] = field(default_factory=set)
    sizes: dict[str, Sizes] = field(default_factory=dict)  # by the model's fingerprint

    def check(self, one: Evidence) -> None:
        """Raises Malformed where a measurement contradicts itself or others."""
        kind, values, asked = one.recipe.kind, one.values, one.recipe.of.get("pairs")
        if kind not in evidence_kinds.known():
            raise Malformed(f"is of no kind that is known here: {kind!r}")
        if kind in pairs_evidence.KINDS:
            self._know(pairs_evidence.kept(one), one.recipe.of["pairs"])
        elif kind == "model-record":
            record = json_files.fitting(values, ModelRecord)
            self.sizes[record.fingerprint] = record.sizes
        elif isinstance(asked, dict) and (there := self.sets.get(asked["pairs"], asked)) != asked:
            raise Malformed(f"is of {asked['n']} pairs, and there are {there['n']}, or others on a side")
        if kind == "answers" and (wrong := contradiction(values)):
            raise Malformed(f"contradicts itself: {wrong}")
        if kind in ("swept", "estimated") and self.ids and (other := set(values["pairs"]) - self.ids):
            raise Malformed(f"is of a pair that its run does not have: {min(other)!r}")
        sizes = self.sizes.get(one.recipe.subject)
        if kind == "circuit" and sizes is not None and (wrong := evidence_kinds.missing_part(values, sizes)):
            raise Malformed(f"has parts that its model does not have: {wrong}")

    def _know(self, pairs: PromptSet, asked: Mapping[str, Any]) -> None:
        if pairs.fingerprint != asked["pairs"]:
            raise Malformed("contradicts itself: its pairs are others than its recipe says")
        if isinstance(pairs, PairSet):
            self.ids |= {pair.id for pair in pairs}
        for part in (pairs, pairs.discovery, pairs.heldout):
            self.sets[part.fingerprint] = part.in_recipes


def _recordings_in(run: Run, files: Mapping[str, Path]) -> Iterator[Recording]:
    """Recordings that the run judged and that are not here, each whole; another of that name here is not touched."""
    for name, path in ((match[1], path) for name, path in files.items() if (match := _RECORDED.fullmatch(name))):
        if RECORDED + name not in run.models:
            raise Unfit(f"it holds the recording {name}, and its run did not judge it")
        try:
            brought = replace(read_recording(path), imported=None)
        except AssayError as error:
            raise Unfit(f"recorded/{name}.json {str(error).partition(': ')[2]}") from None
        if not (here := places.recordings() / path.name).exists():
            yield brought
        elif replace(read_recording(here), imported=None) != brought:
            raise AssayError(f"{here}: another recording of that name is here already; move it away, then import again")


def _here(store: Store, fingerprint: str) -> bool:
    try:
        check(store.path(fingerprint))
    except (FileNotFoundError, Damaged):
        return False
    except Later:  # somebody's, who has one
        return True
    return True


def _folder(runs: Path, name: str, run: Run) -> Path:
    """A folder that is free, or the one in which this very run lies already."""
    number = 1
    while True:
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if _same(folder, run):
                return folder
            number += 1
        else:
            return folder


def _same(folder: Path, run: Run) -> bool:
    try:
        return replace(Run.load(folder), imported=None).as_json == replace(run, imported=None).as_json
    except AssayError:
        return False
