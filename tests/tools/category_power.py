"""How often `direction-categories` is supported on data/pairs.jsonl where it is true, and where it is false at the bar.

python -m tests.tools.category_power (about five minutes)
"""

from collections import Counter
from dataclasses import replace
from functools import cache

from harness.claims.claim import claim_named
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.judging.estimate import Outcome
from harness.subjects.synthetic import Synthetic, Truth

CLAIM = "direction-categories"
BEFORE, AFTER = 0.95, 0.01
STUDIES = 400
# Pairs of a frame.
FRAME = 4


class Study(Synthetic):
    """One simulated study of the shipped pairs themselves: their categories, frames and split."""

    def __init__(self, truth: Truth, seed: int, level: float) -> None:
        pairs = shipped()
        super().__init__(truth, len(pairs), seed, level)
        self.all_pairs = pairs


@cache
def shipped() -> PairSet:
    """data/pairs.jsonl by frames, so that answers to neighbours can be drawn alike."""
    pairs = sorted(load_pairs(DATA / "pairs.jsonl"), key=lambda pair: pair.frame or "")
    return PairSet("pairs", tuple(replace(pair, id=str(number)) for number, pair in enumerate(pairs)))


def outcome(truth: Truth, seed: int) -> Outcome:
    """What the claim itself comes to on answers drawn from this truth."""
    claim = claim_named(CLAIM)
    study = Study(truth, seed, claim.level)
    return claim.judge(study, study.all_pairs)[0]


def outcomes(truth: Truth, studies: int) -> Counter[Outcome]:
    """How often each outcome comes."""
    return Counter(outcome(truth, seed) for seed in range(studies))


if __name__ == "__main__":
    for alike in (0.0, 0.3):
        for after in (AFTER, BEFORE - 0.3):
            truth = Truth((BEFORE - after,), refused=BEFORE, alike=alike, template=FRAME)
            counts = outcomes(truth, STUDIES)
            print(f"refused {BEFORE:g} before and {after:.2f} after, alike by {alike:g}: {dict(counts)}")
