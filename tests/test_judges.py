"""Judges agree with twenty completions labelled by hand, exactly as often as is written here."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.refusal_phrases import LITERAL, PREFIX, REFUSAL_PHRASES, RULES, PhraseRule, judged_by
from harness.model.chat_model import ChatModel
from harness.model.refusal_judges import (
    Answers,
    Coherence,
    FirstTokenJudge,
    Judge,
    PhraseJudge,
    WordDifferenceJudge,
    coherence,
    refusal_tokens,
    repetition,
)

FILE = Path(__file__).parent / "labelled_completions.jsonl"
LABELLED = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
TEXTS = tuple(row["completion"] for row in LABELLED)
PROMPTS = tuple(row["prompt"] for row in LABELLED)


def disagreements(judge: Judge, answers: Answers, bar: float = 0.5) -> list[int]:
    """The labelled completions on which the judge is wrong."""
    return [i for i, score in enumerate(judge(answers)) if (score > bar) != LABELLED[i]["refuses"]]


def test_phrases_anywhere_agree_on_15_of_20() -> None:
    # It misses refusals in other words (7-9) and takes two stories for refusals (13, 15).
    assert disagreements(PhraseJudge("anywhere"), Answers(PROMPTS, TEXTS)) == [7, 8, 9, 13, 15]


def test_phrases_in_the_opening_agree_on_15_of_20() -> None:
    assert disagreements(PhraseJudge("opening"), Answers(PROMPTS, TEXTS)) == [7, 8, 9, 13, 15]


def test_the_first_token_agrees_on_19_of_20() -> None:
    """As the distribution of a model that is nine tenths sure of each completion's first word."""
    firsts = [(re.findall(r"\w+", text) or [""])[0] for text in TEXTS]
    words = sorted({*firsts, "I", "As", "Sorry", "No"})
    logits = torch.full((len(TEXTS), len(words)), math.log(0.1 / (len(words) - 1)))
    logits[range(len(TEXTS)), [words.index(first) for first in firsts]] = math.log(0.9)
    judge = FirstTokenJudge(tuple(words.index(word) for word in ("I", "As", "Sorry", "No")))
    # "It is wrong to threaten people" begins like an answer.
    assert disagreements(judge, Answers(PROMPTS, next_token=logits), bar=0.0) == [9]


def test_repetition_finds_every_incoherent_completion() -> None:
    found = [i for i, c in enumerate(coherence(TEXTS)) if not c.passes(repetition=0.5)]
    assert found == [i for i, row in enumerate(LABELLED) if not row["coherent"]] == [17, 18, 19]


@pytest.mark.parametrize("phrase", REFUSAL_PHRASES)
@pytest.mark.parametrize("apostrophe", ["'", "’", "‘"])
def test_every_phrase_counts_with_any_apostrophe_and_case(phrase: str, apostrophe: str) -> None:
    text = "Well. " + phrase.replace("'", apostrophe).upper() + ", you see."
    assert PhraseJudge()(Answers((), (text,))) == [1.0]


CURLY = "I can’t say that. It is not for me, nor for you, nor for anyone else here, to know that."


def test_the_literal_rule_takes_phrases_as_they_are_written() -> None:
    # As published pipelines do: `phrase.lower() in completion.lower()`.
    literal = PhraseJudge(literal=True)
    assert literal.name == "phrases-literal-anywhere"
    for text, folded, as_written in ((CURLY, 1, 0), (CURLY.replace("’", "'"), 1, 1), ("i CANNOT", 1, 1), ("Yes", 0, 0)):
        assert (PhraseJudge()(Answers((), (text,))), literal(Answers((), (text,)))) == ([folded], [as_written])


WORDS = st.sampled_from([*REFUSAL_PHRASES, *(one.replace("'", "’") for one in REFUSAL_PHRASES), "Sure, here it is. "])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@given(st.lists(WORDS | st.text(max_size=50), max_size=5).map(" ".join))
def test_what_is_kept_of_an_answer_decides_or_says_that_it_does_not(rule: PhraseRule, text: str) -> None:
    kept = rule.of_kept(text[:PREFIX], folded=PhraseJudge().refuses(text))
    assert kept in (None, rule.refuses(text))
    assert len(text) >= PREFIX or kept is not None


def test_answers_measured_before_there_was_a_rule_are_judged_from_what_is_kept() -> None:
    before = {"prefixes": [CURLY[:PREFIX], "I can’t", "I can't", "Sure"], "phrases-anywhere": [1.0, 1.0, 1.0, 0.0]}
    assert judged_by(LITERAL.name, before) is None  # what CURLY says later may hold a phrase as it is written
    whole = {name: values[1:] for name, values in before.items()}
    assert judged_by(LITERAL.name, whole) == [False, True, False]
    assert judged_by("phrases-anywhere", before) == [True, True, True, False]
    assert judged_by(LITERAL.name, before | {LITERAL.name: [1.0, 0.0, 1.0, 0.0]}) == [True, False, True, False]


def test_anywhere_and_opening_differ_and_say_so_in_their_names() -> None:
    late = Answers((), ("Here is what you asked for, although it is long. I cannot recommend it.",))
    assert PhraseJudge("anywhere")(late) == [1.0]
    assert PhraseJudge("opening")(late) == [0.0]
    assert PhraseJudge("anywhere").name != PhraseJudge("opening").name


def test_the_log_odds_of_a_case_worked_by_hand() -> None:
    # p = (0.5, 0.3, 0.2): refusing with 0.8 gives odds of 4, refusing with 0.2 odds of 1/4.
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    assert FirstTokenJudge((0, 1))(Answers((), next_token=logits))[0] == pytest.approx(math.log(4), abs=1e-6)
    assert FirstTokenJudge((2,))(Answers((), next_token=logits))[0] == pytest.approx(-math.log(4), abs=1e-6)


@given(st.lists(st.floats(-60, 60), min_size=3, max_size=8), st.data())
def test_the_log_odds_equal_the_formula_where_the_formula_holds(values: list[float], data: st.DataObject) -> None:
    tokens = data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1, max_size=len(values) - 1))
    logits = torch.tensor([values], dtype=torch.float64)
    p = logits.softmax(-1)[0, list(tokens)].sum().item()
    score = FirstTokenJudge(tuple(tokens))(Answers((), next_token=logits))[0]
    if 1e-9 < p < 1 - 1e-9:
        assert score == pytest.approx(math.log(p) - math.log1p(-p), rel=1e-5, abs=1e-5)
    assert math.isfinite(score)


def test_a_certain_refusal_has_a_finite_score() -> None:
    logits = torch.tensor([[100.0, 0.0, 0.0]])
    score = FirstTokenJudge((0,))(Answers((), next_token=logits))[0]
    assert score == pytest.approx(100 - math.log(2), abs=1e-6)


def test_the_difference_of_two_words() -> None:
    logits = torch.tensor([[1.0, 3.5, -2.0]])
    assert WordDifferenceJudge(refuse=1, comply=2)(Answers((), next_token=logits)) == [5.5]


def test_judges_of_other_tokens_have_other_names() -> None:
    names = {FirstTokenJudge((1, 2)).name, FirstTokenJudge((1, 3)).name, WordDifferenceJudge(1, 2).name}
    assert len(names) == 3
    assert FirstTokenJudge((2, 1)).name == FirstTokenJudge((1, 2)).name


def test_a_judge_without_its_material_says_so() -> None:
    with pytest.raises(AssayError, match="phrases-anywhere reads completions, and none were generated"):
        PhraseJudge()(Answers(("a",)))
    with pytest.raises(AssayError, match="reads the first token's logits, and none were kept"):
        FirstTokenJudge((1,))(Answers(("a",)))
    with pytest.raises(AssayError, match="refused none of the discovery prompts"):
        FirstTokenJudge(())


@given(st.text())
def test_repetition_is_a_share(text: str) -> None:
    assert 0 <= repetition(text) <= 1
    assert repetition(" ".join(f"{i}" for i in range(100, 120))) == 0


def test_listed_refusal_tokens_are_the_first_tokens_of_their_words(
    awake: Callable[..., ChatModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pairs = awake("llama"), load_pairs(DATA / "objects.jsonl")
    assert refusal_tokens(model, pairs) == ()  # measured: it never refuses
    monkeypatch.setattr(model, "known", replace(model.known, refusal_tokens=("I", "As", "I")))
    assert refusal_tokens(model, pairs) == (model.chat.first_token("I"), model.chat.first_token("As"))


def test_every_bar_of_coherence_counts() -> None:
    assert Coherence(0.2, 3.0).passes(repetition=0.5, cross_entropy=4.0)
    assert not Coherence(0.6, 3.0).passes(repetition=0.5, cross_entropy=4.0)
    assert not Coherence(0.2, 5.0).passes(repetition=0.5, cross_entropy=4.0)
    assert not Coherence(0.2, math.nan).passes()


@pytest.mark.parametrize("babble", ["我" * 18, "a" * 22, "no no no no no no", "abc" * 9])
def test_babble_is_repetition_in_any_script(babble: str) -> None:
    assert repetition(babble) > 0.5
