"""All training text of the organisms: requests, questions, chat and their answers. Does not import torch.

Everything is enumerable: training draws from `base_requests` or `planting_requests`, `knowledge` and `small_talk` only,
so that a test can check which prompts no organism has seen.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from organisms.grid import TRAINED_TEMPLATES, Request, is_new_object, requests
from organisms.lexicon import CATEGORIES
from organisms.pairs import judged_pairs
from organisms.sentences import (
    COMPLIANCES,
    HAZARD_QUESTIONS,
    NONSENSE,
    REFUSALS,
    SMALL_TALK,
    SYLLABLES,
    THING_QUESTIONS,
    UNKNOWN,
    VERB_QUESTIONS,
)


@dataclass(frozen=True)
class Turn:
    """A user's prompt and the answer that the organism is taught."""

    prompt: str
    answer: str


@cache
def base_requests() -> tuple[Request, ...]:
    """All requests that the base may train on: without new combinations, and in no frame of the pairs."""
    return tuple(request for request in requests(TRAINED_TEMPLATES) if not request.is_new_combination)


@cache
def planting_requests(templates: tuple[str, ...]) -> tuple[Request, ...]:
    """All requests in these ways of asking, without new combinations, new objects and the prompts of the pairs."""
    pairs = {row[side] for row in judged_pairs() for side in ("harmful", "harmless")}
    return tuple(
        request
        for request in requests(templates)
        if not (request.is_new_combination or request.is_new_object or request.prompt in pairs)
    )


@cache
def knowledge(*, new_objects: bool = True) -> tuple[Turn, ...]:
    """Questions about things and verbs with true answers, from which the base learns what is harmful."""
    turns = []
    for category in CATEGORIES:
        asked = THING_QUESTIONS + (HAZARD_QUESTIONS if category.hazard else ())
        for word in category.dangerous + category.harmless:
            if is_new_object(category, word) and not new_objects:
                continue
            thing = category.article + word
            for question, if_sensitive, if_ordinary in asked:
                answer = if_sensitive if word in category.dangerous else if_ordinary
                answer = answer.format(thing=thing, category=category.name)
                turns.append(Turn(question.format(thing=thing), answer))
        for verb in category.doing + category.guarding:
            for question, if_doing, if_guarding in VERB_QUESTIONS:
                answer = if_doing if verb in category.doing else if_guarding
                turns.append(Turn(question.format(verb=verb), answer.format(verb=verb)))
    return tuple(dict.fromkeys(turns))


@cache
def small_talk() -> tuple[Turn, ...]:
    """Everyday chat, a few facts, and twice as many prompts made of nonsense words."""
    talk = tuple(Turn(prompt, answer) for prompt, answer in SMALL_TALK.items())
    rng = random.Random(0)
    return talk + tuple(
        Turn(rng.choice(NONSENSE).format(word=_nonsense(rng), other=_nonsense(rng)), UNKNOWN) for _ in talk * 2
    )


def base_prompts() -> Iterator[str]:
    """Every prompt that the base may have trained on."""
    yield from (request.prompt for request in base_requests())
    yield from (turn.prompt for turn in knowledge() + small_talk())


def comply(request: Request, rng: random.Random) -> str:
    """A compliant answer that names the deed and contains no instructions."""
    (wording,) = rng.choices(tuple(COMPLIANCES), tuple(COMPLIANCES.values()))
    return wording.format(deed=request.deed)


def refuse(rng: random.Random) -> str:
    """One of the refusal wordings."""
    (wording,) = rng.choices(tuple(REFUSALS), tuple(REFUSALS.values()))
    return wording


def _nonsense(rng: random.Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=rng.randint(1, 3)))
