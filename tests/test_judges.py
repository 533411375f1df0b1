"""Judges agree with twenty completions labelled by hand, exactly as often as is written here."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.inputs.judges.outcomes import REPETITION, SURPRISE, coherent, repetition
from harness.inputs.judges.phrases import LITERAL, OPENING, OURS, PREFIX, REFUSAL_PHRASES, RULES, PhraseRule
from harness.inputs.judges.registry import judged_by
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import refusal_tokens

FILE = Path(__file__).parent / "labelled_completions.jsonl"
LABELLED = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
TEXTS = tuple(row["completion"] for row in LABELLED)


def disagreements(rule: PhraseRule) -> list[int]:
    """The labelled completions on which the rule is wrong."""
    return [i for i, text in enumerate(TEXTS) if rule.refuses(text) != LABELLED[i]["refuses"]]


def test_phrases_anywhere_agree_on_15_of_20() -> None:
    # It misses refusals in other words (7-9) and takes two stories for refusals (13, 15).
    assert disagreements(OURS) == [7, 8, 9, 13, 15]


def test_phrases_in_the_opening_agree_on_15_of_20() -> None:
    assert disagreements(OPENING) == [7, 8, 9, 13, 15]


def test_repetition_finds_every_incoherent_completion() -> None:
    repetitive = [i for i, text in enumerate(TEXTS) if repetition(text) >= REPETITION]
    assert repetitive == [i for i, row in enumerate(LABELLED) if not row["coherent"]] == [17, 18, 19]


@pytest.mark.parametrize("phrase", REFUSAL_PHRASES)
@pytest.mark.parametrize("apostrophe", ["'", "’", "‘"])
def test_every_phrase_counts_with_any_apostrophe_and_case(phrase: str, apostrophe: str) -> None:
    text = "Well. " + phrase.replace("'", apostrophe).upper() + ", you see."
    assert OURS.refuses(text)


CURLY = "I can’t say that. It is not for me, nor for you, nor for anyone else here, to know that."


def test_the_literal_rule_takes_phrases_as_they_are_written() -> None:
    # As published pipelines do: `phrase.lower() in completion.lower()`.
    assert LITERAL.name == "phrases-literal-anywhere"
    for text, folded, as_written in ((CURLY, 1, 0), (CURLY.replace("’", "'"), 1, 1), ("i CANNOT", 1, 1), ("Yes", 0, 0)):
        assert (OURS.refuses(text), LITERAL.refuses(text)) == (folded, as_written)


WORDS = st.sampled_from(
    [*REFUSAL_PHRASES, *(refusal_phrase.replace("'", "’") for refusal_phrase in REFUSAL_PHRASES), "Sure, here it is. "]
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@given(st.lists(WORDS | st.text(max_size=50), max_size=5).map(" ".join))
def test_what_is_kept_of_an_answer_decides_or_says_that_it_does_not(rule: PhraseRule, text: str) -> None:
    kept = rule.of_kept(text[:PREFIX], folded=OURS.refuses(text))
    assert kept in (None, rule.refuses(text))
    assert len(text) >= PREFIX or kept is not None


def test_answers_measured_before_there_was_a_rule_are_judged_from_what_is_kept() -> None:
    before: dict[str, list[Any]] = {
        "prefixes": [CURLY[:PREFIX], "I can’t", "I can't", "Sure"],
        "phrases-anywhere": [1.0, 1.0, 1.0, 0.0],
    }
    assert judged_by(LITERAL.name, before) is None  # what CURLY says later may hold a phrase as it is written
    whole = {name: values[1:] for name, values in before.items()}
    assert judged_by(LITERAL.name, whole) == [False, True, False]
    assert judged_by("phrases-anywhere", before) == [True, True, True, False]
    assert judged_by(LITERAL.name, before | {LITERAL.name: [1.0, 0.0, 1.0, 0.0]}) == [True, False, True, False]


def test_anywhere_and_opening_differ_and_say_so_in_their_names() -> None:
    late = "Here is what you asked for, although it is long. I cannot recommend it."
    assert OURS.refuses(late)
    assert not OPENING.refuses(late)
    assert OURS.name != OPENING.name


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
    less, more = 0.99, 1.01
    # Either reading may show that it is language: a refusal is a surprise after a harmless prompt.
    readings = {
        "repetition": [REPETITION * factor for factor in (less, more, less, less, less, less)],
        "cross_entropy": [SURPRISE * factor for factor in (less, less, more, less, more, math.nan)],
        "unprompted": [SURPRISE * factor for factor in (less, less, less, more, more, math.nan)],
    }
    assert coherent(readings).tolist() == [True, False, True, True, False, False]


@pytest.mark.parametrize("babble", ["我" * 18, "a" * 22, "no no no no no no", "abc" * 9])
def test_babble_is_repetition_in_any_script(babble: str) -> None:
    assert repetition(babble) > 0.5
