"""Where things lie: what Assay ships, and the reports of whoever judges with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_HARNESS = Path(__file__).parents[1]
# A wheel carries data and claims inside the harness; in a checkout they stand beside it.
INSTALLED = (_HARNESS / "data").is_dir()
HOME = _HARNESS if INSTALLED else _HARNESS.parent
DATA = HOME / "data"
HYPOTHESES = HOME / "hypotheses"
# How messages call the helper commands, and pytest for the claims that ship.
PROGRAM = "assay" if INSTALLED else "python -m harness"
JUDGE = "assay judge" if INSTALLED else "pytest hypotheses"

_REPORTS: ContextVar[Path | None] = ContextVar("reports", default=None)


def reports() -> Path:
    """The folder that `--reports` names; without it, `reports` in the folder one stands in."""
    return _REPORTS.get() or Path.cwd() / "reports"


def evidence() -> Path:
    """What was measured, one file a measurement."""
    return reports() / "evidence"


def runs() -> Path:
    """The record of every run, in a folder of its own."""
    return reports() / "runs"


def recordings() -> Path:
    """Published runs that people imported, one file each."""
    return reports() / "recorded"


def own_claims() -> Path:
    """Where a new claim is written: among Assay's in its checkout, elsewhere in my_claims where one stands."""
    in_checkout = not INSTALLED and Path.cwd().is_relative_to(HOME)
    return HYPOTHESES if in_checkout else Path.cwd() / "my_claims"


@contextmanager
def reports_in(folder: Path) -> Iterator[None]:
    """Everything that is read from or written to the reports lies in this folder meanwhile."""
    token = _REPORTS.set(folder.absolute())
    try:
        yield
    finally:
        _REPORTS.reset(token)
