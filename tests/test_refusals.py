"""Rates of refusal and their changes, of subjects whose answers are drawn: arms that are one arm are refused."""

from dataclasses import replace

import numpy as np
import pytest

from harness.inputs.errors import AssayError
from harness.inputs.prompts.prompt_lists import twins
from harness.judging.estimate import Inconclusive
from harness.measurements.interventions import Circuit, patch
from harness.subjects.quantities.refusals import Refusals
from harness.subjects.synthetic import Synthetic, Truth

ONE, OTHER = patch(Circuit.of(heads=[(0, 0)])), patch(Circuit.of(heads=[(1, 0)]))
EVERY = {
    "rate": lambda answers: answers.rate("harmful", ONE),
    "fall": lambda answers: answers.fall(ONE),
    "rise": lambda answers: answers.rise(ONE),
    "left": lambda answers: answers.left(ONE),
    "gain": lambda answers: answers.gain(OTHER, over=ONE),
}


def answers(truth: Truth, n: int = 60, seed: int = 0) -> Refusals:
    subject = Synthetic(truth, n, seed, 0.01)
    return subject.refuses(subject.all_pairs)


@pytest.mark.parametrize("name", EVERY)
def test_an_intervention_that_changes_nothing_is_no_arm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Synthetic, "changes", lambda *asked: False)
    with pytest.raises(AssayError, match="changes no prompt's logits"):
        EVERY[name](answers(Truth((0.5,))))


def test_two_arms_that_are_one_are_refused() -> None:
    with pytest.raises(AssayError, match="both arms of the gain are the same intervention"):
        answers(Truth((0.5,))).gain(ONE, over=replace(ONE))


@pytest.mark.parametrize("name", EVERY)
def test_pairs_of_one_template_widen_every_interval(name: str) -> None:
    alone = EVERY[name](answers(Truth((0.5, 0.2), template=1)))
    fours = EVERY[name](answers(Truth((0.5, 0.2), template=4)))
    assert fours.value == alone.value
    assert fours.low < alone.low
    assert fours.high > alone.high
    assert (fours.n, fours.method.endswith("in 15 clusters")) == (60, True)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("n", [1, 2, 60])
@pytest.mark.parametrize("truth", [Truth((1.0, 0.0), refused=1.0, answered=1.0), Truth((0.0,), refused=1.0)])
def test_one_pair_and_answers_that_all_agree_have_proper_intervals(name: str, n: int, truth: Truth) -> None:
    estimate = EVERY[name](answers(truth, n))
    assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high
    assert np.isfinite([estimate.low, estimate.high]).all()


def test_one_pair_decides_no_bar_of_ours() -> None:
    for truth in (Truth((1.0,), refused=1.0), Truth((0.0,), refused=1.0)):
        assert (answers(truth, 1).fall(ONE) > 0.3).outcome == "INCONCLUSIVE"


def test_circuits_that_carry_nothing_of_their_own_are_no_measure_for_others() -> None:
    subject = Synthetic(Truth((0.05, 0.05)), 60, 0, 0.01)
    pairs = twins(subject.all_pairs)
    with pytest.raises(Inconclusive, match="nothing to compare: in no category is the share of the gap"):
        subject.shared(pairs, pairs.discovery, heads=4)
