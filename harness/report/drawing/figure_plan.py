"""Plans of figures: what to draw and which scale that needs, before models that share a scale have agreed on one."""

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

# The most rows that a ranking or a strip of circuits shows.
TOP = 15
# No scale is narrower than this, so that tiny effects look tiny.
LEAST_LIMIT = 0.1
SHARE = "share of the effect (1: like its twin)"
Limits = tuple[float, float]
"""The lowest and the highest value of a scale."""


@dataclass(frozen=True)
class Plan:
    """A figure to be drawn, and the scale limits it needs; figures of one name share the widest of their limits."""

    name: str
    title: str
    caption: str
    draw: Callable[[Drawing, Limits], str]
    limits: Limits = (0.0, 0.0)
    once: bool = False  # one drawing, as narrow as a phone, serves on a desk too


def strip_of(
    name: str,
    title: str,
    caption: str,
    axis: str,
    rows: Sequence[tuple[str, Sequence[Interval]]],
    holds: float = LEAST_LIMIT,
) -> Plan:
    """The plan of a strip chart, one row for each name, on a scale that reaches from 0 to `holds` or farther."""

    def draw(drawing: Drawing, limits: Limits) -> str:
        return row_charts.strip(drawing, rows, axis, limits)

    bounds = (bound for _, intervals in rows for bound in bounds_of(intervals))
    return Plan(name, title, caption, draw, scale([holds, *bounds]), once=True)


def grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """The items of each key, keys in the order in which they first appear."""
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())


def line_of(name: str, intervals: Sequence[Interval]) -> Series:
    """Intervals as one line with the band of their bounds."""
    columns = ([float(getattr(interval, field)) for interval in intervals] for field in ("value", "low", "high"))
    return Series(name, *columns)


def bounds_of(intervals: Iterable[Interval]) -> list[float]:
    """Every value and bound, to make a scale of."""
    return [bound for interval in intervals for bound in (interval.value, interval.low, interval.high)]


def scale(values: Iterable[float]) -> Limits:
    """Limits of a scale that holds zero, LEAST_LIMIT and every finite value."""
    finite = [float(value) for value in values if np.isfinite(value)]
    return min([0.0, *finite]), max([LEAST_LIMIT, *finite])


def farthest(limits: Limits) -> float:
    """The larger distance of the two limits from zero."""
    return max(-limits[0], limits[1])


def growing(circuits: Sequence[Sequence[str]]) -> bool:
    """Whether each circuit holds all parts of the one before, and more."""
    return len(circuits) > 1 and all(set(a) < set(b) for a, b in pairwise(circuits))


def layer_by_layer(circuits: Sequence[Sequence[str]]) -> bool:
    """Whether there are three circuits or more, each within one layer, in the order of the layers."""
    layers = [{layer_of(site) for site in sites} for sites in circuits]
    return len(circuits) > 2 and all(len(a) == 1 for a in layers) and all(max(a) < min(b) for a, b in pairwise(layers))
