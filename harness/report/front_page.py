"""reports/index.html: every run in a line, the newest first; at its head the newest whole one."""

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
    """Writes the list of the runs in a folder; one that cannot be read is a line of it."""
    found = listed(runs, keep=True)
    style = stylesheet()
    page = environment(PAGE).get_template("runs.html")
    html = page.render(
        newest=next((_row(one) for one in found if one.whole), None),
        rows=[_row(one) for one in found if one.summary is not None],
        damaged=[one.problem for one in found if one.summary is None],
        judge=places.JUDGE,
        style=style,
        short_words=SHORT_WORDS,
        policy=policy([style], []),
    )
    write_whole(to, html.encode(), synced=False)
    return to


def _row(one: Listed) -> dict[str, Any]:
    summary = one.summary
    assert summary is not None  # noqa: S101 - what cannot be read is told apart
    words = {word: summary["words"][word] for word in SHORT_WORDS if summary["words"].get(word)}
    page = page_of(one.folder)
    return {
        "name": one.folder.name,
        "link": quote(f"{one.folder.parent.name}/{one.folder.name}/{page.name}") if page.exists() else "",
        "began": f"{one.began:%Y-%m-%d %H:%M:%S}",
        "summary": summary,
        "words": words,
        "ended": one.ended,
    }
