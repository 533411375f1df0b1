"""The joint search finds planted circuits and keeps its laws; what it can miss raises the upper end of E alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.sites import Site
from harness.instruments.answer import measure
from harness.instruments.joint_search import Grown, close, grow
from harness.instruments.sweep import sweep
from harness.judging.estimate import Inconclusive, Refuted
from harness.measurements.effects import Effects
from harness.measurements.evidence import Evidence
from harness.measurements.interventions import Circuit
from harness.measurements.origins import prompts_of
from harness.measurements.questions import GrownCircuit, Measurement
from harness.measurements.sweep_plan import Joint, Sweep, outside
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import Scorer, refusal_tokens
from harness.model.wake import wake
from harness.subjects import search_regret
from harness.subjects.circuits import sites_in
from harness.subjects.search_regret import regret
from tests.tools import golden
from tests.tools import regret as measured_regret
from tests.tools.given import RECIPE, SIZES, Given, pairs_of

PAIRS = load_pairs(DATA / "organisms" / "pairs.jsonl")
LIMITS = (0.0005, 0.01, 0.05)


@pytest.fixture(scope="module")
def reference() -> ChatModel:
    return golden.model()


@pytest.fixture(scope="module")
def found(reference: ChatModel) -> Callable[[float], Grown]:
    tokens = refusal_tokens(reference, golden.PAIRS)
    encoded = {pair.id: reference.chat.encode_pair(pair) for pair in golden.PAIRS}
    known: dict[float, Grown] = {}

    def of(limit: float) -> Grown:
        if limit not in known:
            known[limit] = grow(reference, encoded, lambda _: Scorer(reference, tokens), limit)
        return known[limit]

    return of


def whole(grown: Grown) -> Circuit:
    return Circuit(tuple(site for block in grown.blocks for site in block.sites))


@pytest.mark.parametrize("limit", LIMITS)
def test_a_circuit_owns_less_than_the_limit_and_carries_what_is_said_of_it(
    limit: float, reference: ChatModel, found: Callable[[float], Grown]
) -> None:
    grown = found(limit)
    assert 0 < whole(grown).share(reference.sizes) < limit
    tokens = refusal_tokens(reference, golden.PAIRS)
    carried = sweep(reference, golden.PAIRS, Joint((whole(grown),)), tokens).mean
    assert grown.effect == pytest.approx(float(carried[0]), abs=1e-4)
    assert grown.patched < 300


@pytest.mark.parametrize("limit", LIMITS)
def test_each_step_comes_closer_and_pruning_loses_next_to_nothing(
    limit: float, reference: ChatModel, found: Callable[[float], Grown]
) -> None:
    grown = found(limit)
    shares, effects = np.array(grown.curve).T
    assert (np.diff(shares) > 0).all()
    assert (np.diff([close(effect) for effect in effects]) > 0).all()
    assert close(grown.effect) >= close(effects[-1]) - 0.01
    assert whole(grown).share(reference.sizes) <= shares[-1]
    assert sum(map(len, grown.blocks)) == len(whole(grown))
    assert list(grown.adds) == sorted(grown.adds)


def test_with_room_for_a_single_neuron_it_is_the_one_with_the_largest_effect(reference: ChatModel) -> None:
    tokens = refusal_tokens(reference, golden.PAIRS)
    encoded = {pair.id: reference.chat.encode_pair(pair) for pair in golden.PAIRS}
    one = Circuit((Site(0, "neuron", 0),)).share(reference.sizes)
    grown = grow(reference, encoded, lambda _: Scorer(reference, tokens), 1.5 * one)
    exact = sweep(reference, golden.PAIRS, Sweep("neuron"), tokens).mean[..., 0]
    layer, index = np.unravel_index(exact.argmax(), exact.shape)
    assert whole(grown) == Circuit((Site(int(layer), "neuron", int(index)),))


def test_the_same_search_finds_the_same(reference: ChatModel) -> None:
    tokens = refusal_tokens(reference, golden.PAIRS)
    asked = GrownCircuit(golden.PAIRS, 0.005)
    assert measure(asked, reference, tokens) == measure(asked, reference, tokens)


@pytest.mark.slow
def test_of_a_team_the_six_heads_are_found_that_carry_it_all() -> None:
    model = wake("organism:team", device="cpu")
    try:
        tokens = refusal_tokens(model, PAIRS)
        values, _ = measure(GrownCircuit(PAIRS.discovery, 0.05), model, tokens)
        circuit = Circuit(sites_in(values["blocks"], frozenset()))
        truth = json.loads((DATA / "organisms" / "team" / "truth.json").read_text(encoding="utf-8"))
        heads = {(site.layer, site.index) for site in circuit.sites if site.kind == "head"}
        assert heads == {tuple(head) for head in truth["stages"][1]["heads"]}
        assert circuit.share(model.sizes) < 0.03
        assert sweep(model, PAIRS.heldout, Joint((circuit,)), tokens).mean[0] > 0.95
    finally:
        model.close()


@pytest.mark.slow
def test_of_what_is_spread_out_no_small_circuit_is_found() -> None:
    model = wake("organism:distributed", device="cpu")
    try:
        tokens = refusal_tokens(model, PAIRS)
        values, _ = measure(GrownCircuit(PAIRS.discovery, 0.05), model, tokens)
        assert 0 < values["effect"] < 0.3
    finally:
        model.close()


def test_a_harmless_behaviour_is_searched_in_the_same_way(reference: ChatModel) -> None:
    alike = golden.PAIRS.harmless_alike
    assert len(alike)
    values, _ = measure(GrownCircuit(alike, 0.02, contrast=True), reference, ())
    assert values["blocks"]
    assert values["effect"] > 0.3


def test_what_is_outside_a_circuit_is_all_the_rest(reference: ChatModel) -> None:
    circuit = Circuit.of(heads=[(3, 1)], neurons=[(4, number) for number in range(300)])
    rest = outside(circuit, reference.sizes)
    assert not set(rest.sites) & set(circuit.sites)
    sizes = reference.sizes
    assert len(rest) + len(circuit) == sizes.layers * (sizes.heads + sizes.d_mlp)
    tokens = refusal_tokens(reference, golden.PAIRS)
    by_name = sweep(reference, golden.PAIRS, Joint((circuit,), outside=True), tokens).patched
    by_hand = sweep(reference, golden.PAIRS, Joint((rest,)), tokens).patched
    np.testing.assert_allclose(by_name, by_hand, atol=1e-5)


class Searched(Given):
    """A subject in which the joint search found a head, and for a harmless behaviour another."""

    def seek(self, question: Measurement) -> Evidence:
        if isinstance(question, GrownCircuit):
            self.asked.append(question)
            head = [1, 1] if question.contrast else [0, 0]
            values = {
                "blocks": [{"heads": [head], "neurons": []}],
                "curve": [],
                "effect": 0.7,
                "adds": [0.7],
                "patched": 1,
            }
            return Evidence(RECIPE, values)
        return super().seek(question)


def carrying(*shares: float) -> Callable[[Any], np.ndarray]:
    """A change on eight pairs, with a little noise."""
    wobble = np.linspace(-0.001, 0.001, 8)[:, None]
    return lambda what: wobble + np.array(shares)[: len(what.circuits)]


@pytest.fixture
def short_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda most: monkeypatch.setattr("harness.subjects.circuits.regret", lambda: most)


def test_what_the_search_can_miss_raises_the_upper_end_alone(short_by: Callable[[float], None]) -> None:
    pairs = pairs_of(*"a" * 8)
    subject = Searched(pairs, change=carrying(0.7))
    circuit = subject.circuit(pairs, share=0.05)
    by_hand = subject.effect(Circuit.of(heads=[(0, 3)]), pairs)
    short_by(0.05)
    estimate = subject.effect(circuit, pairs)
    assert (estimate.value, estimate.low) == (by_hand.value, by_hand.low)
    assert estimate.high == pytest.approx(by_hand.high + 0.05)
    assert "raised by 0.05" in estimate.method
    with pytest.raises(Refuted):
        bool(estimate > 0.80)
    short_by(0.15)
    with pytest.raises(Inconclusive):
        bool(subject.effect(circuit, pairs) > 0.80)
    with pytest.raises(Refuted):
        bool(subject.effect(Circuit.of(heads=[(0, 3)]), pairs) > 0.80)


def test_a_lead_over_a_harmless_behaviour_is_over_the_circuit_found_for_it(short_by: Callable[[float], None]) -> None:
    short_by(0.0)
    pairs = replace(
        pairs_of(*"a" * 8, template=2),
        pairs=tuple(
            replace(pair, harmless=f"bake {pair.id}", harmful=f"burn {pair.id}")
            for pair in pairs_of(*"a" * 8, template=2)
        ),
    )
    subject = Searched(pairs, change=carrying(0.9, 0.2))
    circuit = subject.circuit(pairs, share=0.05)
    assert subject.lead_over_harmless(circuit, pairs).value == pytest.approx(0.7)
    # With ten times the circuit's room it could contain the circuit.
    (searched,) = (asked for asked in subject.asked if isinstance(asked, GrownCircuit) and asked.contrast)
    assert searched.share == circuit.share(subject.sizes) < 0.05
    assert subject.swept[-1][0].circuits == (circuit, Circuit.of(heads=[(1, 1)]))
    without = Searched(pairs_of(*"a" * 8), change=carrying(0.9, 0.2))
    assert without.lead_over_harmless(without.circuit(pairs, share=0.05), pairs).absent


def test_regret_is_the_largest_upper_end_and_unknown_for_another_search(tmp_path: Path) -> None:
    rows = [search_regret.Planted("x", "all", 0.05, 0.04, 1.0, 0.9, 0.05, high) for high in (0.1, 0.2, -0.1)]
    table = {"schema": 1, "revision": GrownCircuit.REVISION, "level": 0.01, "circuits": [vars_of(row) for row in rows]}
    path = tmp_path / "regret.json"
    path.write_text(json.dumps(table))
    assert regret(path) == 0.2
    assert rows[0].short == pytest.approx(0.1)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(table | {"revision": GrownCircuit.REVISION + 1}))
    assert regret(other) == np.inf
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps(table | {"circuits": []}))
    assert regret(empty) == np.inf
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(AssayError, match=r"tests\.tools\.regret"):
        regret(tmp_path / "none.json")


@pytest.mark.parametrize(("planted", "found", "missed"), [(0.95, 0.9, 0.05), (1.3, 1.0, 0.0), (1.3, 0.9, 0.1)])
def test_the_search_falls_short_of_the_whole_effect_and_of_no_more(planted: float, found: float, missed: float) -> None:
    pairs = pairs_of(*"a" * 40)
    gap = np.linspace(-4, -2, 40)
    patched = gap[:, None] * np.array([planted, found]) + 0.01 * np.sin(np.arange(80)).reshape(40, 2)
    ids = tuple(pair.id for pair in pairs)
    effects = Effects(ids, (), {"circuit": ("0", "1")}, patched, np.zeros((40, 2)), np.zeros(40), gap)
    interval = measured_regret.short(effects, pairs)
    assert interval.value == pytest.approx(missed, abs=0.002)
    assert interval.low < missed < interval.high
    row = search_regret.Planted("x", "all", 0.05, 0.04, planted, found, interval.low, interval.high)
    assert row.short == pytest.approx(missed)


def test_the_regret_that_ships_was_measured_of_this_search() -> None:
    assert 0 <= regret() < 0.8


def test_sites_keep_the_prompts_they_were_found_on() -> None:
    pairs = pairs_of(*"a" * 8)
    subject = Searched(pairs)
    circuit = subject.circuit(pairs, share=0.05)
    assert circuit.found_on == prompts_of(pairs)
    assert subject.limit_of(circuit) == 0.05
    assert subject.limit_of(circuit.random(SIZES, 1)) is None
    assert subject.ranked(circuit) == circuit.sites


def vars_of(planted: search_regret.Planted) -> dict[str, Any]:
    return {name: getattr(planted, name) for name in planted.__struct_fields__}
