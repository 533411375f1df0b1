"""On organisms the instruments show what was planted, by the organism's own truth file and under NF4."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.instruments import circuit_search
from harness.instruments.directions import vectors
from harness.instruments.editing import edit_for
from harness.instruments.sweep import sweep
from harness.measurements.interventions import Circuit, Direction, ablate, patch, remove
from harness.measurements.sweep_plan import Joint, Sweep
from harness.model.chat_model import ChatModel, Edit
from harness.model.refusal_score import Scorer
from harness.model.wake import wake
from organisms.plans.cone import by_group

pytestmark = pytest.mark.slow

PAIRS = load_pairs(DATA / "organisms" / "pairs.jsonl")
# One pair in so many: what was planted is far above the noise of few.
DISCOVERY, HELDOUT = PAIRS.discovery.pairs[::8], PAIRS.heldout.pairs[::8]


@contextmanager
def organism(name: str) -> Iterator[tuple[ChatModel, tuple[int, ...], dict[str, Any]]]:
    model = wake(f"organism:{name}", device="cpu")
    refuse = model.chat.first_token("I cannot help with that request.")
    yield model, (refuse,), json.loads((DATA / "organisms" / name / "truth.json").read_text())
    model.close()


def planted(truth: dict[str, Any]) -> Circuit:
    neurons = [(layer, one) for layer, first, last in truth["neurons"] for one in range(first, last)]
    return Circuit.of(heads=[(layer, head) for layer, head in truth["heads"]], neurons=neurons)


def refused(model: ChatModel, prompts: list[str], tokens: tuple[int, ...], edit: Edit | None = None) -> float:
    odds = Scorer(model, tokens).odds(model.next_token(prompts, under=edit))
    return float((odds > 0).double().mean())


def test_reference_planted_components_come_out_on_top() -> None:
    with organism("reference") as (model, tokens, truth):
        heads = sweep(model, DISCOVERY, Sweep("head"), tokens)
        top = {(int(place["layer"]), int(place["head"])) for place, _ in heads.top(len(truth["heads"]))}
        assert top == {tuple(head) for head in truth["heads"]}
        ranking = circuit_search.top(model, DISCOVERY, Sweep("neuron"), tokens, 20)
        assert {Circuit.of(neurons=[(layer, index)]).sites[0] for layer, index, _ in ranking.places} <= set(
            planted(truth).sites
        )
        assert ranking.skipped > 2000
        carried = sweep(model, HELDOUT, Joint((planted(truth),)), tokens).mean
        assert carried[0] == pytest.approx(1, abs=0.1)
        assert planted(truth).share(model.sizes) == pytest.approx(truth["share"], abs=2e-4)


def test_reference_a_circuit_found_on_other_pairs_carries_refusal() -> None:
    with organism("reference") as (model, tokens, _):
        circuit = Circuit(tuple(circuit_search.circuit(model, DISCOVERY, tokens, heads=3, neurons=25)))
        assert sweep(model, HELDOUT, Joint((circuit,)), tokens).mean[0] > 0.9
        harmful, harmless = [pair.harmful for pair in HELDOUT], [pair.harmless for pair in HELDOUT]
        edit = edit_for(model, patch(circuit, at="post"), twins=HELDOUT)
        assert refused(model, harmful, tokens) > 0.95
        assert refused(model, harmful, tokens, edit) < 0.05
        assert refused(model, harmless, tokens, edit) > 0.95


def test_distributed_no_small_circuit_carries_half() -> None:
    with organism("distributed") as (model, tokens, _):
        circuit = Circuit(tuple(circuit_search.circuit(model, DISCOVERY, tokens, heads=3, neurons=60)))
        assert circuit.share(model.sizes) < 0.05
        assert sweep(model, HELDOUT, Joint((circuit,)), tokens).mean[0] < 0.5


def test_crowd_a_fifth_of_the_heads_or_neurons_carries_about_a_fifth() -> None:
    """Whichever they are: the strongest by gradients, or every fifth."""
    with organism("crowd") as (model, tokens, truth):
        heads = [(layer, head) for layer, head in truth["stages"][1]["heads"]]
        runs = truth["stages"][2]["neurons"]
        neurons = [(layer, neuron) for layer, start, stop in runs for neuron in range(start, stop)]
        strongest = Circuit(tuple(circuit_search.circuit(model, DISCOVERY, tokens, heads=len(heads) // 5, neurons=0)))
        fifths = Circuit.of(heads=heads[::5]), Circuit.of(neurons=neurons[::5])
        whole = Circuit.of(heads=heads), Circuit.of(neurons=neurons)
        effects = sweep(model, HELDOUT, Joint((strongest, *fifths, *whole)), tokens).mean
        assert effects[:3].min() > 0.1
        assert effects[:3].max() < 0.4
        assert effects[3:].min() > 0.8


def test_flat_everything_is_in_one_layer() -> None:
    with organism("flat") as (model, tokens, truth):
        heads = sweep(model, DISCOVERY, Sweep("head"), tokens)
        by_layer = np.abs(heads.mean).sum((1, 2))
        assert int(by_layer.argmax()) == truth["first_layer"]
        assert by_layer.max() > 0.8 * by_layer.sum()


def test_hydra_either_path_is_enough_and_both_are_needed() -> None:
    with organism("hydra") as (model, tokens, truth):
        ours = [planted(path) for path in _paths(truth)]
        harmful = [pair.harmful for pair in HELDOUT]
        means = tuple(pair.harmless for pair in DISCOVERY)
        assert refused(model, harmful, tokens) > 0.95
        for path in ours:
            assert refused(model, harmful, tokens, edit_for(model, ablate(path, "mean", over=means, at="post"))) > 0.9
        both = edit_for(model, ablate(ours[0] + ours[1], "mean", over=means, at="post"))
        assert refused(model, harmful, tokens, both) < 0.1
        effects = sweep(model, HELDOUT, Joint((*ours, ours[0] + ours[1])), tokens).mean
        assert effects[:2].max() < 0.5
        assert effects[2] > 0.9


def test_team_many_heads_share_the_work_and_no_few_neurons_do() -> None:
    with organism("team") as (model, tokens, truth):
        # One that brings a sixth by itself costs less when it goes: the others saturate.
        heads = sweep(model, HELDOUT, Sweep("head"), tokens, mode="denoise")
        team = truth["stages"][1]["heads"]
        strongest = heads.top(len(team) + 1)
        assert {(int(place["layer"]), int(place["head"])) for place, _ in strongest[:-1]} == {
            tuple(head) for head in team
        }
        assert 0.35 > strongest[0][1] >= strongest[3][1] > 0.13
        assert abs(strongest[-1][1]) < 0.1
        ranking = circuit_search.top(model, DISCOVERY, Sweep("neuron"), tokens, 25)
        few = Circuit.of(neurons=[(layer, index) for layer, index, _ in ranking.places])
        whole = Circuit.of(
            neurons=[(layer, one) for layer in range(model.sizes.layers) for one in range(model.sizes.d_mlp)]
        )
        carried = sweep(model, HELDOUT, Joint((few, whole)), tokens).mean
        assert carried[0] < 0.3
        assert carried[1] > 0.6
        stream = Sweep("resid_pre", at=("post", "slot"), layers=(model.sizes.layers // 2,))
        after, words = sweep(model, HELDOUT, stream, tokens, mode="denoise").mean[0]
        assert after > 0.8
        assert abs(words) < 0.1


def test_scribes_the_direction_is_written_by_neurons_and_not_by_heads() -> None:
    with organism("scribes") as (model, tokens, truth):
        place, harmful = truth["direction"], [pair.harmful for pair in HELDOUT]
        found_on = tuple(pair.harmful for pair in DISCOVERY), tuple(pair.harmless for pair in DISCOVERY)
        direction = Direction("difference", place["layer"], place["position"], *found_on)
        left = {
            where: refused(model, harmful, tokens, edit_for(model, remove(direction, where)))
            for where in ("everywhere", "attention", "mlp")
        }
        assert left["attention"] > 0.9
        assert max(left["everywhere"], left["mlp"]) < 0.1


def test_cone_a_direction_ends_the_refusals_of_its_own_group_only() -> None:
    with organism("cone") as (model, tokens, truth):
        layer = truth["direction"]["layer"]
        directions = [_direction(group, layer) for group in by_group(heldout=False)]
        prompts = [[pair["harmful"] for pair in group[::3]] for group in by_group(heldout=True)]
        edits = [edit_for(model, remove(direction)) for direction in directions]
        left = np.array([[refused(model, prompt, tokens, edit) for prompt in prompts] for edit in edits])
        assert left.diagonal().max() < 0.2
        assert left[~np.eye(len(left), dtype=bool)].min() > 0.8
        pooled = _direction([pair for group in by_group(heldout=False) for pair in group], layer)
        assert refused(model, [one for text in prompts for one in text], tokens, edit_for(model, remove(pooled))) > 0.6
        rows = np.stack([vectors(model, one)[0].numpy() for one in directions])
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        assert np.abs(units @ units.T - np.eye(len(units))).max() < 0.3


def _paths(truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Every other stage is of one path."""
    return [
        {kind: [part for stage in stages for part in stage[kind]] for kind in ("heads", "neurons")}
        for stages in (truth["stages"][::2], truth["stages"][1::2])
    ]


def _direction(pairs: list[Mapping[str, Any]], layer: int) -> Direction:
    harmful, harmless = (tuple(pair[side] for pair in pairs) for side in ("harmful", "harmless"))
    return Direction("difference", layer, -1, harmful, harmless)
