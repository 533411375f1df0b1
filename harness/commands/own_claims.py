"""The commands `init`, `new` and `judge`: use Assay in a repository of your own."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from harness.claims.claim_template import draft
from harness.commands.declaring import declare
from harness.commands.pytest_settings import PLUGIN, set_up
from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.files.terminal import say

if TYPE_CHECKING:
    from harness.commands.declaring import Commands


def add_to(commands: "Commands") -> None:
    """Declares the three commands."""
    declare(
        commands,
        "init",
        _init,
        "make pytest load Assay in the current folder, by one line of its settings",
        "init",
        f"The line is `addopts = {PLUGIN}`. It is added to pytest.ini or pyproject.toml; if there is neither, a "
        "pytest.ini is written. Called again, it changes nothing.",
    )
    new = declare(
        commands,
        "new",
        _new,
        "write a claim file that runs as it is, for you to edit",
        "new my-claim",
        "In Assay's checkout it is written to hypotheses/, elsewhere to my_claims/ in the current folder.",
    )
    new.add_argument("name", metavar="NAME", help="words joined by hyphens")
    declare(
        commands,
        "judge",
        lambda _: judge(()),  # with options, `main` calls it before parsing, since they are pytest's
        "judge the claims that Assay ships; all options are pytest's",
        "judge",
        "All that follows `judge` is passed to pytest, as in `judge -k direction --model qwen3-4b`.",
        "Reports go to reports/ in the current folder; --reports FOLDER names another.",
    )


def judge(arguments: Sequence[str]) -> NoReturn:
    """Replaces this process by pytest, run on the claims that Assay ships."""
    python, settings = [sys.executable], ["--rootdir", str(places.HOME)]
    if places.INSTALLED:
        # Settings of the current folder are for its own tests, and nothing is written among installed files.
        python.append("-P")  # as with the script pytest, modules are not imported from the current folder
        cache = places.reports() / ".cache"
        settings += ["-c", os.devnull, "-o", f"cache_dir={cache}", "--import-mode=importlib"]
    words = [*python, "-m", "pytest", *PLUGIN.split(), *settings, str(places.HYPOTHESES), *arguments]
    os.execv(sys.executable, words)  # noqa: S606 - a fresh process, in which nothing is loaded before pytest starts


def _init(options: argparse.Namespace) -> None:
    if places.own_claims() == places.HYPOTHESES:
        raise AssayError(f"{places.HOME}: is Assay's own folder, where pytest loads Assay already; call init in yours")
    say(set_up(Path.cwd()))
    say("next: `assay new NAME` writes a claim; `assay judge` judges those that Assay ships")


def _new(options: argparse.Namespace) -> None:
    folder = places.own_claims()
    with suppress(OSError):  # if so the file cannot be written either, which `draft` reports
        folder.mkdir(exist_ok=True)
    path = draft(options.name, folder)
    once = "" if folder == places.HYPOTHESES else " (call `assay init` once before)"
    say(f"{path}: edit it, then judge it: pytest {folder.name} -k {path.stem}{once}")
    say(f"check that it holds and fails where it must: {places.PROGRAM} truth -k {options.name}")
