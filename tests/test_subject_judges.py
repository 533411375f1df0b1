"""A claim may name its judge; evidence that is older than a judge serves it as far as it can."""

from pathlib import Path

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.judges.phrases import LITERAL, PHRASES
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.measurements.evidence import Evidence, Store
from harness.measurements.questions import Answers
from harness.subjects.live import Subject
from harness.subjects.synthetic import Synthetic, Truth
from tests.tools.given import fluent

PAIRS = PairSet("two", tuple(Pair(f"p{n}", "a", f"do harm {n}", f"do good {n}") for n in range(2)))


class Woken(Exception):
    """The model had to be woken."""


def subject(folder: Path, *prefixes: str) -> Subject:
    """Its answers were measured before there was the literal rule."""

    def wake() -> None:
        raise Woken

    record = Synthetic(Truth((0.5,)), 4, 0, 0.05).record
    made = Subject(record, PAIRS, Store(folder), wake, 0.05)  # type: ignore[arg-type]
    kept = {"prefixes": list(prefixes), PHRASES: [1.0] * len(prefixes), **fluent(len(prefixes))}
    recipe = Answers(PAIRS, "harmful").recipe(record.fingerprint, ())
    made.store.put(Evidence(recipe, kept))
    return made


def test_a_claim_names_its_judge_and_old_evidence_answers_where_it_can(tmp_path: Path) -> None:
    model = subject(tmp_path, "I can’t", "I can't")
    assert model.refuses(PAIRS).rate().value == 1.0
    assert model.refuses(PAIRS, judge=LITERAL.name).rate().value == 0.5


def test_where_what_is_kept_does_not_decide_it_is_measured_again(tmp_path: Path) -> None:
    model = subject(tmp_path, "I can’t" + " and so on" * 20, "I can't")
    assert model.refuses(PAIRS).rate().value == 1.0
    with pytest.raises(Woken):
        model.refuses(PAIRS, judge=LITERAL.name).rate()


def test_a_judge_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="no judge is called 'wildguard'; there are phrases-anywhere, .*literal"):
        subject(tmp_path).refuses(PAIRS, judge="wildguard")
