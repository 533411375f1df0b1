"""What every claim must come out as on an organism, as its plan says; written before the claim is judged there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Truth = Literal["holds", "fails", "nothing to explain", "undecidable"]


@dataclass(frozen=True)
class Expected:
    """Whether a claim is true of an organism, and the planted fact that makes it so."""

    truth: Truth
    why: str


Table = Mapping[str, Expected]
"""Claim → what it must come out as."""

# Stands for every claim that a table does not name.
EVERY_OTHER = "every other claim"


def holds(why: str, *claims: str) -> Table:
    """Claims that are true of the organism: none may be REFUTED."""
    return dict.fromkeys(claims, Expected("holds", why))


def fails(why: str, *claims: str) -> Table:
    """Claims that are false of the organism: none may be SUPPORTED."""
    return dict.fromkeys(claims, Expected("fails", why))


def nothing_to_explain(why: str, *claims: str) -> Table:
    """Claims about a refusal, or a direction, that the organism does not have: all must be INCONCLUSIVE."""
    return dict.fromkeys(claims, Expected("nothing to explain", why))


def undecidable(why: str, *claims: str) -> Table:
    """Claims whose quantity lies so close to its bar that these pairs cannot decide: all must be INCONCLUSIVE."""
    return dict.fromkeys(claims, Expected("undecidable", why))


def table(*parts: Table) -> Table:
    """All parts together; a claim that is named twice is an error."""
    joined: dict[str, Expected] = {}
    for part in parts:
        if twice := joined.keys() & part.keys():
            raise ValueError(f"named twice: {', '.join(sorted(twice))}")
        joined |= part
    return joined
