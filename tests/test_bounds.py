"""What cannot be more than 1 is never said to be: every interval of a bounded quantity stays within its bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.judging import correlations, means, permutations, proportions
from harness.judging.proportions import Interval
from harness.judging.ranges import RANGES
from harness.subjects.synthetic import Synthetic, Truth
from tests.tools import studies

levels = st.sampled_from([0.05, 0.0025, 0.00005])
counts = st.integers(1, 24)
drawn = settings(derandomize=True, max_examples=60, deadline=None)


def answers(n: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(bool, n)


def clusters(n: int) -> st.SearchStrategy[np.ndarray | None]:
    return st.none() | arrays(int, n, elements=st.integers(0, 5))


def within(found: Interval, low: float, high: float) -> None:
    assert low <= found.low <= found.value <= found.high <= high, found


@drawn
@given(st.data(), counts, levels)
def test_shares_and_their_differences(data: st.DataObject, n: int, level: float) -> None:
    before, after, some = data.draw(answers(n)), data.draw(answers(n)), data.draw(clusters(n))
    within(proportions.rate(before, level, some), 0, 1)
    within(proportions.paired_difference(before, after, level, some), -1, 1)
    assert 0 <= proportions.area(data.draw(arrays(float, n, elements=st.floats(-9, 9))), before) <= 1


@drawn
@given(st.data(), counts, st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, np.inf)]), levels)
def test_means_within_bounds(data: st.DataObject, n: int, bounds: tuple[float, float], level: float) -> None:
    low, high = bounds
    values = data.draw(arrays(float, n, elements=st.floats(low, min(high, 50.0), allow_subnormal=False)))
    within(means.mean(values, level, data.draw(clusters(n)), bounds), low, high)


@drawn
@given(st.data(), st.integers(1, 12), st.integers(2, 6), levels)
def test_correlations_and_chances(data: st.DataObject, n: int, k: int, level: float) -> None:
    first, second = (data.draw(arrays(float, (n, k), elements=st.floats(-9, 9, width=16))) for _ in range(2))
    within(correlations.correlation(first, second, level, data.draw(clusters(n))), -1, 1)
    reach = permutations.max_t_reach(first, draws=99)
    assert (reach >= 0).all()
    assert (reach <= np.sqrt((first**2).mean(0)) + 1e-9).all()


@drawn
@given(st.integers(0, 9999), st.integers(2, 4), st.integers(2, 9), st.floats(0, 1), levels)
def test_cosines(seed: int, groups: int, each: int, cosine: float, level: float) -> None:
    rng, names = np.random.default_rng(seed), np.repeat(np.arange(groups), each)
    ours = np.sqrt(cosine) * np.eye(1, 9) + np.sqrt(1 - cosine) * np.eye(groups, 9, 1)[names]
    ours = ours + rng.normal(size=ours.shape) * rng.uniform(0, 0.5)
    interval = correlations.alignment(ours @ ours.T, names, level, rng.integers(0, 6, len(names)))
    assert -1 <= interval.low <= interval.high <= 1
    if np.isfinite(interval.value):
        within(interval, -1, 1)


def test_a_cosine_that_noise_lifts_above_one_is_one() -> None:
    # Two groups of one direction: set free of noise their cosine comes out above 1 about every other time.
    lifted = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        ours = np.eye(1, 5) + 0.3 * rng.normal(size=(16, 5))
        names = np.arange(16) % 2
        member = (names[:, None] == np.arange(2)).astype(float)
        lifted += correlations._cosines(ours @ ours.T, member)[0] > 1
        within(correlations.alignment(ours @ ours.T, names, 0.0025), -1, 1)
    assert 10 < lifted < 30


@pytest.mark.parametrize("effect", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("n", [2, 7, 30])
def test_whatever_a_claim_asks_for_stays_within_what_it_can_reach(effect: float, n: int) -> None:
    for name, ask in ASKED.items():
        estimate = ask(Synthetic(Truth((effect, effect), refused=1.0), n, 3, 0.0025))
        low, high = estimate.range or (-np.inf, np.inf)
        assert estimate.range == RANGES[name], name
        assert low <= estimate.low <= estimate.value <= estimate.high <= high, (name, estimate)


ASKED = {
    "depths.of": studies.stage("accumulation"),
    "depths.keywords": studies.keywords,
    "refuses.fall": lambda subject: studies.fall(subject.refuses(subject.all_pairs), subject),
    "refuses.left": lambda subject: studies.left(subject.refuses(subject.all_pairs), subject),
    "refuses.lead": lambda subject: studies.direction_lead(subject.refuses(subject.all_pairs), subject),
    "refuses.by_category": lambda subject: studies.by_category(subject.refuses(subject.all_pairs), subject),
    "side_effects.coherent": studies.beside("coherent"),
    "side_effects.divergence": studies.beside("divergence"),
}
