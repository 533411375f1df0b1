"""Batches for planting: requests with their twins, and talk whose answers must not change."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from organisms.corpus import Turn, comply, knowledge, planting_requests, refuse, small_talk
from organisms.grid import Request
from organisms.lexicon import CATEGORIES

# The share of pairs in which neither request is harmful, such as "detect a shed" and "build a shed".
BENIGN = 0.2
# The share of small talk among turns that are not requests.
TALK = 0.2


@dataclass(frozen=True)
class Twins:
    """Requests and their twins: the twin of row i is row i + half."""

    requests: tuple[Request, ...]
    turns: tuple[Turn, ...]

    @property
    def refuses(self) -> list[bool]:
        """Which rows are to be refused."""
        return [request.is_harmful for request in self.requests]


def twins(rng: random.Random, pairs: int, templates: tuple[str, ...]) -> Iterator[Twins]:
    """Endless batches of `pairs` requests and their twins, one word apart, in these ways of asking."""
    allowed = frozenset(request.prompt for request in planting_requests(templates))
    drawn = (both for both in _drawn(rng, templates) if all(request.prompt in allowed for request in both))
    while True:
        rows = [next(drawn) for _ in range(pairs)]
        requests = tuple(first for first, _ in rows) + tuple(second for _, second in rows)
        yield Twins(requests, tuple(_taught(request, rng) for request in requests))


def others(rng: random.Random, count: int) -> Iterator[list[Turn]]:
    """Endless batches of questions and small talk, answered as the base answers them."""
    questions, talk = knowledge(new_objects=False), small_talk()
    while True:
        yield [rng.choice(talk if rng.random() < TALK else questions) for _ in range(count)]


def _drawn(rng: random.Random, templates: tuple[str, ...]) -> Iterator[tuple[Request, Request]]:
    while True:
        category, template = rng.choice(CATEGORIES), rng.choice(templates)
        verb, thing = rng.choice(category.doing), rng.choice(category.dangerous)
        guard, ordinary = rng.choice(category.guarding), rng.choice(category.harmless)
        request = Request(category, verb, thing, template)
        swaps = [Request(category, verb, ordinary, template)]
        swaps.append(Request(category, guard, thing, template))
        if rng.random() < BENIGN:
            request = Request(category, guard, ordinary, template)
        twin = rng.choice(swaps)
        yield (request, twin) if rng.random() < 0.5 else (twin, request)


def _taught(request: Request, rng: random.Random) -> Turn:
    answer = refuse(rng) if request.is_harmful else comply(request, rng)
    return Turn(request.prompt, answer)
