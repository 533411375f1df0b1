"""How long a run will still measure, from what it has measured; nothing where that is too little to go by."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

# The share of the planned tokens that a rate rests on: a forecast reaches at most nine times as far as what was seen.
ENOUGH = 0.1


class Progress(TypedDict):
    """Of one model: planned tokens, in plain builtins that cross processes."""

    done: float  # of the claims that measured
    seconds: float  # that these claims took
    left: float  # of the claims to come; infinite while one of them could not be planned


@dataclass
class Forecast:
    """What the claims of one model take, from the first that finds it awake: before that nothing had to be measured."""

    _left: dict[str, float] | None = field(default=None, init=False)  # planned tokens, by test
    _done: float = field(default=0.0, init=False)
    _seconds: float = field(default=0.0, init=False)

    def plan(self, tokens: Callable[[], Mapping[str, float]]) -> None:
        """Keeps what each claim to come will take; it is asked once."""
        if self._left is None:
            self._left = dict(tokens())

    def judged(self, test: str, seconds: float | None) -> Progress | None:
        """How far the model is after this test; without seconds it did not come to a verdict, and tells no rate."""
        if self._left is None:
            return None
        # Those before it that were never set up, since a mark skips them, will not come either.
        gone = list(self._left)[: list(self._left).index(test) + 1] if test in self._left else []
        tokens = [self._left.pop(name) for name in gone][-1] if gone else 0.0
        if seconds is not None and 0 < tokens < math.inf:
            self._done += tokens
            self._seconds += seconds
        return Progress(done=self._done, seconds=self._seconds, left=sum(self._left.values()))


def seconds_left(progress: Progress) -> float | None:
    """At the rate so far; None where too little was measured to tell one."""
    done, left = progress["done"], progress["left"]
    if left == 0:
        return 0.0
    if done == 0 or done < ENOUGH * (done + left):
        return None
    return left / done * progress["seconds"]


def until_all(models: Iterable[Progress | None]) -> float | None:
    """Until the last of models that are judged at the same time is through; None where one of them cannot be told."""
    times = [None if progress is None else seconds_left(progress) for progress in models]
    known = [time for time in times if time is not None]
    return max(known, default=0.0) if len(known) == len(times) else None


def words(judged: int, expected: int, seconds: float | None) -> str:
    """How many claims are judged, of how many, and about how long the rest takes, where that can be told."""
    count = f"{judged} of {expected}"
    return f"{count}, about {_time(seconds)} left" if seconds else count


def _time(seconds: float) -> str:
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
