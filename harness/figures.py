"""Figures: from the evidence that a verdict read to SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.evidence import Evidence
from harness.pairs import PairSet
from harness.recorded import Recording


@dataclass(frozen=True)
class Figure:
    """A picture, and what it shows."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Material:
    """What one claim's verdict on one model read."""

    evidence: Sequence[Evidence]
    pairs: PairSet
    level: float


def figures(claim: str, by_model: Mapping[str, Material]) -> dict[str, list[Figure]]:
    """The figures of each model, on scales that they share."""
    return {}


def recorded(claim: str, recording: Recording, level: float) -> list[Figure]:
    """The figures of published judgements."""
    return []
