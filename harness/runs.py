"""Runs: what one call of pytest judged, from which evidence, on what machine. One folder a run, one JSON file."""

import json
import secrets
import time
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict

from harness.environment import commit, libraries, machine, peak_bytes
from harness.errors import AssayError
from harness.evidence import write_whole
from harness.pairs import DATA
from harness.verdicts import Word

RUNS = DATA.parent / "reports" / "runs"


class Claimed(TypedDict):
    """A claim as it stood when it was judged."""

    title: str
    prose: str
    source: str
    bar: str
    file: str  # from the project's root where it lies within
    line: int
    level: float
    holds_on: list[str]
    fails_on: list[str]
    fingerprint: str


class Model(TypedDict):
    """A model as it was judged; `record` is a ModelRecord, or what is known of a recording."""

    fingerprint: str
    kind: Literal["live", "recorded"]
    record: dict[str, Any]


class Judged(TypedDict):
    """What one claim came to on one model."""

    claim: str
    model: str
    test: str  # node id
    word: Word
    reason: str
    estimates: list[dict[str, Any]]
    beside: list[dict[str, Any]]  # reported, and decides nothing
    evidence: list[str]  # fingerprints of what it read, sorted
    seconds: float


@dataclass
class Run:
    """One call of pytest; written again after each verdict, so that whatever ends it leaves a Run."""

    command: list[str]
    quant: str
    device: str
    commit: str | None = field(default_factory=commit)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: float = 0.0
    finished: bool = False
    seed: int = 0
    libraries: dict[str, str] = field(default_factory=libraries)
    machine: dict[str, Any] = field(default_factory=machine)
    peak_bytes: int = 0  # the most that one of its processes held
    models: dict[str, Model] = field(default_factory=dict)
    claims: dict[str, Claimed] = field(default_factory=dict)
    verdicts: list[Judged] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "Run":
        """The run of that folder or run.json; one sentence if it is none."""
        path = path / "run.json" if path.is_dir() else path
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{one.name: values[one.name] for one in fields(cls)})
        except OSError as error:
            raise AssayError(f"{path}: cannot be read ({error.strerror}); give a folder of reports/runs") from None
        except (ValueError, KeyError, TypeError):
            raise AssayError(f"{path}: is no run as pytest writes them; give a folder of reports/runs") from None

    def save(self, folder: Path) -> None:
        """Writes run.json, whole or not at all."""
        text = json.dumps(vars(self), ensure_ascii=False)
        write_whole(folder / "run.json", text.encode(), synced=self.finished)

    @property
    def evidence(self) -> list[str]:
        """Fingerprints of all that its claims read."""
        return sorted({key for one in self.verdicts for key in one["evidence"]})


class Writer:
    """A run while it goes on."""

    def __init__(self, runs: Path, run: Run) -> None:
        started = run.started.replace("-", "").replace(":", "").partition("+")[0]
        self.folder, self.run = runs / f"{started}Z-{secrets.token_hex(3)}", run
        self._began = time.perf_counter()
        self._verdicts: dict[str, Judged] = {}

    def judged(self, verdict: Judged, claim: Claimed | None, model: Model | None, peak: int) -> None:
        """Keeps a verdict; the last one of a test counts."""
        self._verdicts[verdict["test"]] = verdict
        self.run.verdicts = list(self._verdicts.values())
        if claim is not None:
            self.run.claims[verdict["claim"]] = claim
        if model is not None:
            self.run.models[verdict["model"]] = model
        self.save(peak)

    def save(self, peak: int = 0, *, finished: bool = False) -> None:
        """Writes it as it stands."""
        self.run.seconds, self.run.finished = time.perf_counter() - self._began, finished
        self.run.peak_bytes = max(self.run.peak_bytes, peak, peak_bytes())
        self.run.save(self.folder)


def runs_beside(evidence: Path) -> Path:
    """Where the runs are kept that read this folder of evidence."""
    return evidence.parent / "runs"


def all_runs(folder: Path = RUNS) -> list[Path]:
    """The folders of runs, the latest last."""
    return sorted(path.parent for path in folder.glob("*/run.json"))


def latest(folder: Path = RUNS) -> Path:
    """The folder of the latest run."""
    found = all_runs(folder)
    if not found:
        raise AssayError(f"{folder}: holds no run yet; judge claims first: pytest hypotheses")
    return found[-1]


def chosen(run: Path | None, folder: Path = RUNS) -> Path:
    """The folder of the run that was asked for, by its path or by its name among these; none: the latest."""
    if run is None:
        return latest(folder)
    run = run.parent if run.name == "run.json" else run
    return run if run.exists() or not (folder / run).exists() else folder / run
