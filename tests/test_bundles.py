"""A bundle gives someone without the model the same verdicts to the last digit, or one sentence."""

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.measurements.evidence import Store
from harness.results.bundle import bundle, unbundle
from harness.results.run_list import latest
from harness.results.run_record import Run

ROOT = DATA.parent
MODELS = ("organism:reference", "recorded:llama-2-7b-chat-hf")

CLAIMS = """
from harness.claims.claim import claim
from harness.measurements.sweep_plan import Sweep

@claim("answers", source="a test", holds_on="reference", fails_on="compliant", level=0.01)
def test_answers(model, pairs):
    '''It refuses.'''
    assert model.refuses(pairs.heldout).rate("harmful") > 0.10

@claim("scores", source="a test", holds_on="reference", fails_on="compliant", level=0.01)
def test_scores(model, pairs):
    '''Heads carry it.'''
    model.effects(pairs.heldout, Sweep("head", ("post",), layers=(1, 2)))
    assert model.refuses(pairs.heldout).rate("harmless") > 0.95
"""
# Judges in a process of its own and says whether torch was ever there.
JUDGE = """
import sys, pytest
code = pytest.main(sys.argv[1:])
print("TORCH", "torch" in sys.modules, "PANDAS", "pandas" in sys.modules)
sys.exit(code)
"""


def judge(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    models = [part for name in MODELS for part in ("--model", name)]
    return subprocess.run(
        [
            *(sys.executable, "-c", JUDGE, "-c", str(ROOT / "pytest.ini"), "--rootdir", str(ROOT), "-p", "conftest"),
            *("-p", "no:cacheprovider", str(folder.parent / "claims"), "--evidence", str(folder / "evidence")),
            *("--pairs", str(folder.parent / "pairs.jsonl"), *models, *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which claims were judged on a live model and a recorded one."""
    folder = tmp_path_factory.mktemp("bundles")
    some = (DATA / "organisms" / "pairs.jsonl").read_text().splitlines(keepends=True)[:24]
    (folder / "pairs.jsonl").write_text("".join(some))
    (folder / "claims").mkdir()
    (folder / "claims" / "test_two.py").write_text(CLAIMS)
    done = judge(folder / "here")
    assert done.returncode == 1, done.stdout + done.stderr
    return folder / "here"


def bundled(here: Path, to: Path) -> Path:
    bundle(latest(here / "runs"), Store(here / "evidence"), to)
    return to


@pytest.mark.slow
def test_the_same_verdicts_to_the_last_digit_without_the_model(here: Path, tmp_path: Path) -> None:
    before = Run.load(latest(here / "runs"))
    there = here.parent / "there"
    unpacked_run = unbundle(bundled(here, tmp_path / "b.zip"), Store(there / "evidence"), there / "runs")
    assert unpacked_run.placed == len(before.evidence)
    assert replace(Run.load(unpacked_run.folder), imported=None) == before
    done = judge(there, "--judge-only")
    assert "TORCH False PANDAS False" in done.stdout, done.stdout + done.stderr
    after = Run.load(latest(there / "runs"))
    assert unpacked_run.folder != latest(there / "runs")

    def told(run: Run) -> list[object]:
        return [{k: v for k, v in verdict.items() if k not in ("seconds", "imported")} for verdict in run.verdicts]

    assert told(after) == told(before)
    # What strangers measured is said to be theirs: in the run, on the verdict's line and in the report.
    assert [judged["imported"] for judged in before.verdicts] == [[]] * len(before.verdicts)
    assert [one["imported"] for one in after.verdicts] == [one["evidence"] for one in after.verdicts]
    read = len(before.verdicts[0]["evidence"])
    assert f"; imported: {read} of the {read} measurements it rests on" in done.stdout
    assert "Imported from b.zip: " in (latest(there / "runs") / "index.html").read_text(encoding="utf-8")
    assert {one["word"] for one in after.verdicts} == {"SUPPORTED", "REFUTED", "SKIPPED"}
    assert after.models == before.models
    assert any(one["estimates"] and one["evidence"] for one in after.verdicts)
    # Exactly what was read was brought.
    assert {path.stem for path in Store(there / "evidence").files()} == set(before.evidence)
    again = unbundle(tmp_path / "b.zip", Store(there / "evidence"), there / "runs")
    assert (again.placed, again.kept) == (0, len(before.evidence))


@pytest.mark.slow
def test_imported_evidence_answers_a_live_run_only_if_it_is_to_be_used(here: Path, tmp_path: Path) -> None:
    there = here.parent / "live"
    store = Store(there / "evidence")
    unbundle(bundled(here, tmp_path / "b.zip"), store, there / "runs")
    done = judge(there, "--use-imported")
    assert "TORCH False" in done.stdout, done.stdout + done.stderr
    assert "; imported: " in done.stdout
    done = judge(there)
    assert "TORCH True" in done.stdout
    assert "imported" not in done.stdout
    run = Run.load(latest(there / "runs"))
    assert [verdict["imported"] for verdict in run.verdicts] == [[]] * len(run.verdicts)
    # What was measured here has taken its place.
    assert run.evidence
    assert not [evidence for evidence in store if evidence.imported and evidence.fingerprint in run.evidence]


def test_without_the_evidence_nothing_is_made_up(here: Path) -> None:
    empty = here.parent / "empty"
    done = judge(empty, "--judge-only")
    assert "no record of this model" in done.stdout
    assert "import the bundle that has it" in done.stdout
    assert "TORCH False" in done.stdout
    assert done.returncode == 14


def test_a_damaged_bundle_is_one_sentence_and_puts_nothing_in_place(here: Path, tmp_path: Path) -> None:
    whole = bundled(here, tmp_path / "b.zip")
    store = Store(tmp_path / "there" / "evidence")
    raw = whole.read_bytes()
    for at in range(0, len(raw), len(raw) // 40):
        (tmp_path / "damaged.zip").write_bytes(raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :])
        with suppress(AssayError):
            unbundle(tmp_path / "damaged.zip", store, tmp_path / "there" / "runs")
            # A byte that nobody reads, such as a time: then all of it is whole.
            assert {path.stem for path in store.files()} == {path.stem for path in Store(here / "evidence").files()}
            shutil.rmtree(tmp_path / "there")
        assert not store.files()
    for change, sentence in (("drop", "is missing"), ("edit", "is no evidence")):
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "other.zip", "w") as new:
            names = old.namelist()
            victim = next(name for name in names if name.startswith("evidence/") and name.endswith(".json"))
            for name in names[1:]:  # without its list, which would notice
                content = old.read(name)
                if name == victim and change == "drop":
                    continue
                new.writestr(name, content.replace(b'"values"', b'"valves"') if name == victim else content)
        with pytest.raises(AssayError, match=sentence):
            unbundle(tmp_path / "other.zip", store, tmp_path / "there" / "runs")
        assert not store.files()
    with pytest.raises(AssayError, match="is no bundle"):
        unbundle(here.parent / "pairs.jsonl", store, tmp_path / "runs")
    with pytest.raises(AssayError, match="cannot be read"):
        unbundle(tmp_path / "nothing.zip", store, tmp_path / "runs")


@pytest.mark.parametrize("name", ["../../evil.json", "evidence/../evil.json", "/evil.json", "evil.py"])
def test_a_bundle_that_would_write_elsewhere_is_refused(name: str, here: Path, tmp_path: Path) -> None:
    path = bundled(here, tmp_path / "b.zip")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, "{}")
    with pytest.raises(AssayError, match="it holds '.*', which bundles never hold"):
        unbundle(path, Store(tmp_path / "a" / "b" / "evidence"), tmp_path / "a" / "b" / "runs")
    assert not list(tmp_path.rglob("*evil*"))


def test_gone_evidence_is_one_sentence(here: Path, tmp_path: Path) -> None:
    shutil.copytree(here, tmp_path / "copy")
    Store(tmp_path / "copy" / "evidence").files()[0].unlink()
    with pytest.raises(AssayError, match=r"missing or damaged; judge again"):
        bundled(tmp_path / "copy", tmp_path / "b.zip")
    assert not list(tmp_path.glob("*.zip*"))


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "120"},
    )


def test_evidence_is_listed_checked_and_taken_to_tables(here: Path, tmp_path: Path) -> None:
    for name in ("evidence", "runs"):
        shutil.copytree(here / name, tmp_path / name)
    at = ("--evidence", tmp_path / "evidence")
    listed = command("evidence", *at).stdout
    for kind in ("model-record", "refusal-tokens", "answers, harmful, none: the model as it is", "swept"):
        assert kind in " ".join(listed.split())
    done = command("evidence", "--verify", "--export", tmp_path / "e.csv", *at)
    assert "all hashes are right" in done.stdout, done.stderr
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    swept = [row for row in rows if row["kind"] == "swept" and row["quantity"] == "patched"]
    assert "layer 1 head 0 position post" in {row["at"] for row in swept}
    ids = {pair.id for pair in load_pairs(DATA / "organisms" / "pairs.jsonl").heldout}
    assert {row["pair"] for row in swept} <= ids
    run = Run.load(latest(here / "runs"))
    estimates = [row for row in rows if row["kind"] == "estimate" and row["bar"]]
    kept = [(verdict["claim"], verdict["word"], kept) for verdict in run.verdicts for kept in verdict["estimates"]]
    assert [(row["claim"], row["verdict"], float(row["low"])) for row in estimates] == [
        (claim, word, estimate["low"]) for claim, word, estimate in kept
    ]
    measured = {row["evidence"] for row in rows if row["kind"] != "estimate"}
    assert all(set(row["evidence"].split()) <= measured for row in estimates)
    refused = [row for row in rows if row["quantity"] == "phrases-anywhere" and row["side"] == "harmful"]
    clean = [row for row in refused if row["arm"] == "none: the model as it is"]
    assert {(row["model"], row["value"]) for row in clean} == {("organism:reference", "1.0")}
    first = Store(tmp_path / "evidence").files()[0]
    first.write_bytes(first.read_bytes()[:-3])
    for arguments, sentence in (
        (("--verify", *at), f"files are damaged, the first: {first} is no evidence"),
        (("--export", tmp_path / "e.xls", *at), "e.xls: tables are written as .csv or .parquet"),
        (("--evidence", tmp_path / "nowhere"), "nowhere: holds no evidence yet"),
    ):
        done = command("evidence", *arguments)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1
