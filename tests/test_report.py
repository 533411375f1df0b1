"""The report says what the run says, made from run and evidence alone; whatever prompts hold stays text."""

import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.claims.claim import verdicts_seen
from harness.inputs.places import DATA
from harness.judging.estimate import Estimate, Sign, decided
from harness.judging.verdict import Decided, Word, plain
from harness.measurements.evidence import Store
from harness.report.page import page_of, write
from harness.report.templates import anchor
from harness.results import wording
from harness.results.controls import control_runs
from harness.results.controls.truth_table import weights
from harness.results.pair_table import Column, Table
from harness.results.rejudged import outcome
from harness.results.run_list import latest, listed
from harness.results.run_record import Claimed, Judged, Run
from tests.tools import stories

ROOT = DATA.parent
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&lt;b&gt;\u202e\"'{{ 7*7 }}"
MODELS = ("recorded:gemma-2b-it", "recorded:yi-6b-chat")


# Intervals that lie so to a bar of 0.30.
ENDS: dict[Word, tuple[float, float]] = {"SUPPORTED": (0.5, 0.9), "REFUTED": (0.0, 0.1), "INCONCLUSIVE": (0.2, 0.4)}


def told(words: dict[str, list[Word]]) -> Run:
    run = Run(["pytest"], "nf4", "cpu", finished=True)
    run.verdicts = [
        Judged(
            claim=f"c{at}",
            model=model,
            test=f"{model} {at}",
            word=word,
            reason="",
            estimates=[
                Decided(**plain(Estimate("fall", sum(ends) / 2, *ends, 99, "drawn")), sign=">", bar=0.3)
                for ends in [ENDS[word]]
            ]
            if word in ENDS
            else [],
            beside=[],
            evidence=[],
            seconds=0.0,
        )
        for model, some in words.items()
        for at, word in enumerate(some)
    ]
    return run


class Page(HTMLParser):
    """The elements of a page, and its text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._script = tag in ("script", "style")
        self.ids += [value or "" for name, value in attributes if name == "id"]
        self.links += [value or "" for name, value in attributes if name in ("href", "src")]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_data(self, data: str) -> None:
        if not self._script:
            self.text += data


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reports as pytest leaves it, of two recorded models."""
    folder = tmp_path_factory.mktemp("reports")
    models = [part for name in MODELS for part in ("--model", name)]
    command = [sys.executable, "-m", "pytest", "hypotheses", *models, "--evidence", str(folder / "evidence")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout[-2000:]
    assert f"report: {page_of(latest(folder / 'runs'))}" in done.stdout
    assert f"all runs: {folder / 'index.html'}" in done.stdout
    return folder


def test_the_headline_counts_claims_on_one_model_and_verdicts_on_several() -> None:
    supported: list[Word] = ["SUPPORTED"]
    some: list[Word] = [*supported * 14, "REFUTED", "REFUTED", "INCONCLUSIVE", "INCONCLUSIVE", "SKIPPED"]
    assert (
        wording.headline(told({"llama-3-8b-instruct": some}))
        == "14 of 18 claims supported on llama-3-8b-instruct; 2 refuted, 2 inconclusive."
    )
    both = told({"organism:reference": ["SUPPORTED", "BROKEN"], "recorded:a": ["SUPPORTED"], "recorded:b": ["REFUTED"]})
    assert wording.headline(both) == (
        "1 of 2 claims supported on organism:reference; 1 broken. "
        "1 of 2 verdicts supported on 2 recorded models; 1 refuted."
    )
    assert wording.headline(told({"m": ["SKIPPED"]})) == "Nothing was judged on m."
    assert wording.headline(told({})) == "No claim was judged."


def test_an_interrupted_run_says_so_and_how_far_it_came() -> None:
    run = told({"m": ["SUPPORTED", "SUPPORTED", "SUPPORTED", "REFUTED", "SKIPPED", "SKIPPED"]})
    run.finished, run.expected = False, 24
    assert wording.headline(run) == "4 of 22 judged, interrupted: 3 of 4 claims supported on m; 1 refuted."
    run.expected = 0  # older runs did not keep it
    assert wording.headline(run) == "4 judged, interrupted: 3 of 4 claims supported on m; 1 refuted."


def test_what_broke_is_no_verdict_and_not_provisional(tmp_path: Path) -> None:
    run = told({"a": ["SUPPORTED", "BROKEN"]})
    for name in ("c0", "c1"):
        run.claims[name] = Claimed(
            title=name,
            prose="",
            source="mine",
            bar="fall > 0.3",
            file="test_mine.py",
            line=1,
            level=0.01,
            holds_on=["reference"],
            fails_on=["flat"],
            fingerprint="0",
        )
    run.save(tmp_path / "runs" / "one")
    text = write(tmp_path / "runs" / "one", Store(tmp_path / "evidence")).page.read_text(encoding="utf-8")
    assert text.count(">provisional<") == 2  # in the table and at the verdict, of what was judged alone


def test_the_marks_of_a_claim_stay_in_its_row_and_leave_no_room_for_models_without_numbers(tmp_path: Path) -> None:
    run = told({"a": ["SUPPORTED"], "b": ["INCONCLUSIVE"], "c": ["INCONCLUSIVE"], "d": ["INCONCLUSIVE"]})
    for verdict in run.verdicts[1:]:
        verdict["estimates"] = []
    run.save(tmp_path / "runs" / "one")
    text = write(tmp_path / "runs" / "one", Store(tmp_path / "evidence")).page.read_text(encoding="utf-8")
    ((place, half),) = re.findall(r'class="bar" d="M[\d.]+ ([\d.]+)m2.5-([\d.]+)', text)
    assert (place, half) == ("9.0", "7.0")  # in the middle of 18
    assert re.findall(r'data-model="estimate"><span title="fall">(.*?)</span>', text) == [
        "+0.70 [+0.50, +0.90] &gt; 0.30"
    ]
    whole = told({name: ["SUPPORTED"] for name in "abcdef"})
    whole.save(tmp_path / "runs" / "two")
    text = write(tmp_path / "runs" / "two", Store(tmp_path / "evidence")).page.read_text(encoding="utf-8")
    (height,) = {float(found) for found in re.findall(r'viewBox="0 0 100 (\d+)" height', text)}
    bars = [(float(y), float(half)) for y, half in re.findall(r'class="bar" d="M[\d.]+ ([\d.]+)m[\d.]+-([\d.]+)', text)]
    assert len(bars) == 6
    assert all(y - half + 0.06 >= 2 and y + half - 0.06 <= height - 2 for y, half in bars)


@given(
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.sampled_from("><"),
    st.sampled_from(["", "nothing to explain"]),
)
def test_the_report_reads_an_interval_as_the_judge_did(
    one: float, other: float, bar: float, sign: Sign, nothing: str
) -> None:
    low, high = min(one, other), max(one, other)
    estimate = Estimate("e", (low + high) / 2, low, high, 9, "drawn", nothing=nothing)
    shown = Decided(**plain(estimate), sign=sign, bar=bar)
    assert outcome(shown) == decided(estimate, sign, bar)
    words = wording.in_words(shown)
    assert ("decides nothing" in words) == (outcome(shown) == "INCONCLUSIVE")
    assert ("had to be" in words) == (outcome(shown) == "REFUTED")


@given(st.lists(st.one_of(st.none(), st.floats(-9, 9)), min_size=2, max_size=60), st.integers(2, 30))
def test_a_table_is_cut_evenly_from_least_to_most(values: list[float | None], most: int) -> None:
    whole = Table(tuple(range(len(values))), (Column("of", "number", tuple(values)),), len(values))
    cut = whole.cut(most)
    assert len(cut.places) == min(most, len(values))
    assert cut.whole == len(values)
    assert [values[place] for place in cut.places] == list(cut.columns[0].values)
    ranks = [math.inf if value is None else value for value in values]
    kept = [math.inf if value is None else value for value in cut.columns[0].values]
    assert (min(kept), max(kept)) == (min(ranks), max(ranks))


def test_every_verdict_and_number_of_the_run_is_on_the_page(judged: Path) -> None:
    run = Run.load(latest(judged / "runs"))
    page = Page(page_of(latest(judged / "runs")).read_text(encoding="utf-8"))
    said = " ".join(page.text.split())
    for verdict in run.verdicts:
        if verdict["word"] == "SKIPPED":
            continue
        assert anchor(verdict["claim"], verdict["model"]) in page.ids
        for estimate in verdict["estimates"]:
            assert wording.in_words(estimate) in said
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= {*page.ids}
    assert {link for link in page.links if not link.startswith(("#", "data:"))} == {"../../index.html"}
    assert wording.headline(run) in said
    assert run.expected == len(run.verdicts)
    (listing,) = listed(judged / "runs")
    assert listing.whole
    for needed in (run.commit or "", *run.libraries, *MODELS, "refuted on hydra", "peak memory", "bundle"):
        assert needed.removeprefix("refuted on ") in said


def test_remade_without_a_model_it_is_the_same_to_the_byte(judged: Path) -> None:
    code = (
        "import sys; from harness.__main__ import main; "
        "code = main(sys.argv[1:]); print('TORCH', 'torch' in sys.modules, 'pandas' in sys.modules); sys.exit(code)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "report",
        "--evidence",
        str(judged / "evidence"),
    ]
    page = page_of(latest(judged / "runs"))
    before = page.read_bytes()
    page.unlink()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TORCH False False" in done.stdout
    assert page.read_bytes() == before


def test_figures_are_files_too_and_those_of_an_older_report_are_gone(judged: Path, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.svg").write_text("<svg/>")
    written = write(latest(judged / "runs"), Store(judged / "evidence"), tmp_path / "index.html")
    names = {path.name for path in (tmp_path / "figures").glob("*.svg")}
    assert len(names) == written.figures > 0
    assert "old.svg" not in names
    assert any(name.startswith(anchor("baseline", MODELS[0])) for name in names)
    assert "baseline--judged-recorded.svg" in names


def test_whatever_prompts_answers_and_claims_hold_stays_text(tmp_path: Path) -> None:
    plain = stories.told(tmp_path / "plain", ["a claim"], ["m"], stories.pairs(40))
    hostile = stories.told(tmp_path / "hostile", ["a claim"], [f"m{HOSTILE}"], stories.pairs(40, HOSTILE), HOSTILE)
    pages = []
    for run in (plain, hostile):
        write(run, Store(run.parents[1] / "evidence"), run / "index.html")
        pages.append(Page((run / "index.html").read_text(encoding="utf-8")))
    assert pages[0].tags == pages[1].tags
    assert "{{ 7*7 }}" in pages[1].text


def test_prompts_of_a_megabyte_are_cut_where_they_are_shown(tmp_path: Path) -> None:
    run = stories.told(tmp_path, ["a claim"], ["m"], stories.pairs(12, "x" * 1_000_000))
    written = write(run, Store(tmp_path / "evidence"), tmp_path / "index.html")
    assert written.bytes < 200_000


def test_lost_evidence_is_said_and_the_verdict_stays(tmp_path: Path) -> None:
    run = stories.told(tmp_path, ["a claim"], ["m"], stories.pairs(40))
    for path in Store(tmp_path / "evidence").files()[:1]:
        path.unlink()
    write(run, Store(tmp_path / "evidence"), tmp_path / "index.html")
    said = Page((tmp_path / "index.html").read_text(encoding="utf-8")).text
    assert "of which 1 are missing here or damaged" in said
    assert "Harmful prompts going from refused to answered: 0.70 [0.60, 0.80]" in said


def test_a_claim_that_changed_since_the_truth_table_has_no_control(
    judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(latest(judged / "runs"), tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    # A table that saw the claim as the run has it, on the organisms' present weights.
    about = Run.load(path).claims["direction-categories"]
    seen = {
        organism: kept | {"claim": about["fingerprint"], "organism": weights(organism)}
        for organism, kept in verdicts_seen()["direction-categories"].items()
    }
    monkeypatch.setattr(control_runs, "verdicts_seen", lambda: {"direction-categories": seen})
    before = write(tmp_path / "run", Store(judged / "evidence"), tmp_path / "index.html").page.read_text()
    values = json.loads(path.read_text())
    values["claims"]["direction-categories"]["fingerprint"] = "another"
    path.write_text(json.dumps(values))
    after = write(tmp_path / "run", Store(judged / "evidence"), tmp_path / "index.html").page.read_text()
    assert after.count("control not yet seen") == before.count("control not yet seen") + 1
    # Of both models' verdicts: in the grid, and where they stand at length.
    assert after.count(">provisional<") == before.count(">provisional<") + 4
    missing = "hold on reference or saturated or to fail on hydra or percategory"
    assert f"not yet seen to {missing}" in after


def test_a_report_of_nothing_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "report", "--evidence", str(tmp_path / "evidence")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "no run yet" in done.stderr
