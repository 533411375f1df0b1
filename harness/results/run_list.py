"""The runs of a folder, each in short: read once, and kept beside its run.json for as long as that stays as it is."""

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

# Of summary.json: raised when a member is added, or comes out otherwise of the same run.
_SCHEMA = 2
_SUMMARY = "summary.json"
# The name of the newest run of one's own.
LAST = "last"


class Control(TypedDict):
    """What a claim came to on an organism that it names."""

    claim: str
    fingerprint: str  # the claim's
    organism: str
    word: Word
    numbers: str
    quant: str
    device: str
    evidence: list[str]  # the organism's record is in it


class Summary(TypedDict):
    """A run in short."""

    schema: int
    size: int  # of the run.json that it was made of
    changed: int  # when that was written, in nanoseconds
    started: str
    seconds: Finite
    command: list[str]
    models: list[str]
    headline: str
    words: dict[str, Count]
    judged: Count
    expected: Count  # 0: that was not kept
    finished: bool
    all_claims: bool
    controls: list[Control]
    imported: str  # the bundle it came in; empty: it was made here


@dataclass(frozen=True)
class Listed:
    """A folder with a run in it, or with something that cannot be read as one."""

    folder: Path
    summary: Summary | None
    problem: str = ""

    @property
    def began(self) -> datetime:
        """When, by what the run says; what cannot be read began before all."""
        if self.summary is None:
            return datetime.min.replace(tzinfo=UTC)
        return _time(self.summary["started"])

    @property
    def whole(self) -> bool:
        """Whether every claim of hypotheses/ was asked here, the end was reached, and something was judged."""
        one = self.summary
        return one is not None and one["finished"] and one["all_claims"] and one["judged"] > 0 and not self.imported

    @property
    def imported(self) -> bool:
        """Whether a stranger made it."""
        return self.summary is not None and bool(self.summary["imported"])

    @property
    def ended(self) -> str:
        """How the run ended, in words."""
        summary = self.summary
        came_in = f", imported from {summary['imported']}" if summary and summary["imported"] else ""
        if summary is None or not summary["finished"]:
            return "interrupted, or still running" + came_in
        if not summary["judged"]:
            return "finished, nothing judged" + came_in
        if not summary["expected"]:
            return "finished" + came_in
        return ("finished, all claims" if summary["all_claims"] else "finished, some of the claims") + came_in


def listed(folder: Path, *, keep: bool = False) -> list[Listed]:
    """Every run, the latest first, then what cannot be read; `keep` leaves each one's summary beside it."""
    found = [_listed(path, keep) for path in all_runs(folder)]
    return sorted(found, key=_when, reverse=True)


def all_runs(folder: Path) -> list[Path]:
    """The folders of runs, by name."""
    return sorted(path.parent for path in folder.glob("*/run.json"))


def latest(folder: Path) -> Path:
    """The folder of the run that began last, by what the runs say; a stranger's only where there is none of yours."""
    found = listed(folder)
    found = [one for one in found if one.summary is not None and not one.imported] or found
    require_runs(found, folder)
    if found[0].summary is None:
        raise AssayError(found[0].problem)
    return found[0].folder


def require_runs(runs: Sequence[Listed], folder: Path) -> None:
    """Refuses a folder without any run."""
    if not runs:
        raise AssayError(f"{folder}: holds no run yet; judge claims first: {places.JUDGE}")


def chosen(name: str | None, folder: Path) -> Path:
    """The folder of a run among those in `folder`, or anywhere if `name` is a path.

    `name` is None or "last", the run's number in `listed` (1 is the newest), a beginning that no other run's name has,
    or the path of its folder or run.json.
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
    if len(begins := [other for other in names if other.startswith(name)]) == 1:
        return folder / begins[0]
    if begins:
        raise AssayError(f"{len(begins)} runs begin with {name!r}: {', '.join(begins[:5])}; give more of its name")
    require_runs(runs, folder)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise AssayError(f"{folder}: holds no run {name!r}; {hint}`{places.PROGRAM} runs` lists all {len(runs)}")


def controls_in(run: Run) -> Iterator[Control]:
    """What its claims came to on organisms on which they are to hold or to fail, measured here, as its numbers say."""
    if run.imported is not None:
        return
    wrong = doubts(run)
    for one in run.verdicts:
        about = run.claims.get(one["claim"])
        organism = one["model"].removeprefix(ORGANISM)
        if about is None or organism == one["model"] or one.get("imported"):
            continue
        if (one["claim"], one["model"]) in wrong:
            continue
        if (one["word"], True) in (
            ("SUPPORTED", organism in about["holds_on"]),
            ("REFUTED", organism in about["fails_on"]),
        ):
            yield Control(
                claim=one["claim"],
                fingerprint=about["fingerprint"],
                organism=organism,
                word=one["word"],
                numbers=wording.numbers(one["estimates"]),
                quant=run.quant,
                device=run.device,
                evidence=_common(run, one["model"]),
            )


def _common(run: Run, model: str) -> list[str]:
    """What all verdicts on a model read, its record among it."""
    read = [set(one["evidence"]) for one in run.verdicts if one["model"] == model and one["word"] not in NOT_JUDGED]
    return sorted(set.intersection(*read))


def _listed(folder: Path, keep: bool) -> Listed:
    path = folder / "run.json"
    try:
        about = path.stat()
        size, changed = about.st_size, about.st_mtime_ns
        if (kept := _kept(folder / _SUMMARY, size, changed)) is not None:
            return Listed(folder, kept)
        summary = _summary(Run.load(path), size, changed)
    except OSError as error:
        return Listed(folder, None, f"{path}: cannot be read ({error.strerror})")
    except AssayError as error:
        return Listed(folder, None, str(error))
    if keep:
        with suppress(AssayError):  # it is read again the next time
            write_whole(folder / _SUMMARY, json.dumps(summary).encode(), synced=False)
    return Listed(folder, summary)


def _kept(path: Path, size: int, changed: int) -> Summary | None:
    """The summary that was kept of this very run.json; what is damaged or of another is made anew."""
    if not path.exists():
        return None
    try:
        found = json_files.read(path, Summary, no="summary", do="", newest=_SCHEMA)
        _time(found["started"])
    except (AssayError, ValueError, OverflowError):
        return None
    return found if (found["schema"], found["size"], found["changed"]) == (_SCHEMA, size, changed) else None


def _summary(run: Run, size: int, changed: int) -> Summary:
    try:
        _time(run.started)
    except (ValueError, OverflowError):
        raise AssayError(f"a run that began at {run.started!r}: there is no such time") from None
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
        judged=sum(one["word"] not in NOT_JUDGED for one in run.verdicts),
        expected=run.expected,
        finished=run.finished,
        all_claims=run.all_claims,
        controls=list(controls_in(run)),
        imported=run.imported["bundle"] if run.imported else "",
    )


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _names(run: Run) -> list[str]:
    return list(dict.fromkeys(one["model"] for one in run.verdicts))


def _when(one: Listed) -> tuple[bool, datetime, int, str]:
    """Runs of one second by when they were written last; what cannot be read comes after all."""
    summary = one.summary
    return summary is not None, one.began, 0 if summary is None else summary["changed"], one.folder.name
