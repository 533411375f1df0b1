"""How many pairs a claim needs: its own test is run on synthetic subjects whose true effect is known."""

import itertools
from collections import Counter
from dataclasses import dataclass

from harness.claims.claim import Claim
from harness.inputs.errors import AssayError
from harness.judging.estimate import Outcome, Unreachable
from harness.subjects.synthetic import Synthetic, Truth

EFFECTS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
POWER = 0.9
SIMULATIONS = 200
MOST = 2048
FEWEST = 8
# With so many pairs no claim stops because it could not be decided.
ENOUGH = 256


@dataclass(frozen=True)
class Needed:
    """How many pairs decide a claim with probability POWER where this is the true effect; None where MOST do not."""

    effect: float
    outcome: Outcome
    pairs: int | None


def truth_of(claim: Claim, effect: float) -> Truth:
    """The synthetic truth in which an effect has this size; for a claim without intervention, the rate refused."""
    asked = arms(claim, Truth((0.5,)))
    if all(arm.endswith("of them refused") for arm in asked):
        return Truth((0.0,), refused=effect, answered=effect)
    agreement = min(effect, 0.999) if "effects by gradients" in asked else None
    broken = 1 - effect if any(bar.question == "side_effects.coherent" for bar in claim.bars) else 0.0
    # A harmless behaviour is that of two prompts of a frame, and has none of the effect.
    frame = 2 if any(bar.question == "depths.beyond_harmless" for bar in claim.bars) else 1
    principal = effect if any(bar.question == "geometry.principal" for bar in claim.bars) else 1.0
    # A fall needs as many refusals to fall from.
    refused = max(0.95, effect)
    return Truth((effect,), refused=refused, agreement=agreement, broken=broken, template=frame, principal=principal)


def arms(claim: Claim, truth: Truth) -> tuple[str, ...]:
    """What the claim asks of a model, in words."""
    subject = Synthetic(truth, ENOUGH, 0, claim.level)
    try:
        claim.judge(subject, subject.all_pairs)
    except AssayError as error:
        raise AssayError(f"{claim.place}: the power of {claim.name!r} cannot be simulated: {error}") from None
    return tuple(subject.asked)


def rehearse(claim: Claim) -> None:
    """Refuses a claim whose bar no answer could reach, by judging it on synthetic answers."""
    if all(bar.question for bar in claim.bars):
        return
    subject = Synthetic(Truth((0.5,)), ENOUGH, 0, claim.level)
    try:
        claim.judge(subject, subject.all_pairs)
    except Unreachable as error:
        raise AssayError(f"{claim.place}: claim {claim.name!r} has {error}") from None
    except Exception:  # noqa: BLE001 - any other mistake is reported when the claim is judged
        return


def study(claim: Claim, truth: Truth, n: int, seed: int) -> Outcome:
    """The verdict on n newly drawn pairs."""
    subject = Synthetic(truth, n, seed, claim.level)
    return claim.judge(subject, subject.all_pairs)[0]


def outcomes(claim: Claim, truth: Truth, n: int, simulations: int) -> Counter[Outcome]:
    """How often each verdict comes out in so many simulated studies of n pairs."""
    return Counter(study(claim, truth, n, seed) for seed in range(simulations))


def needed(claim: Claim, effect: float) -> Needed:
    """The smallest number of pairs, to about 5%, that decides the claim where this effect is true."""
    truth = truth_of(claim, effect)
    word = outcomes(claim, truth, MOST, 9).most_common(1)[0][0]
    if word == "INCONCLUSIVE":
        return Needed(effect, word, None)

    def enough(n: int) -> bool:
        # Stops as soon as more studies failed than POWER allows.
        failures_left = int(SIMULATIONS * (1 - POWER))
        for seed in range(SIMULATIONS):
            failures_left -= study(claim, truth, n, seed) != word
            if failures_left < 0:
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
