"""What a claim's test came to: a verdict, the estimates it rests on, and pytest's own outcome for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from harness.inputs.errors import NotMeasured, Refused
from harness.inputs.files.json_files import Count, Finite
from harness.judging.estimate import Comparison, Estimate, Inconclusive, Outcome, Refuted, unsupported

Word = Outcome | Literal["BROKEN", "UNFIT", "UNMEASURED", "SKIPPED"]

# Exit codes of a run, the first that applies: what says nothing of a claim goes before findings.
BROKEN, UNFIT, UNMEASURED, REFUTED, UNJUDGED, INCONCLUSIVE = 12, 13, 14, 1, 11, 10

# The model was refused; evidence alone did not do; the claim cannot be asked of this model.
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
    value: float  # NaN, like its interval, where there is none
    low: float
    high: float
    n: Count
    unit: str
    method: str
    nothing: NotRequired[str]  # older runs have none


class Decided(Kept):
    """An estimate that was held against a bar."""

    sign: Literal[">", "<"]
    bar: Finite


@dataclass(frozen=True)
class Verdict:
    """Plain builtins only, so that it crosses processes."""

    word: Word
    reason: str  # the comparison in words, or what went wrong
    estimates: tuple[Decided, ...] = ()


def verdict(error: BaseException | None, decided: Sequence[Comparison], skipped: type[BaseException]) -> Verdict:
    """From what the test raised, if anything, and the comparisons it made; `skipped` is pytest's own."""
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
    }


def estimate_of(kept: Mapping[str, Any]) -> Estimate:
    """The estimate again, as far as a run keeps it."""
    names = ("name", "value", "low", "high", "n", "method", "unit")
    return Estimate(**{name: kept[name] for name in names}, nothing=kept.get("nothing", ""))


def exit_code(words: Sequence[Word]) -> int | None:
    """Of a run with these verdicts; None where no claim was collected."""
    if not words:
        return None
    codes: dict[Word, int] = {"BROKEN": BROKEN, "UNFIT": UNFIT, "UNMEASURED": UNMEASURED, "REFUTED": REFUTED}
    for word, code in codes.items():
        if word in words:
            return code
    if set(words) == {"SKIPPED"}:
        return UNJUDGED
    return INCONCLUSIVE if set(words) & {"INCONCLUSIVE", "SKIPPED"} else 0
