"""Forecasts how long a run will still take, once enough of it was measured."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

# The least share of the planned tokens that must be done before a rate is trusted.
ENOUGH = 0.1


class Progress(TypedDict):
    """How far the claims of a model are, in planned tokens; plain builtins, so that workers can send it."""

    done: float  # tokens of claims judged
    seconds: float  # how long these claims took
    left: float  # tokens of later claims; infinite while one of them could not be planned


@dataclass
class Forecast:
    """How long the claims on a model take, from the first that finds it loaded: earlier ones measured nothing."""

    _left: dict[str, float] | None = field(default=None, init=False)  # planned tokens, by test
    _done: float = field(default=0.0, init=False)
    _seconds: float = field(default=0.0, init=False)

    def plan(self, tokens: Callable[[], Mapping[str, float]]) -> None:
        """Keeps the tokens of all later claims; the function is called only the first time."""
        if self._left is None:
            self._left = dict(tokens())

    def judged(self, test: str, seconds: float | None) -> Progress | None:
        """How far the model is after this test; `seconds` is None where it reached no verdict."""
        if self._left is None:
            return None
        # Tests before it that were skipped by a mark will not be reported.
        gone = list(self._left)[: list(self._left).index(test) + 1] if test in self._left else []
        tokens = [self._left.pop(name) for name in gone][-1] if gone else 0.0
        if seconds is not None and 0 < tokens < math.inf:
            self._done += tokens
            self._seconds += seconds
        return Progress(done=self._done, seconds=self._seconds, left=sum(self._left.values()))


def seconds_left(progress: Progress) -> float | None:
    """How long the rest takes at the rate so far; None where too little was measured."""
    done, left = progress["done"], progress["left"]
    if left == 0:
        return 0.0
    if done == 0 or done < ENOUGH * (done + left):
        return None
    return left / done * progress["seconds"]


def until_all(models: Iterable[Progress | None]) -> float | None:
    """How long until the slowest of models judged at the same time is done; None where one cannot be forecast."""
    times = [None if progress is None else seconds_left(progress) for progress in models]
    known = [time for time in times if time is not None]
    return max(known, default=0.0) if len(known) == len(times) else None


def words(judged: int, expected: int, seconds: float | None) -> str:
    """How many claims are judged, of how many, and about how long the rest takes if that is known."""
    count = f"{judged} of {expected}"
    return f"{count}, about {_time(seconds)} left" if seconds else count


def _time(seconds: float) -> str:
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
