"""The figure of what a claim asserts: every judged quantity with its interval and bar, and its placebo."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.report.drawing.figure_plan import Limits, Plan, scale
from harness.report.drawing.row_charts import JudgedRow, judged_rows
from harness.report.drawing.svg import Drawing
from harness.results.quantity_words import phrase
from harness.results.rejudged import outcome
from harness.results.run_record import Judged


def judged(verdicts: Sequence[Judged], level: float) -> Plan | None:
    """One figure of a claim's verdicts on all models; None where no quantity has a number."""
    rows = [row for verdict in verdicts for row in _rows(verdict, alone=len(verdicts) == 1)]
    if not any(row.bar is not None for row in rows):
        return None

    def draw(drawing: Drawing, limits: Limits) -> str:
        return judged_rows(drawing, rows, limits)

    caption = f"{100 * (1 - 2 * level):g}% intervals."
    drawn = [number for row in rows for number in (row.value, row.low, row.high, 0 if row.bar is None else row.bar)]
    return Plan("judged", "What is judged", caption, draw, scale(drawn), once=True)


def is_placebo(name: str) -> bool:
    """Whether a quantity was measured with random circuits or directions in place of the found ones."""
    return "random" in name


def _rows(verdict: Judged, *, alone: bool) -> Iterator[JudgedRow]:
    """The judged quantities of a verdict; where it is the only one, also its placebo and harmless behaviour."""
    model = verdict["model"].partition(":")[2] or verdict["model"]
    undecided = [estimate for estimate in verdict.get("beside", ()) if alone and math.isfinite(estimate["value"])]
    for judged_estimate in verdict["estimates"]:
        if math.isfinite(judged_estimate["value"]):
            name = phrase(judged_estimate["name"]) if alone else f"{model}: {judged_estimate['name']}"
            yield _row(judged_estimate, model if not alone and len(verdict["estimates"]) == 1 else name)
    for estimate in undecided:
        if is_placebo(estimate["name"]) or estimate["name"].endswith(", harmless behaviour"):
            yield _row(estimate, phrase(estimate["name"]))


def _row(estimate: Mapping[str, Any], name: str) -> JudgedRow:
    low, high = (estimate["value"] if math.isnan(estimate[bound]) else estimate[bound] for bound in ("low", "high"))
    if "bar" not in estimate:
        return JudgedRow(name, estimate["value"], low, high)
    return JudgedRow(name, estimate["value"], low, high, estimate["sign"], estimate["bar"], outcome(estimate))
