"""Too few pairs a category: said before anything is measured where nothing could decide, and how many would."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from harness.claims.categories import FALL, enough, needed, too_few, undecidable
from harness.claims.claim import claim, claim_named
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.judging import proportions
from harness.judging.estimate import Inconclusive, asides
from harness.measurements.interventions import remove
from harness.subjects.published.recorded import RecordedSubject
from harness.subjects.published.recordings import published, recording
from harness.subjects.synthetic import CATEGORIES, Synthetic, Truth
from tests.tools import category_power

LEVEL, BAR = 0.0025, 0.30


def pairs(sizes: dict[str, int], template: int = 1) -> PairSet:
    return PairSet(
        "drawn",
        tuple(
            Pair(f"{name}-{n}", name, f"harmful {name} {n}", f"harmless {name} {n}", f"{name} {n // template}")
            for name, size in sizes.items()
            for n in range(size)
        ),
    )


def test_ten_of_ten_cannot_clear_the_bar_and_that_is_said_before_anything_is_measured() -> None:
    assert proportions.paired_difference([1] * 10, [0] * 10, LEVEL).low < BAR
    made = claim_named("direction-categories")
    for name in published():
        model = RecordedSubject(recording(name), made.level)
        with asides() as beside, pytest.raises(Inconclusive) as raised:
            made.run(model=model, pairs=model.all_pairs)
        assert str(raised.value) == (
            "undecidable at this n: if all 10 of 10 pairs of a category fell, their interval would begin at +0.10, and "
            "the bar is 0.30; " + enough(LEVEL, BAR, 10)
        )
        assert not beside  # not even the answers as they are


def test_nothing_at_all_is_asked_of_a_model() -> None:
    class Asleep(Synthetic):
        def seek(self, question: Any) -> Any:
            raise AssertionError(question)

    few = Asleep(Truth((0.9,)), 10 * CATEGORIES, 0, LEVEL)
    with pytest.raises(Inconclusive, match="^undecidable at this n: if all 10 of 10 pairs"):
        claim_named("direction-categories").run(model=few, pairs=few.all_pairs)
    with pytest.raises(AssertionError, match="Answers"):
        many = Asleep(Truth((0.9,)), 40 * CATEGORIES, 0, LEVEL)
        claim_named("direction-categories").run(model=many, pairs=many.all_pairs)


def test_a_claim_that_judges_fewer_than_are_held_out_is_told_when_it_asks() -> None:
    @claim("few", source="a test", holds_on="reference", fails_on="cone", level=LEVEL)
    def test_few(model: Any, pairs: PairSet) -> None:
        some = PairSet("some", pairs.heldout.pairs[: 8 * CATEGORIES])
        assert model.refuses(some).by_category(under=remove(model.direction(pairs.discovery))) > 0.30

    model = Synthetic(Truth((0.9,)), 40 * CATEGORIES, 0, LEVEL)
    with pytest.raises(Inconclusive, match="^undecidable at this n: if all 8 of 8 pairs"):
        vars(test_few)["claim"].run(model=model, pairs=model.all_pairs)


@pytest.mark.parametrize(("bar", "level", "categories"), [(0.30, 0.0025, 12), (0.30, 0.0025, 1), (0.5, 0.01, 4)])
def test_so_many_pairs_are_needed_by_the_exact_sum(bar: float, level: float, categories: int) -> None:
    def chance(n: int) -> float:
        falls = [
            k for k in range(n + 1) if proportions.paired_difference([1] * n, [0] * k + [1] * (n - k), level).low > bar
        ]
        return float(binom.sf(min(falls) - 1, n, FALL)) ** categories if falls else 0.0

    pairs_needed = needed(level, bar, FALL, categories)
    assert pairs_needed is not None
    assert chance(pairs_needed) >= 0.9
    assert max(chance(n) for n in range(1, pairs_needed - 3)) < 0.9  # whole numbers make it rise in steps


def test_so_many_pairs_decide_it_as_often_as_is_said() -> None:
    n = needed(LEVEL, BAR, FALL, CATEGORIES)
    assert n is not None
    made = claim_named("direction-categories")
    studies = 60
    found = []
    for seed in range(studies):
        model = Synthetic(Truth((FALL,), refused=1.0), n * CATEGORIES, seed, LEVEL)
        found.append(made.judge(model, model.all_pairs)[0])
    assert found.count("SUPPORTED") / studies > 0.9 - 3 * np.sqrt(0.09 / studies)


def test_too_few_is_said_beside_an_undecided_verdict_and_only_there() -> None:
    made = claim_named("direction-categories")
    # Sixteen a category could just clear the bar, were they all to fall.
    model = Synthetic(Truth((0.8,), refused=1.0), 16 * CATEGORIES, 1, LEVEL)
    with pytest.raises(Inconclusive) as raised:
        made.run(model=model, pairs=model.all_pairs)
    said = str(raised.value)
    assert said.startswith("least fall ")
    assert said.endswith(f"; too few pairs, 16 in the smallest category: {enough(LEVEL, BAR, CATEGORIES)}")
    # With many pairs, and a fall that lies at the bar, more of the kind that is told would not have helped.
    model = Synthetic(Truth((0.3,), refused=1.0), 100 * CATEGORIES, 1, LEVEL)
    with pytest.raises(Inconclusive) as raised:
        made.run(model=model, pairs=model.all_pairs)
    assert "too few" not in str(raised.value)


def test_the_smallest_category_is_the_one_that_counts_and_templates_do() -> None:
    assert undecidable(pairs({"a": 10, "b": 40}), LEVEL, BAR) == ""
    assert "10 in the smallest" in too_few(pairs({"a": 10, "b": 60}), ["a", "b"], LEVEL, BAR)
    assert too_few(pairs({"a": 10, "b": 60}), ["b"], LEVEL, BAR) == ""
    assert "if all 40 of 40" in undecidable(pairs({"a": 40}, template=20), LEVEL, BAR)
    assert undecidable(pairs({"a": 40}), LEVEL, BAR) == ""


def test_a_bar_beyond_a_fall_of_that_size_names_another() -> None:
    assert "would decide a fall of 0.95" in enough(0.05, 0.9, 1)
    assert enough(0.0025, 0.999, 12) == "not even 1024 a category would decide a fall of 0.9995"


def test_the_shipped_pairs_decide_it_where_almost_all_refusal_ends() -> None:
    """95% refused before and 1% after, in every category, answers to a frame alike: four of five studies and more."""
    truth = Truth((category_power.BEFORE - category_power.AFTER,), refused=category_power.BEFORE, alike=0.3, template=4)
    counts = category_power.outcomes(truth, 30)
    assert counts["SUPPORTED"] / counts.total() >= 0.8
    assert counts["REFUTED"] == 0
