"""What a call of pytest came to, where it was started: a line a claim, the Run on disk, the exit code."""

import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pytest

from harness import story, verdicts
from harness.claims import claim_of, claims_in
from harness.errors import AssayError
from harness.evidence import Store
from harness.recordings import RECORDED
from harness.report import anchor, page_beside, write
from harness.runs import Judged, Run, Writer, runs_beside


class Account:
    """Hooks of the controlling process; workers only send reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._words: dict[str, verdicts.Word] = {}
        self._expected: set[str] = set()
        self._files: dict[str, str] = {}
        self._began = time.perf_counter()
        self._problem = ""
        self._skipped: dict[str, list[Judged]] = {}
        self._unfit: dict[str, list[Judged]] = {}
        option = config.getoption
        self._evidence = Path(option("--evidence"))
        self._report = ""
        run = Run(["pytest", *map(str, config.invocation_params.args)], option("--quant"), option("--device"))
        self._writer = Writer(runs_beside(self._evidence), run)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Where workers collect, they say what."""
        self._expected.update(ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Here is what will be judged; where all of it are claims, file names say nothing."""
        self._expected.update(item.nodeid for item in session.items)
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and all(claim_of(item) for item in session.items):
            reporter.showfspath = False

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """The id of a test outside the project's root does not say where its file is."""
        self._files[nodeid] = location[0]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Keeps a verdict, before anyone shows it."""
        died = str(report.when) == "???" and self._died(report)
        found: Judged | None = vars(report).get("verdict")
        if found is not None:
            self._judged(found, vars(report)["about"])
        yield
        if died:  # xdist ends no test whose worker died, and pytest-html shows none that has not ended
            end = pytest.TestReport(report.nodeid, report.location, {}, "passed", None, "teardown")
            self._config.hook.pytest_runtest_logreport(report=end)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """The exit code says what was found, unless pytest itself could not go on."""
        stopped = exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if self._words and not self._config.getoption("--plan"):
            try:
                self._writer.save(finished=not stopped)
            except AssayError as error:
                self._problem = str(error)
            else:
                self._report = self._reported()
        code = verdicts.exit_code(list(self._words.values()))
        if code is not None and not stopped:
            session.exitstatus = code

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Where verdicts were not said one by one, they are now."""
        if self._config.option.verbose != 0 and self._words:
            terminalreporter.section("claims")
            for category in ("supported", "refuted", "inconclusive", "broken", "unmeasured"):
                for report in terminalreporter.stats.get(category, []):
                    if (found := vars(report).get("verdict")) is not None:
                        terminalreporter.line(line(found))
        for text in skips(self._skipped):
            terminalreporter.line(text)
        for model, claims in self._unfit.items():
            noun = "claim" if len(claims) == 1 else "claims"
            terminalreporter.line(f"UNFIT        {len(claims)} {noun} not judged on {model}: {claims[0]['reason']}")
        if self._problem:
            terminalreporter.line(f"this run was not recorded: {self._problem}")
        if self._report:
            terminalreporter.line(self._report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """What pytest-html's own words do not say."""
        cells[1:1] = ["<th>Verdict</th>", "<th>Effect [interval]</th>", "<th>n</th>"]

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        """A verdict, the estimates it rests on, and of how many."""
        found: Judged | None = vars(report).get("verdict")
        columns = ("", "", "") if found is None else (self._link(found), *effects(found))
        cells[1:1] = [f"<td>{text}</td>" for text in columns]

    def _reported(self) -> str:
        try:
            return f"report: {write(self._writer.folder, Store(self._evidence), self._page).page}"
        except AssayError as error:
            return f"no report was written: {error}"

    @property
    def _page(self) -> Path:
        return page_beside(self._evidence)

    def _link(self, found: Judged) -> str:
        """A verdict's word, leading to where our own page speaks of it."""
        beside = Path(self._config.getoption("htmlpath", None) or "").resolve().parent
        page = os.path.relpath(self._page.resolve(), beside)
        return f'<a href="{escape(page)}#{escape(anchor(found["claim"], found["model"]))}">{found["word"]}</a>'

    def _judged(self, found: Judged, about: Mapping[str, Any]) -> None:
        self._words[found["test"]] = found["word"]
        if not self._config.getoption("--plan"):
            try:
                self._writer.judged(found, about["claim"], about["model"], about["peak"])
            except AssayError as error:
                self._problem = str(error)
        if found["word"] == "UNFIT":
            self._unfit.setdefault(found["model"], []).append(found)
        elif found["word"] == "SKIPPED" and not self._config.getoption("--plan"):
            self._skipped.setdefault(found["model"], []).append(found)
        elif self._config.option.verbose == 0:
            self._say(f"{line(found)}  [{self._progress()}]")

    def _died(self, report: pytest.TestReport) -> bool:
        """A worker was killed, for want of memory, say: that says nothing of the claim."""
        path, _, test = report.nodeid.partition("::")
        name, _, model = test.removesuffix("]").partition("[")
        file = self._config.rootpath / self._files.get(report.nodeid, path)
        claims = {(one.file, one.test.__name__): one for one in claims_in(file.parent)}
        if (claim := claims.get((file.name, name))) is None:
            return False
        reason = "its process was killed (often for want of memory); what it had measured is kept"
        vars(report)["verdict"] = Judged(
            claim=claim.name,
            model=model,
            test=report.nodeid,
            word="BROKEN",
            reason=reason,
            estimates=[],
            beside=[],
            evidence=[],
            seconds=0.0,
        )
        vars(report)["about"] = {"claim": claim.as_json, "model": None, "peak": 0}
        report.longrepr, report.when = f"BROKEN: {reason}", "call"
        return True

    def _say(self, text: str) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text)

    def _progress(self) -> str:
        """Recorded models take no time worth counting."""
        done, left = len(self._words), self._expected - self._words.keys()
        slow, waiting = (sum(f"[{RECORDED}" not in name for name in names) for names in (self._words, left))
        of = f"{done} of {done + len(left)}"
        if not slow or not waiting:
            return of
        seconds = (time.perf_counter() - self._began) * waiting / slow
        return f"{of}, about {seconds:.0f} s left" if seconds < 100 else f"{of}, about {seconds / 60:.0f} min left"


def effects(found: Judged) -> tuple[str, str]:
    """Estimates with their intervals and bars, and their n, one below the other, for HTML."""
    shown = [escape(f"{one['name']} {story.number(one)}") for one in found["estimates"]]
    return "<br>".join(shown), "<br>".join(f"{one['n']} {escape(one['unit'])}" for one in found["estimates"])


def skips(skipped: Mapping[str, Sequence[Judged]]) -> Iterator[str]:
    """What was skipped on each model, every claim with its own reason; models of the same reasons together."""
    models: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for model, claims in skipped.items():
        reasons = sorted((one["claim"], one["reason"].removeprefix(f"{model}: ")) for one in claims)
        models.setdefault(tuple(reasons), []).append(model)
    for why, names in models.items():
        yield f"SKIPPED      {len(why)} on {', '.join(names)}:"
        claims_of: dict[str, list[str]] = {}
        for claim, reason in why:
            claims_of.setdefault(reason, []).append(claim)
        for reason, alike in claims_of.items():
            yield f"             {', '.join(alike)}: {reason}"


def line(found: Judged) -> str:
    """A verdict, the claim's test on its model, and the numbers it rests on."""
    name = found["test"].split("::")[-1].removeprefix("test_")
    return f"{found['word']:<12} {name}: {found['reason']}"
