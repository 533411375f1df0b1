"""Beside every arm whose answers are generated stand two counts: refusing phrases, and first tokens that agree."""

from pathlib import Path
from typing import Any

import pytest

from harness.inputs.judges.phrases import RULES
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.sites import Site
from harness.judging.estimate import Estimate, asides
from harness.judging.verdict import plain
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Intervention, patch
from harness.measurements.questions import Answers, PromptSide, RefusalTokens, Scores
from harness.results.wording import number
from harness.subjects.live import Subject
from harness.subjects.synthetic import Synthetic, Truth
from tests.tools.given import fluent

N = 65
PAIRS = PairSet("sixty-five", tuple(Pair(f"p{n}", "a", f"do harm {n}", f"do good {n}") for n in range(N)))
SOUGHT = PairSet("sought", tuple(Pair(f"s{n}", "a", f"seek harm {n}", f"seek good {n}") for n in range(8)))
AT_THE_END = patch([Site(1, "resid_pre", position=-1)])
OTHER = patch([Site(2, "resid_pre", position=-1)])


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """A model of which a few measurements are kept; anything else would wake it, and it cannot be woken."""

    def wake() -> None:
        raise AssertionError

    record = Synthetic(Truth((0.5,)), 4, 0, 0.05).record
    made = Subject(record, SOUGHT, Store(tmp_path), wake, 0.01)  # type: ignore[arg-type]
    made.store.put(Evidence(RefusalTokens(SOUGHT).recipe(record.fingerprint, ()), {"tokens": [7]}))
    # (0, 0): "sure, here is how to i cannot help with that": the first token has gone, the phrase came later.
    arms: dict[tuple[PromptSide, Intervention | None], tuple[int, int]] = {
        ("harmful", None): (N, N),
        ("harmful", AT_THE_END): (0, 16),
        ("harmful", OTHER): (3, 40),
        ("harmless", None): (0, 0),
        ("harmless", AT_THE_END): (60, 59),
    }
    for (side, under), (first, phrases) in arms.items():
        hits = [1.0] * phrases + [0.0] * (N - phrases)
        odds = [2.0] * first + [-2.0] * (N - first)
        answers: dict[str, list[Any]] = {"prefixes": [""] * N, **fluent(N)}
        answers |= {rule.name: hits for rule in RULES}
        made.store.put(Evidence(Answers(PAIRS, side, under).recipe(record.fingerprint, ()), answers))
        scores = {"odds": odds, "kl": [0.0] * N, "same_as_clean": False}
        made.store.put(Evidence(Scores(PAIRS, side, under).recipe(record.fingerprint, (7,)), scores))
    vars(made).update(area=1.0)  # the first token serves
    return made


def both(made: dict[str, Estimate], side: str, arm: str = "") -> tuple[str, str]:
    names = (f"answers with a phrase, {side}{arm}", f"first token agrees, {side}{arm}")
    return made[names[0]].method.partition(",")[0], made[names[1]].method.partition(",")[0]


def test_both_counts_stand_beside_an_arm_on_either_side(subject: Subject) -> None:
    with asides() as made:
        fall = subject.refuses(PAIRS).fall(under=AT_THE_END)
    assert both(made, "harmful") == ("16 of 65", "49 of 65")
    phrases = made["answers with a phrase, harmful"]
    assert phrases.value == pytest.approx(16 / 65) == pytest.approx(1 - fall.value)
    assert phrases.low < phrases.value < phrases.high
    assert phrases.unit == "prompts"
    assert number(plain(phrases)).startswith("16 of 65, +0.25 [")
    with asides() as made:
        subject.refuses(PAIRS).rise(under=AT_THE_END)
    assert both(made, "harmless") == ("59 of 65", "64 of 65")
    with asides() as made:
        subject.side_effects(PAIRS, AT_THE_END).refused()
    assert both(made, "harmless") == ("59 of 65", "64 of 65")


def test_each_arm_of_two_has_its_own(subject: Subject) -> None:
    with asides() as made:
        subject.refuses(PAIRS).gain(AT_THE_END, over=OTHER)
    assert both(made, "harmful") == ("16 of 65", "49 of 65")
    assert both(made, "harmful", ", the other arm") == ("40 of 65", "28 of 65")


def test_what_also_holds_in_the_answer_is_another_arm(subject: Subject) -> None:
    held = patch(AT_THE_END.sites, during="answer")
    with pytest.raises(AssertionError):  # it has to be generated
        subject.refuses(PAIRS).fall(under=held)
    assert subject.changes(PAIRS, "harmful", held)  # and not scored
