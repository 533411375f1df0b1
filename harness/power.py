"""How many pairs a claim needs: its own test, run on synthetic subjects whose truth is known."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.claims import Claim
from harness.estimate import Inconclusive, Outcome, Refuted
from harness.synthetic import Synthetic, Truth

EFFECTS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
POWER = 0.9
SIMULATIONS = 200
MOST = 2048
FEWEST = 8


@dataclass(frozen=True)
class Needed:
    """With this effect so many pairs decide the claim with a chance of POWER; none where MOST pairs do not."""

    effect: float
    outcome: Outcome
    pairs: int | None


def truth_of(claim: Claim, effect: float) -> Truth:
    """What an effect means for a claim: of interventions, circuits and agreements; else of the answers as they are."""
    if any("under" in arm or "share" in arm or "gradients" in arm for arm in arms(claim)):
        # A fall needs as many refusals to fall from.
        return Truth((effect,), refused=max(0.95, effect), agreement=min(effect, 0.999))
    return Truth((0.0,), refused=effect, answered=effect)


def arms(claim: Claim) -> tuple[str, ...]:
    """What the claim compares, in words."""
    subject = Synthetic(Truth((0.5,), agreement=0.5), 32, 0, claim.level)
    outcome(claim, subject)
    return tuple(subject.asked)


def outcome(claim: Claim, subject: Synthetic) -> Outcome:
    """The verdict of one study."""
    try:
        claim.test(model=subject, pairs=subject.all_pairs)
    except Refuted:
        return "REFUTED"
    except Inconclusive:
        return "INCONCLUSIVE"
    return "SUPPORTED"


def outcomes(claim: Claim, truth: Truth, n: int, simulations: int) -> Counter[Outcome]:
    """The verdicts of so many studies of n pairs."""
    return Counter(outcome(claim, Synthetic(truth, n, seed, claim.level)) for seed in range(simulations))


def needed(claim: Claim, effect: float) -> Needed:
    """The fewest pairs, to about 5%, that decide the claim where this effect is true."""
    truth = truth_of(claim, effect)
    word = outcomes(claim, truth, MOST, 9).most_common(1)[0][0]
    if word == "INCONCLUSIVE":
        return Needed(effect, word, None)

    def enough(n: int) -> bool:
        # Once as many went the other way as may, the rest need not be asked.
        left = int(SIMULATIONS * (1 - POWER))
        for seed in range(SIMULATIONS):
            left -= outcome(claim, Synthetic(truth, n, seed, claim.level)) != word
            if left < 0:
                return False
        return True

    sizes = list(itertools.takewhile(lambda n: n <= MOST, (FEWEST * 2**k for k in itertools.count())))
    high = next((n for n in sizes if enough(n)), None)
    if high is None:
        return Needed(effect, word, None)
    low = high // 2 if high > FEWEST else high
    while high - low > max(1, high // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Needed(effect, word, high)


def table(claim: Claim, effects: Sequence[float]) -> list[Needed]:
    """One row an effect."""
    return [needed(claim, effect) for effect in effects]
