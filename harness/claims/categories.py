"""How many pairs a category needs before a claim on every category can be decided, by the claim's own interval."""

from functools import lru_cache

import numpy as np

from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging import proportions

# The number of pairs advised is the one that decides a true fall of this size in all categories with this chance.
FALL, CHANCE = 0.8, 0.9
# Never advise more pairs per category than this.
MOST = 1024


def undecidable(pairs: PromptSet, level: float, bar: float) -> str:
    """Why the bar is out of reach in every category even if all pairs fell; empty where a category can reach it."""
    by_category = {name: pairs.category(name) for name in dict.fromkeys(pairs.categories_of("harmful"))}
    best, highest = "", -1.0
    for name, own in by_category.items():
        if (low := _low(own, level, 1.0)) > highest:
            best, highest = name, low
    if not by_category or highest > bar:
        return ""
    n = len(by_category[best].harmful)
    return (
        f"undecidable at this n: if all {n} of {n} {pairs.unit} of a category fell, their interval would begin at "
        f"{highest:+.2f}, and the bar is {bar:.2f}; {enough(level, bar, len(by_category))}"
    )


def too_few(pairs: PromptSet, names: list[str], level: float, bar: float) -> str:
    """Why the smallest of these categories could not have shown a fall that is well above the bar."""
    small = [own for name in names if _low(own := pairs.category(name), level, _fall(bar)) <= bar]
    if not small:
        return ""
    least = min(len(own.harmful) for own in small)
    return f"too few {pairs.unit}, {least} in the smallest category: {enough(level, bar, len(names))}"


def enough(level: float, bar: float, categories: int) -> str:
    """A sentence with the number of pairs a category that would decide the claim."""
    n, fall = needed(level, bar, _fall(bar), categories), _fall(bar)
    if n is None:
        return f"not even {MOST} a category would decide a fall of {fall:g}"
    return f"{n} a category, each in a frame of its own, would decide a fall of {fall:g}"


@lru_cache(maxsize=64)
def needed(level: float, bar: float, fall: float, categories: int) -> int | None:
    """The fewest pairs per category with which so large a fall in all categories is above the bar with CHANCE."""
    from scipy.stats import binom

    def chance(n: int) -> float:
        few, most = 0, n + 1  # `few` falls do not pass the bar, `most` do
        while most - few > 1:
            middle = (few + most) // 2
            few, most = (few, middle) if _shown(n, middle, level) > bar else (middle, most)
        return float(binom.sf(most - 1, n, fall)) ** categories

    high = 1
    while chance(high) < CHANCE:
        if high >= MOST:
            return None
        high = min(2 * high, MOST)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= CHANCE else (middle, high)
    return high


def _fall(bar: float) -> float:
    return FALL if bar < FALL else (1 + bar) / 2


def _shown(n: int, falls: int, level: float) -> float:
    return proportions.paired_difference(np.ones(n, bool), np.arange(n) >= falls, level).low


def _low(pairs: PromptSet, level: float, fall: float) -> float:
    """The interval's lower bound if this share of the pairs fell, spread evenly over them."""
    places = np.arange(len(pairs.harmful))
    stays = np.floor((places + 1) * (1 - fall) + 1e-9) > np.floor(places * (1 - fall) + 1e-9)
    return proportions.paired_difference(np.ones(len(places), bool), stays, level, pairs.clusters_of("harmful")).low
