"""Long sweeps are kept part by part: what goes on after an end measures each part once."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.instruments import sweep
from harness.judging.estimate import Inconclusive
from harness.measurements import sweep_plan
from harness.measurements.effects import Effects
from harness.measurements.evidence import Store
from harness.measurements.questions import FoundCircuit, Measurement, RefusalTokens, Scores, Swept
from harness.measurements.sweep_plan import AnySweep, Sweep
from harness.model.chat_model import ChatModel
from harness.subjects.live import Subject

# Twelve pairs whose twins a model of random weights happens to treat differently on average.
PAIRS = PairSet("some", tuple(load_pairs(DATA / "pairs.jsonl"))[:24:2])
SWEPT = Swept(PAIRS, Sweep("head", ("post",)))


@pytest.fixture
def subject(awake: Callable[..., ChatModel], tmp_path: Path) -> Subject:
    model = awake("llama")
    own_subject = Subject(model.record, PAIRS, Store(tmp_path), lambda: model, 0.01)
    vars(own_subject)["tokens"] = (5, 6)
    return own_subject


@pytest.mark.parametrize("asked", [SWEPT, FoundCircuit(PAIRS, 2, 3)], ids=["swept", "circuit"])
def test_a_sweep_that_goes_on_measures_each_part_once(
    subject: Subject, asked: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_plan, "PART_OPERATIONS", 1.0)
    log: Counter[tuple[object, ...]] = Counter()
    measured, stop = sweep._measured, 5

    def logged(model: ChatModel, part: sweep_plan.Part, what: AnySweep, *rest: Any) -> object:
        if log.total() == stop:
            raise KeyboardInterrupt
        log[what, part.names] += 1
        return measured(model, part, what, *rest)

    monkeypatch.setattr(sweep, "_measured", logged)
    for stop in (5, 11):
        with pytest.raises(KeyboardInterrupt):
            subject.seek(asked)
        assert log.total() == stop
    stop = -1
    kept_evidence = subject.seek(asked)
    assert set(log.values()) == {1}
    assert len(log) == len(PAIRS) * (1 if asked is SWEPT else 2)
    assert [evidence.recipe.kind for evidence in subject.store] == [asked.KIND]
    # What was put together is what one sweep without an end would have found.
    monkeypatch.undo()
    other = Subject(subject.record, PAIRS, Store(subject.store.folder / "other"), subject.wake, 0.01)
    vars(other)["tokens"] = (5, 6)
    whole = other.seek(asked)
    assert {k: v for k, v in whole.values.items() if k != "pairs"} == {
        k: v for k, v in kept_evidence.values.items() if k != "pairs"
    }
    for name, array in whole.arrays.items():
        np.testing.assert_allclose(array, kept_evidence.arrays[name], atol=1e-4)


def test_evidence_says_where_and_from_what_it_was_measured(subject: Subject) -> None:
    evidence = subject.seek(Scores(PAIRS, "harmful"))
    assert evidence.environment["seconds"] > 0
    assert evidence.environment["peak_bytes"] > 10 * 1024**2
    assert evidence.environment["libraries"]["torch"].startswith("2.")
    assert evidence.environment["machine"]["cores"] > 0
    tokens = RefusalTokens(PAIRS).recipe(subject.record.fingerprint, ())
    assert evidence.computed_from == (tokens.fingerprint,)


def test_scores_by_other_tokens_are_other_evidence(subject: Subject) -> None:
    evidence = subject.seek(Scores(PAIRS, "harmful"))
    vars(subject)["tokens"] = (7,)
    other = subject.seek(Scores(PAIRS, "harmful"))
    assert evidence.fingerprint != other.fingerprint
    assert evidence.values["odds"] != other.values["odds"]


def test_what_says_it_does_not_depend_on_the_tokens_does_not(subject: Subject) -> None:
    from harness.instruments.answer import measure
    from harness.measurements import questions

    free = [kind for kind in Measurement.__subclasses__() if not kind.SCORED]
    assert {questions.Encoding, questions.Answers, RefusalTokens} <= set(free)
    model = subject.wake()
    for asked in (questions.Encoding(PAIRS), questions.Norms(PAIRS), questions.Answers(PAIRS, "harmful")):
        (values, arrays), (others, other_arrays) = (measure(asked, model, tokens) for tokens in ((5, 6), (7,)))
        assert values == others
        assert all(np.array_equal(arrays[name], other_arrays[name]) for name in arrays)


def test_where_prompts_and_twins_are_treated_alike_there_is_nothing_to_explain() -> None:
    alike = np.full(3, 2.0, dtype=np.float32)
    effects = Effects(("a", "b", "c"), (), {"layer": ("0",)}, alike[:, None], alike[:, None], alike, alike + 0.1)
    with pytest.raises(Inconclusive, match="nothing to explain"):
        _ = effects.mean
