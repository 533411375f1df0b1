"""A score stands for answers only in an arm in which it was seen to: the first token, else openings, else answers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.claims.claim import claim_named
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.inputs.prompts.prompt_lists import PromptLists, one_of_each_cluster, portion
from harness.inputs.sites import INDEXED
from harness.instruments.directions import vectors
from harness.judging.estimate import asides
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, ablate, remove
from harness.measurements.questions import RefusalTokens
from harness.model.wake import wake
from harness.subjects.live import Bare, Subject
from harness.subjects.protocol import Validity
from harness.subjects.score import LEAST_AREA
from harness.subjects.sleeper import Sleeper
from tests.tools import shared_opening

PAIRS = load_pairs(DATA / "organisms" / "pairs.jsonl")
THIRD = PairSet("third", PAIRS.pairs[::3])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """Without its direction most of its answers break, though they begin as refusals do.

    In plain torch 0.26 of them are whole refusals then, and 0.87 of the first tokens refuse.
    """
    sleeper = Sleeper("organism:cone", "nf4", "cpu", Store(tmp_path_factory.mktemp("evidence")))
    yield Bare(sleeper.record, THIRD, sleeper.store, sleeper, 0.01)
    sleeper.close()


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """Without its direction half of its answers still refuse, though none begins as refusals do."""
    sleeper = Sleeper("organism:one-layer", "nf4", "cpu", Store(tmp_path_factory.mktemp("evidence")))
    yield Bare(sleeper.record, THIRD, sleeper.store, sleeper, 0.01)
    sleeper.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """A model whose refusals and answers begin with the same token, listed as the one with which refusals begin."""
    folder = shared_opening.build(tmp_path_factory.mktemp("model") / "shared")
    model = wake(str(folder), quant="none", device="cpu")
    store = Store(tmp_path_factory.mktemp("evidence"))
    token = model.chat.first_token(shared_opening.SHARED)
    store.put(Evidence(RefusalTokens(THIRD).recipe(model.record.fingerprint, ()), {"tokens": [token]}))
    yield Bare(model.record, THIRD, store, lambda: model, 0.01)
    model.close()


def test_where_first_tokens_refuse_and_answers_break_the_lead_goes_by_answers(planted: Subject) -> None:
    without, answers = remove(planted.direction(THIRD.discovery)), planted.refuses(THIRD.heldout)
    fall, lead = answers.fall(under=without), answers.lead(under=without)
    assert planted.area > 0.99
    assert abs(fall.value) < 0.2
    assert lead.value == pytest.approx(fall.value, abs=0.1)
    assert not planted.validity("first token", "harmful", [without]).serves
    assert not lead.method.startswith("refusals by the first token")
    assert "the first token: " in lead.method


ARMS: dict[str, Any] = {
    "as it is": lambda model: None,
    "without the direction": lambda model: remove(model.direction(THIRD.discovery)),
    "without the first MLP": lambda model: ablate(Circuit.of(mlps=[0]), "zero"),
    "without the first heads": lambda model: ablate(Circuit.of([(0, head) for head in range(8)]), "zero"),
}


@pytest.mark.parametrize("name", ARMS)
def test_whatever_is_done_to_a_model_its_refusals_are_nearly_those_that_it_generates(
    name: str, planted: Subject
) -> None:
    arm = ARMS[name](planted)
    scored = planted.scored(THIRD.heldout, "harmful", [arm])
    generated = planted.judged(THIRD.heldout, "harmful", arm)
    # The least agreement, less three standard errors of a share of about a hundred prompts.
    assert (scored.hits[0] == generated).mean() >= 0.9 - 3 * np.sqrt(0.9 * 0.1 / len(generated))
    if scored.by.startswith("by generated answers"):
        assert scored.hits[0].tolist() == generated.tolist()
    else:
        assert " as generated" in scored.by


def test_side_effects_quote_no_first_token_where_it_does_not_serve(silent: Subject) -> None:
    without = remove(silent.direction(THIRD.discovery))
    with asides() as made:
        for estimate in silent.side_effects(THIRD.heldout, without).of_arm("harmful"):
            made[estimate.name] = estimate
    assert made["answers with a phrase, harmful"].value > 0.3
    assert made["first token agrees, harmful"].value < 0.6
    assert " as generated" in made["harmless, refused"].method
    assert not any("refuses" in name for name in made)


def test_where_all_answers_begin_alike_searches_go_by_openings_and_find_what_was_planted(shared: Subject) -> None:
    """Two heads, neurons 0 to 31 of layer 4 and 0 to 47 of layer 6 are planted (organisms/plans/reference.py)."""
    assert shared.judged(THIRD.discovery, "harmful", None).mean() > 0.9
    assert shared.judged(THIRD.discovery, "harmless", None).mean() < 0.1
    assert 0.3 < shared.area < 0.7
    assert shared.opening_area > LEAST_AREA
    circuit = shared.circuit(THIRD.discovery, heads=3, neurons=10)
    places = {kind: {(site.layer, site.index) for site in circuit.sites if site.kind == kind} for kind in INDEXED}
    assert places["head"] >= {(3, 1), (4, 2)}
    assert places["neuron"] <= {(4, number) for number in range(32)} | {(6, number) for number in range(48)}
    assert shared.effect(circuit, THIRD.heldout).low > 0.8
    planted = load_file(shared_opening.REFERENCE / "direction.safetensors")["direction"].double()
    direction = vectors(shared.wake(), shared.direction(THIRD.discovery))[0]
    assert torch.cosine_similarity(direction, planted, dim=0) > 0.8
    assert shared.refuses(THIRD.heldout).fall(under=remove(shared.direction(THIRD.discovery))).low > 0.3


@pytest.mark.parametrize(
    ("claim", "verdict", "why"),
    # As the plan of `reference` has them; but that answers are decided where no patch of the prompt reaches.
    [
        ("few-neurons", "SUPPORTED", ""),
        pytest.param("localization", "SUPPORTED", "", marks=pytest.mark.slow),
        ("necessity", "INCONCLUSIVE", "in the prompt alone"),
        ("token-probability", "INCONCLUSIVE", "no first token tells refusals"),
    ],
)
def test_where_all_answers_begin_alike_claims_are_decided_by_openings(
    claim: str, verdict: str, why: str, shared: Subject
) -> None:
    judged = claim_named(claim)
    subject = Bare(shared.record, THIRD, shared.store, shared.wake, judged.level)
    outcome, said = judged.judge(subject, THIRD)
    assert outcome == verdict, said
    assert why in said


def test_where_all_answers_begin_alike_the_second_token_tells_them_apart(shared: Subject) -> None:
    first = shared.openings.refusing[0]
    assert len(first) > 1
    assert first[0] in {opening[0] for opening in shared.openings.answering}
    sides: tuple[PromptSide, PromptSide] = ("harmful", "harmless")
    for side in sides:
        scored = shared.scored(THIRD.heldout, side, [None])
        generated = shared.judged(THIRD.heldout, side, None)
        assert not scored.by.startswith("by the first token")
        openings = shared.validity("openings", side, [None])
        assert openings.same > 0.9 * openings.n > 27
        assert bool(generated.mean() > 0.9) == (side == "harmful")
        assert (scored.hits[0] == generated).mean() > 0.9


@pytest.mark.parametrize(
    ("same", "n", "serves"),
    # 0.05 ** (1 / 29) is 0.902; one of 48 that differs leaves a lower end of 0.905, two of 48 leave 0.875.
    [(0, 0, False), (28, 28, False), (29, 29, True), (48, 48, True), (47, 48, True), (46, 48, False)],
)
def test_a_measure_serves_where_it_cannot_differ_from_one_answer_in_ten(same: int, n: int, serves: bool) -> None:
    assert Validity(same, n).serves is serves


def test_a_sample_has_no_two_prompts_of_a_cluster_and_is_the_same_every_time() -> None:
    places = one_of_each_cluster(PAIRS.discovery, "harmful", 48)
    clusters = [PAIRS.discovery.clusters[place] for place in places]
    assert len(set(clusters)) == len(clusters) == 48
    assert places == one_of_each_cluster(PAIRS.discovery, "harmful", 48)
    assert places != sorted(places)
    assert one_of_each_cluster(PAIRS.discovery, "harmful", 48, [3]) == [3]
    assert portion(PAIRS.discovery, "harmful", places[:2]).harmful == tuple(
        PAIRS.discovery.harmful[place] for place in places[:2]
    )


def test_of_lists_a_sample_is_of_one_side() -> None:
    lists = PromptLists("l", ("a", "b", "c"), ("d", "e"), (("x", "y", "z"), ()))
    part = portion(lists, "harmful", [2, 0])
    assert (part.harmful, part.harmless, part.categories_of("harmful")) == (("c", "a"), (), ("z", "x"))
    part = portion(lists, "harmless", [1])
    assert (part.harmful, part.harmless) == ((), ("e",))
