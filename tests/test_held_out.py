"""Nothing is judged on pairs on which it was found: every way to find, every subject, in the one place all pass."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.claims.claim import Claim, claim, claims_in
from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.sites import Site
from harness.judging.estimate import Estimate
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, Direction, ablate, add, patch, remove
from harness.measurements.questions import (
    Answers,
    FoundCircuit,
    FoundDirection,
    Measurement,
    RefusalTokens,
    Scores,
    described,
)
from harness.measurements.sweep_plan import Joint
from harness.model.chat_model import ChatModel
from harness.subjects.dry_run import Planner, Work
from harness.subjects.live import Subject
from harness.subjects.published.recorded import RecordedSubject
from harness.subjects.published.recordings import recording
from harness.subjects.synthetic import Synthetic, Truth
from tests.tools import golden

SAME = "found on and judged on the same pairs"
BY_HAND = Circuit.of(heads=[(1, 0)])

# What is found on `on` is judged on the held-out pairs.
Leak = Callable[[Subject, PairSet, PairSet], Estimate]
FOUND: dict[str, Leak] = {
    "a circuit": lambda model, judged, on: model.effect(model.circuit(on, heads=2), judged),
    "a circuit's lead": lambda model, judged, on: model.lead(model.circuit(on, heads=2), judged),
    "a part of it": lambda model, judged, on: model.effect(
        Circuit(model.ranked(model.circuit(on, heads=2))[:1]), judged
    ),
    "a union": lambda model, judged, on: model.effect(BY_HAND + model.circuit(on, heads=2), judged),
    "a random circuit": lambda model, judged, on: model.effect(
        model.circuit(on, heads=2).random(model.sizes, 3), judged
    ),
    "a patched circuit": lambda model, judged, on: model.refuses(judged).fall(
        patch(model.circuit(on, heads=2), at="post")
    ),
    "its sites": lambda model, judged, on: model.refuses(judged).left(
        patch(tuple(model.circuit(on, neurons=3).sites), at="post")
    ),
    "a resampled circuit": lambda model, judged, on: model.refuses(judged).rise(
        ablate(model.circuit(on, heads=2), at="post")
    ),
    "a circuit to zero": lambda model, judged, on: model.refuses(judged).rate(
        "harmful", ablate(model.circuit(on, heads=2), "zero", at="post")
    ),
    "a mean": lambda model, judged, on: model.refuses(judged).fall(
        ablate(BY_HAND, "mean", over=on.harmless, at="post")
    ),
    "a mean along a direction": lambda model, judged, on: model.refuses(judged).fall(
        remove(Direction.given([[1.0] * 64]), to_mean_of=on.harmless)
    ),
    "a direction": lambda model, judged, on: model.refuses(judged).fall(remove(model.direction(on))),
    "a random direction": lambda model, judged, on: model.refuses(judged).fall(remove(model.direction(on).random(1))),
    "an added direction": lambda model, judged, on: model.refuses(judged).rise(add(model.direction(on))),
    "a subspace": lambda model, judged, on: model.refuses(judged).fall(remove(model.subspace(on, rank=2))),
    "a direction's lead": lambda model, judged, on: model.refuses(judged).lead(remove(model.direction(on))),
    "a direction by category": lambda model, judged, on: model.refuses(judged).by_category(remove(model.direction(on))),
    "several at once": lambda model, judged, on: model.refuses(judged).fall(
        patch(BY_HAND, at="post") + remove(model.direction(on))
    ),
    "growth": lambda model, judged, on: model.geometry(judged).growth(model.direction(on)),
    "side effects": lambda model, judged, on: model.side_effects(judged, remove(model.direction(on))).coherent(),
    "plain text": lambda model, judged, on: model.side_effects(judged, remove(model.direction(on))).cross_entropy(),
    "categories": lambda model, judged, on: model.shared(judged, found_on=on, heads=2),
    "heads that look": lambda model, judged, on: model.depths(judged).keywords(by=on),
}


def drawn(n: int = 40) -> Synthetic:
    return Synthetic(Truth((0.6, 0.1)), n, 0, 0.01)


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_on_the_pairs_that_judge_it_is_refused(name: str) -> None:
    model = drawn()
    with pytest.raises(AssayError, match=SAME) as raised:
        FOUND[name](model, model.all_pairs.heldout, model.all_pairs.heldout)
    said = str(raised.value)
    number = {"a mean": 40, "a mean along a direction": 40, "categories": 20}.get(name, 80)
    assert f" found on {number} of the 80 prompts" in said
    assert said.endswith("find on pairs.discovery, judge on pairs.heldout")


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_on_others_is_judged(name: str) -> None:
    # Of ten pairs a category, no category's own circuit surely carries enough to compare others with.
    model = drawn(120)
    assert isinstance(FOUND[name](model, model.all_pairs.heldout, model.all_pairs.discovery), Estimate)


@pytest.mark.parametrize("name", FOUND)
def test_a_single_pair_in_common_is_enough(name: str) -> None:
    model = drawn()
    one = tuple(pair for pair in model.all_pairs.heldout if pair.id in ("0", "1", "2"))
    on = PairSet("leaking", (*model.all_pairs.discovery.pairs, *one))
    with pytest.raises(AssayError, match=f"{SAME}.* on [236] of the 80 prompts"):
        FOUND[name](model, model.all_pairs.heldout, on)


@pytest.mark.parametrize("name", FOUND)
def test_pairs_that_differ_in_nothing_to_be_seen_are_the_same(name: str) -> None:
    model = drawn()
    held = model.all_pairs.heldout
    rewritten = (replace(pair, harmful=f" {pair.harmful}\u200b", harmless=pair.harmless.upper()) for pair in held)
    with pytest.raises(AssayError, match=SAME):
        FOUND[name](model, held, PairSet("copied", tuple(rewritten)))


def numbers(circuit: Circuit) -> list[tuple[int, int]]:
    """The layer and the index of each head."""
    return [(site.layer, site.index) for site in circuit.sites if site.index is not None]


AGAIN: dict[str, Callable[[Circuit], Circuit]] = {
    "by numbers": lambda circuit: Circuit.of(heads=numbers(circuit)),
    "site by site": lambda circuit: Circuit(tuple(Site(site.layer, site.kind, site.index) for site in circuit.sites)),
    "replaced": lambda circuit: Circuit(tuple(replace(site, found_on=frozenset()) for site in circuit.sites)),
    "one of them": lambda circuit: Circuit.of(heads=[numbers(circuit)[0], (7, 3)]),
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_a_claim_came_upon_keeps_its_origin_however_it_is_made_again(name: str) -> None:
    made_again = AGAIN[name]

    @claim("again", source="a test", holds_on="reference", fails_on="cone")
    def test_again(model: Subject, pairs: PairSet) -> None:
        on = pairs.heldout if leaking else pairs.discovery
        assert model.effect(made_again(model.circuit(on, heads=2)), pairs.heldout) > -9

    leaking = True
    with pytest.raises(AssayError, match=SAME):
        vars(test_again)["claim"].judge(drawn(), drawn().all_pairs)
    leaking = False
    assert vars(test_again)["claim"].judge(drawn(), drawn().all_pairs) == ("SUPPORTED", "")
    # Whoever writes numbers down in a claim of its own has found them elsewhere.
    assert Site(0, "head", 0).found_on == frozenset()


def test_a_category_is_judged_by_what_was_found_on_others_and_not_on_itself() -> None:
    model = drawn()
    held = model.all_pairs.heldout
    mine, other = held.category("category 1"), held.category("category 2")
    circuit = model.circuit(other, heads=2)
    assert model.effect(circuit, mine).n == 10
    for judged in (other, held):
        with pytest.raises(AssayError, match=f"{SAME}: the circuit of 2 parts was found on 20 of the"):
            model.effect(circuit, judged)


# Fixed prompts, and a token by which the tiny model tells them from their twins in either half: by others they are
# all alike, and then there is nothing to compare.
SOME = PairSet("some", golden.PAIRS.pairs)
TOKEN = 337


@pytest.fixture
def tiny(awake: Callable[..., ChatModel], tmp_path: Path) -> Subject:
    """A tiny model that is told which token refuses, and where directions lie."""
    model, store = awake(), Store(tmp_path)
    store.put(Evidence(RefusalTokens(SOME).recipe(model.record.fingerprint, ()), {"tokens": [TOKEN]}))
    for on in (SOME.discovery, SOME.heldout):
        # Found on all of them, of which some trained and none of the rest is named in the direction.
        prompts = {"harmful": list(on.harmful[1:3]), "harmless": list(on.harmless[1:3])}
        there = {"layer": 1, "position": -1, "valid": True, "reason": "", **prompts}
        store.put(Evidence(FoundDirection(on).recipe(model.record.fingerprint, (TOKEN,)), there))
    made = Subject(model.record, SOME, store, lambda: model, 0.05)
    vars(made)["area"] = 1.0
    return made


@pytest.mark.parametrize("name", ["a circuit", "a patched circuit", "a mean", "a direction", "a subspace", "growth"])
def test_a_live_model_is_not_even_woken_for_it(tiny: Subject, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Measurement] = []
    measured = Subject._measured

    def noted(subject: Subject, question: Measurement, *rest: Any) -> Evidence:
        asked.append(question)
        return measured(subject, question, *rest)

    monkeypatch.setattr(Subject, "_measured", noted)
    with pytest.raises(AssayError, match=SAME):
        FOUND[name](tiny, SOME.heldout, SOME.heldout)
    # The search is none of the judge's business, and answers as they are rest on nothing that was found.
    assert all(isinstance(one, FoundCircuit) or one == Answers(SOME.heldout, "harmful") for one in asked)


def test_of_a_direction_all_pairs_count_on_which_it_was_chosen(tiny: Subject) -> None:
    kept_aside = PairSet("first", SOME.heldout.pairs[:1])
    direction = tiny.direction(SOME.heldout)
    assert kept_aside.pairs[0].harmful not in direction.harmful
    with pytest.raises(AssayError, match=f"{SAME}: the direction was found on 2 of the 2 prompts"):
        tiny.ask(Answers(kept_aside, "harmful", remove(direction)))


def test_scores_are_not_judged_where_the_tokens_were_found(tiny: Subject) -> None:
    for judge in (
        lambda: tiny.effect(BY_HAND, SOME.discovery),
        lambda: tiny.agreement(SOME.discovery, "head"),
        lambda: tiny.depths(SOME.discovery).restored("post"),
        lambda: tiny.ask(Scores(SOME, "harmful")),
    ):
        with pytest.raises(AssayError, match=f"{SAME}: the tokens that refuse were found on "):
            judge()
    # Searching there is what it is for, and answers as they are know of no tokens.
    assert len(tiny.circuit(SOME.discovery, heads=2)) == 2
    assert len(tiny.judged(SOME.discovery, "harmful", None)) == len(SOME.discovery)


def test_what_a_search_looked_at_becomes_no_estimate(tiny: Subject) -> None:
    seen = tiny.effects(SOME.discovery, Joint((BY_HAND,)), searching=True)
    assert len(seen.pairs) == len(SOME.discovery)
    with pytest.raises(AssayError, match=f"{SAME}: the tokens that refuse"):
        tiny.share_of("E", seen, seen.change[:, 0])
    # Nor is a judgement called a search one.
    with pytest.raises(AssayError, match=f"{SAME}: the circuit of 2 parts"):
        tiny.effects(SOME.heldout, Joint((tiny.circuit(SOME.heldout, heads=2),)), searching=True)


def test_whoever_only_plans_says_so_too(tiny: Subject) -> None:
    planner = Planner(tiny.record, SOME, tiny.store, tiny.wake, 0.05).plan(Work(), set())
    assert planner.effect(planner.circuit(SOME.discovery, heads=2), SOME.heldout).n == len(SOME.heldout)
    with pytest.raises(AssayError, match=SAME):
        planner.effect(planner.circuit(SOME.heldout, heads=2), SOME.heldout)


def test_a_recorded_direction_is_refused_where_a_claim_says_it_was_found_on_the_items() -> None:
    model = RecordedSubject(recording("gemma-2b-it"), 0.0025)
    pairs = model.recording.pairs
    found_elsewhere = remove(model.direction(pairs.discovery))
    before, after = (model.outcomes(pairs, "harmful", under) for under in (None, found_elsewhere))
    assert before.refused.mean() - after.refused.mean() > 0.9
    # Of the answers that no longer refuse, those that Llama Guard calls safe are not counted.
    net = (before.refused & after.answered).mean() - (before.answered & after.refused).mean()
    assert model.refuses(pairs).fall(found_elsewhere).value == pytest.approx(net)
    with pytest.raises(AssayError, match=f"{SAME}: the direction was found on 200 of the 200 prompts"):
        model.refuses(pairs).fall(remove(model.direction(pairs.heldout)))


def test_a_claim_that_does_it_is_broken_and_says_why() -> None:
    @claim("leaks", source="a test", holds_on="reference", fails_on="cone")
    def test_leaks(model: Subject, pairs: PairSet) -> None:
        assert model.effect(model.circuit(pairs.heldout, heads=2), pairs.heldout) > 0.5

    with pytest.raises(AssayError, match=SAME):
        vars(test_leaks)["claim"].judge(drawn(), drawn().all_pairs)


@pytest.mark.parametrize("made", claims_in(), ids=lambda made: made.name)
def test_no_claim_of_ours_does_it(made: Claim) -> None:
    subject = Synthetic(Truth((0.6, 0.1)), 24, 0, made.level)
    try:
        made.judge(subject, subject.all_pairs)
    except AssayError as error:
        assert "synthetic subjects cannot draw that" in str(error)  # noqa: PT017


def test_where_something_was_found_is_no_part_of_what_it_is() -> None:
    on = frozenset(SOME.discovery.harmful)
    head, other = Site(1, "head", 0, found_on=on), Site(1, "head", 0)
    assert head == other
    assert hash(head) == hash(other)
    assert not head < other
    assert repr(head) == repr(other)
    for one, two in (
        (Circuit((head,)), Circuit((other,))),
        (patch(Circuit((head,))), patch(Circuit((other,)))),
        (Direction("heads", 1, circuit=Circuit((head,))), Direction("heads", 1, circuit=Circuit((other,)))),
        (Direction("given", 1, sought_on=on), Direction("given", 1)),
    ):
        assert one == two
        assert hash(one) == hash(two)
        assert repr(one) == repr(two)
        assert described(one) == described(two)
        assert getattr(one, "fingerprint", "") == getattr(two, "fingerprint", "")
        if isinstance(one, Circuit | Direction) and isinstance(two, Circuit | Direction):
            assert one.found_on != two.found_on
    # Of two that are equal none is forgotten.
    both = Circuit((head,)) + Circuit((Site(1, "head", 0, found_on=frozenset({"another"})),))
    assert both.found_on == on | {"another"}
