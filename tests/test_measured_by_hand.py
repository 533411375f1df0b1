"""What instruments make of measurements that are given, in cases small enough to work out: no model, no draws."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import means, stats
from harness.controls import Controls, beside_random
from harness.effects import Effects
from harness.estimate import Inconclusive, asides
from harness.evidence import Evidence, Recipe, Store
from harness.interventions import Circuit, Direction, patch, remove
from harness.measurements import Answers, Measurement, Norms, PlainText, Products, Projected, Scores
from harness.origins import Found
from harness.pairs import Pair, PairSet
from harness.phrases import PHRASES
from harness.planning import Joint, Mode, Sweep
from harness.record import Examination, ModelRecord, Sizes
from harness.refusals import RANDOM
from harness.sites import Site
from harness.subject import Bare, Subject

LEVEL = 0.01
SIZES = Sizes(9, 4, 4, 16, 4, 10, 3, 64, 10_000, None)
RECORD = ModelRecord("given", "", "given", "none", "", "cpu", SIZES, Examination((), 1.0, 0.0, 0.0), 0, 0, 0)
FOUND = Direction("difference", 1, -1, ("a bomb",), ("a tree",))
PATCH = patch(Circuit.of(heads=[(0, 0)]), at="post")
RECIPE = Recipe("given", 1, "given", {})


def pairs_of(*categories: str, template: int = 1) -> PairSet:
    """One pair of each category named, so many in a row to a template."""
    return PairSet(
        "given",
        tuple(
            Pair(
                str(number),
                name,
                f"harm {number}",
                f"good {number}",
                f"t{number // template}" if template > 1 else None,
            )
            for number, name in enumerate(categories)
        ),
    )


class Given(Bare):
    """A subject whose measurements are given by kind, and whose effects by a function of what is swept."""

    def __init__(
        self,
        pairs: PairSet,
        values: Callable[[Any], Mapping[str, Any]] = lambda what: {},
        arrays: Callable[[Any], Mapping[str, np.ndarray]] = lambda what: {},
        change: Callable[[Any], np.ndarray] | None = None,
        sizes: Sizes = SIZES,
    ) -> None:
        super().__init__(
            replace(RECORD, sizes=sizes), pairs, Store(Path("nowhere")), lambda: pytest.fail("woken"), LEVEL
        )
        self._values, self._arrays, self._change = values, arrays, change
        self.swept: list[tuple[Any, Mode]] = []
        self.asked: list[Measurement] = []
        vars(self).update(tokens=(1,), area=1.0)

    @property
    def _tokens_found(self) -> Found:
        """Given like all the rest, and found nowhere."""
        return Found("the tokens that refuse", "were", frozenset())

    def ask(self, what: Measurement) -> Evidence:
        self.asked.append(what)
        return Evidence(RECIPE, self._values(what), self._arrays(what))

    def seek(self, what: Measurement) -> Evidence:
        """A search may use pairs on which nothing is judged."""
        return self.ask(what)

    def effects(self, pairs: PairSet, what: Any, mode: Mode = "noise", *, searching: bool = False) -> Effects:
        """Of a gap from 2 down to −2, all of it by a change of 4 towards the twin."""
        self.swept.append((what, mode))
        assert self._change is not None
        shares = self._change(what)
        n, shape = len(shares), shares.shape[1:]
        axes = {f"axis {number}": tuple(map(str, range(size))) for number, size in enumerate(shape)}
        names = tuple(pair.id for pair in pairs)[:n]
        return Effects(names, (), axes, 2 - 4 * shares, 0 * shares, np.full(n, 2.0), np.full(n, -2.0))


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
    found = subject.geometry(pairs).growth(FOUND)
    assert found.value == pytest.approx(0.5 - 0.1)
    asked = [one for one in subject.asked if isinstance(one, Projected)]
    assert [one.side for one in asked] == ["harmful", "harmless"]
    assert {one.method for one in asked[0].directions[1:]} == {"matched"}
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
    subject = Given(pairs, arrays=lambda what: {"products": table})
    with asides() as beside:
        found = subject.geometry(pairs).agreement()
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert "cosine, harmless twins" in beside
    assert subject.asked == [Products(pairs, 3 * 9 // 4, -1)]


def test_categories_agree_as_surely_as_there_are_templates() -> None:
    rng, pairs = np.random.default_rng(5), pairs_of(*"aabb" * 12, template=8)
    own = {"a": [1.0, 0, 0], "b": [0.5, math.sqrt(0.75), 0]}
    alike = rng.normal(0, 0.3, (6, 3))
    streams = [own[pair.category] + alike[int(pair.id) // 8] for pair in pairs] + [[0.0] * 3] * len(pairs)
    table = np.array(streams) @ np.array(streams).T + 1e-6 * np.eye(2 * len(pairs))
    found = Given(pairs, arrays=lambda what: {"products": table}).geometry(pairs).agreement()
    assert found.method == "jackknife, 6 clusters"
    assert found.low < found.value - 0.02


def test_one_category_that_is_large_enough_has_nothing_to_compare_with() -> None:
    pairs = pairs_of(*"aaaabbb")
    subject = Given(pairs, arrays=lambda what: {"products": np.eye(14)})
    with pytest.raises(Inconclusive, match="fewer than two categories have 4 pairs"):
        subject.geometry(pairs).agreement()


# Depths.


def test_a_layer_counts_by_what_it_does_towards_the_twin_and_not_by_what_it_does_away_from_it() -> None:
    pairs = pairs_of(*"a" * 8)
    shares = {
        "detect": np.tile([1.0, 0.0, 0.0], (8, 1)),
        "assess": np.tile([0.4, -0.2, 0.2], (8, 1)),
        "execute": np.tile([0.0, 0.0, 0.3], (8, 1)),
    }

    def change(what: Joint) -> np.ndarray:
        return shares["execute" if what.direct else "detect" if what.at == "slot" else "assess"]

    depths = Given(pairs, change=change).depths(pairs)
    assert [depths.of(stage).value for stage in ("detect", "assess", "execute")] == pytest.approx([0, 1 / 3, 1])
    assert depths.gap("detect", "assess").value == pytest.approx(1 / 3)
    assert depths.gap("assess", "execute").value == pytest.approx(2 / 3)


def test_depths_are_compared_on_the_pairs_that_both_stages_have() -> None:
    # Where blocks write straight into the logits every pair counts; at the words, those whose prompts align.
    pairs = pairs_of(*"a" * 8)
    early, late = np.tile([1.0, 0.0, 0.0], (5, 1)), np.tile([0.0, 0.0, 1.0], (8, 1))
    late[5:] = [1.0, 0.0, 0.0]
    depths = Given(pairs, change=lambda what: late if what.direct else early).depths(pairs)
    for first, second, value in (("detect", "execute", 1.0), ("execute", "detect", -1.0)):
        gap = depths.gap(first, second)
        assert (gap.value, gap.n) == (value, 5)


def test_pairs_without_any_effect_have_no_depth_and_templates_count_once() -> None:
    pairs = pairs_of(*"a" * 12, template=3)
    weights = np.repeat([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], 3, 0)
    found = Given(pairs, change=lambda what: weights).depths(pairs).of("detect")
    assert found.value == pytest.approx(0.5)
    assert (found.n, found.method.endswith("in 3 clusters")) == (9, True)


def test_the_middle_third_stands_against_both_outer_ones() -> None:
    pairs = pairs_of(*"a" * 8)
    subject = Given(pairs, change=lambda what: np.tile([0.7, 0.2], (8, 1)) + np.linspace(0, 0.01, 8)[:, None])
    assert subject.depths(pairs).middle_over_outer().value == pytest.approx(0.5)
    ((joint, mode),) = subject.swept
    assert [sorted({site.layer for site in one.sites}) for one in joint.circuits] == [[3, 4, 5], [0, 1, 2, 6, 7, 8]]
    assert mode == "noise"


def test_what_is_restored_is_the_stream_half_way_up_in_harmless_runs() -> None:
    pairs = pairs_of(*"a" * 8)
    subject = Given(pairs, change=lambda what: np.full((8, 1, 1), 0.6) + np.linspace(0, 0.01, 8)[:, None, None])
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
    subject = Given(pairs, arrays=lambda what: {"words": words}, change=lambda what: effect)
    found = subject.depths(pairs).keywords(by=others)
    assert found.value == pytest.approx(0.75)
    assert found.method.endswith("in 2 clusters")
    assert 0 <= found.low <= found.high <= 1


# What else happens.


def beside(pairs: PairSet, after: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Given:
    """Measurements without and with the intervention."""
    return Given(pairs, values=lambda what: after if what.under is not None else before or after)


def test_what_is_refused_beside_counts_up_and_so_does_what_text_costs() -> None:
    pairs = pairs_of(*"a" * 10)
    subject = Given(
        pairs,
        values=lambda what: (
            {"nats": [3.0, 3.1, 3.3] if what.under is None else [3.5, 3.5, 4.0]}
            if isinstance(what, PlainText)
            else {PHRASES: [0.0] * 10 if what.under is None else [1.0] * 4 + [0.0] * 6}
        ),
    )
    made = subject.side_effects(pairs, PATCH)
    assert made.refused().value == pytest.approx(0.4)
    assert made.cross_entropy().value == pytest.approx((0.5 + 0.4 + 0.7) / 3)


def test_language_neither_repeats_itself_nor_surprises() -> None:
    pairs = pairs_of(*"a" * 4)
    found = beside(pairs, {"repetition": [0.0, 0.6, 0.0, 0.49], "cross_entropy": [1.0, 1.0, 3.5, 2.99]})
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
        (remove(FOUND), "harmful", ["harmless, KL", "harmless, refused by the first token"]),
        (remove(FOUND), "harmless", []),
        (PATCH, "harmful", []),
    ],
)
def test_an_arm_has_its_side_effects_beside_it(under: Any, side: Any, names: list[str]) -> None:
    pairs = pairs_of(*"a" * 4)
    values = {"repetition": [0.0] * 4, "cross_entropy": [1.0] * 4, "kl": [0.1] * 4, PHRASES: [1.0, 0, 0, 0]}
    odds = {False: [-1.0] * 4, True: [1.0, 1.0, 1.0, -1.0]}
    subject = Given(pairs, values=lambda what: values | {"odds": odds[what.under is not None]})
    made = subject.side_effects(pairs, under).of_arm(side)
    own = [f"coherent, {side}", f"first token refuses, {side}", f"answers with a phrase, {side}"]
    assert [one.name for one in made] == own + names
    assert [one.value for one in made[:3]] == [1.0, 0.75, 0.25]
    if names:
        assert made[-1].value == pytest.approx(0.75)


# Random ones beside.


@pytest.mark.parametrize(("side", "mode", "fall"), [("harmful", "noise", 0.75), ("harmless", "denoise", -0.75)])
def test_random_circuits_fall_or_rise_as_the_arm_does(side: Any, mode: Mode, fall: float) -> None:
    # Of the random circuits' patched runs a quarter is refused still; the circuit's own does not count.
    pairs = pairs_of(*"a" * 8)
    table = np.zeros((8, 1 + RANDOM))
    table[:, 1:] = np.arange(RANDOM) >= RANDOM // 4
    subject = Given(pairs, change=lambda what: table)
    (found,) = Controls(subject, pairs, side, PATCH).random()
    assert found.name == f"{'fall' if side == 'harmful' else 'rise'}, random circuits"
    assert found.value == pytest.approx(fall)
    assert subject.swept == [(beside_random(Circuit.of(heads=[(0, 0)]), subject, "post"), mode)]


@pytest.mark.parametrize(("side", "value"), [("harmful", 0.5), ("harmless", -0.5)])
def test_random_directions_fall_or_rise_as_the_arm_does(side: Any, value: float) -> None:
    pairs = pairs_of(*"a" * 8)

    def values(what: Scores) -> Mapping[str, Any]:
        return {"odds": [1.0] * 8 if what.under is None else [1.0] * 4 + [-1.0] * 4}

    (found,) = Controls(Given(pairs, values=values), pairs, side, remove(FOUND)).random()
    assert found.value == pytest.approx(value)


# Effects of circuits, as shares.


def test_a_lead_is_over_the_mean_of_random_circuits_or_over_the_loudest() -> None:
    pairs, circuit = pairs_of(*"a" * 8), Circuit.of(heads=[(0, 0), (1, 1)], neurons=[(2, 3)])
    wobble = np.linspace(-0.01, 0.01, 8)[:, None]

    def change(what: Joint) -> np.ndarray:
        return wobble + np.array([0.9, *[0.1, 0.3] * RANDOM])[: len(what.circuits)]

    norms = {"head": np.zeros((9, 4)), "neuron": np.zeros((9, 10))}
    norms["head"][0, 0], norms["head"][5, 2], norms["head"][6, 1], norms["head"][7, 0] = 9, 8, 7, 6
    norms["neuron"][2, 3], norms["neuron"][4, 4] = 9, 8
    subject = Given(pairs, arrays=lambda what: norms, change=change)
    assert subject.effect(circuit, pairs).value == pytest.approx(0.9)
    assert subject.lead(circuit, pairs).value == pytest.approx(0.9 - 0.2)
    assert subject.lead_over_loudest(circuit, pairs).value == pytest.approx(0.9 - 0.1)
    loudest = subject.swept[-1][0].circuits[1]
    assert loudest == Circuit.of(heads=[(5, 2), (6, 1)], neurons=[(4, 4)])


def test_parts_are_counted_each_at_a_level_shared_by_all_of_them() -> None:
    pairs, rng = pairs_of(*"a" * 30), np.random.default_rng(2)
    shares = rng.normal(0, 0.02, (30, 9, 4, 1))
    shares[:, 0, 0, 0] = 0.5 + rng.normal(0, 0.02, 30)
    shares[:, 1, 1, 0] = 0.13 + 0.05 * np.tile([-1, 1], 15)  # above a tenth alone, but not as one of 36
    found = Given(pairs, change=lambda what: shares).counted(pairs, "head", 0.10, of=10)
    # A twentieth of 36 heads, two, are asked.
    assert (found.value, found.low, found.high) == (1.0, 0.5, 1.0)
    alone = means.ratio_of_means(4 * shares[:, 1, 1, 0], np.full(30, 4.0), LEVEL)
    assert alone.low > 0.10


def test_of_many_heads_as_many_are_asked_as_the_claim_says() -> None:
    pairs, wide = pairs_of(*"a" * 8), replace(SIZES, heads=40)
    shares = np.zeros((8, 9, 40, 1))
    shares[:, :, 0, 0] = 0.5 + np.linspace(-0.01, 0.01, 8)[:, None]
    # Nine of 360; a twentieth of all would be eighteen.
    assert Given(pairs, change=lambda what: shares, sizes=wide).counted(pairs, "head", 0.1, of=9).value == 1.0


def test_a_share_of_next_to_no_gap_explains_nothing() -> None:
    pairs = pairs_of(*"a" * 8)
    subject = Given(pairs)
    made = Effects(tuple(map(str, range(8))), (), {}, np.zeros(8), np.zeros(8), np.full(8, 0.2), np.full(8, -0.2))
    found = subject.share_of("E", made, np.full(8, -0.4))
    assert found.nothing == "nothing to explain: prompts and twins differ by 0.40 in log-odds of refusing"
    assert math.isnan(found.value)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_share_is_positive_towards_the_twin_whichever_way_that_is(sign: int) -> None:
    pairs = pairs_of(*"a" * 8, template=2)
    gap = np.linspace(3, 5, 8)
    made = Effects(tuple(map(str, range(8))), (), {}, np.zeros(8), np.zeros(8), sign * gap / 2, -sign * gap / 2)
    found = Given(pairs).share_of("E", made, -sign * gap / 4)
    assert found.value == pytest.approx(0.25)
    assert found.method.endswith("in 4 clusters")


def test_circuits_of_other_categories_are_measured_by_a_pairs_own() -> None:
    pairs = pairs_of(*"ab" * 8)

    class Found(Given):
        def circuit(self, pairs: PairSet, **asked: Any) -> Circuit:
            (name,) = {pair.category for pair in pairs}
            return Circuit.of(heads=[(0, "ab".index(name))])

    def change(what: Joint) -> np.ndarray:
        assert what.circuits == (Circuit.of(heads=[(0, 0)]), Circuit.of(heads=[(0, 1)]))
        own = np.array(["ab".index(pair.category) for pair in pairs])
        return np.where(np.arange(2) == own[:, None], 0.8, 0.4) + np.linspace(0, 0.001, 16)[:, None]

    assert Found(pairs, change=change).shared(pairs, found_on=pairs, heads=1).value == pytest.approx(0.5, abs=0.001)
    fours = PairSet("given", tuple(replace(pair, template=f"t{int(pair.id) // 4}") for pair in pairs))
    found = Found(fours, change=change).shared(fours, found_on=fours, heads=1)
    assert found.method.endswith("in 4 clusters")
    with pytest.raises(Inconclusive, match="on their own categories the circuits carry 0.20"):
        Found(pairs, change=lambda what: change(what) / 4).shared(pairs, found_on=pairs, heads=1)


def test_the_score_stands_for_answers_where_it_tells_them_apart() -> None:
    pairs = pairs_of(*"a" * 40)
    half = PairSet("given", tuple(pair for pair in pairs if pair.side == "discovery"))
    n = len(half)

    def subject(swapped: int) -> Subject:
        def values(what: Any) -> Mapping[str, Any]:
            sign = 1.0 if what.side == "harmful" else -1.0
            if isinstance(what, Answers):
                return {PHRASES: [float(sign > 0)] * n}
            return {"odds": [sign * (-1 if number < swapped else 1) for number in range(n)]}

        made = Given(pairs, values=values)
        vars(made).pop("area")
        return made

    # With s of n on each side swapped, a hit scores above a miss with a chance of 1 − s/n, ties by half.
    assert subject(0).area == 1.0
    assert subject(1).area == pytest.approx(1 - 1 / n)
    assert subject(0).score_serves
    assert not subject(2).score_serves


def test_where_the_score_does_not_serve_effects_say_nothing_and_answers_are_judged() -> None:
    pairs = pairs_of(*"a" * 4)
    made = Given(pairs, values=lambda what: {PHRASES: [1.0, 0, 0, 1], "odds": [-1.0, 1, 1, -1]})
    assert made.scored(pairs, "harmful", None).tolist() == [False, True, True, False]
    vars(made)["area"] = 0.94
    assert made.scored(pairs, "harmful", None).tolist() == [True, False, False, True]
    with pytest.raises(Inconclusive, match="an AUC of 0.94"):
        Subject.effects(made, pairs, Sweep("head"))


def test_gradients_agree_with_patches_by_templates() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(9, 4, 1))
    # Pairs of one template err alike, by either method.
    exact, guess = (truth + np.repeat(rng.normal(0, 0.7, (6, 9, 4, 1)), 4, 0) for _ in range(2))
    exact, guess = (one + rng.normal(0, 0.1, one.shape) for one in (exact, guess))
    own = {"patched": 2 - guess * 4, "kl": 0 * guess, "clean": np.full(24, 2.0), "source": np.full(24, -2.0)}
    axes = {"layer": tuple("012345678"), "head": tuple("0123"), "position": ("post",)}

    def agreement(size: int) -> Any:
        pairs = pairs_of(*"a" * 24, template=size)
        values = {"pairs": [pair.id for pair in pairs], "set_aside": [], "axes": axes}
        return Given(pairs, values=lambda what: values, arrays=lambda what: own, change=lambda what: exact).agreement(
            pairs, "head"
        )

    alone, fours = agreement(1), agreement(4)
    assert fours.method.endswith("in 6 clusters")
    assert fours.low < alone.low


def test_a_circuit_that_was_found_is_ranked_and_no_other() -> None:
    pairs = pairs_of(*"a" * 4)
    found = {"heads": [[1, 2], [0, 3]], "neurons": [], "effects": {"heads": [0.2, 0.7], "neurons": []}}
    subject = Given(pairs, values=lambda what: found)
    circuit = subject.circuit(pairs, heads=2)
    assert subject.ranked(circuit) == (Site(0, "head", 3), Site(1, "head", 2))
    assert subject.ranked(circuit + Circuit.of(heads=[(5, 0)])) == ()


def test_norms_are_asked_of_discovery_pairs() -> None:
    pairs = pairs_of(*"a" * 40)
    norms = {"head": np.ones((9, 4)), "neuron": np.ones((9, 10))}
    subject = Given(pairs, arrays=lambda what: norms, change=lambda what: np.full((8, 2), [0.9, 0.1]))
    subject.lead_over_loudest(Circuit.of(heads=[(0, 0)]), pairs)
    assert [one.pairs for one in subject.asked if isinstance(one, Norms)] == [pairs.discovery]


def test_refusals_beside_count_templates() -> None:
    pairs = pairs_of(*"a" * 24, template=4)
    hits = [1.0] * 8 + [0.0] * 16
    made = beside(pairs, {PHRASES: hits}, {PHRASES: [0.0] * 24}).side_effects(pairs, PATCH).refused()
    expected = stats.paired_difference(np.array(hits) > 0, [False] * 24, LEVEL, pairs.clusters)
    assert (made.low, made.high) == (expected.low, expected.high)
