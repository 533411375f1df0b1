"""A bundle is a stranger's file: whatever it holds, it is taken whole or refused whole, in one sentence."""

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.files import archives
from harness.inputs.prompts.pairs import PairSet
from harness.measurements.evidence import Evidence, Store
from harness.measurements.questions import FoundCircuit, RefusalTokens
from harness.measurements.recipe import Recipe, digest
from harness.results import bundle as bundles
from harness.results.bundle import bundle
from harness.results.run_record import Run
from tests.tools import malformed, stories
from tests.tools.bundled import MODEL, Members, a_run, members_of, packed, refused, taken


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Here nobody imported anything yet."""
    with places.reports_in(tmp_path / "there"):
        yield tmp_path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_run(tmp_path_factory.mktemp("told"))


@pytest.fixture(scope="module")
def members(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Members:
    return members_of(told, tmp_path_factory.mktemp("bundle") / "b.zip")


def rewritten(members: Members, kind: str, change: Callable[[dict[str, Any]], None]) -> Members:
    """The bundle with its first measurement of a kind changed, every hash and name made right again."""
    new, names = dict(members), {}
    for name in members:
        if not name.startswith("evidence/") or json.loads(members[name])["body"]["recipe"]["kind"] != kind:
            continue
        whole = json.loads(new.pop(name))
        change(whole["body"])
        whole["sha256"] = digest(whole["body"])
        names[Path(name).stem] = digest(whole["body"]["recipe"])
        new[f"evidence/{names[Path(name).stem]}.json"] = json.dumps(whole).encode()
        break
    run = new["run.json"].decode()
    for old, other in names.items():
        run = run.replace(old, other)
    return new | {"run.json": run.encode()}


# What it holds


def test_a_bundle_is_listed_and_known_by_its_hash(told: Path, folder: Path) -> None:
    store = Store(told.parents[1] / "evidence")
    made = bundle(told, store, folder / "b.zip")
    assert made.sha256 == hashlib.sha256((folder / "b.zip").read_bytes()).hexdigest()
    with zipfile.ZipFile(folder / "b.zip") as file:
        listed = json.loads(file.read("manifest.json"))["members"]
        assert set(listed) == set(file.namelist()) - {"manifest.json"}
    placed_run = taken(folder / "b.zip", sha256=made.sha256.upper())
    assert placed_run.sha256 == made.sha256
    assert (placed_run.placed, placed_run.kept, placed_run.folder.name) == (
        len(Run.load(told).evidence),
        0,
        "told",
    )
    assert not [path for path in folder.rglob("*") if "writing" in path.name]


def test_another_file_than_was_meant_is_not_even_opened(folder: Path) -> None:
    (folder / "b.zip").write_bytes(b"no zip at all")
    with pytest.raises(AssayError, match=r"its SHA-256 is \w{64}, not 0{64}; it is not the file that --sha256 names"):
        taken(folder / "b.zip", sha256="0" * 64)
    for wrong in ("12", "g" * 64, "0" * 63):
        with pytest.raises(AssayError, match=f"--sha256 {wrong}: is no SHA-256; give the 64 hexadecimal digits"):
            taken(folder / "b.zip", sha256=wrong)


def test_bundles_of_before_there_was_a_list_are_taken(members: Members, folder: Path) -> None:
    old = {name: raw for name, raw in members.items() if name != "manifest.json"}
    assert taken(packed(old, folder / "20260101T000000Z-abc.zip")).folder.name == "20260101T000000Z-abc"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda whole: whole | {"schema": 2}, "made by a later Assay .schema 2; this one reads up to 1.: update Assay"),
        (lambda whole: whole | {"members": []}, r"\$\.members: expected object, got array"),
        (lambda whole: whole | {"note": 1}, "unknown field note"),
        (lambda whole: whole | {"members": dict(list(whole["members"].items())[1:])}, "but not in both"),
        (
            lambda whole: whole | {"members": whole["members"] | {"run.json": {"bytes": 3, "sha256": "ab"}}},
            "run.json is not the file that was bundled",
        ),
    ],
)
def test_a_list_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Any]], dict[str, Any]], said: str, members: Members, folder: Path
) -> None:
    listed = json.dumps(change(json.loads(members["manifest.json"]))).encode()
    with zipfile.ZipFile(folder / "b.zip", "w") as file:
        for name, raw in (members | {"manifest.json": listed}).items():
            file.writestr(name, raw)
    refused(folder / "b.zip", said)


@pytest.mark.parametrize("how", malformed.twisted({"a": 1}))
def test_a_twisted_run_or_list_in_it_is_one_sentence(how: str, members: Members, folder: Path) -> None:
    for name in ("run.json", "manifest.json"):
        raw = malformed.twisted(json.loads(members[name]))[how]
        whole = {key: value for key, value in members.items() if name == "manifest.json" or key != "manifest.json"}
        with zipfile.ZipFile(folder / "b.zip", "w") as file:
            for member, value in (whole | {name: raw}).items():
                file.writestr(member, value)
        refused(
            folder / "b.zip",
            r"b\.zip: (is no bundle, or a damaged one \(.*\); ask for the file again|made by a later Assay)",
        )


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (
            "answers",
            lambda body: body["values"]["phrases-anywhere"].__setitem__(0, 1 - body["values"]["phrases-anywhere"][0]),
            r"contradicts itself: answer 0 is (no|a) refusal by phrases-anywhere, and what is kept of it reads as",
        ),
        (
            "pairs",
            lambda body: body["values"]["pairs"][0].update(harmful="something else"),
            "contradicts itself: its prompts are not those of its recipe",
        ),
        ("answers", lambda body: body["recipe"]["of"]["pairs"].update(n=1), "values for 1 pairs"),
        (
            "answers",
            lambda body: body["recipe"].update(kind="of-nobody"),
            "of a kind that is not known here: 'of-nobody'",
        ),
        ("answers", lambda body: body["values"].pop("prefixes"), "missing required field prefixes"),
        ("answers", lambda body: body["environment"].update(seconds="1"), "is no evidence"),
    ],
)
def test_forged_evidence_that_contradicts_itself_is_refused_though_its_hashes_are_right(
    kind: str, change: Callable[[dict[str, Any]], None], said: str, members: Members, folder: Path
) -> None:
    refused(packed(rewritten(members, kind, change), folder / "b.zip"), said)


def test_what_is_beside_or_missing_is_refused(members: Members, folder: Path) -> None:
    some = [name for name in members if name.startswith("evidence/")]
    missing = {name: raw for name, raw in members.items() if name != some[0]}
    refused(packed(missing, folder / "b.zip"), f"evidence {some[0][9:21]} is missing")
    for name in (f"evidence/{'0' * 64}.json", f"evidence/{'0' * 64}.safetensors"):
        refused(
            packed(members | {name: b"{}"}, folder / "b.zip"), "it holds evidence 0{12}, which its run did not read"
        )
    without = {name: raw for name, raw in members.items() if name != "run.json"}
    refused(packed(without, folder / "b.zip"), "it has no run.json")


def test_parts_that_the_model_does_not_have_and_pairs_that_the_run_does_not_are_refused(folder: Path) -> None:
    of = stories.pairs(40)
    run = stories.told(folder / "told", ["c"], [MODEL], of)
    store = Store(folder / "told" / "evidence")
    record = Recipe("model-record", 2, MODEL, {"quant": "nf4", "device": "cpu"})
    read = [store.put(Evidence(record, json.loads(json.dumps(asdict(stories.RECORD)))))]

    def with_(asked: Recipe, values: dict[str, Any], said: str) -> None:
        found = [*read, store.put(Evidence(asked, values))]
        whole = Run.load(run)
        keys = {one.fingerprint for one in found}
        whole.verdicts[0]["evidence"] = sorted({*whole.verdicts[0]["evidence"][:0], *keys, *pairs_in(store)})
        whole.save(folder / "told" / "runs" / "other")
        bundle(folder / "told" / "runs" / "other", store, folder / "b.zip")
        refused(folder / "b.zip", said)

    asked = FoundCircuit(of.discovery, 1, 0).recipe(stories.RECORD.fingerprint, (3,))
    values = {"heads": [[4, 0]], "neurons": [], "effects": {"heads": [0.5], "neurons": []}}
    with_(asked, values, r"has parts that its model does not have: heads: 4\.0, of 4 layers with 8 each")
    other = PairSet(of.name, of.pairs)
    tokens = RefusalTokens(other).recipe(stories.RECORD.fingerprint, ())
    with_(
        replace(tokens, of={"pairs": {"pairs": of.fingerprint, "n": 3}}),
        {"tokens": [1]},
        "its set has 3 pairs; it has 40",
    )


def pairs_in(store: Store) -> list[str]:
    return [evidence.fingerprint for evidence in store if evidence.recipe.kind == "pairs"]


# Bombs


def test_what_shrank_too_far_is_refused_before_it_is_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, members: Members
) -> None:
    monkeypatch.setattr(bundles, "unpack", lambda *_: pytest.fail("unpacked"))
    monkeypatch.setattr(archives, "HARMLESS_BYTES", 10_000)
    zeros = members | {f"evidence/{'0' * 64}.safetensors": bytes(4_000_000)}
    refused(packed(zeros, folder / "b.zip"), "MiB that unpack to 4 MiB; measurements do not shrink so far")
    monkeypatch.setattr(archives, "MOST_BYTES_IN_ALL", 3_000_000)
    refused(folder / "b.zip", "it takes 4 MiB unpacked, at most 3 MiB are taken")
    monkeypatch.setattr(archives, "MOST_BYTES", 2_000_000)
    refused(folder / "b.zip", "takes 4 MiB, at most 2 MiB are taken")
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    refused(folder / "b.zip", "members, at most 3 are taken")
    large = members | {"run.json": members["run.json"] + b" " * (32 * 1024**2)}
    monkeypatch.undo()
    monkeypatch.setattr(bundles, "unpack", lambda *_: pytest.fail("unpacked"))
    refused(packed(large, folder / "b.zip"), "run.json is larger than 32 MiB")


def central(raw: bytes, name: str) -> int:
    """Where the list of members speaks of that one."""
    at = raw.rindex(name.encode())
    return raw.rindex(b"PK\x01\x02", 0, at)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # Sizes that lie, in the list.
        (lambda raw, at: struct.pack_into("<L", raw, at + 24, 10), "smaller|larger|damaged"),
        (lambda raw, at: struct.pack_into("<L", raw, at + 24, 2**31 - 1), "at most 1,024 MiB are taken"),
        # One member within another.
        (lambda raw, at: struct.pack_into("<L", raw, at + 42, 0), "lies within|damaged"),
        # Encrypted, packed otherwise, of a later zip.
        (lambda raw, at: struct.pack_into("<H", raw, at + 8, 1), "is encrypted"),
        (lambda raw, at: struct.pack_into("<H", raw, at + 10, 14), "is packed in a way that bundles are not"),
        (lambda raw, at: struct.pack_into("<H", raw, at + 6, 99), "damaged: zip file version 9.9"),
        # A list as large as it likes to be.
        (
            lambda raw, at: struct.pack_into("<L", raw, raw.rindex(b"PK\x05\x06") + 12, 2**31),
            "list of members is larger",
        ),
    ],
)
def test_a_zip_that_lies_about_itself_is_refused(
    change: Callable[[bytearray, int], None], said: str, members: Members, folder: Path
) -> None:
    path = packed(members, folder / "b.zip")
    raw = bytearray(path.read_bytes())
    change(raw, central(bytes(raw), "run.json"))
    path.write_bytes(raw)
    refused(path, said)


def test_no_name_stands_twice_and_none_is_a_folder(members: Members, folder: Path) -> None:
    path = packed(members, folder / "b.zip")
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("run.json", members["run.json"])
    refused(path, "'run.json' stands in it twice")
    with zipfile.ZipFile(packed(members, path), "a") as file:
        file.mkdir("evidence")
    refused(path, "it holds 'evidence/', which bundles never hold")
    raw = packed(members, path).read_bytes()
    at = raw.rindex(b"PK\x05\x06")
    path.write_bytes(raw[:at] + b"PK\x06\x07" + bytes(16) + raw[at:])
    refused(path, "of the kind for more than 4 GiB")


def test_a_pipe_or_a_folder_is_one_sentence_and_is_not_waited_for(folder: Path) -> None:
    import os

    os.mkfifo(folder / "pipe.zip")
    (folder / "b.zip").mkdir()
    for name in ("pipe.zip", "b.zip"):
        refused_without_reading = pytest.raises(AssayError, match=rf"{name}: is no bundle, .*no regular file")
        with refused_without_reading:
            taken(folder / name)
