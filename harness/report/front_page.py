"""reports/index.html: a line for every run, newest first, under the headline of the newest complete run."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.inputs import places
from harness.inputs.files.whole_files import write_whole
from harness.report.page import page_of
from harness.report.page_policy import policy
from harness.report.templates import PAGE, environment, stylesheet
from harness.results.run_list import Listed, listed
from harness.results.wording import SHORT_WORDS


def write(runs: Path, to: Path) -> Path:
    """Writes the list of the runs in a folder; a run that cannot be read is listed with the reason."""
    every = listed(runs, keep=True)
    style = stylesheet()
    page = environment(PAGE).get_template("runs.html")
    html = page.render(
        newest=next((_row(run) for run in every if run.whole), None),
        rows=[_row(run) for run in every if run.summary is not None],
        damaged=[run.problem for run in every if run.summary is None],
        judge=places.JUDGE,
        style=style,
        short_words=SHORT_WORDS,
        policy=policy([style], []),
    )
    write_whole(to, html.encode(), synced=False)
    return to


def _row(run: Listed) -> dict[str, Any]:
    summary = run.summary
    assert summary is not None  # noqa: S101 - write() lists damaged runs separately
    words = {word: summary["words"][word] for word in SHORT_WORDS if summary["words"].get(word)}
    page = page_of(run.folder)
    return {
        "name": run.folder.name,
        "link": quote(f"{run.folder.parent.name}/{run.folder.name}/{page.name}") if page.exists() else "",
        "began": f"{run.began:%Y-%m-%d %H:%M:%S}",
        "summary": summary,
        "words": words,
        "ended": run.ended,
    }
