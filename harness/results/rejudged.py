"""Judges recorded verdicts again from their estimates, and says where a verdict's word does not follow from them."""

import ast
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, get_args

from harness.judging.estimate import Outcome, decided, worst
from harness.judging.numerals import bar_text, printed
from harness.judging.verdict import estimate_of
from harness.results.run_record import Judged, Run

# Longer texts are not parsed: no claim's assert is that long.
_LONGEST = 10_000


def outcome(recorded: Mapping[str, Any]) -> Outcome:
    """The outcome of a recorded estimate against its bar."""
    return decided(estimate_of(recorded), recorded["sign"], recorded["bar"])


def doubts(run: Run) -> dict[tuple[str, str], str]:
    """(claim, model) → why the verdict's word does not follow from its numbers, for those where it does not."""
    reasons = {}
    for verdict in run.verdicts:
        claim = run.claims.get(verdict["claim"])
        if reason := doubt(verdict, claim["bar"] if claim else ""):
            reasons[verdict["claim"], verdict["model"]] = reason
    return reasons


def doubt(verdict: Judged, bar: str) -> str:
    """Why a verdict does not follow from its estimates and the claim's assert `bar`; empty if it does."""
    word, estimates = verdict["word"], verdict["estimates"]
    judged = word in get_args(Outcome)
    if not estimates:
        return (
            "" if word == "INCONCLUSIVE" or not judged else f"it says {word}, but no estimate was compared with a bar"
        )
    outcomes = [outcome(estimate) for estimate in estimates]
    follows = worst(outcomes)
    if not judged and follows == "SUPPORTED":  # the claim failed after its bars were met
        return ""
    if follows != word:
        deciding = next(estimate for estimate, own in zip(estimates, outcomes, strict=True) if own == follows)
        return f"it says {word}, but its numbers say {follows}: {_with_bar(deciding)}"
    missing = _bars(bar) - Counter((estimate["sign"], float(estimate["bar"])) for estimate in estimates)
    if missing:
        written = " and ".join(f"{sign} {bar_text(number)}" for sign, number in missing)
        return f"the claim's bar is {written}, but no estimate was compared with that"
    return ""


def _with_bar(estimate: Mapping[str, Any]) -> str:
    if math.isnan(estimate["value"]):
        return f"{estimate['name']} {estimate['sign']} {bar_text(estimate['bar'])} has no number: {estimate['method']}"
    numbers = printed(estimate["value"], estimate["low"], estimate["high"], estimate["bar"])
    return f"{estimate['name']} {numbers.held_to(estimate['sign'])}"


def _bars(text: str) -> Counter[tuple[str, float]]:
    """The signs and numbers of an assert's comparisons, counted; empty if its source cannot be parsed."""
    try:
        tree = ast.parse(text[:_LONGEST], mode="eval")
        compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare) and len(node.ops) == 1]
        signs = {ast.Gt: ">", ast.Lt: "<"}
        return Counter(
            (signs[type(node.ops[0])], float(ast.literal_eval(node.comparators[0])))
            for node in compared
            if type(node.ops[0]) in signs
        )
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return Counter()
