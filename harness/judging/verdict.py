"""A claim's verdict, the estimates it rests on, pytest's outcome for it, and a run's exit code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from harness.inputs.errors import NotMeasured, Refused
from harness.inputs.files.json_files import Count, Finite, Key
from harness.judging.estimate import Comparison, Estimate, Inconclusive, Outcome, Refuted, Sign, unsupported

Word = Outcome | Literal["BROKEN", "UNFIT", "UNMEASURED", "SKIPPED"]

# Exit codes of a run; the first that applies is used. Verdicts that say nothing about a claim come before findings.
BROKEN, UNFIT, UNMEASURED, REFUTED, UNJUDGED, INCONCLUSIVE = 12, 13, 14, 1, 11, 10

# The model failed its examination; evidence was missing under --judge-only; the claim cannot be asked of this model.
NOT_JUDGED: frozenset[Word] = frozenset({"UNFIT", "UNMEASURED", "SKIPPED"})

OUTCOMES: dict[Word, Literal["passed", "failed", "skipped"]] = {
    "SUPPORTED": "passed",
    "REFUTED": "failed",
    "INCONCLUSIVE": "skipped",
    "BROKEN": "failed",
    "UNFIT": "failed",
    "UNMEASURED": "failed",
    "SKIPPED": "skipped",
}
LETTERS: dict[Word, str] = {
    "SUPPORTED": "S",
    "REFUTED": "R",
    "INCONCLUSIVE": "I",
    "BROKEN": "B",
    "UNFIT": "U",
    "UNMEASURED": "N",
    "SKIPPED": "s",
}


class Kept(TypedDict):
    """An estimate as a run keeps it."""

    name: str
    value: float  # NaN, as its interval is, where it has no number
    low: float
    high: float
    n: Count
    unit: str
    method: str
    nothing: NotRequired[str]  # missing in older runs
    excluded: NotRequired[str]  # missing in older runs
    evidence: NotRequired[list[Key]]  # fingerprints of what it was computed from; missing in older runs


class Decided(Kept):
    """An estimate with the bar that it was compared with."""

    sign: Sign
    bar: Finite


@dataclass(frozen=True)
class Verdict:
    """A verdict in plain builtins, so that pytest's workers can send it."""

    word: Word
    reason: str  # the comparison in words, or what went wrong
    estimates: tuple[Decided, ...] = ()


def verdict(error: BaseException | None, decided: Sequence[Comparison], skipped: type[BaseException]) -> Verdict:
    """The verdict of a test, from the exception it raised, if any, and its comparisons; `skipped` is pytest's class."""
    estimates = tuple(
        Decided(**plain(estimate), sign=sign, bar=float(bar))
        for comparison in decided
        for estimate, sign, bar in comparison.bars
    )
    match error:
        case None if why := unsupported(decided):
            return Verdict("BROKEN", why)
        case None:
            return Verdict("SUPPORTED", "; ".join(map(str, decided)), estimates)
        case Refuted():
            return Verdict("REFUTED", str(error), estimates)
        case Inconclusive():
            return Verdict("INCONCLUSIVE", str(error), estimates)
        case skipped():
            return Verdict("SKIPPED", str(error), estimates)
        case Refused():
            return Verdict("UNFIT", str(error), estimates)
        case NotMeasured():
            return Verdict("UNMEASURED", str(error), estimates)
        case _:
            return Verdict("BROKEN", f"{type(error).__name__}: {error}", estimates)


def plain(estimate: Estimate) -> Kept:
    """An estimate in plain builtins."""
    return {
        "name": estimate.name,
        "value": float(estimate.value),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "n": int(estimate.n),
        "unit": estimate.unit,
        "method": estimate.absent or estimate.method,
        "nothing": estimate.nothing,
        "excluded": estimate.excluded,
        "evidence": list(estimate.evidence),
    }


def estimate_of(kept: Mapping[str, Any]) -> Estimate:
    """Rebuilds an estimate from a run's record."""
    names = ("name", "value", "low", "high", "n", "method", "unit")
    known = {name: kept[name] for name in names}
    reasons = {name: kept.get(name, "") for name in ("nothing", "excluded")}
    return Estimate(**known, **reasons, evidence=tuple(kept.get("evidence", ())))


def exit_code(words: Sequence[Word]) -> int | None:
    """The exit code of a run with these verdicts; None where no claim was collected."""
    if not words:
        return None
    codes: dict[Word, int] = {"BROKEN": BROKEN, "UNFIT": UNFIT, "UNMEASURED": UNMEASURED, "REFUTED": REFUTED}
    for word, code in codes.items():
        if word in words:
            return code
    if set(words) == {"SKIPPED"}:
        return UNJUDGED
    return INCONCLUSIVE if set(words) & {"INCONCLUSIVE", "SKIPPED"} else 0
