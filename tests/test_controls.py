"""What goes beside a verdict: random ones do nothing where what was found does all, and figures have their evidence."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.claims.claim import claim_named
from harness.inputs.errors import AssayError
from harness.inputs.model_record import Sizes
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.sites import Site
from harness.judging.estimate import asides
from harness.measurements.effects_evidence import unpacked
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, Direction, Intervention, ablate, add, patch, remove
from harness.measurements.questions import DealtAnswers, Encoding, Lens, Products, Scores, Swept
from harness.measurements.sweep_plan import Joint
from harness.model.chat_model import ChatModel
from harness.subjects.live import Bare, Subject
from harness.subjects.quantities.arm_controls import dose, sizes
from harness.subjects.quantities.refusals import RANDOM, random_arms
from harness.subjects.sleeper import Sleeper
from tests.tools.material import JUDGED as MATERIAL
from tests.tools.material import UNALIGNED as SOME_ID

UNALIGNED = replace(SOME_ID, id="h4")

SOME = PairSet("some", load_pairs(DATA / "organisms" / "pairs.jsonl").pairs[::3])
SMALL = Sizes(3, 4, 4, 8, 2, 9, 3, 16, 1000, None)

circuits = st.builds(
    Circuit.of,
    heads=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3))),
    neurons=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8))),
)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """`organism:reference` on a third of its pairs."""
    store = Store(tmp_path_factory.mktemp("evidence"))
    sleeper = Sleeper("organism:reference", "nf4", "cpu", store)
    yield Subject(sleeper.record, SOME, store, sleeper, 0.05)
    sleeper.close()


@pytest.fixture(scope="module")
def circuit(subject: Subject) -> Circuit:
    return subject.circuit(SOME.discovery, heads=3, neurons=10)


@settings(derandomize=True)
@given(circuits, st.integers(0, 3))
def test_a_random_circuit_shares_nothing_and_is_as_large_in_every_layer(found: Circuit, seed: int) -> None:
    drawn = found.random(SMALL, seed)
    assert not set(drawn.sites) & set(found.sites)
    for layer in range(3):
        for kind, width in (("head", 4), ("neuron", 9)):
            ours, theirs = (sum((site.layer, site.kind) == (layer, kind) for site in c.sites) for c in (found, drawn))
            assert theirs == min(ours, width - ours)
    assert drawn == found.random(SMALL, seed)


def test_a_whole_output_has_no_random_counterpart() -> None:
    with pytest.raises(AssayError, match="a layer has no other attention or MLP"):
        Circuit.of(mlps=[1]).random(SMALL, 0)


@given(st.integers(1, 5000))
def test_doses_grow_by_about_the_golden_ratio_up_to_the_whole(whole: int) -> None:
    found = list(sizes(whole))
    assert found[0] == 1
    assert found[-1] == whole
    assert all(one < other <= 2 * one for one, other in pairwise(found))
    inner = found[:-1]
    assert all(one + other == third for one, other, third in zip(inner, inner[1:], inner[2:], strict=False))


def test_beside_the_removed_direction_stand_random_ones_that_do_next_to_nothing(subject: Subject) -> None:
    without, pairs = remove(subject.direction(SOME.discovery)), SOME.heldout
    with asides() as made:
        fall = subject.refuses(pairs).fall(under=without)
        lead = subject.refuses(pairs).lead(under=without)
    beside = made["fall, random directions"]
    assert fall.value > 0.95
    assert beside.value < 0.2
    assert beside.low <= beside.value <= beside.high
    assert beside.method.startswith("each prompt under one of 20 random directions; ")
    assert beside.n == len(pairs)
    # By another way: each random direction by itself, on the prompts that are dealt to it.
    after = np.zeros(len(pairs), dtype=bool)
    for number, arm in enumerate(random_arms(without)):
        after[number::RANDOM] = subject.judged(PairSet("dealt", pairs.pairs[number::RANDOM]), "harmful", arm)
    assert beside.value == pytest.approx(subject.judged(pairs, "harmful", None).mean() - after.mean())
    # And what it falls more than random ones do, and what those do, is all.
    assert beside.low <= fall.value - lead.value <= beside.high


def test_beside_the_added_direction_stand_random_ones(subject: Subject) -> None:
    with asides() as made:
        rise = subject.refuses(SOME.heldout).rise(under=add(subject.direction(SOME.discovery)))
    assert rise.value > 0.95
    assert abs(made["rise, random directions"].value) < 0.05


def test_several_directions_stand_beside_as_many_random_ones(subject: Subject) -> None:
    one, two = subject.direction(SOME.discovery), subject.subspace(SOME.discovery, rank=2)
    with asides() as made:
        subject.refuses(SOME.heldout).gain(remove(two), over=remove(one))
    assert {"fall, random directions, the other arm", "fall, random directions of rank 2"} <= made.keys()


@pytest.mark.parametrize("side", ["harmful", "harmless"])
def test_beside_a_circuit_stand_random_ones(subject: Subject, circuit: Circuit, side: str) -> None:
    means = ablate(circuit, "mean", over=SOME.discovery.harmless, at="post")
    answers, word = subject.refuses(SOME.heldout), {"harmful": "fall", "harmless": "rise"}[side]
    for under in (patch(circuit, at="post"), *([means] if side == "harmful" else [])):
        with asides() as made:
            found = getattr(answers, word)(under=under)
        beside = made[f"{word}, random circuits"]
        assert found.value > 0.95
        assert abs(beside.value) < 0.05
        assert beside.method.startswith("each prompt under one of 20 random circuits taken from the twin; ")


def test_prompts_are_dealt_out_to_arms_in_turn(subject: Subject, circuit: Circuit) -> None:
    pairs, random = PairSet("few", SOME.heldout.pairs[:22]), range(1, 20)
    means = ablate(circuit, "mean", over=SOME.discovery.harmless, at="post")
    arms = (means, *(patch(circuit.random(subject.sizes, seed), at="post") for seed in random))
    dealt = subject.ask(DealtAnswers(pairs, "harmful", arms)).values["refused"]
    one_by_one = [
        float(subject.judged(PairSet("one", (pair,)), "harmful", arms[number % 20])[0])
        for number, pair in enumerate(pairs)
    ]
    assert dealt == one_by_one
    assert [number for number, refused in enumerate(dealt) if not refused] == [0, 20]  # whose arm is no random circuit


def test_beside_the_effect_stands_that_of_the_random_circuits_that_the_lead_is_over(
    subject: Subject, circuit: Circuit
) -> None:
    with asides() as made:
        effect, lead = subject.effect(circuit, SOME.heldout), subject.lead(circuit, SOME.heldout)
    assert effect.value > 0.9
    assert abs(made["E, random circuits"].value) < 0.05
    assert effect.value - made["E, random circuits"].value == pytest.approx(lead.value)
    # One sweep, and that of the doses.
    asked = [evidence.recipe.of["what"]["circuits"] for evidence in subject.store if evidence.recipe.kind == "swept"]
    assert (
        sum(
            len(circuits) == 21 and circuits[0]["circuit"] == [str(site) for site in circuit.sites]
            for circuits in asked
        )
        <= 2
    )


def test_the_dose_grows_by_rank_and_ends_at_the_whole(subject: Subject, circuit: Circuit) -> None:
    ranked = subject.ranked(circuit)
    assert Circuit(ranked) == circuit
    alone = Joint(tuple(Circuit((site,)) for site in ranked))
    each = subject.effects(SOME.discovery, alone, searching=True).mean
    assert (np.diff(each) < 1e-4).all()
    (asked,) = dose(subject, circuit, "post", SOME.heldout, "noise")
    assert isinstance(asked, Swept)
    assert isinstance(asked.what, Joint)
    counts = [len(circuit) for circuit in asked.what.circuits]
    assert counts == [1, 2, 3, 5, 8, 13]
    assert all(set(smaller.sites) < set(larger.sites) for smaller, larger in pairwise(asked.what.circuits))
    effects = unpacked(subject.ask(asked))
    whole = subject.share_of("E", effects, effects.change[:, -1])
    assert whole.value == pytest.approx(subject.effect(circuit, SOME.heldout).value, abs=1e-4)
    # A circuit that was not found here has no rank.
    assert subject.ranked(Circuit.of(heads=[(0, 0)])) == ()
    assert not list(dose(subject, Circuit.of(heads=[(0, 0)]), "post", SOME.heldout, "noise"))


def test_half_way_up_is_one_of_the_places_shown(subject: Subject) -> None:
    with asides():
        half = subject.depths(SOME.heldout).restored((-1,))
    post = subject.ask(Encoding(SOME.heldout)).values["post"]
    shown = [
        evidence
        for evidence in subject.store
        if evidence.recipe.kind == "swept" and evidence.values["axes"].get("position", [""])[0] == "slot"
    ]
    assert len(shown) == 1
    effects = unpacked(shown[0])
    assert effects.axes["position"] == ("slot", *map(str, range(-post, 0)))
    assert len(effects.axes["layer"]) == subject.sizes.layers
    there = effects.change[:, subject.sizes.layers // 2, -1]
    assert subject.share_of("", effects, there).value == pytest.approx(half.value, abs=1e-4)
    # What enters the first layer differs at the words alone, and all of it is there.
    assert effects.mean[0] == pytest.approx([1, *[0] * post], abs=1e-3)


def test_growth_has_the_lens_shown_on_both_sides(subject: Subject) -> None:
    subject.geometry(SOME.heldout).growth(subject.direction(SOME.discovery))
    for side in ("harmful", "harmless"):
        kept = subject.store.get(Lens(SOME.heldout, side).recipe(subject.record.fingerprint, subject.tokens))
        assert kept is not None
        odds = subject.ask(Scores(SOME.heldout, side)).values["odds"]
        np.testing.assert_allclose(kept.arrays["odds"][:, -1], odds, atol=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        *("few-neurons", "growth", "direction-necessity"),
        *[pytest.param(name, marks=pytest.mark.slow) for name in ("necessity", "end-of-instruction")],
    ],
)
def test_bare_the_verdict_is_the_same_and_nothing_beside_is_measured(subject: Subject, name: str) -> None:
    claim = claim_named(name)
    outcomes, asked = [], []
    for kind in (Bare, Subject):
        one = kind(subject.record, SOME, subject.store, subject.wake, 0.05)
        with subject.store.tracking() as read, asides() as made:
            outcomes.append(claim.judge(one, SOME)[0])
        asked.append(read)
        assert any(", random" in beside for beside in made) is (kind is Subject and name not in _OTHERWISE)
    assert outcomes[0] == outcomes[1]
    # One swept by itself is another measurement than the same with twenty beside it.
    assert len(asked[0]) < len(asked[1])
    kinds = [{_kind(subject, fingerprint) for fingerprint in fingerprints} for fingerprints in asked]
    assert not kinds[0] & {"lens", "encoding"}
    if name in ("necessity", "end-of-instruction"):
        assert asked[0] < asked[1]


_OTHERWISE = ("end-of-instruction", "growth")


def _kind(subject: Subject, fingerprint: str) -> str:
    return next(evidence.recipe.kind for evidence in subject.store if evidence.fingerprint == fingerprint)


@pytest.mark.parametrize("cosine", [0.0, 0.5, 1.0])
def test_harmless_twins_have_the_cosine_that_was_planted(tiny: Subject, cosine: float) -> None:
    rng, names = np.random.default_rng(0), ("arson", "fraud", "theft")
    pairs = PairSet("planted", tuple(_placed(name, number) for name in names for number in range(24)))
    own = np.concatenate([np.sqrt(cosine) * np.ones((3, 1)), np.sqrt(1 - cosine) * np.eye(3)], 1)
    late = np.array([[number % 2 - 0.5] for _ in names for number in range(24)])
    streams = rng.normal(size=(2 * len(pairs), 4)) / 20
    streams[len(pairs) :] += late * np.repeat(own, 24, 0)
    streams[: len(pairs)] += 5 * np.repeat(np.eye(3, 4), 24, 0)
    asked = Products(pairs, 3 * tiny.sizes.layers // 4, -1)
    tiny.store.put(Evidence(asked.recipe(tiny.record.fingerprint, ()), {}, {"products": streams @ streams.T}))
    tiny.all_pairs = pairs
    with asides() as made:
        tiny.geometry(pairs).agreement()
    assert made["cosine, harmless twins"].value == pytest.approx(cosine, abs=0.05)


def test_harmless_twins_that_hold_no_direction_say_so(tiny: Subject) -> None:
    pairs = PairSet("alike", tuple(_placed(name, number) for name in ("arson", "fraud") for number in range(8)))
    streams = np.concatenate([np.eye(16) + np.repeat(np.eye(2, 16), 8, 0), np.eye(16)])
    asked = Products(pairs, 3 * tiny.sizes.layers // 4, -1)
    tiny.store.put(Evidence(asked.recipe(tiny.record.fingerprint, ()), {}, {"products": streams @ streams.T}))
    tiny.all_pairs = pairs
    with asides() as made:
        tiny.geometry(pairs).agreement()
    assert made["cosine, harmless twins"].absent.startswith("not measurable: some group has no direction")


def test_the_organisms_harmless_twins_hold_a_direction(subject: Subject) -> None:
    # What of a request is dangerous, the thing or what is done to it, the base model tells in every category alike.
    every = Bare(subject.record, load_pairs(DATA / "organisms" / "pairs.jsonl"), subject.store, subject.wake, 0.05)
    # Each of twelve categories is judged by itself, so on all of its pairs, against the bar of shared-geometry.
    with asides() as made:
        every.geometry(every.all_pairs).agreement()
    twins = made["cosine, harmless twins"]
    assert 0.7 < twins.low < twins.value
    assert twins.value > 0.8


def _placed(category: str, number: int) -> Pair:
    """Differs early where the number is even, late where it is odd."""
    words = [f"w{number}", "how", "to", "do", f"x{number}"]
    changed = [*words[:4], "y"] if number % 2 else ["z", *words[1:]]
    return Pair(f"{category}-{number}", category, " ".join(words), " ".join(changed))


@pytest.fixture
def tiny(awake: Callable[..., ChatModel], tmp_path: Path) -> Subject:
    """A tiny model that is told which token refuses, on pairs of which one is not aligned."""
    model = awake()
    made = Subject(model.record, PairSet("with", (*MATERIAL, UNALIGNED)), Store(tmp_path), lambda: model, 0.05)
    vars(made).update(tokens=(5,), area=1.0)
    return made


DRAWN = Direction("difference", 1, -1, ("a tree",), ("a bomb",))


@pytest.mark.parametrize(
    ("under", "said"),
    [
        (remove(Direction.given([[1.0] * 64])), "prompts on which the direction was found are not known"),
        (patch(Circuit.of(mlps=[1]), at="post"), "a layer has no other"),
        (ablate(Circuit.of(heads=[(1, 0)]), "zero"), "no pair is aligned"),
    ],
)
def test_what_cannot_be_had_is_said_and_breaks_nothing(tiny: Subject, under: Intervention, said: str) -> None:
    pairs = PairSet("unaligned", (UNALIGNED,))
    random = [aside for aside in tiny.asides(pairs, "harmful", under) if "random" in aside.name]
    assert [said in one.absent for one in random] == [True]


def test_where_some_pairs_are_aligned_those_are_compared(tiny: Subject) -> None:
    found = tiny.asides(tiny.all_pairs, "harmful", ablate(Circuit.of(heads=[(1, 0)]), "zero"))
    assert {one.name: one.n for one in found}["fall, random circuits"] == len(MATERIAL)


def test_what_holds_nothing_that_was_found_has_nothing_beside_it(tiny: Subject) -> None:
    for under in (patch([Site(1, "resid_pre")], at="post"), remove(DRAWN) + remove(replace(DRAWN, layer=2))):
        assert not [aside for aside in tiny.asides(tiny.all_pairs, "harmful", under) if "random" in aside.name]
