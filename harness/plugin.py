"""pytest's side of Assay: the options of judging, one model at a time, and verdicts under their own words."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from harness.claims import mistakes
from harness.claims.claim import claim_of, is_claim_file
from harness.inputs import model_catalog, places
from harness.inputs.errors import AssayError, Refused, Unavailable
from harness.inputs.files.terminal import lines_shown
from harness.inputs.machine import peak_bytes
from harness.judging import verdict
from harness.judging.estimate import Comparison, Estimate, Outcome, asides, decisions
from harness.results.controls.power import rehearse
from harness.results.run_record import Judged
from harness.running import fixtures
from harness.running.fixtures import FORECAST, IMPORTED, JUDGED_ON, PLANNED, READ, SAYS
from harness.running.html_table import HtmlTable
from harness.running.node_ids import node_id
from harness.running.options import models_asked, prompts_of, sleeper_of
from harness.running.run_reporter import Account
from harness.running.stopping import leave_it_to_the_controller, like_ctrl_c
from harness.subjects.published.recordings import RECORDED, recording


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of judging; everything else is `python -m harness`."""
    group = parser.getgroup("assay", "Assay: which models are judged, on which prompts")
    group.addoption(
        "--model",
        action="append",
        metavar="NAME",
        help="alias, hub id (or ID@COMMIT), local folder, organism:NAME or recorded:NAME; may be repeated (default: "
        "organism:reference and the recorded ones)",
    )
    group.addoption(
        "--pairs",
        action="append",
        metavar="PATH",
        help="your own prompts: a file of pairs, a list of harmful ones, a folder with both lists; or given twice, the "
        "harmful list first",
    )
    group.addoption(
        "--column",
        action="append",
        metavar="NAME",
        help="where a .csv or .json list has its prompts, if not in a column that is known; given twice, of each list",
    )
    group.addoption("--quant", choices=get_args(model_catalog.Quant), default="nf4", help="default: nf4")
    group.addoption("--device", choices=get_args(model_catalog.Device), default="auto", help="default: auto")
    group.addoption(
        "--dtype", choices=get_args(model_catalog.Dtype), default="auto", help="default: auto, as it is stored"
    )
    group.addoption("--judge-only", action="store_true", help="judge from evidence alone; no model is loaded")
    group.addoption("--fresh", action="store_true", help="measure again what was measured before")
    group.addoption(
        "--use-imported",
        action="store_true",
        help="let imported evidence answer a live run too (default: it is measured here; --judge-only uses it)",
    )
    group.addoption("--reports", metavar="FOLDER", help="where evidence, runs and pages lie (default: reports, here)")
    group.addoption("--evidence", metavar="FOLDER", help="default: evidence in the folder of --reports")
    group.addoption("--plan", action="store_true", help="say what the claims would take, and measure nothing")
    group.addoption("--strict-models", action="store_true", help="a model that cannot be had is an error, not a skip")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses bad input before anything is collected or any worker started."""
    config.pluginmanager.register(fixtures, "assay-fixtures")
    meanwhile = ExitStack()
    meanwhile.enter_context(places.reports_in(Path(config.getoption("--reports") or "reports")))
    config.add_cleanup(meanwhile.close)
    # torch says it of itself; it is nothing that a claim could mend.
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
    config.option.evidence = config.option.evidence or str(places.evidence())
    if (worker := vars(config).get("workerinput")) is not None:
        from harness.running.xdist_workers import share_cores  # xdist is there

        leave_it_to_the_controller()
        share_cores(worker["workercount"])
        return
    if config.getoption("--reruns", None):
        raise pytest.UsageError("--reruns is refused: a claim that is judged until it holds proves nothing")
    try:
        for name in config.getoption("--model") or ():
            (recording if name.startswith(RECORDED) else model_catalog.find)(name)
        if config.getoption("--column") and not config.getoption("--pairs"):
            raise AssayError("--column says where a list of --pairs has its prompts; give --pairs PATH as well")
        for name in models_asked(config):
            prompts_of(config, name)
        if workers := config.getoption("--numprocesses", None):
            from harness.running.xdist_workers import require_room  # xdist is there

            of_all = models_asked(config), config.getoption("--quant"), workers, model_catalog.this_machine()
            require_room(*of_all, config.getoption("--dtype"))
        if not config.option.collectonly:
            config.stash[_SAID] = _looked_at(config)
    except AssayError as error:
        raise pytest.UsageError(str(error)) from None
    account = Account(config, models_asked(config))
    config.pluginmanager.register(account, "assay-account")
    config.add_cleanup(like_ctrl_c())
    if config.getoption("htmlpath", None):
        config.pluginmanager.register(HtmlTable(config, account.page), "assay-html-table")


def _looked_at(config: pytest.Config) -> list[str]:
    """Lines on the models named; the default ones come with the project."""
    from harness.running.preflight import require_options, said_of

    require_options(vars(config.option), live=any(not name.startswith(RECORDED) for name in models_asked(config)))
    named = dict.fromkeys(config.getoption("--model") or ())
    if config.getoption("--judge-only"):
        return []
    sleepers = [sleeper_of(config, name) for name in named if not name.startswith(RECORDED)]
    return list(said_of(sleepers, strict=config.getoption("--strict-models")))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs every claim on every model, grouped so that each model is loaded once."""
    if "sleeper" in metafunc.fixturenames:
        names = models_asked(metafunc.config)
        metafunc.parametrize("sleeper", names, ids=list(map(node_id, names)), indirect=True, scope="session")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says which prompts were taken and how they are split, and what was found of the models."""
    names = (name for name in models_asked(config) if not name.startswith(RECORDED))
    given = (prompts_of(config, name) for name in names)
    prompts = dict.fromkeys(one.described for one in given if one is not None)
    return [*(f"prompts: {said}" for said in prompts), *config.stash.get(_SAID, [])]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Where nobody asks for another distribution, each model is loaded by one worker."""
    if config.getoption("dist") != "load":
        return None
    from harness.running.xdist_workers import make_scheduler  # xdist is there

    return make_scheduler(config, log, models_asked(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A claim that could hold without being true is not accepted: one sentence with file and line."""
    names: dict[str, str] = {}
    for item in items:
        claim = claim_of(item)
        if claim is None and "sleeper" in getattr(item, "fixturenames", ()) and is_claim_file(item.path):
            place = f"{item.path.name}, line {(item.location[1] or 0) + 1}"
            name = item.location[2].partition("[")[0]
            raise pytest.UsageError(f"{place}: {name} asks for a model and makes no claim; put @claim(…) above it")
        if claim is not None:
            if item.get_closest_marker("flaky"):
                raise pytest.UsageError(f"{claim.place}: claim {claim.name!r} is marked flaky; a claim is judged once")
            try:
                claim.check()
                rehearse(claim)
            except AssayError as error:
                raise pytest.UsageError(str(error)) from None
            if (other := names.setdefault(claim.name, claim.place)) != claim.place:
                raise pytest.UsageError(
                    f"{claim.place}: a claim named {claim.name!r} is in {other} already; rename one"
                )


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A claim's file that cannot be read is one sentence; files of other tests keep their traceback."""
    report = yield
    if report.failed and isinstance(collector, pytest.Module) and is_claim_file(collector.path):
        error = vars(report)["call"].excinfo.value
        report.longrepr = mistakes.on_import(error.__cause__ or error, collector.path)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Keeps account of what is decided while a claim's test runs."""
    if claim_of(pyfuncitem) is None:
        return (yield)
    with decisions() as made, asides() as beside:
        pyfuncitem.stash[_DECIDED], pyfuncitem.stash[_BESIDE] = made, beside
        try:
            return (yield)
        except Unavailable as error:
            if pyfuncitem.config.getoption("--strict-models"):
                raise Refused(str(error)) from None
            pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Gives the report of a claim its verdict, in plain builtins that cross processes."""
    report = yield
    if (claim := claim_of(item)) is None:
        return report
    item.stash[_SECONDS] = item.stash.get(_SECONDS, 0.0) + report.duration
    if report.when != "call" and report.passed:
        return report
    error = None if call.excinfo is None else call.excinfo.value
    made: Sequence[Comparison] = item.stash.get(_DECIDED, ())
    found = verdict.verdict(error, made, pytest.skip.Exception)
    if found.word == "BROKEN" and error is not None:
        found = replace(found, reason=mistakes.sentence(error, item.path))
    if SAYS in item.stash and found.word != "BROKEN":
        found = verdict.Verdict("SKIPPED", item.stash[SAYS]())
    report.outcome = verdict.OUTCOMES[found.word]
    read = sorted(item.stash.get(READ, ()))
    vars(report)["verdict"] = Judged(
        claim=claim.name,
        model=vars(item)["callspec"].params["sleeper"],
        test=item.nodeid,
        word=found.word,
        reason=found.reason,
        estimates=list(found.estimates),
        beside=[verdict.plain(one) for one in item.stash.get(_BESIDE, {}).values()],
        evidence=read,
        imported=[key for key in read if key in item.stash.get(IMPORTED, {})],
        seconds=item.stash[_SECONDS],
    )
    model = item.stash.get(JUDGED_ON, None)
    if model is not None and (source := model["record"].get("imported")):
        vars(report)["verdict"]["recording_from"] = source["bundle"]
    progress = None
    if FORECAST in item.stash:
        measured = report.when == "call" and found.word in get_args(Outcome)
        progress = item.stash[FORECAST].judged(item.nodeid, report.duration if measured else None)
    about = {"claim": claim.as_json, "model": model, "peak": peak_bytes(), "progress": progress}
    vars(report)["about"] = about
    # Of the item: junit writes what the report of the teardown says.
    item.user_properties.append(("verdict", found.word))
    item.user_properties.extend((one["name"], f"{one['value']:+z.4f}") for one in found.estimates)
    said = lines_shown(f"{found.word}: {found.reason}")
    place = (str(item.path), item.location[1] or 0, said)
    report.longrepr = None if report.passed else place if report.skipped else said
    return report


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    """SUPPORTED, REFUTED, INCONCLUSIVE, BROKEN instead of pytest's words."""
    found: Judged | None = vars(report).get("verdict")
    if found is None:
        return None
    if config.option.verbose == 0:  # it has had its line
        return found["word"].lower(), "", ""
    return found["word"].lower(), verdict.LETTERS[found["word"]], found["word"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What all planned claims would take together."""
    if PLANNED in terminalreporter.config.stash:
        planned = terminalreporter.config.stash[PLANNED]
        terminalreporter.line(f"in all {len(planned.counted)} measurements, about {planned.minutes:.1f} min")


_SAID = pytest.StashKey[list[str]]()
_BESIDE = pytest.StashKey[Mapping[str, Estimate]]()
_DECIDED = pytest.StashKey[Sequence[Comparison]]()
_SECONDS = pytest.StashKey[float]()
