"""Lists the runs in a folder; summaries are cached in summary.json beside run.json until that file changes."""

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.files import json_files
from harness.inputs.files.json_files import Count, Finite
from harness.inputs.files.whole_files import write_whole
from harness.inputs.model_catalog import ORGANISM
from harness.judging.verdict import NOT_JUDGED, Word
from harness.results import wording
from harness.results.rejudged import doubts
from harness.results.run_record import Run

# Of summary.json: raised when a field is added, or gets another value for the same run.
_SCHEMA = 2
_SUMMARY = "summary.json"
# A name for the newest run that was not imported.
LAST = "last"


class Control(TypedDict):
    """A claim that had the planted outcome on an organism that it names."""

    claim: str
    fingerprint: str  # the claim's
    organism: str
    word: Word
    numbers: str
    quant: str
    device: str
    evidence: list[str]  # fingerprints, the organism's record among them


class Summary(TypedDict):
    """The summary of a run, as summary.json holds it."""

    schema: int
    size: int  # of run.json, in bytes
    changed: int  # when run.json was last written, in nanoseconds
    started: str
    seconds: Finite
    command: list[str]
    models: list[str]
    headline: str
    words: dict[str, Count]
    judged: Count
    expected: Count  # 0: older runs did not record it
    finished: bool
    all_claims: bool
    controls: list[Control]
    imported: str  # name of the bundle it came in; empty: made here


@dataclass(frozen=True)
class Listed:
    """A folder with a run.json: its summary, or the problem why it cannot be read."""

    folder: Path
    summary: Summary | None
    problem: str = ""

    @property
    def began(self) -> datetime:
        """When the run began; a run that cannot be read counts as the oldest."""
        if self.summary is None:
            return datetime.min.replace(tzinfo=UTC)
        return _time(self.summary["started"])

    @property
    def whole(self) -> bool:
        """Whether the run was made here, finished, included every claim of hypotheses/, and judged at least one."""
        summary = self.summary
        if summary is None or self.imported:
            return False
        return summary["finished"] and summary["all_claims"] and summary["judged"] > 0

    @property
    def imported(self) -> bool:
        """Whether the run came in a bundle."""
        return self.summary is not None and bool(self.summary["imported"])

    @property
    def ended(self) -> str:
        """How the run ended, in words."""
        summary = self.summary
        imported = f", imported from {summary['imported']}" if summary and summary["imported"] else ""
        if summary is None or not summary["finished"]:
            return "interrupted, or still running" + imported
        if not summary["judged"]:
            return "finished, nothing judged" + imported
        if not summary["expected"]:
            return "finished" + imported
        return ("finished, all claims" if summary["all_claims"] else "finished, some of the claims") + imported


def listed(folder: Path, *, keep: bool = False) -> list[Listed]:
    """Every run, the newest first, then those that cannot be read; `keep` writes a summary.json beside each."""
    runs = [_listed(path, keep) for path in all_runs(folder)]
    return sorted(runs, key=_order, reverse=True)


def all_runs(folder: Path) -> list[Path]:
    """The folders of all runs, sorted by name."""
    return sorted(path.parent for path in folder.glob("*/run.json"))


def latest(folder: Path) -> Path:
    """The folder of the newest run; an imported one only if there is no other."""
    runs = listed(folder)
    require_runs(runs, folder)
    own = [run for run in runs if run.summary is not None and not run.imported]
    newest = (own or runs)[0]
    if newest.summary is None:
        raise AssayError(newest.problem)
    return newest.folder


def require_runs(runs: Sequence[Listed], folder: Path) -> None:
    """Raises AssayError if there is no run."""
    if not runs:
        raise AssayError(f"{folder}: no run yet; judge claims first: {places.JUDGE}")


def chosen(name: str | None, folder: Path) -> Path:
    """The folder of the run that `name` stands for.

    `name` is None or "last" (the newest run), a number in `listed` (1 is the newest), the name of a run in `folder` or
    a beginning that only one name has, or the path of any run's folder or run.json.
    """
    if name is None or name == LAST:
        return latest(folder)
    runs = listed(folder)
    if name.isdecimal() and 1 <= int(name) <= len(runs):
        return runs[int(name) - 1].folder
    path = Path(name).parent if Path(name).name == "run.json" else Path(name)
    if path.exists():
        return path
    names = [run.folder.name for run in runs]
    if name in names:
        return folder / name
    matches = [other for other in names if other.startswith(name)]
    if len(matches) == 1:
        return folder / matches[0]
    if matches:
        raise AssayError(
            f"{name}: {len(matches)} runs have names that begin so: {', '.join(matches[:5])}; give more of the name"
        )
    require_runs(runs, folder)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise AssayError(f"{folder}: there is no run {name!r}; {hint}`{places.PROGRAM} runs` lists all {len(runs)}")


def controls_in(run: Run) -> Iterator[Control]:
    """The claims of a run that held or failed on an organism as planted; none from imported runs or evidence."""
    if run.imported is not None:
        return
    wrong = doubts(run)
    for verdict in run.verdicts:
        name, model, word = verdict["claim"], verdict["model"], verdict["word"]
        claim = run.claims.get(name)
        if claim is None or not model.startswith(ORGANISM) or verdict.get("imported") or (name, model) in wrong:
            continue
        organism = model.removeprefix(ORGANISM)
        planted = {"SUPPORTED": claim["holds_on"], "REFUTED": claim["fails_on"]}
        if organism in planted.get(word, ()):
            yield Control(
                claim=name,
                fingerprint=claim["fingerprint"],
                organism=organism,
                word=word,
                numbers=wording.numbers(verdict["estimates"]),
                quant=run.quant,
                device=run.device,
                evidence=_read_by_all(run, model),
            )


def _read_by_all(run: Run, model: str) -> list[str]:
    """The evidence that all verdicts on a model read; the model's record is always among it."""
    judged = (verdict for verdict in run.verdicts if verdict["word"] not in NOT_JUDGED)
    return sorted(set.intersection(*(set(verdict["evidence"]) for verdict in judged if verdict["model"] == model)))


def _listed(folder: Path, keep: bool) -> Listed:
    path = folder / "run.json"
    try:
        status = path.stat()
        size, changed = status.st_size, status.st_mtime_ns
        if (cached := _cached(folder / _SUMMARY, size, changed)) is not None:
            return Listed(folder, cached)
        summary = _summary(path, Run.load(path), size, changed)
    except OSError as error:
        return Listed(folder, None, f"{path}: cannot be read ({error.strerror})")
    except AssayError as error:
        return Listed(folder, None, str(error))
    if keep:
        with suppress(AssayError):  # without a cache, run.json is read again the next time
            write_whole(folder / _SUMMARY, json.dumps(summary).encode(), synced=False)
    return Listed(folder, summary)


def _cached(path: Path, size: int, changed: int) -> Summary | None:
    """The cached summary; None if there is none, or it is damaged or of an earlier state of run.json."""
    if not path.exists():
        return None
    try:
        summary = json_files.read(path, Summary, no="summary", do="", newest=_SCHEMA)
        _time(summary["started"])
    except (AssayError, ValueError, OverflowError):
        return None
    current = (summary["schema"], summary["size"], summary["changed"]) == (_SCHEMA, size, changed)
    return summary if current else None


def _summary(path: Path, run: Run, size: int, changed: int) -> Summary:
    try:
        _time(run.started)
    except (ValueError, OverflowError):
        raise AssayError(f"{path}: the run began at {run.started!r}, which is no time") from None
    return Summary(
        schema=_SCHEMA,
        size=size,
        changed=changed,
        started=run.started,
        seconds=run.seconds,
        command=run.command,
        models=_names(run),
        headline=wording.headline(run),
        words=dict(wording.counts(run)),
        judged=sum(verdict["word"] not in NOT_JUDGED for verdict in run.verdicts),
        expected=run.expected,
        finished=run.finished,
        all_claims=run.all_claims,
        controls=list(controls_in(run)),
        imported=run.imported["bundle"] if run.imported else "",
    )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _names(run: Run) -> list[str]:
    return list(dict.fromkeys(verdict["model"] for verdict in run.verdicts))


def _order(run: Listed) -> tuple[bool, datetime, int, str]:
    """Sorts by start, then by when run.json was written; runs that cannot be read are the smallest."""
    summary = run.summary
    return summary is not None, run.began, 0 if summary is None else summary["changed"], run.folder.name
