"""The commands `runs`, `report` and `compare`: list runs, make reports again, and compare two runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.declaring import RUN, declare, store_of, with_reports
from harness.commands.tables import print_table
from harness.inputs.files.terminal import say, shown
from harness.inputs.model_catalog import readable
from harness.report import front_page
from harness.report.page import front_page_of, write
from harness.results.compare_runs import Change, compare
from harness.results.run_list import Listed, chosen, listed, require_runs
from harness.results.run_record import Run, runs_beside
from harness.results.wording import SHORT_WORDS

# Printed where a run does not have a claim, a model or an estimate.
ABSENT = "not in this run"

if TYPE_CHECKING:
    from harness.commands.declaring import Commands


def add_to(commands: "Commands") -> None:
    """Declares the three commands."""
    runs = declare(
        commands,
        "runs",
        _runs,
        "list the runs: when they began, how many claims were judged, verdicts, how they ended, models",
        "runs",
        "In report, compare and bundle the number of a run, 1 for the newest, can be given as RUN.",
    )
    with_reports(runs)
    report = declare(
        commands,
        "report",
        _report,
        "make a run's report again from its evidence; no model is loaded",
        "report last",
    )
    report.add_argument("run_name", nargs="?", metavar="RUN", help=f"{RUN} (default: last)")
    report.add_argument("--to", type=Path, metavar="PATH", help="default: index.html in the run's folder")
    with_reports(report)
    compared = declare(
        commands,
        "compare",
        _compare,
        "show which verdicts, estimates and inputs changed between two runs",
        "compare 2 last",
    )
    compared.add_argument("before", metavar="RUN", help=RUN)
    compared.add_argument("after", metavar="RUN", help="likewise")
    with_reports(compared)


def _runs(options: argparse.Namespace) -> None:
    folder = runs_beside(store_of(options).folder)
    runs = listed(folder)
    require_runs(runs, folder)
    rows = [_row(number, run) for number, run in enumerate(runs, 1)]
    columns = ("run", "began (UTC)", "judged", "verdicts", "how it ended", "models", "name")
    print_table(columns, rows, whole=("began (UTC)", "name"))
    say(f"\n{folder}: 1 is the newest.")


def _row(number: int, run: Listed) -> tuple[str, ...]:
    name = run.folder.name
    if run.summary is None:
        return str(number), "", "", "", f"cannot be read: {run.problem}", "", name
    words = run.summary["words"]
    came_to = ", ".join(f"{words[word]} {text}" for word, text in SHORT_WORDS.items() if words.get(word)) or "nothing"
    models = run.summary["models"]
    more = f" and {len(models) - 2} more" if len(models) > 2 else ""
    judged = str(run.summary["judged"])
    return str(number), f"{run.began:%Y-%m-%d %H:%M}", judged, came_to, run.ended, ", ".join(models[:2]) + more, name


def _report(options: argparse.Namespace) -> None:
    store = store_of(options)
    runs = runs_beside(store.folder)
    written = write(chosen(options.run_name, runs), store, options.to)
    say(f"{written.page}: {readable(written.bytes)}, {written.figures} figures beside it")
    for doubt in written.doubts:
        say(f"NOT COUNTED  {shown(doubt)}")
    say(f"all runs: {front_page.write(runs, front_page_of(runs))}")


def _compare(options: argparse.Namespace) -> None:
    store = store_of(options)
    folders = [chosen(name, runs_beside(store.folder)) for name in (options.before, options.after)]
    differences = compare(Run.load(folders[0]), Run.load(folders[1]), store)
    names = folders[0].resolve().name, folders[1].resolve().name
    say(differences.sentence(*names))
    if differences.rows:
        say("")
        _print_changes(differences.rows)


def _print_changes(changes: Sequence[Change]) -> None:
    """Prints a table of changes; a place and reason equal to those of the line above are not repeated."""
    rows, above = [], ("", "")
    for change in changes:
        place, because = ("", "") if above == (change.place, change.because) else (change.place, change.because)
        above = change.place, change.because
        item = f"{change.item}: intervals apart" if change.apart else change.item
        rows.append((place, item, change.before or ABSENT, change.after or ABSENT, because))
    print_table(("where", "what", "before", "after", "changed inputs"), rows)
