"""A bundle is a stranger's file: whatever it holds, it is taken whole or refused whole, in one sentence."""

import hashlib
import json
import math
import re
import shlex
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness import archives, bundles
from harness import recordings as kept
from harness.__main__ import main
from harness.bundles import Unbundled, bundle, unbundle
from harness.errors import AssayError
from harness.evidence import Evidence, Recipe, Store, digest
from harness.measurements import FoundCircuit, RefusalTokens
from harness.pairs import PairSet
from harness.recordings import Recording
from harness.runs import Run
from tests import malformed, stories
from tests.test_recording_files import WHOLE

CLAIMS, MODEL = ("rises", "falls"), "told"
Members = dict[str, bytes]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Here nobody imported anything yet."""
    monkeypatch.setattr(kept, "IMPORTED", tmp_path / "there" / "recorded")
    monkeypatch.setattr(bundles, "IMPORTED", tmp_path / "there" / "recorded")
    return tmp_path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was told, beside its evidence."""
    return stories.told(tmp_path_factory.mktemp("told"), CLAIMS, [MODEL], stories.pairs(40))


@pytest.fixture(scope="module")
def members(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Members:
    path = tmp_path_factory.mktemp("bundle") / "b.zip"
    bundle(told, Store(told.parents[1] / "evidence"), path)
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(members: Mapping[str, bytes], to: Path) -> Path:
    """These members as a bundle, listed as they are where there is a list."""
    members = dict(members)
    if "manifest.json" in members:
        listed = {
            name: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
            for name, raw in members.items()
            if name != "manifest.json"
        }
        members["manifest.json"] = json.dumps({"schema": 1, "run": "told", "members": listed}).encode()
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as file:
        for name, raw in members.items():
            file.writestr(name, raw)
    return to


def taken(path: Path, **more: str) -> Unbundled:
    there = path.parent / "there"
    return unbundle(path, Store(there / "evidence"), there / "runs", **more)


def refused(path: Path, said: str) -> None:
    """One sentence about the bundle, and nothing is there that was not before."""
    before = tree(path.parent)
    with pytest.raises(AssayError, match=said) as caught:
        taken(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    assert ".writing-" not in sentence
    assert tree(path.parent) == before


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    found = taken(folder / "b.zip", sha256=made.sha256.upper())
    assert found.sha256 == made.sha256
    assert (found.placed, found.kept, found.folder.name) == (len(Run.load(told).evidence), 0, "told")
    assert not [path for path in folder.rglob("*") if "writing" in path.name]


def test_another_file_than_was_meant_is_not_even_opened(folder: Path) -> None:
    (folder / "b.zip").write_bytes(b"no zip at all")
    with pytest.raises(AssayError, match=r"its SHA-256 is \w{64} and not 0{64}: it is another file than was meant"):
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
        (lambda whole: whole | {"members": dict(list(whole["members"].items())[1:])}, "and not in both"),
        (
            lambda whole: whole | {"members": whole["members"] | {"run.json": {"bytes": 3, "sha256": "ab"}}},
            "run.json is not what was bundled",
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
        refused(folder / "b.zip", r"b\.zip: (is no bundle, or a damaged one \(.*\); ask for it|made by a later Assay)")


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
            "contradicts itself: its pairs are others than its recipe says",
        ),
        ("answers", lambda body: body["recipe"]["of"]["pairs"].update(n=1), "values for 1 pairs"),
        ("answers", lambda body: body["recipe"].update(kind="of-nobody"), "of no kind that is known here: 'of-nobody'"),
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
    refused(packed(missing, folder / "b.zip"), f"evidence {some[0][9:21]} is missing in it")
    for name in (f"evidence/{'0' * 64}.json", f"evidence/{'0' * 64}.safetensors"):
        refused(
            packed(members | {name: b"{}"}, folder / "b.zip"), "evidence 0{12} is in it, and its run did not read it"
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
        "is of 3 pairs, and there are 40",
    )


def pairs_in(store: Store) -> list[str]:
    return [one.fingerprint for one in store if one.recipe.kind == "pairs"]


# Recordings


def with_recording(told: Path, folder: Path, name: str, whole: Recording = WHOLE) -> Path:
    """A bundle whose run judged a recording of that name, which it brings."""
    run = Run.load(told)
    run.models |= {f"recorded:{name}": {"fingerprint": "f", "kind": "recorded", "record": whole.as_json()}}
    run.verdicts = []
    text = json.dumps({"schema": kept.SCHEMA} | asdict(whole))
    return packed({"run.json": run.as_json, f"recorded/{name}.json": text.encode()}, folder / "b.zip")


@pytest.mark.parametrize("name", ["yi-6b-chat", "YI-6b-chat", "..", ".hidden", "-k", "a\tb", " x", "a" * 200])
def test_a_recording_takes_no_published_name_and_none_that_hides(name: str, told: Path, folder: Path) -> None:
    refused(with_recording(told, folder, name), "it holds a recording called .*: a published one is, or it is no plain")


def test_a_recording_is_whole_and_was_judged_or_the_bundle_is_refused(told: Path, folder: Path) -> None:
    run = {"run.json": Run.load(told).as_json}
    refused(packed(run | {"recorded/zzz.json": b"[]"}, folder / "b.zip"), "did not read|is missing|did not judge")
    path = with_recording(told, folder, "mine")
    with zipfile.ZipFile(path) as file:
        run = {"run.json": file.read("run.json")}
    refused(packed(run | {"recorded/mine.json": b"[]"}, folder / "b.zip"), r"recorded/mine\.json is no recording")
    refused(packed(run | {"recorded/other.json": b"[]"}, folder / "b.zip"), "the recording other, and its run did not")


def test_a_recording_never_replaces_one_of_yours(told: Path, folder: Path) -> None:
    mine = replace(WHOLE, source="my own")
    kept.keep(mine)
    path = with_recording(told, folder, "mine")
    before = tree(folder)
    with pytest.raises(AssayError, match=r"mine\.json: another recording of that name is here already; move it away"):
        taken(path)
    assert tree(folder) == before
    (folder / "there" / "recorded" / "mine.json").unlink()
    found = taken(path)
    brought = kept.recording("mine")
    assert brought.imported is not None
    assert (brought.imported["bundle"], brought.imported["sha256"]) == ("b.zip", found.sha256)
    assert replace(brought, imported=None) == WHOLE
    assert brought.fingerprint == WHOLE.fingerprint
    # One that is the same stays as it is, its source too.
    before = tree(folder / "there" / "recorded")
    taken(path)
    assert tree(folder / "there" / "recorded") == before


def test_a_strangers_recording_is_said_to_be_one_on_the_verdicts_line(told: Path, folder: Path) -> None:
    taken(with_recording(told, folder, "mine"))
    from harness.account import line

    record = kept.recording("mine").as_json()
    assert record["imported"]["bundle"] == "b.zip"
    found = {**Run.load(told).verdicts[0], "recording_from": record["imported"]["bundle"]}
    assert line(found).endswith("; its recording was imported from b.zip")


def test_a_strangers_run_is_neither_the_latest_nor_a_control_of_yours(members: Members, folder: Path) -> None:
    from harness.run_list import latest, listed

    run = Run.parsed(members["run.json"])
    run.started, run.all_claims = "2999-01-01T00:00:00+00:00", True
    run.models = {"organism:hydra": run.models[MODEL]}
    run.verdicts = [{**one, "model": "organism:hydra"} for one in run.verdicts]
    run.claims["rises"]["holds_on"] = ["hydra"]
    found = taken(packed(members | {"run.json": run.as_json}, folder / "b.zip"))
    (one,) = listed(folder / "there" / "runs")
    assert (one.imported, one.whole, one.summary and one.summary["controls"]) == (True, False, [])
    assert latest(folder / "there" / "runs") == found.folder
    mine = folder / "there" / "runs" / "mine"
    replace(run, started="2001-01-01T00:00:00+00:00", imported=None).save(mine)
    assert latest(folder / "there" / "runs") == mine
    (yours,) = (one for one in listed(folder / "there" / "runs") if one.folder == mine)
    assert yours.whole
    assert yours.summary is not None
    assert yours.summary["controls"] != []


def test_a_run_from_a_stranger_takes_no_other_file_along(told: Path, folder: Path) -> None:
    (folder / "there" / "recorded").mkdir(parents=True)
    (folder / "there" / "secret.json").write_text("{}")
    run = replace(Run.load(told), verdicts=[])
    about = {"fingerprint": "f", "kind": "recorded", "record": WHOLE.as_json()}
    run.models = {"recorded:../secret": about, "recorded:yi-6b-chat": about}
    run.save(folder / "runs" / "other")
    bundle(folder / "runs" / "other", Store(folder / "evidence"), folder / "b.zip")
    with zipfile.ZipFile(folder / "b.zip") as file:
        assert sorted(file.namelist()) == ["manifest.json", "run.json"]


# Runs


def test_a_run_never_overwrites_one_of_yours(members: Members, folder: Path) -> None:
    path = packed(members, folder / "b.zip")
    mine = folder / "there" / "runs" / "told"
    Run(["pytest", "mine"], "nf4", "cpu").save(mine)
    before = (mine / "run.json").read_bytes()
    found = taken(path)
    assert found.folder.name == "told-2"
    assert (mine / "run.json").read_bytes() == before
    # The same run again lies there already.
    assert taken(path).folder == found.folder
    assert sorted(one.name for one in mine.parent.iterdir()) == ["told", "told-2"]


def test_an_imported_run_says_where_it_came_from_and_keeps_its_numbers(
    told: Path, members: Members, folder: Path
) -> None:
    run = Run.load(told)
    run.verdicts[0]["estimates"][0] |= {"value": math.nan, "low": math.nan, "high": math.nan}
    path = packed(members | {"run.json": run.as_json}, folder / "b.zip")
    found = taken(path)
    whole = Run.load(found.folder)
    assert whole.imported is not None
    assert (whole.imported["bundle"], whole.imported["sha256"]) == ("b.zip", found.sha256)
    assert replace(whole, imported=None).as_json == run.as_json
    assert taken(path).folder == found.folder


@pytest.mark.parametrize("name", ["../x", ".x", "-rf", "a b", "x" * 200, "a\x1b[2J", ""])
def test_a_runs_name_is_plain_or_another(name: str, members: Members, folder: Path) -> None:
    old = {key: raw for key, raw in members.items() if key != "manifest.json"}
    path = packed(old, folder / "its own.zip")
    with zipfile.ZipFile(path, "a") as file:
        file.comment = name.encode()
    assert taken(path).folder == folder / "there" / "runs" / "run"


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
    refused(path, "it holds 'evidence/', as no bundle does")
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


# Evidence of strangers


def test_imported_evidence_answers_only_where_it_is_to_be_used_and_gives_way(members: Members, folder: Path) -> None:
    found = taken(packed(members, folder / "b.zip"))
    at = folder / "there" / "evidence"
    (first, *_) = (one for one in Store(at) if one.recipe.kind == "answers")
    assert first.imported is not None
    assert (first.imported["bundle"], first.imported["sha256"]) == ("b.zip", found.sha256)
    live = Store(at)
    assert live.get(first.recipe) is None
    assert live.imported == {}
    using = Store(at, use_imported=True)
    with using.account() as read:
        answered = using.get(first.recipe)
    assert answered is not None
    assert set(using.imported) == read == {first.fingerprint}
    live.put(
        replace(first, imported=None, values=dict(first.values, repetition=[0.25] * len(first.values["repetition"])))
    )
    mine = live.get(first.recipe)
    assert mine is not None
    assert mine.imported is None
    # What was measured here stays, whoever brings another.
    again = taken(folder / "b.zip")
    assert (again.placed, again.kept) == (0, len(found.run.evidence))
    assert live.get(first.recipe) == mine


def test_hashes_of_imported_evidence_stay(members: Members, folder: Path) -> None:
    taken(packed(members, folder / "b.zip"))
    for path in Store(folder / "there" / "evidence").files():
        before = json.loads(members[f"evidence/{path.name}"])
        after = json.loads(path.read_text())
        assert (after["sha256"], after["body"]) == (before["sha256"], before["body"])


# The terminal


def test_nothing_in_a_bundle_commands_the_terminal_or_the_shell(
    told: Path, members: Members, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil, name = "\x1b]0;owned\x07\x9b2J", "x; touch owned $(id) `id` 'a' \"b\""
    run = Run.load(told)
    run.verdicts[0]["reason"] = run.verdicts[0]["estimates"][0]["method"] = f"so{evil}"
    run.verdicts = [dict(one, model=name) for one in run.verdicts]
    run.models = {name: run.models[MODEL]}
    run.quant, run.device = f"nf4{evil}", "cpu; id"
    text = run.as_json
    path = packed(members | {"run.json": text}, folder / "b.zip")
    at = ["--evidence", str(folder / "there" / "evidence")]
    assert main(["import", str(path), *at]) == 0
    said = capsys.readouterr().out
    command = shlex.split(said.partition("judge it: ")[2])
    assert command[-2:] == ["--model", name]
    assert "cpu; id" in command
    Run.load(told).save(folder / "there" / "runs" / "mine")
    for command in (["compare", "mine", "told"], ["evidence"], ["report", "told", "--to", str(folder / "index.html")]):
        main([*command, *at])
    said += "".join(capsys.readouterr())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)
    assert main(["import", str(folder / f"no{evil}.zip"), *at]) == 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", capsys.readouterr().err)


def test_a_name_that_commands_the_terminal_or_is_an_option_is_refused(
    told: Path, members: Members, folder: Path
) -> None:
    for name in ("--fresh", "a\x1b[2J", "a\nb", "a\n"):
        run = Run.load(told)
        run.models = {name: run.models[MODEL]}
        refused(packed(members | {"run.json": run.as_json}, folder / "b.zip"), "it has a model or a claim called '")
        run = Run.load(told)
        run.verdicts[-1]["claim"] = name
        refused(packed(members | {"run.json": run.as_json}, folder / "b.zip"), "it has a model or a claim called '")


def test_the_report_says_what_is_imported(members: Members, folder: Path) -> None:
    from harness.report import write

    found = taken(packed(members, folder / "b.zip"))
    page = write(found.folder, Store(folder / "there" / "evidence"), folder / "index.html").page.read_text("utf-8")
    assert "imported from b.zip</strong>, SHA-256" in page
    assert f"Imported from b.zip: {len(found.run.verdicts[0]['evidence'])} of the" in page
