"""Figures before their scale is known, and what their plans have in common."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from harness.judging.proportions import Interval
from harness.report.drawing import row_charts
from harness.report.drawing.charts import Series
from harness.report.drawing.svg import Drawing
from harness.results.verdict_evidence import layer_of

# Of a ranking, so many are drawn.
TOP = 15
# Scales of small effects are not blown up beyond this.
LEAST_LIMIT = 0.1
SHARE = "share of the effect (1: as its twin)"
Ends = tuple[float, float]
"""The least and the largest value that a scale holds."""


@dataclass(frozen=True)
class Plan:
    """A figure before its scale is known: what it needs of it, so that models can share the widest."""

    name: str
    title: str
    caption: str
    draw: Callable[[Drawing, Ends], str]
    ends: Ends = (0.0, 0.0)


def strip_of(
    name: str,
    title: str,
    caption: str,
    axis: str,
    rows: Sequence[tuple[str, Sequence[Interval]]],
    holds: float = LEAST_LIMIT,
) -> Plan:
    """A strip of rows, each a value with its interval or several of them, at least so wide."""

    def draw(drawing: Drawing, ends: Ends) -> str:
        return row_charts.strip(drawing, rows, axis, ends)

    return Plan(name, title, caption, draw, scale([holds, *(end for _, found in rows for end in bounds_of(found))]))


def grouped(some: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """By key, in the order of first appearance."""
    found: dict[Any, list[Any]] = {}
    for one in some:
        found.setdefault(key(one), []).append(one)
    return list(found.items())


def line_of(name: str, found: Sequence[Interval]) -> Series:
    """Intervals as a line with its band."""
    return Series(name, *([float(getattr(one, end)) for one in found] for end in ("value", "low", "high")))


def bounds_of(found: Iterable[Interval]) -> list[float]:
    """Every value and end, for a scale that holds them."""
    return [end for one in found for end in (one.value, one.low, one.high)]


def scale(values: Iterable[float]) -> Ends:
    """Of a scale that holds zero and all of these, as far as they are finite."""
    there = [float(value) for value in values if np.isfinite(value)]
    return min([0.0, *there]), max([LEAST_LIMIT, *there])


def farthest(ends: Ends) -> float:
    """How far a scale reaches from zero, whichever way."""
    return max(-ends[0], ends[1])


def growing(circuits: Sequence[Sequence[str]]) -> bool:
    """Whether each holds the one before, and more."""
    return len(circuits) > 1 and all(set(a) < set(b) for a, b in pairwise(circuits))


def layer_by_layer(circuits: Sequence[Sequence[str]]) -> bool:
    """Whether each lies in one layer, all of them one below the other."""
    layers = [{layer_of(site) for site in sites} for sites in circuits]
    return len(circuits) > 2 and all(len(a) == 1 for a in layers) and all(max(a) < min(b) for a, b in pairwise(layers))
