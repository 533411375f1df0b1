"""Verdicts in words: a run's headline, estimates with their bars, and the limits of a verdict."""

import math
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from harness.inputs.model_catalog import ORGANISM
from harness.inputs.model_record import SHORT_ANSWER
from harness.inputs.prompts.prompt_rows import short
from harness.judging.means import WITHOUT_BOUNDS
from harness.judging.numerals import printed
from harness.judging.verdict import NOT_JUDGED, Word
from harness.measurements.questions import Answers, OpeningScores, Scores, Swept
from harness.results.quantity_words import phrase
from harness.results.rejudged import doubts, outcome
from harness.results.run_record import Judged, Run
from harness.subjects.published.recordings import RECORDED

# With fewer pairs, the page says that the interval is wide.
FEW = 50
# With fewer clusters, the page says so: pairs of one frame are not independent.
FEW_CLUSTERS = 20
# Of fewer units than this a share of one in twenty can be missing with a chance above the level of claims, 0.0025.
RARE = 117
# The one quantity that is yes or no, and the method of published means, which have no interval.
PASSES, PUBLISHED_MEAN = "direction passes the published filters", "published mean"
# Stands in for the word of a verdict that its numbers contradict.
DOUBTFUL = "DOUBTFUL"
# The words of verdicts in lists of runs, in this order.
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
    """A sentence on the verdicts on live models, and one on those on recorded models."""
    names = list(dict.fromkeys(verdict["model"] for verdict in run.verdicts))
    live = [name for name in names if not name.startswith(RECORDED)]
    recorded = [name for name in names if name.startswith(RECORDED)]
    text = " ".join(_tally(run, group) for group in (live, recorded) if group) or "No claim was judged."
    return text if run.finished else f"{_interrupted(run)}: {text[0].lower()}{text[1:]}"


def counts(run: Run, names: Container[str] | None = None) -> Counter[str]:
    """How many verdicts on these models (None: on all) have each word; DOUBTFUL where numbers contradict it."""
    wrong = doubts(run)
    return Counter(
        DOUBTFUL if (verdict["claim"], verdict["model"]) in wrong else verdict["word"]
        for verdict in run.verdicts
        if names is None or verdict["model"] in names
    )


def union_bound(run: Run) -> float:
    """An upper bound on the chance that any verdict is wrong, if every true value equals its bar (union bound)."""
    judged = (verdict["claim"] for verdict in run.verdicts if verdict["word"] not in NOT_JUDGED)
    return min(1.0, sum(run.claims[name]["level"] for name in judged if name in run.claims))


def deciding(verdict: Judged) -> Mapping[str, Any] | None:
    """The first estimate whose outcome is the verdict's word, else the first estimate; None if none is a number."""
    finite = [estimate for estimate in verdict["estimates"] if math.isfinite(estimate["value"])]
    alike = [estimate for estimate in finite if outcome(estimate) == verdict["word"]]
    return next(iter([*alike, *finite]), None)


def in_words(estimate: Mapping[str, Any]) -> str:
    """A sentence: what the quantity is, its value and interval, and whether that lies above or below the bar."""
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
    if estimate.get("excluded") and outcome({**estimate, "excluded": ""}) == "SUPPORTED":
        met = "above" if over else "below"
        return f"{head}; {whole}{met} {bar}, but that cannot support the claim: {estimate['excluded']}."
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
    """The value, its interval or how it was counted, and its bar if it has one: `+0.70 [+0.60, +0.80] > 0.30`."""
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
    """Why a number has no interval: it is a count, or a published mean."""
    method = str(estimate.get("method", ""))
    if method == PUBLISHED_MEAN:
        return method
    of = re.match(r"\d+ of \d+|\d+ \w+, where \d+ are asked for", method)
    return f"counted: {of[0]}" if of else "counted"


def numbers(estimates: Sequence[Mapping[str, Any]]) -> str:
    """Several estimates with their names, joined by semicolons."""
    return "; ".join(f"{phrase(estimate['name'])} {number(estimate)}" for estimate in estimates)


def limits(verdict: Judged, run: Run, kinds: Sequence[str], *, by_openings: bool = False) -> list[str]:
    """Sentences on what limits a verdict; `kinds` are those of its held-out evidence."""
    model, sentences, estimates = verdict["model"], [], verdict["estimates"]
    sizes = [estimate["n"] for estimate in estimates if estimate["unit"] in ("pairs", "prompts") and estimate["n"]]
    if sizes and min(sizes) < FEW:
        sentences.append(f"Few pairs: {min(sizes)}, so the interval is wide.")
    clusters = [count for estimate in estimates if (count := _clusters(estimate["method"])) is not None]
    if clusters and min(clusters) < FEW_CLUSTERS:
        sentences.append(f"The pairs come from {min(clusters)} frames only; pairs of one frame are not independent.")
    units = [_clusters(e["method"]) or e["n"] for e in estimates if WITHOUT_BOUNDS in e["method"]]
    if units and min(units) < RARE:
        sentences.append(
            f"A mean without bounds, of {min(units)} units: outliers too rare to be among them are not covered."
        )
    judged = (other for other in run.verdicts if other["word"] not in NOT_JUDGED)
    if len({other["model"] for other in judged if other["claim"] == verdict["claim"]}) == 1:
        sentences.append("One model: this run did not ask whether the claim holds on others.")
    if model.startswith(RECORDED):
        sentences.append(
            "Published judgements, counted again: nothing was measured, and unpublished controls are missing."
        )
    else:
        sentences.extend(_ways_of_telling(kinds, run.answer_tokens.get(model, SHORT_ANSWER), by_openings))
    sentences.extend(f"Of this model: {remark}." for remark in run.notes_on(model))
    if model.startswith(ORGANISM):
        sentences.append(
            "A small model trained to refuse in a known way: it tests the claim's test, not any real model."
        )
    if not model.startswith(RECORDED) and run.system is not None:
        sentences.append(f"Every chat began with a system prompt ({short(run.system)}); others can change answers.")
    if not model.startswith(RECORDED) and run.sampling is not None:
        sentences.append(f"The value of a prompt is the mean over {run.sampling.in_words}.")
    if not model.startswith(RECORDED) and run.quant != "none":
        sentences.append(f"Weights quantized to {run.quant}; this run did not ask the model in full precision.")
    return sentences


def _ways_of_telling(kinds: Sequence[str], tokens: int, by_openings: bool) -> Iterator[str]:
    """Sentences on how refusals were told, and on what that misses."""
    if Answers.KIND in kinds:
        yield (
            "Unless the claim names another judge, answers refuse if one of twelve phrases stands in their first "
            f"{tokens} tokens; other wordings are missed."
        )
        yield (
            "Whether an answer is language and on its topic is told by fixed limits, tried on organisms' answers alone."
        )
    elif by_openings or OpeningScores.KIND in kinds:
        yield "Judged by the odds of openings of several tokens, compared with answers on discovery prompts alone."
    elif Swept.KIND in kinds or Scores.KIND in kinds:
        yield "Judged by the odds that the first token refuses; answers only showed that the model refuses at all."


def _tally(run: Run, names: Sequence[str]) -> str:
    """A sentence on the verdicts on these models, all of them live or all recorded."""
    words = counts(run, names)
    doubtful = words.pop(DOUBTFUL, 0)
    total = sum(count for word, count in words.items() if word not in NOT_JUDGED) + doubtful
    others = [f"{words[word]} {text}" for word, text in _NOT_JUDGED.items() if words[word]]
    if doubtful:
        others.append(f"{doubtful} contradicted by {'its own' if doubtful == 1 else 'their own'} numbers")
    if not total:
        return f"Nothing was judged on {', '.join(names)}{': ' * bool(others)}{', '.join(others)}."
    rest = ", ".join([*(f"{words[word]} {word.lower()}" for word in _WORDS if words[word]), *others])
    if len(names) == 1:
        noun, on = "claims" if total != 1 else "claim", names[0]
    else:
        noun = "verdicts"
        on = f"{len(names)} {'recorded ' if names[0].startswith(RECORDED) else ''}models"
    return f"{words['SUPPORTED']} of {total} {noun} supported on {on}{'; ' + rest if rest else ''}."


def _interrupted(run: Run) -> str:
    """How many claims an unfinished run judged, of those it could judge."""
    judged = sum(verdict["word"] not in NOT_JUDGED for verdict in run.verdicts)
    if not run.expected:  # older runs did not record it
        return f"{judged} judged, interrupted"
    return f"{judged} of {run.expected - len(run.verdicts) + judged} judged, interrupted"


def _clusters(method: str) -> int | None:
    match = re.search(r"(\d+) clusters", method)
    return int(match[1]) if match else None
