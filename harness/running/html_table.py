"""Adds verdict, effect and n to the page of pytest-html, escapes names, and lets no script but its own run."""

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
    """Hooks of pytest-html; `page` is the path of the run's own page."""

    def __init__(self, config: pytest.Config, page: Path) -> None:
        self._page = page
        self._path = Path.cwd() / Path(os.path.expandvars(config.getoption("htmlpath"))).expanduser()

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """Adds columns for the verdict, the effect and n."""
        cells[1:1] = ["<th>Verdict</th>", "<th>Effect [interval]</th>", "<th>n</th>"]

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        """Fills these columns, and escapes the test's name, which pytest-html does not."""
        when = "" if report.when == "call" else f"::{report.when}"
        named = f'<td class="col-testId">{escape(report.nodeid + when)}</td>'
        cells[:] = [named if 'class="col-testId"' in cell else cell for cell in cells]
        judged: Judged | None = vars(report).get("verdict")
        columns = ("", "", "") if judged is None else (self._link(judged), *effects(judged))
        cells[1:1] = [f"<td>{text}</td>" for text in columns]

    def pytest_unconfigure(self) -> None:
        """Adds a policy to the finished page, so that it runs its own script and no other."""
        if self._path.is_file():
            write_whole(self._path, closed(self._path.read_text(encoding="utf-8")).encode(), synced=False)

    def _link(self, judged: Judged) -> str:
        """The verdict's word as a link to the claim on the run's own page."""
        page = quote(os.path.relpath(self._page.resolve(), self._path.resolve().parent))
        return f'<a href="{escape(page)}#{escape(anchor(judged["claim"], judged["model"]))}">{judged["word"]}</a>'


def effects(judged: Judged) -> tuple[str, str]:
    """A verdict's estimates with intervals and bars, and their n, each on a line, as HTML."""
    estimates = judged["estimates"]
    numbers = [escape(f"{estimate['name']} {wording.number(estimate)}") for estimate in estimates]
    return "<br>".join(numbers), "<br>".join(f"{estimate['n']} {escape(estimate['unit'])}" for estimate in estimates)


def closed(html: str) -> str:
    """The page with a policy that allows its first style and its last script; unchanged if it has one already."""
    if "Content-Security-Policy" in html.partition("<body")[0]:
        return html
    styles, scripts = (re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", html, re.DOTALL) for tag in ("style", "script"))
    allowed = policy(styles[:1], scripts[-1:])
    if not styles:  # not self-contained: its style is a file beside it
        allowed = allowed.replace("style-src 'none'", "style-src 'self' file:")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{escape(allowed)}">'
    return html.replace(_HEAD, f"{_HEAD}\n    {meta}", 1).replace(' onclick="location.reload()"', "", 1)
