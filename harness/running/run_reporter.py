"""Reports a run of claims from the controlling process: a line for each verdict, run.json, the page, the exit code."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from harness.claims.claim import claim_of, claimed_in, claims_in
from harness.inputs.errors import AssayError
from harness.inputs.files.terminal import shown
from harness.inputs.files.whole_files import sweep
from harness.inputs.places import HYPOTHESES
from harness.judging import verdict
from harness.judging.estimate import Outcome
from harness.measurements.evidence import Store
from harness.report import front_page
from harness.report.page import front_page_of, page_of, write
from harness.results.controls.control_runs import KnownControls
from harness.results.run_record import Judged, Run, Writer, runs_beside
from harness.running import forecast
from harness.running.forecast import Progress
from harness.running.node_ids import model_of
from harness.subjects.published.recordings import RECORDED


class RunReporter:
    """Hooks of the controlling process; workers only send it their reports."""

    def __init__(self, config: pytest.Config, models: Sequence[str]) -> None:
        self._config, self._models = config, models
        self._words: dict[str, verdict.Word] = {}
        self._expected: set[str] = set()  # ids of the tests to be judged
        self._files: dict[str, str] = {}  # test id → its file
        self._problem = ""
        self._skipped: dict[str, list[Judged]] = {}
        self._unfit: dict[str, list[Judged]] = {}
        option = config.getoption
        self._evidence = Path(option("--evidence"))
        self._report: list[str] = []
        self._measured: dict[str, Progress | None] = {}  # by model, as last reported
        # With any other distribution several workers share a model, and none can tell how long the rest takes.
        self._forecasts = option("dist", "no") in ("no", "load")
        run = Run(["pytest", *map(str, config.invocation_params.args)], option("--quant"), option("--device"))
        self._writer = Writer(runs_beside(self._evidence), run)
        self._controls: KnownControls | None = None

    @property
    def page(self) -> Path:
        """The path of this run's own page, which is written at the end."""
        return page_of(self._writer.folder)

    def pytest_sessionstart(self) -> None:
        """Removes files that earlier runs left half written."""
        for folder in (self._evidence, self._writer.folder.parent):
            sweep(folder)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Keeps the claims that a worker has collected."""
        self._expect(set(filter(self._is_claim, ids)))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keeps the claims to be judged; file names are not shown where every test is a claim."""
        self._expect({item.nodeid for item in session.items if claim_of(item)})
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and all(claim_of(item) for item in session.items):
            reporter.showfspath = False

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        """Keeps where a test's file lies, which the id of a test outside the project's root does not say."""
        self._files[nodeid] = location[0]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Keeps a verdict before other plugins show it."""
        died = str(report.when) == "???" and self._died(report)
        judged: Judged | None = vars(report).get("verdict")
        if judged is not None:
            self._judged(judged, vars(report)["about"])
        yield
        if died:  # xdist ends no test whose worker died, and pytest-html shows none that has not ended
            end = pytest.TestReport(report.nodeid, report.location, {}, "passed", None, "teardown")
            self._config.hook.pytest_runtest_logreport(report=end)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Writes the run and its page; the exit code tells the verdicts, unless pytest itself was stopped."""
        stopped = exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if self._words and not self._config.getoption("--plan"):
            try:  # -x and --maxfail end a run as well
                self._writer.save(finished=not stopped and self._expected <= self._words.keys())
            except AssayError as error:
                self._problem = str(error)
            else:
                self._report = self._reported()
        code = verdict.exit_code(list(self._words.values()))
        if code is not None and not stopped:
            session.exitstatus = code

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Lists verdicts that were not shown line by line, skipped claims, refused models, and the page's path."""
        if self._config.option.verbose != 0 and self._words:
            terminalreporter.section("claims")
            for category in ("supported", "refuted", "inconclusive", "broken", "unmeasured"):
                for report in terminalreporter.stats.get(category, []):
                    if (judged := vars(report).get("verdict")) is not None:
                        terminalreporter.line(line(judged) + self._provisional(judged, vars(report)["about"]))
        for text in skips(self._skipped):
            terminalreporter.line(shown(text))
        for model, claims in self._unfit.items():
            noun = "claim" if len(claims) == 1 else "claims"
            text = f"UNFIT        {len(claims)} {noun} not judged on {model}: {claims[0]['reason']}"
            terminalreporter.line(shown(text))
        for model in self._writer.run.models:
            for remark in self._writer.run.notes_on(model):
                terminalreporter.line(shown(f"note on {model}: {remark}"))
        if self._problem:
            terminalreporter.line(f"this run was not recorded: {self._problem}")
        for text in self._report:
            terminalreporter.line(text)

    def _expect(self, claims: set[str]) -> None:
        """Records how many claims this run is to judge, and whether these are all of Assay's claims."""
        self._expected |= claims
        wanted = {(path.name, name) for path in HYPOTHESES.glob("test_*.py") for name in claimed_in(path)}
        folder = HYPOTHESES.resolve()
        collected = {(path.name, name) for path, name in map(self._place, self._expected) if path.parent == folder}
        self._writer.run.expected = len(self._expected)
        self._writer.run.all_claims = bool(wanted) and wanted <= collected

    def _place(self, nodeid: str) -> tuple[Path, str]:
        """A test's file and function."""
        path, _, test = nodeid.partition("::")
        file = self._config.rootpath / self._files.get(nodeid, path)
        return file.resolve(), test.rpartition("::")[2].partition("[")[0]

    def _is_claim(self, nodeid: str) -> bool:
        """Whether a worker's test is a claim; if its file is unknown, any test with parameters counts as one."""
        path, name = self._place(nodeid)
        return name in claimed_in(path) if path.is_file() else "[" in nodeid

    def _reported(self) -> list[str]:
        runs = self._writer.folder.parent
        try:
            page = write(self._writer.folder, Store(self._evidence)).page
            return [f"report: {page}", f"all runs: {front_page.write(runs, front_page_of(runs))}"]
        except AssayError as error:
            return [f"no report was written: {error}"]

    def _provisional(self, judged: Judged, about: Mapping[str, Any]) -> str:
        """A note on a claim that was not yet seen both to hold and to fail; else empty."""
        if judged["word"] not in get_args(Outcome):
            return ""
        try:
            self._controls = self._controls or KnownControls(self._writer.folder.parent, self._writer.run)
            controls = self._controls.of(judged["claim"], about["claim"])
        except AssayError:  # the page names the mistake
            return ""
        return "" if controls.both else f" (provisional: {controls.missing(about['claim'])})"

    def _judged(self, judged: Judged, about: Mapping[str, Any]) -> None:
        self._words[judged["test"]] = judged["word"]
        self._measured[judged["model"]] = about["progress"]
        if not self._config.getoption("--plan"):
            try:
                self._writer.judged(judged, about["claim"], about["model"], about["peak"])
            except AssayError as error:
                self._problem = str(error)
        if judged["word"] == "UNFIT":
            self._unfit.setdefault(judged["model"], []).append(judged)
        elif judged["word"] == "SKIPPED" and not self._config.getoption("--plan"):
            self._skipped.setdefault(judged["model"], []).append(judged)
        elif self._config.option.verbose == 0:
            self._say(f"{line(judged)}{self._provisional(judged, about)}  [{self._progress()}]")

    def _died(self, report: pytest.TestReport) -> bool:
        """Gives a claim whose worker was killed the verdict BROKEN; False for any other test."""
        file, name = self._place(report.nodeid)
        claims = {(claim.file, claim.test.__name__): claim for claim in claims_in(file.parent)}
        if (claim := claims.get((file.name, name))) is None:
            return False
        reason = "its process was killed (often because memory ran out); what it had measured is kept"
        vars(report)["verdict"] = Judged(
            claim=claim.name,
            model=model_of(report.nodeid, self._models) or "unknown",
            test=report.nodeid,
            word="BROKEN",
            reason=reason,
            estimates=[],
            beside=[],
            evidence=[],
            seconds=0.0,
        )
        vars(report)["about"] = {"claim": claim.as_json, "model": None, "peak": 0, "progress": None}
        report.longrepr, report.when = f"BROKEN: {reason}", "call"
        return True

    def _say(self, text: str) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text)

    def _progress(self) -> str:
        """How many claims are judged, and how long the rest takes; recorded models take no time."""
        models = {model_of(test, self._models) or "" for test in self._expected - self._words.keys()}
        live = [self._measured.get(model) for model in models if not model.startswith(RECORDED)]
        seconds = forecast.until_all(live) if self._forecasts else None
        return forecast.words(len(self._words), len(self._expected | self._words.keys()), seconds)


def skips(skipped: Mapping[str, Sequence[Judged]]) -> Iterator[str]:
    """Lines on skipped claims, each with its reason; models with the same claims and reasons share them."""
    models: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for model, claims in skipped.items():
        reasons = sorted((claim["claim"], claim["reason"].removeprefix(f"{model}: ")) for claim in claims)
        models.setdefault(tuple(reasons), []).append(model)
    for reasons_of_claims, names in models.items():
        yield f"SKIPPED      {len(reasons_of_claims)} on {', '.join(names)}:"
        claims_of: dict[str, list[str]] = {}
        for claim, reason in reasons_of_claims:
            claims_of.setdefault(reason, []).append(claim)
        for reason, alike in claims_of.items():
            yield f"             {', '.join(alike)}: {reason}"


def line(judged: Judged) -> str:
    """The line of a verdict: its word, the claim and model, and its numbers."""
    name = judged["test"].split("::")[-1].removeprefix("test_")
    text = f"{judged['word']:<12} {name}: {judged['reason']}"
    if imported := judged.get("imported"):
        text += f"; imported: {len(imported)} of the {len(judged['evidence'])} measurements it rests on"
    if source := judged.get("recording_from"):
        text += f"; its recording was imported from {source}"
    return shown(text)
