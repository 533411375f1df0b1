"""Runs: what one call of pytest judged, from which evidence, on what machine. One folder a run, one JSON file."""

import json
import secrets
import time
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from harness.inputs.files import json_files
from harness.inputs.files.json_files import Count, Finite, Key, Malformed
from harness.inputs.files.whole_files import write_whole
from harness.inputs.machine import Machine, commit, libraries, machine, peak_bytes
from harness.inputs.model_record import ModelRecord
from harness.judging.verdict import Decided, Kept, Word
from harness.measurements.evidence import Imported

# Of run.json: raised when a member is added or means something else.
SCHEMA = 4
# Members that runs of the second schema do not have.
_ADDED = frozenset({"expected", "all_claims", "imported"})
# An estimate that could not be had is NaN.
_NAN = frozenset({"value", "low", "high"})

Name = Annotated[str, Meta(min_length=1, max_length=4096)]
"""Of a claim or a model."""


class Claimed(TypedDict):
    """A claim as it stood when it was judged."""

    title: str
    prose: str
    source: str
    bar: str
    file: str  # from the project's root where it lies within
    line: int
    level: Finite
    holds_on: list[str]
    fails_on: list[str]
    fingerprint: str


class Model(TypedDict):
    """A model as it was judged; `record` is a ModelRecord, or what is known of a recording."""

    fingerprint: str
    kind: Literal["live", "recorded"]
    record: dict[str, Any]


class Published(TypedDict):
    """What a run says of a recording."""

    hub: str
    source: str
    layers: int
    layer: int
    position: int
    n: Count
    cross_entropy: dict[str, Finite]
    judge: NotRequired[str]  # older runs have neither
    language: NotRequired[str]
    imported: NotRequired[Imported]


class Judged(TypedDict):
    """What one claim came to on one model."""

    claim: Name
    model: Name
    test: str  # node id
    word: Word
    reason: str
    estimates: list[Decided]
    beside: NotRequired[list[Kept]]  # reported, and decides nothing; older runs have none
    evidence: list[Key]  # of what it read, sorted
    imported: NotRequired[list[Key]]  # of these, what strangers had measured; older runs have none
    seconds: Finite
    recording_from: NotRequired[str]  # the bundle in which a stranger's recording came


@dataclass
class Run:
    """One call of pytest; written again after each verdict, so that whatever ends it leaves a Run."""

    command: list[str]
    quant: str
    device: str
    commit: str | None = field(default_factory=commit)
    started: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")] = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds")
    )
    seconds: Finite = 0.0
    finished: bool = False
    expected: Count = 0  # claims on models that it set out to judge; 0 where that was not kept
    all_claims: bool = False  # every claim of hypotheses/ was among them
    seed: int = 0
    libraries: dict[str, str] = field(default_factory=libraries)
    machine: Machine = field(default_factory=machine)
    peak_bytes: Count = 0  # the most that one of its processes held
    models: dict[Name, Model] = field(default_factory=dict)
    claims: dict[Name, Claimed] = field(default_factory=dict)
    verdicts: list[Judged] = field(default_factory=list)
    imported: Imported | None = None  # none: made here

    @classmethod
    def load(cls, path: Path) -> "Run":
        """The run of that folder or run.json; one sentence if it is none."""
        path = path / "run.json" if path.is_dir() else path
        with json_files.told(path, no="run as pytest writes them", do="give a folder of reports/runs"):
            return cls.parsed(json_files.contents(path))

    @classmethod
    def parsed(cls, raw: bytes) -> "Run":
        """The run that run.json holds; Malformed says at which place it is none."""
        values = json_files.parsed(raw, nan=_NAN)
        run = json_files.typed(values, cls, newest=SCHEMA)
        members = [one.name for one in fields(cls)]
        # What is not there is not made up.
        if missing := [name for name in members if name not in values and name not in _ADDED]:
            raise Malformed(f"$: object missing required field {missing[0]}")
        if others := sorted(values.keys() - {"schema", *members}):
            raise Malformed(f"$: there is no member {others[0]!r}")
        for name, model in run.models.items():
            known = ModelRecord if model["kind"] == "live" else Published
            json_files.fitting(model["record"], known, f"$.models.{name}.record")
        return run

    @property
    def as_json(self) -> bytes:
        """As run.json holds it."""
        return json.dumps({"schema": SCHEMA} | vars(self), ensure_ascii=False).encode()

    def save(self, folder: Path) -> None:
        """Writes run.json, whole or not at all."""
        write_whole(folder / "run.json", self.as_json, synced=self.finished)

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
