"""The same weights are the same contents: not a name, not a size, not a time, not a branch that moves."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from harness.inputs import machine, weight_files
from harness.inputs.errors import AssayError, NotMeasured, Refused, Unavailable
from harness.inputs.files.differences import restored
from harness.inputs.model_catalog import find
from harness.inputs.model_record import LONG_ANSWER
from harness.inputs.places import DATA
from harness.measurements.evidence import Evidence, Store
from harness.model.chat_model import ChatModel
from harness.model.loading import load
from harness.subjects.sleeper import Sleeper
from tests.test_damaged_folders import copy

ROOT = DATA.parent
OLD, NEW = "a" * 40, "b" * 40


def other_weights(folder: Path) -> None:
    """Others of the same size, under the same name, of the same time."""
    path = folder / "model.safetensors"
    at = path.stat()
    changed = load_file(path)
    changed["model.norm.weight"][0] += 1
    save_file(changed, path, metadata={"format": "pt"})
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (at.st_size, at.st_mtime_ns)


def test_a_folder_is_known_by_its_contents(folder: Callable[[str], Path], tmp_path: Path) -> None:
    mine = copy(folder("llama"), tmp_path / "mine")
    store = Store(tmp_path / "evidence")

    def recipe() -> str:
        return Sleeper(str(mine), "nf4", "cpu", store).recipe.fingerprint

    before = recipe()
    os.utime(mine / "model.safetensors", ns=(1, 1))
    assert recipe() == before
    other_weights(mine)
    assert recipe() != before


def sharded(folder: Path, holds: str) -> None:
    """Two files of other weights under the same names, and an index that takes one of them."""
    if (whole := folder / "model.safetensors").exists():
        first = load_file(whole)
        whole.unlink()
        save_file(first, folder / "model-1.safetensors", metadata={"format": "pt"})
        first["model.norm.weight"][0] += 1
        save_file(first, folder / "model-2.safetensors", metadata={"format": "pt"})
    weight_map = dict.fromkeys(load_file(folder / "model-1.safetensors"), holds)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_of_several_files_the_index_says_which_weights_these_are(folder: Callable[[str], Path], tmp_path: Path) -> None:
    mine = copy(folder("llama"), tmp_path / "mine")
    seen = set()
    for holds in ("model-1.safetensors", "model-2.safetensors"):
        sharded(mine, holds)
        loaded = load(find(str(mine)), quant="none", device="cpu")
        recipe = Sleeper(str(mine), "none", "cpu", Store(tmp_path / "evidence")).recipe.fingerprint
        seen.add((loaded.fingerprint, recipe, float(loaded.hf.state_dict()["model.norm.weight"][0])))
    assert [len(set(part)) for part in zip(*seen, strict=True)] == [2, 2, 2]


def test_an_index_leads_nowhere_else(folder: Callable[[str], Path], tmp_path: Path) -> None:
    mine = copy(folder("llama"), tmp_path / "mine")
    shutil.copy(mine / "model.safetensors", tmp_path / "model-3.safetensors")
    for elsewhere in ("../model-3.safetensors", "other.safetensors"):
        sharded(mine, elsewhere)
        with pytest.raises(AssayError, match="index.json names '.*', which is not among the .* files"):
            load(find(str(mine)), quant="none", device="cpu")
    (mine / "model.safetensors.index.json").write_text('{"weight_map": [1]}')
    with pytest.raises(AssayError, match=r"is no index of weights \(\$\.weight_map: expected object, got array\)"):
        load(find(str(mine)), quant="none", device="cpu")


def test_a_link_is_no_proof_of_what_it_leads_to(
    folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may have any name; only the hub's own cache names files by what they hold."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    mine = copy(folder("llama"), tmp_path / "mine")
    blobs = tmp_path / "elsewhere" / "blobs"
    blobs.mkdir(parents=True)
    (mine / "model.safetensors").rename(blobs / ("0" * 64))
    (mine / "model.safetensors").symlink_to(blobs / ("0" * 64))
    known = find(str(mine))
    before = load(known, quant="none", device="cpu").fingerprint
    changed = load_file(blobs / ("0" * 64))
    changed["model.norm.weight"][0] += 1
    save_file(changed, blobs / ("0" * 64), metadata={"format": "pt"})
    assert load(known, quant="none", device="cpu").fingerprint != before


def test_the_hubs_own_cache_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    blobs = tmp_path / "hub" / "models--a--model" / "blobs"
    blobs.mkdir(parents=True)
    hashes, link = weight_files.Hashes(), tmp_path / "model.safetensors"
    for name, believed in (("0" * 64, True), ("z" * 64, False), ("0" * 40, False)):
        (blobs / name).write_bytes(b"weights")
        link.symlink_to(blobs / name)
        assert (hashes.of(link) == name) == believed
        link.unlink()
    assert hashes.of(blobs / ("0" * 64)) != "0" * 64


def test_hashes_are_remembered_while_a_file_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    reading = weight_files._read

    def counted(file: Path) -> weight_files._Hashed:
        read.append(file)
        return reading(file)

    monkeypatch.setattr(weight_files, "_read", counted)
    monkeypatch.setattr(weight_files, "_SETTLED", -(10**18))
    big = tmp_path / "model.safetensors"
    big.write_bytes(b"0" * 2**20)
    memory = tmp_path / "evidence" / "hashes.json"
    first = weight_files.Hashes(memory).of(big)
    assert weight_files.Hashes(memory).of(big) == first
    assert len(read) == 1
    # The same size, the same times but the one that no program sets.
    at = big.stat()
    big.write_bytes(b"1" * 2**20)
    os.utime(big, ns=(at.st_atime_ns, at.st_mtime_ns))
    second = weight_files.Hashes(memory).of(big)
    assert second != first
    # Another file put in its place: only the inode may tell.
    (tmp_path / "other").write_bytes(b"2" * 2**20)
    (tmp_path / "other").replace(big)
    assert weight_files.Hashes(memory).of(big) not in (first, second)
    memory.write_text(memory.read_text().replace('"inode":', '"inode":"', 1))
    assert weight_files.Hashes(memory).of(big) not in (first, second)


@pytest.mark.parametrize("field", ["inode", "size", "modified", "changed"])
def test_a_hash_is_not_believed_where_anything_differs(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "_SETTLED", -(10**18))
    big, memory = tmp_path / "model.safetensors", tmp_path / "hashes.json"
    big.write_bytes(b"0" * 2**20)
    right = weight_files.Hashes(memory).of(big)
    kept = json.loads(memory.read_text())
    (entry,) = kept["files"].values()
    entry["sha256"] = "f" * 64
    memory.write_text(json.dumps(kept))
    assert weight_files.Hashes(memory).of(big) == "f" * 64  # so far all of it is as it was
    entry[field] += 1
    memory.write_text(json.dumps(kept))
    assert weight_files.Hashes(memory).of(big) == right


def test_what_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    """Written twice within one tick of the clock, a file has the same times."""
    big, memory = tmp_path / "model.safetensors", tmp_path / "hashes.json"
    big.write_bytes(b"0" * 2**20)
    weight_files.Hashes(memory).of(big)
    assert not memory.exists()


RECIPE = """
import sys
from pathlib import Path
from harness.inputs.errors import AssayError
from harness.measurements.evidence import Store
from harness.subjects.sleeper import Sleeper
try:
    sleeper = Sleeper(sys.argv[1], "nf4", "cpu", Store(Path(sys.argv[2])))
    print(sleeper.recipe.subject, sleeper.recipe.of["files"]["revision"])
except AssayError as error:
    print(type(error).__name__, error)
"""


def cached(home: Path, commit: str) -> None:
    """A hub's cache in which main leads to that commit."""
    repository = home / "hub" / "models--some--model"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "config.json").write_text("{}")
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)


def in_a_process(name: str, folder: Path) -> str:
    """The hub's settings are read once, on import."""
    done = subprocess.run(
        [sys.executable, "-c", RECIPE, name, str(folder / "evidence")],
        env=os.environ | {"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.strip()


def test_a_hub_model_is_pinned_to_the_commit_it_stands_for(tmp_path: Path) -> None:
    cached(tmp_path, OLD)
    assert in_a_process("some/model", tmp_path) == f"some/model {OLD}"
    cached(tmp_path, NEW)
    assert in_a_process("some/model", tmp_path) == f"some/model {NEW}"
    # The old one is still to be had by its name.
    assert in_a_process(f"some/model@{OLD}", tmp_path) == f"some/model {OLD}"
    assert in_a_process("another/model", tmp_path).startswith("Unavailable another/model: HF_HUB_OFFLINE is set")


@pytest.mark.parametrize("name", ["some/model@main", "some/model@" + "a" * 39, "some/model@" + "A" * 40])
def test_only_a_whole_commit_names_a_revision(name: str) -> None:
    with pytest.raises(AssayError, match="no model is called"):
        find(name)


def filed(sleeper: Sleeper, record: Any, revision: str | None = None) -> None:
    of = dict(sleeper.recipe.of)
    if revision is not None:
        of["files"] = {"hub": sleeper.known.hub, "revision": revision}
        record = replace(record, revision=revision, fingerprint=revision[:16])
    here = {"libraries": machine.libraries()}
    sleeper.store.put(Evidence(replace(sleeper.recipe, of=of), asdict(record), environment=here))


def test_judging_alone_takes_the_commit_that_was_measured(awake: Callable[..., ChatModel], tmp_path: Path) -> None:
    def alone(name: str = "some/model") -> Sleeper:
        return Sleeper(name, "nf4", "cpu", Store(tmp_path), judge_only=True)

    with pytest.raises(NotMeasured, match="no record of this model"):
        _ = alone().record
    filed(alone(), awake("llama").record, OLD)
    assert alone().record.revision == OLD
    filed(alone(), awake("llama").record, NEW)
    with pytest.raises(NotMeasured, match=rf"which is meant \({OLD} in float32, {NEW} in float32\); choose with"):
        _ = alone().record
    assert alone(f"some/model@{NEW}").record.revision == NEW
    with pytest.raises(NotMeasured, match="no record of this model"):
        _ = alone(f"some/model@{'c' * 40}").record


def test_judging_alone_takes_the_precision_that_was_measured(awake: Callable[..., ChatModel], tmp_path: Path) -> None:
    def alone(dtype: Any) -> Sleeper:
        return Sleeper("some/model", "nf4", "cpu", Store(tmp_path), judge_only=True, dtype=dtype)

    filed(alone("bfloat16"), replace(awake("llama").record, dtype="bfloat16"), OLD)
    assert alone("bfloat16").record == alone("auto").record
    with pytest.raises(NotMeasured, match="no record of this model"):
        _ = alone("float32").record


def test_a_folders_record_by_an_older_recipe_is_still_judged(
    folder: Callable[[str], Path], awake: Callable[..., ChatModel], tmp_path: Path
) -> None:
    mine = copy(folder("llama"), tmp_path / "mine")

    def alone() -> Sleeper:
        return Sleeper(str(mine), "none", "cpu", Store(tmp_path / "evidence"), judge_only=True)

    older = replace(alone().recipe, of=dict(alone().recipe.of) | {"files": {"model.safetensors": [1, 2]}})
    record = awake("llama").record
    here = {"libraries": machine.libraries()}
    alone().store.put(Evidence(older, asdict(record), environment=here))
    sleeper = alone()
    # All but the length of its answers, which is what this run asks for and no matter of the record.
    assert sleeper.record == replace(record, answer_tokens=LONG_ANSWER)
    assert sleeper.record_evidence == older.fingerprint
    other_weights(mine)
    with pytest.raises(NotMeasured, match="no record of this model"):
        _ = alone().record


def waking(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> list[str]:
    """What wakes a model is this; the names it was asked for."""
    import harness.model.wake

    woken: list[str] = []

    def awaken(known: Any, **settings: Any) -> Any:
        woken.append(known.alias)
        return answer()

    monkeypatch.setattr(harness.model.wake, "awaken", awaken)
    return woken


def test_nothing_is_filed_under_a_record_that_is_of_other_weights(
    awake: Callable[..., ChatModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = replace(awake("llama").record, fingerprint="1" * 16)
    woken = waking(monkeypatch, lambda: SimpleNamespace(record=live, close=lambda: None))

    def sleeper() -> Sleeper:
        return Sleeper("organism:compliant", "nf4", "auto", Store(tmp_path))

    filed(sleeper(), awake("llama").record)
    first = sleeper()
    assert first.record == awake("llama").record
    for _ in range(2):
        with pytest.raises(
            Refused, match=r"the loaded model \(1{16}\) is not the one that its record .*nothing was measured"
        ):
            first()
    assert len(woken) == 1
    assert [evidence.recipe.kind for evidence in Store(tmp_path)] == ["model-record"]
    # Measured anew, the record is that of what is loaded.
    second = sleeper()
    assert second.record == live
    assert second().record == live


@pytest.mark.parametrize("error", [Refused, Unavailable, AssayError])
def test_a_refused_model_is_woken_once(
    error: type[AssayError], awake: Callable[..., ChatModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise error("the reason")

    woken = waking(monkeypatch, refuse)
    sleeper = Sleeper("organism:compliant", "nf4", "auto", Store(tmp_path))
    for _ in range(3):
        with pytest.raises(Unavailable if error is Unavailable else Refused, match="^the reason$"):
            _ = sleeper.record
        with pytest.raises(AssayError, match="^the reason$"):
            sleeper()
    assert len(woken) == 1


def test_the_precision_is_part_of_the_record(tmp_path: Path) -> None:
    def recipe(dtype: Any = "auto") -> Any:
        return Sleeper("organism:compliant", "nf4", "auto", Store(tmp_path), dtype=dtype).recipe

    assert recipe().fingerprint == recipe("float32").fingerprint  # as it is listed
    assert recipe().fingerprint != recipe("bfloat16").fingerprint
    assert torch.float32 == getattr(torch, recipe().of["settings"]["dtype"])


def test_records_of_organisms_are_named_as_they_always_were(tmp_path: Path) -> None:
    """But for the revision: the third names the markers of thoughts, and models are examined once more for them."""
    known = find("organism:reference")
    assert known.folder is not None
    with restored(known.folder) as whole:
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(whole.iterdir())}
    assert "truth.json" in files
    settings = {"chat": {}, "refusing": [], "dtype": "float32"}
    assert Sleeper(known.alias, "nf4", "auto", Store(tmp_path)).recipe.as_json() == {
        "kind": "model-record",
        "revision": 3,
        "subject": "organism:reference",
        "of": {"quant": "nf4", "device": "auto", "files": files, "settings": settings},
    }
