"""Every run has a page of its own; reports/index.html lists them, and leads to the newest whole one."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.inputs.errors import AssayError
from harness.judging.verdict import Word
from harness.measurements.evidence import Imported
from harness.report.front_page import write
from harness.results.run_list import latest, listed
from harness.results.run_record import Run
from tests.tools.records import decided, judged

HOSTILE = "</style><script>alert(1)</script>\"'<img src=x onerror=alert(2)>"


def kept(
    runs: Path,
    name: str,
    started: str,
    *words: Word,
    finished: bool = True,
    all_claims: bool = True,
    page: bool = True,
    model: str = "m",
    imported: Imported | None = None,
) -> Path:
    """A run in its folder, with estimates that bear its words."""
    ends: dict[Word, tuple[float, float]] = {"SUPPORTED": (0.5, 0.9), "REFUTED": (0.0, 0.1)}
    run = Run(["pytest", "hypotheses"], "nf4", "cpu", started=started, finished=finished, all_claims=all_claims)
    run.expected, run.imported = len(words), imported
    for at, word in enumerate(words):
        estimates = [decided("fall", ends[word][0], *ends[word])] if word in ends else []
        run.verdicts.append(judged(f"c{at}", model, word, *estimates))
    run.save(runs / name)
    if page:
        (runs / name / "index.html").write_text("a page")
    return runs / name


class Listing(HTMLParser):
    """Where the head of the page leads, and each row's link and cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.head: list[str] = []
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag == "a" and "h1" in self._in:
            self.head.append(str(dict(attributes)["href"]))
        elif tag == "a":
            self.links.append(str(dict(attributes)["href"]))

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


def page(tmp_path: Path) -> Listing:
    return Listing(write(tmp_path / "runs", tmp_path / "index.html").read_text(encoding="utf-8"))


def test_runs_are_listed_newest_first_by_the_time_within_them(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    kept(runs, "a-renamed-one", "2026-11-03T10:00:00+00:00", "SUPPORTED", "REFUTED")
    kept(runs, "20261105T000000Z-aaaaaa", "2026-11-01T10:00:00+00:00", "SUPPORTED", finished=False)
    kept(runs, "20261104T000000Z-bbbbbb", "2026-11-02T10:00:00+02:00", "SUPPORTED")
    written = page(tmp_path)
    assert [row[0] for row in written.rows[1:]] == [f"2026-11-{at}:00:00" for at in ("03 10", "02 08", "01 10")]
    assert written.links == [
        f"runs/{name}/index.html" for name in ("a-renamed-one", "20261104T000000Z-bbbbbb", "20261105T000000Z-aaaaaa")
    ]
    assert written.rows[1][1].strip() == "1 supported, 1 refuted"
    assert written.rows[3][2].startswith("interrupted")
    assert latest(runs).name == "a-renamed-one"


@pytest.mark.parametrize(
    "newer",
    [
        {"words": ("SUPPORTED",), "all_claims": False},  # of one file
        {"words": ("SKIPPED", "SKIPPED")},
        {"words": ("UNMEASURED", "SKIPPED")},
        {"words": ("SUPPORTED",), "finished": False},
        {
            "words": ("SUPPORTED",),
            "imported": Imported(bundle="a.zip", sha256="0" * 64, when="2026-11-03T11:00:00+00:00"),
        },
    ],
    ids=["one file", "all skipped", "nothing measured", "interrupted", "imported"],
)
def test_the_newest_whole_run_stays_at_the_head(tmp_path: Path, newer: dict[str, Any]) -> None:
    kept(tmp_path / "runs", "old", "2026-11-01T10:00:00+00:00", "SUPPORTED")
    kept(tmp_path / "runs", "whole", "2026-11-02T10:00:00+00:00", "SUPPORTED", "REFUTED")
    kept(
        tmp_path / "runs",
        "newer",
        "2026-11-03T10:00:00+00:00",
        *newer["words"],
        **{name: value for name, value in newer.items() if name != "words"},
    )
    written = page(tmp_path)
    assert written.head == ["runs/whole/index.html"]
    assert written.links[0] == "runs/newer/index.html"


def test_a_damaged_run_is_one_line_and_the_others_are_listed(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    kept(runs, "fine", "2026-11-01T10:00:00+00:00", "SUPPORTED")
    times = {"timeless": "2026-99-99T99:99:99", "before time": "0001-01-01T00:00:00+14:00"}
    for name, text in (("cut", '{"command": ['), ("wild", "[]"), ("timeless", None), ("before time", None)):
        folder = kept(runs, name, "2026-11-09T10:00:00+00:00", "SUPPORTED")
        values = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(text or json.dumps(values | {"started": times[name]}))
    (runs / "folder" / "run.json").mkdir(parents=True)
    written = page(tmp_path)
    assert len(written.rows) == 2
    assert written.head == ["runs/fine/index.html"]
    text = (tmp_path / "index.html").read_text()
    assert text.count("<li>") == 5
    assert latest(runs).name == "fine"


def test_where_no_run_can_be_read_it_is_said_which(tmp_path: Path) -> None:
    (tmp_path / "runs" / "cut").mkdir(parents=True)
    (tmp_path / "runs" / "cut" / "run.json").write_text("{")
    with pytest.raises(AssayError, match=r"cut/run\.json: is no run"):
        latest(tmp_path / "runs")


def test_of_hundreds_of_runs_each_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(120):
        kept(tmp_path / "runs", f"r{number}", f"2026-11-01T10:{number // 60:02}:{number % 60:02}+00:00", "SUPPORTED")
    first = page(tmp_path)
    loaded: list[Path] = []
    load = Run.load

    def noted(path: Path) -> Run:
        loaded.append(path)
        return load(path)

    monkeypatch.setattr(Run, "load", noted)
    assert page(tmp_path).rows == first.rows
    assert loaded == []
    changed = tmp_path / "runs" / "r7"
    values = json.loads((changed / "run.json").read_text())
    (changed / "run.json").write_text(json.dumps(values | {"finished": False}))
    assert sum("interrupted" in row[2] for row in page(tmp_path).rows[1:]) == 1
    assert [path.parent.name for path in loaded] == ["r7"]


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 99}'])
def test_a_summary_that_is_none_is_made_anew(tmp_path: Path, text: str) -> None:
    folder = kept(tmp_path / "runs", "a", "2026-11-01T10:00:00+00:00", "SUPPORTED")
    (before,) = listed(tmp_path / "runs", keep=True)
    (folder / "summary.json").write_text(text)
    assert listed(tmp_path / "runs") == [before]


def test_a_run_without_a_page_says_how_to_make_it(tmp_path: Path) -> None:
    kept(tmp_path / "runs", "a", "2026-11-01T10:00:00+00:00", "SUPPORTED", page=False)
    written = page(tmp_path)
    assert (written.head, written.links) == ([], [])
    assert "python -m harness report a" in written.rows[1][0]


def test_names_of_others_are_text(tmp_path: Path) -> None:
    kept(tmp_path / "runs", "a'\"#?b", "2026-11-01T10:00:00+00:00", "SUPPORTED", model=f"m{HOSTILE}")
    written = page(tmp_path)
    assert not {"script", "img"} & {*written.tags}
    assert written.links == ["runs/a%27%22%23%3Fb/index.html"]
    assert HOSTILE[:20] in written.rows[1][3]
