"""Openings of several tokens: which tell refusals from answers, and how likely they are, by other ways."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.instruments.editing import edit_for
from harness.measurements.interventions import Circuit, Direction, Intervention, ablate, add, patch, remove
from harness.measurements.openings import LONGEST, Openings, chains
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import opening_odds, telling
from tests.tools.material import HARMFUL, HARMLESS, PAIRS

DIRECTION = Direction("difference", 2, -1, tuple(HARMFUL), tuple(HARMLESS))
HEADS = Circuit.of([(1, 0), (2, 3)])
EDITS: dict[str, Intervention | None] = {
    "none": None,
    "remove": remove(DIRECTION),
    "add": add(DIRECTION, scale=2.0),
    "add in the prompt": add(DIRECTION, scale=2.0, during="prompt"),
    "patch": patch(HEADS, at="post"),
    "mean": ablate(HEADS, "mean", over=tuple(HARMLESS)),
}


def test_an_opening_is_as_short_as_tells_refusals_from_answers() -> None:
    # "I can't" and "I'd be happy to": the first token is the same, the second tells. "Here" alone is enough.
    i, cannot, would, be, here, now, sorry = range(7)
    answers = [
        *[((i, cannot, be), True)] * 40,
        *[((sorry, i), True)] * 5,
        *[((i, would, be), False)] * 30,
        *[((here, now), False)] * 10,
    ]
    assert telling(answers) == ([(i, cannot), (sorry,)], [(i, would), (here,)])
    # One refusal in a hundred begins as answers do, and does not make "here" ambiguous; one in ten does.
    assert telling([*answers, ((here, sorry), True)] * 2)[1] == [(i, would), (here, now)]
    assert telling([*answers, *[((here, now), False)] * 90, ((here, sorry), True)])[1] == [(here,), (i, would)]
    assert telling([((i,) * LONGEST + (cannot,), True), ((i,) * LONGEST + (would,), False)]) == ([], [])
    assert telling([]) == ([], [])


ids = st.lists(st.integers(0, 3), min_size=1, max_size=8).map(tuple)


@given(st.lists(st.tuples(ids, st.booleans()), max_size=30))
def test_no_opening_begins_another_and_no_answer_has_two(answers: list[tuple[tuple[int, ...], bool]]) -> None:
    refusing, answering = telling(answers)
    every = [*refusing, *answering]
    assert len(set(every)) == len(every)
    assert not [(a, b) for a in every for b in every if a != b and b[: len(a)] == a]
    needed = {opening[:length] for opening in every for length in range(1, len(opening))}
    assert all(any(chain[: len(given)] == given for chain in chains(every)) for given in needed)
    assert set(chains(every)) <= needed


@pytest.mark.parametrize("shape", ["llama", "gemma3", "gpt2"])
def test_an_opening_is_as_likely_as_its_text_read_at_once(shape: str, awake: Callable[..., ChatModel]) -> None:
    model = awake(shape)
    refusing, answering = ((7, 8, 9), (7, 10), (11,)), ((12, 13), (14,))
    expected = []
    for prompt in model.encode(HARMFUL):
        logs = []
        for opening in (*refusing, *answering):
            whole = model.batch([replace(prompt, ids=prompt.ids + opening)])
            log = model.forward(whole, keep=0)[0].float().log_softmax(-1)
            logs.append(sum(float(log[len(prompt) - 1 + at, token]) for at, token in enumerate(opening)))
        expected.append(np.logaddexp.reduce(logs[:3]) - np.logaddexp.reduce(logs[3:]))
    np.testing.assert_allclose(opening_odds(model, HARMFUL, Openings(refusing, answering)), expected, atol=2e-3)


@pytest.mark.parametrize("name", EDITS)
def test_under_an_intervention_no_token_is_likelier_than_the_one_that_is_generated(
    name: str, awake: Callable[..., ChatModel]
) -> None:
    model, under = awake(), EDITS[name]
    edit = None if under is None else edit_for(model, under, twins=PAIRS)
    answers = model.generate(HARMFUL, tokens=3, under=edit)
    others = np.random.default_rng(0).choice(np.arange(5, 512), 40, replace=False).tolist()
    for row, answer in enumerate(answers):
        for length in range(1, len(answer.ids) + 1):
            *before, chosen = answer.ids[:length]
            rest = [(*before, int(other)) for other in others if other != chosen]
            odds = [
                opening_odds(model, HARMFUL, Openings(((*before, chosen),), (other,)), under=edit)[row]
                for other in rest[:8]
            ]
            assert min(odds) > -1e-3, (row, length)


@pytest.mark.parametrize("name", EDITS)
def test_all_second_tokens_together_are_as_likely_as_the_first(name: str, awake: Callable[..., ChatModel]) -> None:
    model, under = awake(), EDITS[name]
    edit = None if under is None else edit_for(model, under, twins=PAIRS)
    logits = model.next_token(HARMFUL, under=edit)
    every = tuple((9, token) for token in range(logits.shape[1]))
    odds = opening_odds(model, HARMFUL, Openings(every, ((10,),)), under=edit)
    np.testing.assert_allclose(odds, (logits[:, 9] - logits[:, 10]).numpy(), atol=2e-3)
