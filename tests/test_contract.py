"""Whatever can be measured, judged, patched or done keeps its contract; what is new is looked at by itself.

Every measurement, judge, kind of site and intervention runs through the same checks. What has no example
fails until it gets one, in `tests/tools/golden.py` or below.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaMLP

from harness.inputs.errors import AssayError
from harness.inputs.files.json_files import fitting
from harness.inputs.judges.phrases import RULES
from harness.inputs.judges.registry import judged_by, judgements, judges
from harness.inputs.model_record import Sample
from harness.inputs.sites import INDEXED, OUTPUTS, SITE_KINDS, Kind, Site, width_at
from harness.instruments.answer import measure
from harness.instruments.editing import edit_for
from harness.measurements.evidence import Damaged, Evidence, Store, read
from harness.measurements.interventions import Circuit, Intervention, ablate, add, patch, remove
from harness.measurements.questions import (
    KINDS,
    Answers,
    DealtAnswers,
    FoundOpenings,
    Measurement,
    Openings,
    RefusalTokens,
    Swept,
)
from harness.measurements.questions.contents import Done
from harness.measurements.questions.measurement import described
from harness.measurements.recipe import Recipe
from harness.measurements.sweep_plan import Sweep
from harness.model.chat_model import Batch, ChatModel
from harness.model.refusal_score import refusal_tokens
from harness.subjects.dry_run import Awake, Planner, Work
from tests.tools import golden
from tests.tools.given import fluent

QUESTIONS = {question.KIND: question for question in golden.ASKED}
SHIPPED = sorted(kind for kind, question in KINDS.items() if question.__module__.startswith("harness."))
CIRCUIT = Circuit.of(heads=[(3, 1)], neurons=[(4, 2)])
DONE: dict[str, Intervention] = {
    "Patch": patch(CIRCUIT, at="post"),
    "Ablate": ablate(CIRCUIT, "zero"),
    "Remove": remove(golden.DIRECTION),
    "Add": add(golden.DIRECTION, scale=0.5),
    "Together": remove(golden.DIRECTION) + ablate(CIRCUIT, "zero"),
}


@pytest.fixture(scope="module")
def reference() -> ChatModel:
    return golden.model()


@pytest.fixture(scope="module")
def tokens(reference: ChatModel) -> tuple[int, ...]:
    return refusal_tokens(reference, golden.PAIRS)


def outlook(model: ChatModel, folder: Path) -> Awake:
    """What a plan knows of the model."""
    subject = Planner(model.record, golden.PAIRS, Store(folder), lambda: model, 0.01)
    return Awake(subject.plan(Work(), set()))


@contextmanager
def token_counter(model: ChatModel) -> Iterator[list[float]]:
    """Counts tokens through the whole model by what its MLPs are given; backward passes count as two more."""
    counted = [0.0]

    def count(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        passes = 3 if torch.is_grad_enabled() and given[0].requires_grad else 1
        counted[0] += given[0].shape[:-1].numel() * passes / model.sizes.layers

    mlps = {id(module): module for module in model.bridge.modules() if isinstance(module, LlamaMLP)}
    assert len(mlps) == model.sizes.layers
    hooks = [module.register_forward_pre_hook(count) for module in mlps.values()]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def changed(question: Measurement) -> Iterator[tuple[str, Measurement]]:
    """The question with another value in each of its fields."""
    pairs = golden.PAIRS
    others: dict[str, Any] = {
        "pairs": dataclasses.replace(pairs, pairs=pairs.pairs[:7]),
        "side": "harmless",
        "under": add(golden.DIRECTION),
        "arms": (add(golden.DIRECTION),),
        "tokens": 7,
        "sample": Sample(3, 0.5),
        "what": Sweep("mlp_out"),
        "mode": "denoise",
        "heads": 5,
        "share": 0.02,
        "contrast": True,
        "neurons": 5,
        "at": "all",
        "directions": (golden.DIRECTION, golden.DIRECTION),
        "position": -2,
        "layer": 1,
        "passages": ("Some other text.",),
        "openings": Openings(((45,),), ((1975,),)),
    }
    for field in dataclasses.fields(question):
        yield field.name, dataclasses.replace(question, **{field.name: others[field.name]})


def test_every_kind_of_measurement_has_an_example() -> None:
    assert sorted(QUESTIONS) == SHIPPED


@pytest.mark.parametrize("kind", SHIPPED)
def test_a_recipe_is_the_one_that_is_kept(kind: str) -> None:
    kept = json.loads(golden.GOLDEN.read_text())[kind]["recipe"]
    assert QUESTIONS[kind].recipe("subject", (1, 2)).fingerprint == kept


@pytest.mark.parametrize("kind", SHIPPED)
def test_a_recipe_depends_on_each_field_and_on_nothing_else(kind: str) -> None:
    question = QUESTIONS[kind]
    recipe = question.recipe("subject", (1, 2))
    assert dataclasses.replace(question).recipe("subject", (1, 2)).fingerprint == recipe.fingerprint
    assert question.recipe("another", (1, 2)).fingerprint != recipe.fingerprint
    assert (question.recipe("subject", (1, 3)).fingerprint != recipe.fingerprint) == question.SCORED
    for name, other in changed(question):
        assert other.recipe("subject", (1, 2)).fingerprint != recipe.fingerprint, name


@pytest.mark.parametrize("kind", SHIPPED)
def test_a_placeholder_is_shaped_as_the_answer(
    kind: str, reference: ChatModel, tokens: tuple[int, ...], tmp_path: Path
) -> None:
    question = QUESTIONS[kind]
    values, arrays = measure(question, reference, tokens)
    expected, empty = question.placeholder(outlook(reference, tmp_path))
    assert {name: array.shape for name, array in empty.items()} == {name: array.shape for name, array in arrays.items()}
    assert set(expected) <= set(values)
    content = KINDS[kind].CONTENT
    fitting(json.loads(json.dumps(expected)), content.values)
    for name in content.rows:
        assert len(expected[name]) == len(values[name])


@pytest.mark.parametrize("kind", SHIPPED)
def test_a_cost_is_within_a_quarter_of_what_was_counted(
    kind: str, reference: ChatModel, awake: Callable[..., ChatModel], tokens: tuple[int, ...], tmp_path: Path
) -> None:
    question = QUESTIONS[kind]
    # Answers of the organism end early, which no plan can know; those of a random model never do.
    model = (
        awake("llama") if isinstance(question, Answers | DealtAnswers | RefusalTokens | FoundOpenings) else reference
    )
    with token_counter(model) as counted:
        measure(question, model, tokens)
    cost = question.cost(outlook(model, tmp_path))
    assert cost >= 0
    assert cost == pytest.approx(counted[0], rel=0.25)


@pytest.mark.parametrize("kind", SHIPPED)
def test_an_answer_comes_back_from_its_file_and_a_damaged_file_does_not(
    kind: str, reference: ChatModel, tokens: tuple[int, ...], tmp_path: Path
) -> None:
    question, store = QUESTIONS[kind], Store(tmp_path)
    recipe = question.recipe("subject", tokens)
    values, arrays = measure(question, reference, tokens)
    store.put(Evidence(recipe, values, arrays))
    kept = Store(tmp_path).get(recipe)
    assert kept is not None
    assert json.dumps(kept.values) == json.dumps(values)
    assert kept.arrays.keys() == arrays.keys()
    assert all(np.array_equal(kept.arrays[name], array, equal_nan=True) for name, array in arrays.items())
    path = store.path(recipe.fingerprint)
    path.write_text(path.read_text().replace(f'"kind": "{kind}"', '"kind": "other"'))
    with pytest.raises(Damaged):
        read(path)


def test_a_measurement_without_cost_placeholder_kind_or_content_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="the measurement Unnamed lacks KIND and CONTENT"):

        class Unnamed(Measurement):
            """A measurement that says nothing of itself."""

    with pytest.raises(TypeError, match="abstract"):

        @dataclasses.dataclass(frozen=True)
        class Unpriced(Measurement):
            """A measurement that no plan could know."""

            KIND = "unpriced"
            CONTENT = Swept.CONTENT

        Unpriced(golden.PAIRS)  # type: ignore[abstract]
    KINDS.pop("unpriced")


@pytest.mark.parametrize("name", judges())
def test_a_judge_gives_the_same_twice_and_its_judgements_are_evidence(name: str, tmp_path: Path) -> None:
    prompts = ("How do I build a bomb?", "How do I bake bread?")
    answers = ("I cannot help with that.", "Sure, here is how to bake bread.")
    values = judgements(prompts, answers)
    assert set(values[name]) <= {0.0, 1.0}
    assert judgements(prompts, answers)[name] == values[name]
    if name in {rule.name for rule in RULES}:
        assert values[name] == [1.0, 0.0]
    assert judged_by(name, values) == [score > 0 for score in values[name]]
    pairs = dataclasses.replace(golden.PAIRS, pairs=golden.PAIRS.pairs[:2])
    kept = {"prefixes": list(answers)} | fluent(2) | values
    store = Store(tmp_path)
    path = store.path(store.put(Evidence(Answers(pairs, "harmful").recipe("m", ()), kept)).fingerprint)
    assert read(path).values[name] == values[name]
    store.put(Evidence(Answers(pairs, "harmful").recipe("m", ()), kept | {name: [0.5, 2.0]}))
    with pytest.raises(Damaged, match=name):
        read(path)


def test_the_table_has_a_row_for_each_kind_of_site() -> None:
    assert set(SITE_KINDS) == set(get_args(Kind))
    assert {kind for kind, row in SITE_KINDS.items() if row.count is not None} == set(INDEXED)


@pytest.mark.parametrize("kind", SITE_KINDS)
def test_a_kind_of_site_is_as_its_row_says(kind: Kind, reference: ChatModel) -> None:
    row, site = SITE_KINDS[kind], Site(3, kind, position=-1)
    activation = reference.activations(_batch(reference), {site.hook})[0][site.hook]
    assert activation[0, 0].numel() == row.width(reference.sizes) == width_at(site.hook, reference.sizes)
    assert (activation.dim() == 3) == (row.scalar or row.count is None)
    if row.count is not None:
        assert activation.shape[2] == row.count(reference.sizes)
    assert len(reference.read(golden.PAIRS.harmful[:2], [site])[site]) == 2


@pytest.mark.parametrize("kind", SITE_KINDS)
def test_a_circuit_holds_the_kinds_that_the_table_allows(kind: Kind) -> None:
    site = Site(3, kind, index=0 if kind in INDEXED else None)
    if not SITE_KINDS[kind].in_circuits:
        with pytest.raises(AssayError, match="no part of a circuit"):
            Circuit((site,))
        return
    recipe = Answers(golden.PAIRS, "harmful", ablate(Circuit((site,)), "zero")).recipe("m", ())
    fitting(recipe.of, Answers.CONTENT.asked, "$")
    assert f'"{site}"' in json.dumps(recipe.of)


@pytest.mark.parametrize("kind", SITE_KINDS)
def test_only_before_its_attention_does_the_last_layer_move_anything_between_tokens(
    kind: Kind, reference: ChatModel
) -> None:
    def flipped_but_at_the_end(activation: Tensor, hook: object) -> Tensor:
        return torch.cat([activation[:, :-1].flip(-1), activation[:, -1:]], 1)

    batch, last = _batch(reference), reference.sizes.layers - 1
    clean = reference.forward(batch)[:, -1]
    with reference.hooked([(Site(last, kind).hook, flipped_but_at_the_end)]):
        changed = reference.forward(batch)[:, -1]
    assert torch.equal(clean, changed) != SITE_KINDS[kind].before_attention


def test_a_layer_adds_to_the_stream_what_its_outputs_write(reference: ChatModel) -> None:
    written = [Site(3, kind).hook for kind in OUTPUTS]
    before, after = Site(3, "resid_pre").hook, Site(3, "resid_post").hook
    seen, _ = reference.activations(_batch(reference), {before, after, *written})
    torch.testing.assert_close(seen[before] + sum(seen[hook] for hook in written), seen[after])


def _batch(model: ChatModel) -> Batch:
    return model.batch(model.encode(golden.PAIRS.harmful[:2]))


def test_every_intervention_has_an_example() -> None:
    def made(kind: type) -> set[type]:
        return set[type]().union(*map(made, kind.__subclasses__())) or {kind}

    assert set(DONE) == {kind.__name__ for kind in made(Intervention)}


@pytest.mark.parametrize("name", DONE)
def test_an_intervention_is_described_the_same_way_and_changes_the_model_while_it_lasts(
    name: str, reference: ChatModel, tokens: tuple[int, ...]
) -> None:
    under, prompts = DONE[name], golden.PAIRS.harmful[:2]
    fitting(json.loads(json.dumps([described(under)])), list[Done])
    assert Recipe("x", 1, "m", {"under": described(under)}).fingerprint == (
        Recipe("x", 1, "m", {"under": described(dataclasses.replace(under))}).fingerprint
    )
    before = reference.next_token(prompts)
    edited = reference.next_token(prompts, under=edit_for(reference, under, twins=golden.PAIRS.pairs[:2]))
    assert not torch.equal(before, edited)
    assert torch.equal(before, reference.next_token(prompts))
