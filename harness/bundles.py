"""Bundles: a run and the evidence it read in one file, for someone without the model. Nothing in them is run."""

import json
import re
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from harness.errors import AssayError
from harness.evidence import Damaged, Store, read, write_whole
from harness.recordings import IMPORTED, RECORDED
from harness.runs import Run

_RUN, _EVIDENCE = "run.json", re.compile(r"evidence/([0-9a-f]{64})\.(json|safetensors)")
_RECORDED = re.compile(r"recorded/([^/\\]+)\.json")


@dataclass(frozen=True)
class Unbundled:
    """What a bundle brought."""

    run: Run
    folder: Path  # where its run lies now
    placed: int  # files of evidence that were not here
    kept: int  # measured here already


def bundle(folder: Path, store: Store, to: Path) -> int:
    """Writes a run with the evidence it read, every hash checked; the count of its evidence."""
    run = Run.load(folder)
    members: dict[str, Path] = {}
    for fingerprint in run.evidence:
        path = store.path(fingerprint)
        try:
            read(path)
        except (FileNotFoundError, Damaged):
            raise AssayError(
                f"{path}: the run read this evidence, and it is gone or damaged; judge again, then bundle that run"
            ) from None
        for one in (path, path.with_suffix(".safetensors")):
            if one.exists():
                members[f"evidence/{one.name}"] = one
    for name in run.models:
        # Published recordings come with the project; those that people brought are theirs alone.
        if name.startswith(RECORDED) and (path := IMPORTED / f"{name.removeprefix(RECORDED)}.json").exists():
            members[f"recorded/{path.name}"] = path
    aside = to.with_name(to.name + ".writing")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as file:
            file.comment = folder.name.encode()
            file.write(folder / _RUN, _RUN)
            for name, path in members.items():
                file.write(path, name)
        aside.replace(to)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise AssayError(f"{to}: cannot be written ({error.strerror}); give --to another place") from None
    return len(run.evidence)


def unbundle(path: Path, store: Store, runs: Path) -> Unbundled:
    """Puts a bundle's evidence and run in place, once every hash is right; nothing is put before."""
    try:
        with tempfile.TemporaryDirectory(prefix="assay-") as aside, zipfile.ZipFile(path) as file:
            return _placed(path, file, Path(aside), store, runs)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error):
        raise AssayError(f"{path}: is no bundle, or a damaged one; ask for it again") from None
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); ask for it again") from None


def _placed(path: Path, file: zipfile.ZipFile, aside: Path, store: Store, runs: Path) -> Unbundled:
    brought: dict[str, Path] = {}
    for name in file.namelist():
        if name == _RUN or _EVIDENCE.fullmatch(name) or _RECORDED.fullmatch(name):
            brought[name] = aside / name.replace("/", "-")
            brought[name].write_bytes(file.read(name))
    run = Run.load(brought[_RUN])
    whole = Store(aside / "evidence")
    for name, one in brought.items():
        if found := _EVIDENCE.fullmatch(name):
            target = whole.path(found[1]).with_suffix(f".{found[2]}")
            target.parent.mkdir(parents=True, exist_ok=True)
            one.rename(target)
    for fingerprint in run.evidence:
        try:
            read(whole.path(fingerprint))
        except FileNotFoundError:
            raise AssayError(f"{path}: evidence {fingerprint[:12]} is missing in it; ask for it again") from None
        except Damaged as damage:
            raise AssayError(f"{path}: evidence {fingerprint[:12]} {damage}; ask for it again") from None
    new = [fingerprint for fingerprint in run.evidence if not _here(store, fingerprint)]
    for fingerprint in new:
        # The JSON is the commit, so it comes last.
        for suffix in (".safetensors", ".json"):
            if (source := whole.path(fingerprint).with_suffix(suffix)).exists():
                write_whole(store.path(fingerprint).with_suffix(suffix), source.read_bytes())
    for name, one in brought.items():
        if recording := _RECORDED.fullmatch(name):
            _bring(path, IMPORTED / f"{recording[1]}.json", one.read_bytes())
    folder = runs / (re.sub(r"[^\w-]", "", file.comment.decode(errors="replace")) or path.stem)
    run.save(folder)
    return Unbundled(run, folder, len(new), len(run.evidence) - len(new))


def _here(store: Store, fingerprint: str) -> bool:
    try:
        read(store.path(fingerprint))
    except (FileNotFoundError, Damaged):
        return False
    return True


def _bring(path: Path, target: Path, raw: bytes) -> None:
    try:
        json.loads(raw)
    except ValueError:
        raise AssayError(f"{path}: the recording {target.stem} is damaged in it; ask for it again") from None
    if target.exists() and target.read_bytes() != raw:
        raise AssayError(f"{target}: another recording of that name is here already; move it away, then import again")
    write_whole(target, raw)
