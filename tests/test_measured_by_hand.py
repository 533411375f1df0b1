"""Geometry, depths, side effects and random arms, from measurements that are given: no model, no draws."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.inputs.judges.outcomes import REPETITION, SURPRISE
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.judging import proportions
from harness.judging.estimate import Inconclusive, asides
from harness.measurements.interventions import Circuit, Intervention, Patch, Remove, patch, remove
from harness.measurements.questions import Answers, DealtAnswers, PlainText, Products, Projected
from harness.measurements.sweep_plan import Joint, Sweep
from harness.subjects.quantities.arm_controls import Controls, beside_random
from harness.subjects.quantities.refusals import RANDOM, random_arms
from tests.tools import studies
from tests.tools.given import FOUND, LEVEL, PATCH, Given, fluent, pairs_of

# Geometry.


def parting(
    slopes: Iterable[float], pairs: PairSet, layers: int = 3
) -> Callable[[Projected], Mapping[str, np.ndarray]]:
    """Streams of length 2 that part along each direction by so much of their length, from first layer to last."""
    depth = np.linspace(0, 1, layers)

    def arrays(what: Projected) -> Mapping[str, np.ndarray]:
        along = 2 * np.array(list(slopes))[:, None, None] * depth * np.ones((1, len(pairs), 1))
        return {"along": along * (what.side == "harmful"), "length": np.full((len(pairs), layers), 2.0)}

    return arrays


def test_growth_is_over_random_directions_whichever_way_they_go() -> None:
    pairs = pairs_of(*"a" * 12)
    slopes = [0.5, *[0.1 * (-1) ** number for number in range(RANDOM)]]
    subject = Given(pairs, arrays=parting(slopes, pairs))
    estimate = subject.geometry(pairs).growth(FOUND)
    assert estimate.value == pytest.approx(0.5 - 0.1)
    asked = [question for question in subject.asked if isinstance(question, Projected)]
    assert [one.side for one in asked] == ["harmful", "harmless"]
    assert {direction.method for direction in asked[0].directions[1:]} == {"matched"}
    assert len(set(asked[0].directions)) == 1 + RANDOM


def test_growth_counts_templates() -> None:
    rng, depth = np.random.default_rng(0), np.linspace(0, 1, 3)
    noise = rng.normal(0, 0.1, (1 + RANDOM, 6))
    along = (np.array([0.5, *[0.0] * RANDOM])[:, None] + np.repeat(noise, 4, 1))[..., None] * depth

    def arrays(what: Any) -> Mapping[str, np.ndarray]:
        return {"along": along * (getattr(what, "side", "") == "harmful"), "length": np.ones((24, 3))}

    alone, fours = (
        Given(pairs, arrays=arrays).geometry(pairs).growth(FOUND)
        for pairs in (pairs_of(*"a" * 24, template=size) for size in (1, 4))
    )
    assert fours.method.endswith("in 6 clusters")
    assert fours.low < alone.low
    assert fours.value == pytest.approx(alone.value)


def test_categories_agree_by_their_differences_three_quarters_of_the_way_up() -> None:
    rng = np.random.default_rng(1)
    pairs = pairs_of(*"aaaabbbbccc", template=1)
    pairs = PairSet(
        "given", tuple(replace(pair, harmful=f"{pair.harmful} x", harmless=f"{pair.harmless} x") for pair in pairs)
    )
    # a and b lie 60 degrees apart, what all prompts share is anything; c has three pairs and goes the other way.
    own = {"a": [1.0, 0, 0], "b": [0.5, math.sqrt(0.75), 0], "c": [-9.0, -9, 0]}
    shared = np.array([0.0, 0, 5])
    streams = [shared + own[pair.category] + rng.normal(0, 1e-3, 3) for pair in pairs]
    streams += [shared + rng.normal(0, 1e-3, 3) for _ in pairs]
    table = np.array(streams) @ np.array(streams).T
    subject = Given(pairs, arrays=lambda question: {"products": table})
    with asides() as beside:
        estimate = subject.geometry(pairs).agreement()
    assert estimate.value == pytest.approx(0.5, abs=0.01)
    assert "cosine, harmless twins" in beside
    assert subject.asked == [Products(pairs, 3 * 9 // 4, -1)]


def test_categories_agree_as_surely_as_there_are_templates() -> None:
    rng, pairs = np.random.default_rng(5), pairs_of(*"aabb" * 12, template=8)
    own = {"a": [1.0, 0, 0], "b": [0.5, math.sqrt(0.75), 0]}
    alike = rng.normal(0, 0.3, (6, 3))
    streams = [own[pair.category] + alike[int(pair.id) // 8] for pair in pairs] + [[0.0] * 3] * len(pairs)
    table = np.array(streams) @ np.array(streams).T + 1e-6 * np.eye(2 * len(pairs))
    estimate = Given(pairs, arrays=lambda question: {"products": table}).geometry(pairs).agreement()
    assert estimate.method == "the lowest of 2, of a; jackknife, 6 clusters"
    assert estimate.low < estimate.value - 0.02


def test_one_category_that_is_large_enough_has_nothing_to_compare_with() -> None:
    pairs = pairs_of(*"aaaabbb")
    subject = Given(pairs, arrays=lambda question: {"products": np.eye(14)})
    with pytest.raises(Inconclusive, match="fewer than two categories have 4 pairs"):
        subject.geometry(pairs).agreement()


# Depths.


def test_a_stage_is_measured_by_patches_of_its_own_third() -> None:
    pairs = pairs_of(*"a" * 8)

    def change(what: Sweep | Joint) -> np.ndarray:
        if isinstance(what, Sweep):
            return np.full((8, 1, 1), 0.2)
        if len(what.circuits) == 1:
            return np.full((8, 1), 0.9)
        return np.tile([0.1, 0.3] if what.direct else [0.8, 0.4], (8, 1))

    subject = Given(pairs, change=change)
    depths = subject.depths(pairs)
    # What is still read later is taken off, and what MLPs write into the logits.
    values = {"reading": 0.8, "accumulation": (0.8 - 0.1) - (0.4 - 0.3), "execution": 0.9}
    assert {stage: depths.of(stage).value for stage in studies.STAGES} == pytest.approx(values)
    swept = list(dict.fromkeys(what for what, _ in subject.swept))
    assert swept[0] == Sweep("resid_pre", ("slot",), layers=(3,))
    layers = [[sorted({site.layer for site in circuit.sites}) for circuit in joint.circuits] for joint in swept[1:]]
    assert layers == [[[3, 4, 5], [0, 1, 2, 6, 7, 8]]] * 2 + [[[6, 7, 8]]]
    kinds = [{site.kind for circuit in joint.circuits for site in circuit.sites} for joint in swept[1:]]
    assert kinds == [{"mlp_out"}, {"mlp_out"}, {"attn_out", "mlp_out"}]
    assert [(joint.at, joint.direct) for joint in swept[1:]] == [("later", False), ((-1,), True), ((-1,), True)]
    assert {mode for _, mode in subject.swept} == {"noise"}


def test_a_frame_counts_once_and_its_share_stays_within_what_a_share_can_be() -> None:
    pairs = pairs_of(*"a" * 12, template=4)
    written = np.repeat([[0.1], [0.5], [1.7]], 4, 0)
    written[4:8, 0] = [0.2, 0.8, 0.4, 0.6]
    estimate = Given(pairs, change=lambda swept: written).depths(pairs).of("execution")
    assert estimate.value == pytest.approx((0.1 + 0.5 + 1.0) / 3)
    assert (estimate.n, estimate.method.endswith("in 3 clusters")) == (12, True)


def test_what_is_restored_is_the_stream_half_way_up_in_harmless_runs() -> None:
    pairs = pairs_of(*"a" * 8)
    subject = Given(pairs, change=lambda swept: np.full((8, 1, 1), 0.6) + np.linspace(0, 0.01, 8)[:, None, None])
    assert subject.depths(pairs).restored("post").value == pytest.approx(0.605)
    assert subject.swept == [(Sweep("resid_pre", ("post",), layers=(4,)), "denoise")]


def other(pair: Pair) -> Pair:
    return replace(pair, id=f"o{pair.id}", harmful=f"other {pair.harmful}", harmless=f"other {pair.harmless}")


def test_a_head_looks_by_its_attention_weighed_by_its_effect_on_other_pairs() -> None:
    pairs, others = pairs_of(*"a" * 8, template=4), PairSet("others", tuple(map(other, pairs_of(*"a" * 8))))
    words = np.zeros((8, 3, 2))
    # The first layer's first head, the last one's second, and two in between that work the other way.
    words[:, 0, 0] = words[:, 2, 1] = words[:, 1] = 1.0
    effect = np.zeros((8, 3, 2, 1))
    effect[:, 0, 0], effect[:, 2, 1], effect[:, 1] = 0.1, 0.3, -5.0
    subject = Given(pairs, arrays=lambda question: {"words": words}, change=lambda what: effect)
    estimate = subject.depths(pairs).keywords(by=others)
    assert estimate.value == pytest.approx(0.75)
    assert estimate.method.endswith("in 2 clusters")
    assert 0 <= estimate.low <= estimate.high <= 1


# What else happens.


def beside(pairs: PairSet, after: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Given:
    """Measurements without and with the intervention."""
    return Given(pairs, values=lambda question: after if question.under is not None else before or after)


def test_what_is_refused_beside_counts_up_and_so_does_what_text_costs() -> None:
    pairs = pairs_of(*"a" * 10)
    subject = Given(
        pairs,
        values=lambda question: (
            {"nats": [3.0, 3.1, 3.3] if question.under is None else [3.5, 3.5, 4.0]}
            if isinstance(question, PlainText)
            else {PHRASES: [0.0] * 10 if question.under is None else [1.0] * 4 + [0.0] * 6}
        ),
    )
    made = subject.side_effects(pairs, PATCH)
    assert made.refused().value == pytest.approx(0.4)
    assert made.cross_entropy().value == pytest.approx((0.5 + 0.4 + 0.7) / 3)


def test_language_neither_repeats_itself_nor_surprises() -> None:
    pairs = pairs_of(*"a" * 4)
    less, more = 0.9 * SURPRISE, 1.1 * SURPRISE
    found = beside(
        pairs,
        {
            "repetition": [0.0, 1.1 * REPETITION, 0.0, 0.9 * REPETITION],
            "cross_entropy": [less, less, more, more],
            "unprompted": [more, less, more, less],
        },
    )
    assert found.side_effects(pairs, PATCH).coherent().value == 0.5


def test_divergence_is_no_less_than_nothing_and_counts_templates() -> None:
    kl = [0.0] * 16 + [0.3] * 8
    alone, eights = (
        beside(pairs, {"kl": kl}).side_effects(pairs, PATCH).divergence()
        for pairs in (pairs_of(*"a" * 24, template=size) for size in (1, 8))
    )
    assert alone.value == pytest.approx(0.1)
    assert eights.method.endswith("in 3 clusters")
    assert 0 <= eights.low <= alone.low <= alone.high <= eights.high
    # All of 24 at 0.1 and one unseen at 0: 0.1 · 0.01^(1/24). Nothing bounds it above.
    same = beside(pairs_of(*"a" * 24), {"kl": [0.1] * 24}).side_effects(pairs_of(*"a" * 24), PATCH).divergence()
    assert same.low == pytest.approx(0.1 * LEVEL ** (1 / 24), abs=0.003)
    assert same.high == math.inf


@pytest.mark.parametrize(
    ("under", "side", "names"),
    [
        (remove(FOUND), "harmful", ["harmless, KL", "harmless, refused"]),
        (remove(FOUND), "harmless", []),
        (PATCH, "harmful", []),
    ],
)
def test_an_arm_has_its_side_effects_beside_it(under: Any, side: Any, names: list[str]) -> None:
    pairs = pairs_of(*"a" * 4)
    values = fluent(4) | {"kl": [0.1] * 4, PHRASES: [1.0, 0, 0, 0]}
    odds = {False: [-1.0] * 4, True: [1.0, 1.0, 1.0, -1.0]}
    subject = Given(pairs, values=lambda question: values | {"odds": odds[question.under is not None]})
    made = subject.side_effects(pairs, under).of_arm(side)
    own = [f"coherent, {side}", f"answers with a phrase, {side}", f"first token agrees, {side}"]
    assert [one.name for one in made] == own + names
    # Of the four first tokens three refuse, and so does one answer, whose first token does too.
    assert [one.value for one in made[:3]] == [1.0, 0.25, 0.5]
    if names:
        assert made[-1].value == pytest.approx(0.75)


def test_refusals_beside_count_templates() -> None:
    pairs = pairs_of(*"a" * 24, template=4)
    hits = [1.0] * 8 + [0.0] * 16
    made = beside(pairs, {PHRASES: hits}, {PHRASES: [0.0] * 24}).side_effects(pairs, PATCH).refused()
    expected = proportions.paired_difference(np.array(hits) > 0, [False] * 24, LEVEL, pairs.clusters)
    assert (made.low, made.high) == (expected.low, expected.high)


# Random ones beside.


@pytest.mark.parametrize(("side", "change"), [("harmful", 0.5), ("harmless", -0.5)])
@pytest.mark.parametrize(("under", "what"), [(PATCH, "circuits"), (remove(FOUND), "directions")])
def test_random_ones_fall_or_rise_as_the_arm_does(under: Patch | Remove, what: str, side: Any, change: float) -> None:
    # Of six that are refused as they are five are answered under random ones; of the two others one is refused.
    pairs = pairs_of(*"a" * 8)

    def values(question: Answers | DealtAnswers) -> Mapping[str, Any]:
        if isinstance(question, DealtAnswers):
            return {"refused": [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]}
        return {PHRASES: [1.0] * 6 + [0.0] * 2}

    subject = Given(pairs, values=values)
    (made,) = Controls(subject, pairs, side, under).random()
    assert made.name == f"{'fall' if side == 'harmful' else 'rise'}, random {what}"
    assert made.value == pytest.approx(change)
    (dealt,) = (asked for asked in subject.asked if isinstance(asked, DealtAnswers))
    random: Sequence[Intervention] = (
        random_arms(under)
        if isinstance(under, Remove)
        else [
            patch(circuit, at="post") for circuit in beside_random(Circuit(under.sites), subject, "post").circuits[1:]
        ]
    )
    assert dealt.arms == tuple(random)
    assert under not in dealt.arms
