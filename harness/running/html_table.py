"""pytest-html's page: a column for each verdict's word, effect and n; names as text, and no script but its own."""

import os
import re
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest

from harness.inputs.files.whole_files import write_whole
from harness.report.page_policy import policy
from harness.report.templates import anchor
from harness.results import wording
from harness.results.run_record import Judged

_HEAD = '<meta charset="utf-8"/>'


class HtmlTable:
    """Hooks of pytest-html; `page` is where the run's own page will lie."""

    def __init__(self, config: pytest.Config, page: Path) -> None:
        self._page = page
        self._path = Path.cwd() / Path(os.path.expandvars(config.getoption("htmlpath"))).expanduser()

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """What pytest-html's own words do not say."""
        cells[1:1] = ["<th>Verdict</th>", "<th>Effect [interval]</th>", "<th>n</th>"]

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        """A verdict, the estimates it rests on, and of how many; and the test's name, which pytest-html leaves raw."""
        when = "" if report.when == "call" else f"::{report.when}"
        named = f'<td class="col-testId">{escape(report.nodeid + when)}</td>'
        cells[:] = [named if 'class="col-testId"' in cell else cell for cell in cells]
        found: Judged | None = vars(report).get("verdict")
        columns = ("", "", "") if found is None else (self._link(found), *effects(found))
        cells[1:1] = [f"<td>{text}</td>" for text in columns]

    def pytest_unconfigure(self) -> None:
        """The page is written by now: from here on it runs its own script, and nothing that came into it."""
        if self._path.is_file():
            write_whole(self._path, closed(self._path.read_text(encoding="utf-8")).encode(), synced=False)

    def _link(self, found: Judged) -> str:
        """A verdict's word, leading to where the run's own page speaks of it."""
        page = quote(os.path.relpath(self._page.resolve(), self._path.resolve().parent))
        return f'<a href="{escape(page)}#{escape(anchor(found["claim"], found["model"]))}">{found["word"]}</a>'


def effects(found: Judged) -> tuple[str, str]:
    """Estimates with their intervals and bars, and their n, one below the other, for HTML."""
    shown = [escape(f"{one['name']} {wording.number(one)}") for one in found["estimates"]]
    return "<br>".join(shown), "<br>".join(f"{one['n']} {escape(one['unit'])}" for one in found["estimates"])


def closed(html: str) -> str:
    """The page with a policy that allows its first style and its last script; once it has one it stays as it is."""
    if "Content-Security-Policy" in html.partition("<body")[0]:
        return html
    styles, scripts = (re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", html, re.DOTALL) for tag in ("style", "script"))
    allowed = policy(styles[:1], scripts[-1:])
    if not styles:  # not self-contained: its style is a file beside it
        allowed = allowed.replace("style-src 'none'", "style-src 'self' file:")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{escape(allowed)}">'
    return html.replace(_HEAD, f"{_HEAD}\n    {meta}", 1).replace(' onclick="location.reload()"', "", 1)
