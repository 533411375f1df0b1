"""Every verdict judged again from the numbers beside it: a word that does not follow from them is found."""

import ast
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, get_args

from harness.judging.estimate import Outcome, decided, worst
from harness.judging.numerals import bar_text, printed
from harness.judging.verdict import estimate_of
from harness.results.run_record import Judged, Run

# Longer texts are no bars that people wrote.
_LONGEST = 10_000


def outcome(kept: Mapping[str, Any]) -> Outcome:
    """What a kept estimate's interval makes of its own bar."""
    return decided(estimate_of(kept), kept["sign"], kept["bar"])


def doubts(run: Run) -> dict[tuple[str, str], str]:
    """(claim, model) → why the verdict's word does not follow from its numbers; of most runs nothing."""
    found = {}
    for one in run.verdicts:
        about = run.claims.get(one["claim"])
        if why := doubt(one, about["bar"] if about else ""):
            found[one["claim"], one["model"]] = why
    return found


def doubt(found: Judged, bar: str) -> str:
    """Why a verdict does not follow from its numbers, or from the bars as the claim wrote them; empty if it does."""
    word, estimates = found["word"], found["estimates"]
    judged = word in get_args(Outcome)
    if not estimates:
        return "" if word == "INCONCLUSIVE" or not judged else f"it says {word}, and no estimate was held against a bar"
    outcomes = [outcome(one) for one in estimates]
    follows = worst(outcomes)
    if not judged and follows == "SUPPORTED":  # it went wrong after it had asserted
        return ""
    if follows != word:
        deciding = next(one for one, came in zip(estimates, outcomes, strict=True) if came == follows)
        return f"it says {word}, and its numbers come to {follows}: {_said(deciding)}"
    missing = _bars(bar) - Counter((one["sign"], float(one["bar"])) for one in estimates)
    if missing:
        written = " and ".join(f"{sign} {bar_text(number)}" for sign, number in missing)
        return f"the claim's bar is {written}, and no estimate was held against that"
    return ""


def _said(kept: Mapping[str, Any]) -> str:
    if math.isnan(kept["value"]):
        return f"{kept['name']} {kept['sign']} {bar_text(kept['bar'])} has no number: {kept['method']}"
    numbers = printed(kept["value"], kept["low"], kept["high"], kept["bar"])
    return f"{kept['name']} {numbers.held_to(kept['sign'])}"


def _bars(text: str) -> Counter[tuple[str, float]]:
    """The signs and numbers in an assert as it is written; none where it cannot be read."""
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
