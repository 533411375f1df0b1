"""What a run's verdicts say, in words: the headline, estimates beside their bars, and what limits them."""

import math
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

from harness.inputs.model_catalog import ORGANISM
from harness.judging.numerals import printed
from harness.judging.verdict import NOT_JUDGED, Word
from harness.results.quantity_words import phrase
from harness.results.rejudged import doubts, outcome
from harness.results.run_record import Judged, Run
from harness.subjects.published.recordings import RECORDED

# Of fewer pairs an interval is wide, whatever it says.
FEW = 50
# Few templates are few witnesses, however many pairs were made of each.
FEW_CLUSTERS = 20
# The one quantity that is a yes or no, and the method of those whose interval was never published.
PASSES, PUBLISHED_MEAN = "direction passes the published filters", "published mean"
# In place of a word that its numbers contradict.
DOUBTFUL = "DOUBTFUL"
# Words of verdicts in a list of runs, in this order.
SHORT_WORDS: Mapping[str, str] = {
    "SUPPORTED": "supported",
    "REFUTED": "refuted",
    "INCONCLUSIVE": "inconclusive",
    "BROKEN": "broken",
    DOUBTFUL: "contradicted by their numbers",
    "UNFIT": "not judged, model refused",
    "UNMEASURED": "never measured",
    "SKIPPED": "skipped",
}
_WORDS: tuple[Word, ...] = ("REFUTED", "INCONCLUSIVE", "BROKEN")
_NOT_JUDGED: dict[Word, str] = {"UNFIT": "not judged, the model was refused", "UNMEASURED": "never measured"}


def headline(run: Run) -> str:
    """What came out, in a sentence; recorded models, if there are others, in one of their own."""
    names = list(dict.fromkeys(one["model"] for one in run.verdicts))
    live = [name for name in names if not name.startswith(RECORDED)]
    recorded = [name for name in names if name.startswith(RECORDED)]
    said = " ".join(_came_out(run, group) for group in (live, recorded) if group) or "No claim was judged."
    return said if run.finished else f"{_interrupted(run)}: {said[0].lower()}{said[1:]}"


def counts(run: Run, names: Container[str] | None = None) -> Counter[str]:
    """How often each word was said of these models, or all; words that do not follow from their numbers apart."""
    wrong = doubts(run)
    return Counter(
        DOUBTFUL if (one["claim"], one["model"]) in wrong else one["word"]
        for one in run.verdicts
        if names is None or one["model"] in names
    )


def union_bound(run: Run) -> float:
    """At most how likely any of the verdicts shown is wrong, were every claim false and at its bar."""
    judged = (one["claim"] for one in run.verdicts if one["word"] not in NOT_JUDGED and one["claim"] in run.claims)
    return min(1.0, sum(run.claims[name]["level"] for name in judged))


def deciding(found: Judged) -> Mapping[str, Any] | None:
    """The estimate on which the verdict rests: the first that came out as it did, or the first there is."""
    there = [one for one in found["estimates"] if math.isfinite(one["value"])]
    alike = [one for one in there if outcome(one) == found["word"]]
    return next(iter([*alike, *there]), None)


def in_words(estimate: Mapping[str, Any]) -> str:
    """A sentence: what the quantity is, its value and interval, and where that lies to the bar."""
    name, over = phrase(estimate["name"]), estimate["sign"] == ">"
    name = name[:1].upper() + name[1:]
    if not math.isfinite(estimate["value"]):
        return f"{name}: no number. {estimate['method']}."
    shown = printed(estimate["value"], estimate["low"], estimate["high"], estimate["bar"], sign="")
    counted = estimate["low"] == estimate["high"]
    head = f"{name}: {shown.value} ({_counted(estimate)})" if counted else f"{name}: {shown}"
    bar, whole = f"the bar of {shown.bar}", "" if counted else "the whole interval is "
    if estimate.get("nothing"):
        return f"{head}; but that decides nothing about {bar}: {estimate['nothing']}."
    match outcome(estimate):
        case "SUPPORTED":
            return f"{head}; {whole}{'above' if over else 'below'} {bar}."
        case "REFUTED":
            side, needed = ("below", "above") if over else ("above", "below")
            return f"{head}; {whole}{side} {bar}, and it had to be {needed}."
        case _ if counted:
            return f"{head}; it equals {bar} and decides nothing."
        case _:
            return f"{head}; {bar} lies within the interval, so it decides nothing."


def number(estimate: Mapping[str, Any]) -> str:
    """The value, its interval or that it is a count, and its bar if it has one."""
    if not math.isfinite(estimate["value"]):
        return str(estimate["method"])
    if estimate["name"] == PASSES:
        return "yes" if estimate["value"] else "no"
    shown = printed(estimate["value"], estimate["low"], estimate["high"], estimate.get("bar"))
    bar = f" {estimate['sign']} {shown.bar}" if shown.bar else ""
    if estimate["low"] == estimate["high"]:
        return f"{shown.value} ({_counted(estimate)}){bar}"
    counted = re.match(r"\d+ of \d+, ", estimate.get("method", ""))
    return f"{counted[0] if counted else ''}{shown}{bar}"


def _counted(estimate: Mapping[str, Any]) -> str:
    """Why a number has no interval."""
    method = str(estimate.get("method", ""))
    if method == PUBLISHED_MEAN:
        return method
    of = re.match(r"\d+ of \d+|\d+ \w+, where \d+ are asked for", method)
    return f"counted: {of[0]}" if of else "counted"


def numbers(estimates: Sequence[Mapping[str, Any]]) -> str:
    """Estimates in short, one after the other."""
    return "; ".join(f"{phrase(one['name'])} {number(one)}" for one in estimates)


def limits(found: Judged, run: Run, kinds: Sequence[str]) -> list[str]:
    """What to bear in mind of a verdict, in plain words; `kinds` are those of its held-out evidence."""
    model, said = found["model"], []
    sizes = [one["n"] for one in found["estimates"] if one["unit"] in ("pairs", "prompts") and one["n"]]
    if sizes and min(sizes) < FEW:
        said.append(f"Few pairs: {min(sizes)}, so the interval is wide.")
    clusters = [count for one in found["estimates"] if (count := _clusters(one["method"])) is not None]
    if clusters and min(clusters) < FEW_CLUSTERS:
        said.append(f"The pairs come from {min(clusters)} templates only; pairs of one template are not independent.")
    others = {one["model"] for one in run.verdicts if one["claim"] == found["claim"] and one["word"] not in NOT_JUDGED}
    if len(others) == 1:
        said.append("One model: this run did not ask whether the claim holds on others.")
    if model.startswith(RECORDED):
        said.append("Published judgements, counted again: nothing was measured, and unpublished controls are missing.")
    elif "answers" in kinds:
        said.append(
            "Answers refuse if one of twelve phrases stands in their first 24 tokens; other wordings are missed."
        )
    elif "swept" in kinds or "scores" in kinds:
        said.append(
            "Judged by the odds that the first token refuses; answers only showed that the model refuses at all."
        )
    if model.startswith(ORGANISM):
        said.append("A small model trained to refuse in a known way: it tests the claim's test, not any real model.")
    if not model.startswith(RECORDED) and run.quant != "none":
        said.append(f"Weights quantized to {run.quant}; this run did not ask the model in full precision.")
    return said


def _came_out(run: Run, names: Sequence[str]) -> str:
    words = counts(run, names)
    doubtful = words.pop(DOUBTFUL, 0)
    total = sum(count for word, count in words.items() if word not in NOT_JUDGED) + doubtful
    said = [f"{words[word]} {text}" for word, text in _NOT_JUDGED.items() if words[word]]
    if doubtful:
        said.append(f"{doubtful} contradicted by {'its own' if doubtful == 1 else 'their own'} numbers")
    if not total:
        return f"Nothing was judged on {', '.join(names)}{': ' * bool(said)}{', '.join(said)}."
    rest = ", ".join([*(f"{words[word]} {word.lower()}" for word in _WORDS if words[word]), *said])
    if len(names) == 1:
        noun, on = "claims" if total != 1 else "claim", names[0]
    else:
        noun = "verdicts"
        on = f"{len(names)} {'recorded ' if names[0].startswith(RECORDED) else ''}models"
    return f"{words['SUPPORTED']} of {total} {noun} supported on {on}{'; ' + rest if rest else ''}."


def _interrupted(run: Run) -> str:
    """How far a run came that did not reach its end; those that cannot be judged count for nothing."""
    judged = sum(one["word"] not in NOT_JUDGED for one in run.verdicts)
    if not run.expected:  # older runs did not keep it
        return f"{judged} judged, interrupted"
    return f"{judged} of {run.expected - len(run.verdicts) + judged} judged, interrupted"


def _clusters(method: str) -> int | None:
    found = re.search(r"(\d+) clusters", method)
    return int(found[1]) if found else None
