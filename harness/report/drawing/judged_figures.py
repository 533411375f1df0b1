"""What a claim asserts, drawn: every judged quantity with its interval and its bar, and the placebo beside it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.report.drawing.figure_plan import Plan, scale
from harness.report.drawing.row_charts import JudgedRow, judged_rows
from harness.report.drawing.svg import Drawing
from harness.results.quantity_words import phrase
from harness.results.rejudged import outcome
from harness.results.run_record import Judged


def judged(verdicts: Sequence[Judged], level: float) -> Plan | None:
    """One figure of all models' verdicts on a claim; none where no quantity has a number."""
    rows = [row for one in verdicts for row in _rows(one, alone=len(verdicts) == 1)]
    if not any(row.bar is not None for row in rows):
        return None

    def draw(drawing: Drawing, limits: tuple[float, float]) -> str:
        return judged_rows(drawing, rows, limits)

    caption = f"{100 * (1 - 2 * level):g}% intervals; a verdict needs the whole line on one side of its bar."
    every = [end for row in rows for end in (row.value, row.low, row.high, 0 if row.bar is None else row.bar)]
    return Plan("judged", "What is judged", caption, draw, scale(every))


def is_placebo(name: str) -> bool:
    """Whether a quantity is about something random in place of what was found."""
    return "random" in name


def _rows(found: Judged, *, alone: bool) -> Iterator[JudgedRow]:
    """Of one model alone also what the quantities are made of, and its placebo."""
    model = found["model"].partition(":")[2] or found["model"]
    beside = [one for one in found.get("beside", ()) if alone and math.isfinite(one["value"])]
    for one in beside:
        if one["name"].startswith("depth of") and "," not in one["name"]:
            yield _row(one, phrase(one["name"]))
    for estimate in found["estimates"]:
        if math.isfinite(estimate["value"]):
            name = phrase(estimate["name"]) if alone else f"{model}: {estimate['name']}"
            yield _row(estimate, model if not alone and len(found["estimates"]) == 1 else name)
    for one in beside:
        if is_placebo(one["name"]):
            yield _row(one, phrase(one["name"]))


def _row(kept: Mapping[str, Any], name: str) -> JudgedRow:
    low, high = (kept["value"] if math.isnan(kept[end]) else kept[end] for end in ("low", "high"))
    if "bar" not in kept:
        return JudgedRow(name, kept["value"], low, high)
    return JudgedRow(name, kept["value"], low, high, kept["sign"], kept["bar"], outcome(kept))
