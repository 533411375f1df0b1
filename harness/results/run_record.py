"""The record of a run: what one call of pytest judged, from which evidence, on which machine; kept as run.json."""

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
from harness.inputs.model_record import SHORT_ANSWER, ModelRecord, Sampling
from harness.judging.verdict import Decided, Kept, Word
from harness.measurements.evidence import Imported

# Of run.json: raised when a field is added or changes its meaning.
SCHEMA = 4
# Fields that runs of the second schema do not have.
_ADDED = frozenset({"expected", "all_claims", "imported"})
# Fields that may be NaN: an estimate without a number.
_NAN = frozenset({"value", "low", "high"})

Name = Annotated[str, Meta(min_length=1, max_length=4096)]
"""The name of a claim or a model."""


class Claimed(TypedDict):
    """A claim as it was when it was judged."""

    title: str
    prose: str
    source: str
    bar: str
    file: str  # relative to the project's root if inside it
    line: int
    level: Finite
    primary: NotRequired[bool]  # missing in older runs
    holds_on: list[str]
    fails_on: list[str]
    fingerprint: str


class Model(TypedDict):
    """A model as it was judged; `record` is a ModelRecord, or a Published for a recording."""

    fingerprint: str
    kind: Literal["live", "recorded"]
    record: dict[str, Any]


class Published(TypedDict):
    """The record of a recording of published judgements."""

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
    """One claim's verdict on one model."""

    claim: Name
    model: Name
    test: str  # node id
    word: Word
    reason: str
    estimates: list[Decided]
    beside: NotRequired[list[Kept]]  # estimates without a bar; older runs have none
    evidence: list[Key]  # fingerprints of what it read, sorted
    imported: NotRequired[list[Key]]  # those of `evidence` that were imported; older runs have none
    seconds: Finite
    recording_from: NotRequired[str]  # the bundle that an imported recording came in


@dataclass
class Run:
    """One call of pytest; written after every verdict, so that an interrupted call leaves a valid record."""

    command: list[str]
    quant: str
    device: str
    commit: str | None = field(default_factory=commit)
    started: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")] = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds")
    )
    seconds: Finite = 0.0
    finished: bool = False
    expected: Count = 0  # verdicts that it set out to reach; 0 in older runs, which did not record it
    all_claims: bool = False  # whether every claim of hypotheses/ is among them
    seed: int = 0
    libraries: dict[str, str] = field(default_factory=libraries)
    machine: Machine = field(default_factory=machine)
    peak_bytes: Count = 0  # the largest peak memory of its processes
    models: dict[Name, Model] = field(default_factory=dict)
    claims: dict[Name, Claimed] = field(default_factory=dict)
    verdicts: list[Judged] = field(default_factory=list)
    imported: Imported | None = None  # None: made here

    @classmethod
    def load(cls, path: Path) -> "Run":
        """The run in a folder or run.json; raises AssayError if it cannot be read as one."""
        path = path / "run.json" if path.is_dir() else path
        with json_files.told(path, no="run as pytest writes them", do="give a folder of reports/runs"):
            return cls.parsed(json_files.contents(path))

    @classmethod
    def parsed(cls, raw: bytes) -> "Run":
        """The run in the text of run.json; raises Malformed, which names the place, if it is not one."""
        values = json_files.parsed(raw, nan=_NAN)
        run = json_files.typed(values, cls, newest=SCHEMA)
        names = [member.name for member in fields(cls)]
        # msgspec fills absent fields with defaults: only fields that older runs lack may be absent.
        if missing := [name for name in names if name not in values and name not in _ADDED]:
            raise Malformed(f"$: object missing required field {missing[0]}")
        if others := sorted(values.keys() - {"schema", *names}):
            raise Malformed(f"$: there is no member {others[0]!r}")
        for name, model in run.models.items():
            form = ModelRecord if model["kind"] == "live" else Published
            json_files.fitting(model["record"], form, f"$.models.{name}.record")
        return run

    @property
    def as_json(self) -> bytes:
        """The content of run.json."""
        return json.dumps({"schema": SCHEMA} | vars(self), ensure_ascii=False).encode()

    @property
    def system(self) -> str | None:
        """The system prompt of all its chats."""
        told = (model["record"].get("system") for model in self.models.values() if model["kind"] == "live")
        return next((prompt for prompt in told if prompt is not None), None)

    @property
    def answer_tokens(self) -> dict[Name, int]:
        """Live model → the most tokens of its answers; older runs did not record that it was 24."""
        live = {name: model["record"] for name, model in self.models.items() if model["kind"] == "live"}
        return {name: record.get("answer_tokens", SHORT_ANSWER) for name, record in live.items()}

    @property
    def sampling(self) -> Sampling | None:
        """How the answers of its live models were drawn; None: greedily."""
        drawn = (model["record"].get("sampling") for model in self.models.values() if model["kind"] == "live")
        return next((Sampling(**how) for how in drawn if how is not None), None)

    def notes_on(self, model: str) -> list[str]:
        """Remarks of a live model's examination, which readers of its verdicts should know."""
        known = self.models.get(model)
        if known is None or known["kind"] != "live":
            return []
        return list(known["record"]["examination"].get("remarks", ()))

    def save(self, folder: Path) -> None:
        """Writes run.json completely or not at all."""
        write_whole(folder / "run.json", self.as_json, synced=self.finished)

    @property
    def evidence(self) -> list[str]:
        """Fingerprints of all evidence that its verdicts read, sorted."""
        return sorted({key for verdict in self.verdicts for key in verdict["evidence"]})


class Writer:
    """Writes the record of a run that is still going on, to a folder of its own."""

    def __init__(self, runs: Path, run: Run) -> None:
        started = run.started.replace("-", "").replace(":", "").partition("+")[0]
        self.folder, self.run = runs / f"{started}Z-{secrets.token_hex(3)}", run
        self._began = time.perf_counter()
        self._verdicts: dict[str, Judged] = {}

    def judged(self, verdict: Judged, claim: Claimed | None, model: Model | None, peak: int) -> None:
        """Adds a verdict and writes the run; a later verdict of the same test replaces it."""
        self._verdicts[verdict["test"]] = verdict
        self.run.verdicts = list(self._verdicts.values())
        if claim is not None:
            self.run.claims[verdict["claim"]] = claim
        if model is not None:
            self.run.models[verdict["model"]] = model
        self.save(peak)

    def save(self, peak: int = 0, *, finished: bool = False) -> None:
        """Writes the run as it is now."""
        self.run.seconds, self.run.finished = time.perf_counter() - self._began, finished
        self.run.peak_bytes = max(self.run.peak_bytes, peak, peak_bytes())
        self.run.save(self.folder)


def runs_beside(evidence: Path) -> Path:
    """The folder of runs that belongs to a folder of evidence."""
    return evidence.parent / "runs"
