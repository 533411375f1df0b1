"""A claim about a direction is refuted only if no direction that the search might have chosen meets its bars."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.claims import rivals
from harness.claims.claim import claim_named
from harness.judging.estimate import Estimate, Inconclusive, Refuted, asides, beside, decisions, exclude, exclusions
from harness.measurements.evidence import Store
from harness.subjects.other_directions import place_of
from harness.subjects.sleeper import Sleeper

CANDIDATES = [
    [1, -1, -6.0, None, None],
    [4, -2, -5.0, 0.3, None],
    [5, -1, -0.7, 0.5, None],
    [5, -3, 0.9, 1.5, 0.2],
]


@dataclass
class Chosen:
    """A subject whose direction does so much, and what other directions do."""

    does: float
    others: tuple[float, ...] = ()

    def rivals(self) -> Iterator[tuple[str, "Chosen"]]:
        for layer, does in enumerate(self.others):
            yield f"of layer {layer}", Chosen(does)


def claimed(model: Chosen) -> None:
    beside(Estimate("beside", model.does, model.does, model.does, 9, "given"))
    if model.does > 0.9:
        exclude("the filters exclude it")
    assert Estimate("fall", model.does, model.does - 0.1, model.does + 0.1, 9, "given") > 0.3


def judged(model: Chosen, test: Callable[[Any], None] = claimed) -> tuple[str, list[Any], dict[str, Estimate]]:
    with asides() as reported, decisions() as made, exclusions():
        try:
            rivals.run(test, {"model": model})
        except Refuted:
            return "REFUTED", made, reported
        except Inconclusive as error:
            return str(error), made, reported
    return "SUPPORTED", made, reported


def test_it_is_refuted_only_if_every_other_direction_refutes_it() -> None:
    assert judged(Chosen(0.1))[0] == "REFUTED"
    assert judged(Chosen(0.1, (0.15, 0.0)))[0] == "REFUTED"
    for does, came in ((0.8, "the claim holds"), (0.35, "is not refuted"), (0.95, "the filters exclude it")):
        why, made, reported = judged(Chosen(0.1, (0.0, does)))
        assert why.startswith("it hangs on the choice of a direction: with that of layer 1 the claim ")
        assert came in why
        # What is printed and kept is of the chosen direction, once.
        assert [comparison.bars[0][0].value for comparison in made] == [0.1]
        assert reported["beside"].value == 0.1


def test_a_direction_with_which_there_is_nothing_to_compare_is_no_rival() -> None:
    def compared(model: Chosen) -> None:
        nothing = "" if model.does else "nothing to compare with"
        assert abs(Estimate("gain", model.does, model.does - 0.1, model.does + 0.1, 9, "given", nothing=nothing)) < 0.2

    assert judged(Chosen(0.7, (0.0,)), compared)[0] == "REFUTED"
    assert "the claim is not refuted" in judged(Chosen(0.7, (0.0, 0.15)), compared)[0]


def test_what_is_supported_or_open_asks_no_other_direction() -> None:
    assert judged(Chosen(0.8, (0.0,)))[0] == "SUPPORTED"
    assert judged(Chosen(0.35, (0.0,)))[0].startswith("fall")


def test_the_others_are_the_extremes_of_the_candidates_that_were_measured() -> None:
    values = {"layer": 4, "position": -2, "candidates": CANDIDATES}
    assert place_of(values, None) == (4, -2)
    assert place_of(values, "removed") == (4, -2)
    assert place_of(values, "added") == (5, -3)
    assert place_of({"layer": 2, "position": -1, "candidates": [[2, -1, None, None, None]]}, "added") == (2, -1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "organism"), [("direction-sufficiency", "cone"), ("growth", "cone"), ("one-is-enough", "exception")]
)
def test_what_the_chosen_direction_does_not_do_and_another_does_is_open(
    name: str, organism: str, tmp_path: Path
) -> None:
    claim = claim_named(name)
    with closing(Sleeper(f"organism:{organism}", "nf4", "cpu", Store(tmp_path))) as sleeper:
        subject = sleeper.subject(level=claim.level)
        subject.controls = False
        outcome, why = claim.judge(subject, subject.all_pairs)
    assert outcome == "INCONCLUSIVE"
    assert "it hangs on the choice of a direction" in why
