"""What comes from a stranger's bundle stands beside what is yours, says so, and commands nothing."""

import json
import math
import re
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.measurements.evidence import Store
from harness.results.bundle import bundle
from harness.results.run_record import Judged, Model, Run
from harness.subjects.published import recordings as kept
from harness.subjects.published.recordings import Recording
from tests.test_recording_files import WHOLE
from tests.tools.bundled import MODEL, Members, a_run, members_of, packed, refused, taken, tree


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
    refused(
        with_recording(told, folder, name),
        "it holds a recording named .*: that is a published one's name, or not a plain",
    )


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
    with pytest.raises(AssayError, match=r"mine\.json: holds another recording of the same name; move it away"):
        taken(path)
    assert tree(folder) == before
    (folder / "there" / "recorded" / "mine.json").unlink()
    placed_run = taken(path)
    brought = kept.recording("mine")
    assert brought.imported is not None
    assert (brought.imported["bundle"], brought.imported["sha256"]) == ("b.zip", placed_run.sha256)
    assert replace(brought, imported=None) == WHOLE
    assert brought.fingerprint == WHOLE.fingerprint
    # One that is the same stays as it is, its source too.
    before = tree(folder / "there" / "recorded")
    taken(path)
    assert tree(folder / "there" / "recorded") == before


def test_a_strangers_recording_is_said_to_be_one_on_the_verdicts_line(told: Path, folder: Path) -> None:
    taken(with_recording(told, folder, "mine"))
    from harness.running.run_reporter import line

    record = kept.recording("mine").as_json()
    assert record["imported"]["bundle"] == "b.zip"
    found: Judged = {**Run.load(told).verdicts[0], "recording_from": record["imported"]["bundle"]}
    assert line(found).endswith("; its recording was imported from b.zip")


def test_a_strangers_run_is_neither_the_latest_nor_a_control_of_yours(members: Members, folder: Path) -> None:
    from harness.results.run_list import latest, listed

    run = Run.parsed(members["run.json"])
    run.started, run.all_claims = "2999-01-01T00:00:00+00:00", True
    run.models = {"organism:hydra": run.models[MODEL]}
    run.verdicts = [{**verdict, "model": "organism:hydra"} for verdict in run.verdicts]
    run.claims["rises"]["holds_on"] = ["hydra"]
    placed_run = taken(packed(members | {"run.json": run.as_json}, folder / "b.zip"))
    (one,) = listed(folder / "there" / "runs")
    assert (one.imported, one.whole, one.summary and one.summary["controls"]) == (True, False, [])
    assert latest(folder / "there" / "runs") == placed_run.folder
    mine = folder / "there" / "runs" / "mine"
    replace(run, started="2001-01-01T00:00:00+00:00", imported=None).save(mine)
    assert latest(folder / "there" / "runs") == mine
    (yours,) = (listing for listing in listed(folder / "there" / "runs") if listing.folder == mine)
    assert yours.whole
    assert yours.summary is not None
    assert yours.summary["controls"] != []


def test_a_run_from_a_stranger_takes_no_other_file_along(told: Path, folder: Path) -> None:
    (folder / "there" / "recorded").mkdir(parents=True)
    (folder / "there" / "secret.json").write_text("{}")
    run = replace(Run.load(told), verdicts=[])
    about: Model = {"fingerprint": "f", "kind": "recorded", "record": WHOLE.as_json()}
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
    placed_run = taken(path)
    assert placed_run.folder.name == "told-2"
    assert (mine / "run.json").read_bytes() == before
    # The same run again lies there already.
    assert taken(path).folder == placed_run.folder
    assert sorted(one.name for one in mine.parent.iterdir()) == ["told", "told-2"]


def test_an_imported_run_says_where_it_came_from_and_keeps_its_numbers(
    told: Path, members: Members, folder: Path
) -> None:
    run = Run.load(told)
    run.verdicts[0]["estimates"][0] |= {"value": math.nan, "low": math.nan, "high": math.nan}
    path = packed(members | {"run.json": run.as_json}, folder / "b.zip")
    placed_run = taken(path)
    whole = Run.load(placed_run.folder)
    assert whole.imported is not None
    assert (whole.imported["bundle"], whole.imported["sha256"]) == ("b.zip", placed_run.sha256)
    assert replace(whole, imported=None).as_json == run.as_json
    assert taken(path).folder == placed_run.folder


@pytest.mark.parametrize("name", ["../x", ".x", "-rf", "a b", "x" * 200, "a\x1b[2J", ""])
def test_a_runs_name_is_plain_or_another(name: str, members: Members, folder: Path) -> None:
    old = {key: raw for key, raw in members.items() if key != "manifest.json"}
    path = packed(old, folder / "its own.zip")
    with zipfile.ZipFile(path, "a") as file:
        file.comment = name.encode()
    assert taken(path).folder == folder / "there" / "runs" / "run"


# Evidence of strangers


def test_imported_evidence_answers_only_where_it_is_to_be_used_and_gives_way(members: Members, folder: Path) -> None:
    placed_run = taken(packed(members, folder / "b.zip"))
    at = folder / "there" / "evidence"
    (first, *_) = (evidence for evidence in Store(at) if evidence.recipe.kind == "answers")
    assert first.imported is not None
    assert (first.imported["bundle"], first.imported["sha256"]) == ("b.zip", placed_run.sha256)
    live = Store(at)
    assert live.get(first.recipe) is None
    assert live.imported == {}
    using = Store(at, use_imported=True)
    with using.tracking() as read:
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
    assert (again.placed, again.kept) == (0, len(placed_run.run.evidence))
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
    run.verdicts = [{**verdict, "model": name} for verdict in run.verdicts]
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
        refused(
            packed(members | {"run.json": run.as_json}, folder / "b.zip"), "it has a model or a claim with the name '"
        )
        run = Run.load(told)
        run.verdicts[-1]["claim"] = name
        refused(
            packed(members | {"run.json": run.as_json}, folder / "b.zip"), "it has a model or a claim with the name '"
        )


def test_the_report_says_what_is_imported(members: Members, folder: Path) -> None:
    from harness.report.page import write

    placed_run = taken(packed(members, folder / "b.zip"))
    page = write(placed_run.folder, Store(folder / "there" / "evidence"), folder / "index.html").page.read_text("utf-8")
    assert "imported from b.zip</strong>, SHA-256" in page
    assert f"Imported from b.zip: {len(placed_run.run.verdicts[0]['evidence'])} of the" in page
