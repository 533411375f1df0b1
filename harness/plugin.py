"""The pytest plugin: options, one model after the other, and verdicts in place of passed and failed."""

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
from harness.inputs.model_record import LONG_ANSWER, SHORT_ANSWER
from harness.inputs.prompts.prompt_rows import short
from harness.judging import verdict
from harness.judging.estimate import Comparison, Estimate, Outcome, asides, decisions
from harness.results.controls.power import rehearse
from harness.results.run_record import Judged
from harness.running import fixtures
from harness.running.fixtures import FORECAST, IMPORTED, JUDGED_ON, PLAN_IN_WORDS, PLANNED, READ
from harness.running.html_table import HtmlTable
from harness.running.node_ids import node_id
from harness.running.options import models_asked, prompts_of, sampling_of, sleeper_of, system_of
from harness.running.run_reporter import RunReporter
from harness.running.stopping import leave_it_to_the_controller, like_ctrl_c
from harness.subjects.published.recordings import RECORDED, recording


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of judging; everything else is `python -m harness`."""
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
        help="your own prompts: a file of pairs, a list of harmful prompts, or a folder with both lists; given twice, "
        "first the harmful list, then the harmless one",
    )
    group.addoption(
        "--column",
        action="append",
        metavar="NAME",
        help="column that holds the prompts of a .csv or .json list, if it has no usual name; twice for two lists",
    )
    group.addoption("--quant", choices=get_args(model_catalog.Quant), default="nf4", help="default: nf4")
    group.addoption("--device", choices=get_args(model_catalog.Device), default="auto", help="default: auto")
    group.addoption(
        "--dtype", choices=get_args(model_catalog.Dtype), default="auto", help="default: auto, as it is stored"
    )
    _add_answering(group)
    group.addoption("--judge-only", action="store_true", help="judge from evidence alone; no model is loaded")
    group.addoption("--fresh", action="store_true", help="measure again what was measured before")
    group.addoption(
        "--use-imported",
        action="store_true",
        help="use imported evidence in a live run too (default: measure anew; --judge-only always uses it)",
    )
    group.addoption(
        "--reports",
        metavar="FOLDER",
        help="folder for evidence, runs and pages (default: reports, in the current folder)",
    )
    group.addoption(
        "--evidence", metavar="FOLDER", help="folder for evidence (default: evidence, in the folder of --reports)"
    )
    group.addoption("--plan", action="store_true", help="say how long the claims would take, and measure nothing")
    group.addoption("--strict-models", action="store_true", help="an unavailable model is an error, not a skip")


def _add_answering(group: pytest.OptionGroup) -> None:
    """Adds the options that say how chats begin and how answers are drawn."""
    group.addoption(
        "--system",
        metavar="TEXT",
        help="system prompt of all chats, as text or the name of a file (default: none of Assay's; some chat templates "
        "write one of their own)",
    )
    group.addoption(
        "--tokens",
        type=int,
        metavar="N",
        help=f"generate at most N tokens of each answer (default: {SHORT_ANSWER} for organisms, else {LONG_ANSWER})",
    )
    group.addoption(
        "--answers",
        default="greedy",
        metavar="HOW",
        help="greedy, or sampled:K@T for K answers to each prompt at temperature T; its value is then the mean over "
        "them (default: greedy)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Checks options, prompts and models before anything is collected or any worker starts."""
    config.pluginmanager.register(fixtures, "assay-fixtures")
    meanwhile = ExitStack()
    meanwhile.enter_context(places.reports_in(Path(config.getoption("--reports") or "reports")))
    config.add_cleanup(meanwhile.close)
    # Raised within torch; no claim can change it.
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
    config.option.evidence = config.option.evidence or str(places.evidence())
    if (worker := vars(config).get("workerinput")) is not None:
        from harness.running.xdist_workers import share_cores  # only here is xdist known to be installed

        leave_it_to_the_controller()
        share_cores(worker["workercount"])
        return
    if config.getoption("--reruns", None):
        raise pytest.UsageError("--reruns is refused: a claim that is judged again until it holds proves nothing")
    try:
        for name in config.getoption("--model") or ():
            (recording if name.startswith(RECORDED) else model_catalog.find)(name)
        if config.getoption("--column") and not config.getoption("--pairs"):
            raise AssayError("--column says where a list of --pairs has its prompts; give --pairs PATH as well")
        for name in models_asked(config):
            prompts_of(config, name)
        system_of(config)
        sampling_of(config)
        if workers := config.getoption("--numprocesses", None):
            from harness.running.xdist_workers import require_room  # only here is xdist known to be installed

            of_all = models_asked(config), config.getoption("--quant"), workers, model_catalog.this_machine()
            require_room(*of_all, config.getoption("--dtype"))
        if not config.option.collectonly:
            config.stash[_NOTES] = _checked(config)
    except AssayError as error:
        raise pytest.UsageError(str(error)) from None
    reporter = RunReporter(config, models_asked(config))
    config.pluginmanager.register(reporter, "assay-run-reporter")
    config.add_cleanup(like_ctrl_c())
    if config.getoption("htmlpath", None):
        config.pluginmanager.register(HtmlTable(config, reporter.page), "assay-html-table")


def _checked(config: pytest.Config) -> list[str]:
    """Refuses options that cannot work; returns notes on the models named by --model."""
    from harness.running.preflight import notes_on, require_options

    require_options(vars(config.option), live=any(not name.startswith(RECORDED) for name in models_asked(config)))
    named = dict.fromkeys(config.getoption("--model") or ())
    if config.getoption("--judge-only"):
        return []
    sleepers = [sleeper_of(config, name) for name in named if not name.startswith(RECORDED)]
    return list(notes_on(sleepers, strict=config.getoption("--strict-models")))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs every claim on every model, grouped by model so that each is loaded once."""
    if "sleeper" in metafunc.fixturenames:
        names = models_asked(metafunc.config)
        metafunc.parametrize("sleeper", names, ids=list(map(node_id, names)), indirect=True, scope="session")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Shows which prompts are used, how they are split, and notes on the models."""
    names = (name for name in models_asked(config) if not name.startswith(RECORDED))
    given = (prompts_of(config, name) for name in names)
    descriptions = dict.fromkeys(prompts.described for prompts in given if prompts is not None)
    told = [] if (system := system_of(config)) is None else [f"system prompt: {short(system)}"]
    told += [] if (drawn := sampling_of(config)) is None else [f"answers: {drawn.in_words}"]
    return [*(f"prompts: {description}" for description in descriptions), *told, *config.stash.get(_NOTES, [])]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Lets one worker load each model, unless --dist asks for another distribution."""
    if config.getoption("dist") != "load":
        return None
    from harness.running.xdist_workers import make_scheduler  # only here is xdist known to be installed

    return make_scheduler(config, log, models_asked(config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses claims with a defect, such as one that could hold without being true; the message names file and line."""
    names: dict[str, str] = {}
    for item in items:
        claim = claim_of(item)
        if claim is None and "sleeper" in getattr(item, "fixturenames", ()) and is_claim_file(item.path):
            place = f"{item.path.name}, line {(item.location[1] or 0) + 1}"
            name = item.location[2].partition("[")[0]
            raise pytest.UsageError(f"{place}: {name} uses a model but is no claim; put @claim(…) above it")
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
    """Turns a mistake in a claim's file into one sentence; files of other tests keep their traceback."""
    report = yield
    if report.failed and isinstance(collector, pytest.Module) and is_claim_file(collector.path):
        error = vars(report)["call"].excinfo.value
        report.longrepr = mistakes.on_import(error.__cause__ or error, collector.path)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Records the comparisons and other estimates that a claim makes while it runs."""
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
    """Attaches the verdict to a claim's report, in plain builtins that workers can send."""
    report = yield
    if (claim := claim_of(item)) is None:
        return report
    item.stash[_SECONDS] = item.stash.get(_SECONDS, 0.0) + report.duration
    if report.when != "call" and report.passed:
        return report
    error = None if call.excinfo is None else call.excinfo.value
    made: Sequence[Comparison] = item.stash.get(_DECIDED, ())
    judged = verdict.verdict(error, made, pytest.skip.Exception)
    if judged.word == "BROKEN" and error is not None:
        judged = replace(judged, reason=mistakes.sentence(error, item.path))
    if PLAN_IN_WORDS in item.stash and judged.word != "BROKEN":
        judged = verdict.Verdict("SKIPPED", item.stash[PLAN_IN_WORDS]())
    report.outcome = verdict.OUTCOMES[judged.word]
    read = sorted(item.stash.get(READ, ()))
    vars(report)["verdict"] = Judged(
        claim=claim.name,
        model=vars(item)["callspec"].params["sleeper"],
        test=item.nodeid,
        word=judged.word,
        reason=judged.reason,
        estimates=list(judged.estimates),
        beside=[verdict.plain(estimate) for estimate in item.stash.get(_BESIDE, {}).values()],
        evidence=read,
        imported=[key for key in read if key in item.stash.get(IMPORTED, {})],
        seconds=item.stash[_SECONDS],
    )
    model = item.stash.get(JUDGED_ON, None)
    if model is not None and (source := model["record"].get("imported")):
        vars(report)["verdict"]["recording_from"] = source["bundle"]
    progress = None
    if FORECAST in item.stash:
        measured = report.when == "call" and judged.word in get_args(Outcome)
        progress = item.stash[FORECAST].judged(item.nodeid, report.duration if measured else None)
    about = {"claim": claim.as_json, "model": model, "peak": peak_bytes(), "progress": progress}
    vars(report)["about"] = about
    # Set on the item, since junit reads the report of its teardown.
    item.user_properties.append(("verdict", judged.word))
    item.user_properties.extend((estimate["name"], f"{estimate['value']:+z.4f}") for estimate in judged.estimates)
    text = lines_shown(f"{judged.word}: {judged.reason}")
    place = (str(item.path), item.location[1] or 0, text)
    report.longrepr = None if report.passed else place if report.skipped else text
    return report


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    """Shows the verdict's word and letter instead of pytest's; under the default verbosity its line was shown."""
    judged: Judged | None = vars(report).get("verdict")
    if judged is None:
        return None
    if config.option.verbose == 0:
        return judged["word"].lower(), "", ""
    return judged["word"].lower(), verdict.LETTERS[judged["word"]], judged["word"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what all planned claims would take together."""
    if PLANNED in terminalreporter.config.stash:
        planned = terminalreporter.config.stash[PLANNED]
        terminalreporter.line(f"in all {len(planned.counted)} measurements, about {planned.minutes:.1f} min")


_NOTES = pytest.StashKey[list[str]]()
_BESIDE = pytest.StashKey[Mapping[str, Estimate]]()
_DECIDED = pytest.StashKey[Sequence[Comparison]]()
_SECONDS = pytest.StashKey[float]()
