"""The folders Assay uses: the data and claims it ships, and the user's reports."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_HARNESS = Path(__file__).parents[1]
# A wheel has data and claims inside the harness; a checkout has them beside it.
INSTALLED = (_HARNESS / "data").is_dir()
HOME = _HARNESS if INSTALLED else _HARNESS.parent
DATA = HOME / "data"
HYPOTHESES = HOME / "hypotheses"
# In messages: the helper commands, and the command that judges the claims that ship.
PROGRAM = "assay" if INSTALLED else "python -m harness"
JUDGE = "assay judge" if INSTALLED else "pytest hypotheses"

_REPORTS: ContextVar[Path | None] = ContextVar("reports", default=None)


def reports() -> Path:
    """The folder given by `--reports`; by default `reports` in the current folder."""
    return _REPORTS.get() or Path.cwd() / "reports"


def evidence() -> Path:
    """The folder of evidence."""
    return reports() / "evidence"


def runs() -> Path:
    """The folder of runs, with a folder for each run."""
    return reports() / "runs"


def recordings() -> Path:
    """The folder of imported recordings."""
    return reports() / "recorded"


def own_claims() -> Path:
    """The folder for new claims: `hypotheses` inside Assay's checkout, elsewhere `my_claims` in the current folder."""
    in_checkout = not INSTALLED and Path.cwd().is_relative_to(HOME)
    return HYPOTHESES if in_checkout else Path.cwd() / "my_claims"


@contextmanager
def reports_in(folder: Path) -> Iterator[None]:
    """Uses this folder of reports while the block runs."""
    token = _REPORTS.set(folder.absolute())
    try:
        yield
    finally:
        _REPORTS.reset(token)
