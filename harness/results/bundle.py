"""Bundles: one file with a run and the evidence it read, for someone without the model. Nothing in them is executed.

A bundle may come from anyone: sizes, names, hashes and contents are all checked before any file is put in place.
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
from harness.measurements.evidence_kinds import MODEL_RECORD
from harness.measurements.questions import Answers, Estimated, FoundCircuit, Swept
from harness.results.run_record import Run
from harness.subjects.published.recordings import RECORDED, Recording, keep, may_be_called, read_recording

# Of manifest.json, which the first bundles did not have.
SCHEMA = 1
_RUN, _MANIFEST = "run.json", "manifest.json"
_EVIDENCE = re.compile(r"evidence/([0-9a-f]{64})\.(json|safetensors)")
_RECORDED = re.compile(r"recorded/([^/\\]+)\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Names of models and claims: no control characters, and no leading dash, which a command would take for an option.
_SAYABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f-][^\x00-\x1f\x7f-\x9f]*")
# Names that a run's folder can have.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class _Member(msgspec.Struct, forbid_unknown_fields=True):
    bytes: Count
    sha256: str


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    run: str  # the name of the run's folder
    members: dict[str, _Member]
    schema: int = 1


@dataclass(frozen=True)
class Bundled:
    """A bundle that was written: how many measurements it holds, and its hash."""

    measurements: int
    sha256: str


@dataclass(frozen=True)
class Unbundled:
    """The result of an import."""

    run: Run
    folder: Path  # where the run was put
    placed: int  # measurements that were not here
    kept: int  # measurements that were here already
    sha256: str


def bundle(folder: Path, store: Store, to: Path) -> Bundled:
    """Writes a run with the evidence it read; every hash is checked first."""
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
        with opened(aside):  # raises Unfit if an import would refuse it
            pass
        aside.replace(to)
        return Bundled(len(run.evidence), sha256_of(to))
    except OSError as error:
        raise AssayError(f"{to}: cannot be written ({error.strerror}); give another path by --to") from None
    except Unfit as error:
        raise AssayError(f"{to}: this run is too large for a bundle ({error}); bundle runs of fewer claims") from None
    finally:
        aside.unlink(missing_ok=True)


def unbundle(path: Path, store: Store, runs: Path, sha256: str = "") -> Unbundled:
    """Imports a bundle's evidence and run, after all checks; with `sha256`, only if the file has this hash."""
    try:
        digest = _digest(path, sha256)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        source = Imported(bundle=shown(path.name), sha256=digest, when=now)
        with folder_aside(store.folder) as aside:
            return _checked(path, Path(aside)).place(store, runs, source)
    except Later as error:
        raise AssayError(f"{path}: {error}") from None
    except (Unfit, Malformed, Damaged) as error:
        raise AssayError(f"{path}: is no bundle, or a damaged one ({error}); ask for the file again") from None
    except OSError as error:
        raise AssayError(
            f"{path}: cannot be read ({error.strerror}); give the .zip that `bundle` wrote, or a run's folder"
        ) from None


def _digest(path: Path, wanted: str) -> str:
    if wanted and not _DIGEST.fullmatch(wanted.lower()):
        raise AssayError(f"--sha256 {wanted}: is no SHA-256; give the 64 hexadecimal digits that `bundle` printed")
    if path.exists() and not path.is_file():
        raise Unfit("no regular file")
    digest = sha256_of(path)
    if wanted and digest != wanted.lower():
        raise AssayError(
            f"{path}: its SHA-256 is {digest}, not {wanted.lower()}; it is not the file that --sha256 names, and was "
            "not opened"
        )
    return digest


def _evidence_of(run: Run, store: Store) -> dict[str, Path]:
    members: dict[str, Path] = {}
    for fingerprint in run.evidence:
        path = store.path(fingerprint)
        try:
            read(path)
        except (FileNotFoundError, Damaged):
            raise AssayError(
                f"{path}: the run read this evidence, which is missing or damaged; judge again, then bundle the new run"
            ) from None
        for file in (path, path.with_suffix(".safetensors")):
            if file.exists():
                members[f"evidence/{file.name}"] = file
    return members


def _recordings_of(run: Run) -> dict[str, Path]:
    """The recordings that were imported by the user; published ones come with the project."""
    names = [name.removeprefix(RECORDED) for name in run.models if name.startswith(RECORDED)]
    paths = [places.recordings() / f"{name}.json" for name in names if may_be_called(name)]
    return {f"recorded/{path.name}": path for path in paths if path.exists()}


@dataclass(frozen=True)
class _Brought:
    """A bundle's content, unpacked and checked."""

    name: str
    run: Run
    evidence: Mapping[str, Path]
    recordings: Sequence[Recording]  # those that are not here yet

    def place(self, store: Store, runs: Path, source: Imported) -> Unbundled:
        """Puts evidence in place before the run, so that an interrupted import leaves no run without evidence."""
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
    """Unpacks a bundle into the folder `aside` and checks everything in it; raises if anything is wrong."""
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
    judged = (verdict[key] for verdict in run.verdicts for key in ("claim", "model"))
    if strange := next((name for name in (*run.models, *run.claims, *judged) if not _SAYABLE.fullmatch(name)), None):
        raise Unfit(f"it has a model or a claim with the name {strange!r}")
    evidence, recordings = _evidence_in(run, files), tuple(_recordings_in(run, files))
    plain = next((candidate for candidate in (name, path.stem) if _PLAIN.fullmatch(candidate)), "run")
    return _Brought(plain, run, evidence, recordings)


def _place(aside: Path, member: zipfile.ZipInfo) -> Path:
    """The path at which a member is unpacked; raises unless its name is exactly one that bundles have."""
    name = member.filename
    ours = name in (_RUN, _MANIFEST) or _EVIDENCE.fullmatch(name) or _RECORDED.fullmatch(name)
    if not ours or member.orig_filename != name:
        raise Unfit(f"it holds {name!r}, which bundles never hold")
    if (recording := _RECORDED.fullmatch(name)) and not may_be_called(recording[1]):
        raise Unfit(f"it holds a recording named {recording[1]!r}: that is a published one's name, or not a plain name")
    if not name.endswith(".safetensors") and member.file_size > json_files.MOST_BYTES:
        raise Unfit(f"{name} is larger than {json_files.MOST_BYTES // 1024**2} MiB")
    return aside / name


def _listed(path: Path, files: Mapping[str, Path]) -> str:
    """The name of the run's folder; raises unless members, sizes and hashes are those of the manifest."""
    manifest = json_files.typed(json_files.parsed(json_files.contents(path)), _Manifest, newest=SCHEMA)
    if unmatched := sorted(manifest.members.keys() ^ files.keys()):
        raise Unfit(f"{unmatched[0]} is in its {_MANIFEST} or in the archive, but not in both")
    for name, member in manifest.members.items():
        if member.bytes != files[name].stat().st_size or member.sha256 != sha256_of(files[name]):
            raise Unfit(f"{name} is not the file that was bundled")
    return manifest.run


def _evidence_in(run: Run, files: Mapping[str, Path]) -> dict[str, Path]:
    """The evidence that the run read, each file checked by itself and against the others; raises on any more."""
    brought = {match[1] for name in files if (match := _EVIDENCE.fullmatch(name))}
    if unread := sorted(brought - set(run.evidence)):
        raise Unfit(f"it holds evidence {unread[0][:12]}, which its run did not read")
    if missing := [fingerprint for fingerprint in run.evidence if f"evidence/{fingerprint}.json" not in files]:
        raise Unfit(f"evidence {missing[0][:12]} is missing")
    paths = {fingerprint: files[f"evidence/{fingerprint}.json"] for fingerprint in run.evidence}
    context = _Context()
    # Prompts and model records first, since the others are checked against them; one file is held in memory at a time.
    for first in (True, False):
        for fingerprint, path in paths.items():
            try:
                evidence = check(path)
                if (evidence.recipe.kind in (*pairs_evidence.KINDS, MODEL_RECORD)) == first:
                    context.check(evidence)
            except (Damaged, Later, Malformed) as problem:
                raise type(problem)(f"evidence {fingerprint[:12]} {problem}") from None
    return paths


@dataclass
class _Context:
    """The prompts and models of a run, against which its other evidence is checked."""

    sets: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # fingerprint → the set as recipes describe it
    ids: set[str] = field(default_factory=set)  # of pairs
    sizes: dict[str, Sizes] = field(default_factory=dict)  # by the model's fingerprint

    def check(self, evidence: Evidence) -> None:
        """Raises Malformed if evidence contradicts itself, its run's prompts or its model; notes prompts and models."""
        kind, values, asked = evidence.recipe.kind, evidence.values, evidence.recipe.of.get("pairs")
        if kind not in evidence_kinds.known():
            raise Malformed(f"is of a kind that is not known here: {kind!r}")
        if kind in pairs_evidence.KINDS:
            self._note(pairs_evidence.kept(evidence), evidence.recipe.of["pairs"])
        elif kind == MODEL_RECORD:
            record = json_files.fitting(values, ModelRecord)
            self.sizes[record.fingerprint] = record.sizes
        elif isinstance(asked, dict) and (of_run := self.sets.get(asked["pairs"], asked)) != asked:
            raise Malformed(f"says that its set has {asked['n']} pairs; it has {of_run['n']}, or others on a side")
        if kind == Answers.KIND and (problem := contradiction(values)):
            raise Malformed(f"contradicts itself: {problem}")
        if kind in (Swept.KIND, Estimated.KIND) and self.ids and (foreign := set(values["pairs"]) - self.ids):
            raise Malformed(f"is of a pair that its run does not have: {min(foreign)!r}")
        sizes = self.sizes.get(evidence.recipe.subject)
        if kind == FoundCircuit.KIND and sizes is not None and (part := evidence_kinds.missing_part(values, sizes)):
            raise Malformed(f"has parts that its model does not have: {part}")

    def _note(self, pairs: PromptSet, asked: Mapping[str, Any]) -> None:
        if pairs.fingerprint != asked["pairs"]:
            raise Malformed("contradicts itself: its prompts are not those of its recipe")
        if isinstance(pairs, PairSet):
            self.ids |= {pair.id for pair in pairs}
        for part in (pairs, pairs.discovery, pairs.heldout):
            self.sets[part.fingerprint] = part.in_recipes


def _recordings_in(run: Run, files: Mapping[str, Path]) -> Iterator[Recording]:
    """The recordings that the run judged and that are not here; raises if another one of that name is here."""
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
            raise AssayError(f"{here}: holds another recording of the same name; move it away, then import again")


def _here(store: Store, fingerprint: str) -> bool:
    try:
        check(store.path(fingerprint))
    except (FileNotFoundError, Damaged):
        return False
    except Later:  # a later version of Assay wrote it: it stays
        return True
    return True


def _folder(runs: Path, name: str, run: Run) -> Path:
    """A new folder for the run, or the folder that holds this very run already."""
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
