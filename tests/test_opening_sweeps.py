"""Sweeps, gradients and the choice of a direction on openings of several tokens, against whole plain forwards."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from harness.inputs.chat_tokens import Encoded, EncodedPair
from harness.inputs.model_catalog import find
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.sites import OUTPUTS, Kind, Site
from harness.instruments.answer import measure
from harness.instruments.attribution import estimate
from harness.instruments.direction_selection import Prompts, select
from harness.instruments.editing import edit_for
from harness.instruments.sweep import sweep
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, Direction, add, remove
from harness.measurements.openings import Openings
from harness.measurements.sweep_plan import AnySweep, Joint, Mode, Sweep, Variant
from harness.model.chat_model import ChatModel, Hook
from harness.model.refusal_score import opening_odds
from harness.model.wake import wake
from harness.results.verdict_evidence import by_openings
from tests.test_contract import QUESTIONS, outlook, token_counter
from tests.test_selection import ORGANISM
from tests.test_sweep import ALIGNED, CIRCUIT, UNALIGNED
from tests.tools import golden
from tests.tools.material import PAIRS

# Three runs: nothing shared, one token shared by a refusing and an answering opening, two tokens shared.
OPENINGS = Openings(((7, 8, 9), (10, 11), (12,)), ((7, 8, 13), (10, 14), (15, 16)))


def plain(
    model: ChatModel, prompt: Encoded, openings: Openings, hooks: Callable[[Encoded], Iterable[Hook]] = lambda _: ()
) -> float:
    """The log-odds by a plain forward of the prompt with each opening, under hooks that know what is read."""
    logs = []
    for opening in openings.every:
        whole = replace(prompt, ids=prompt.ids + opening)
        with model.hooked(hooks(whole)):
            log = model.forward(model.batch([whole]), keep=0)[0].double().log_softmax(-1)
        logs.append(sum(float(log[len(prompt) - 1 + at, token]) for at, token in enumerate(opening)))
    refusing = len(openings.refusing)
    return float(np.logaddexp.reduce(logs[:refusing]) - np.logaddexp.reduce(logs[refusing:]))


def patched(
    model: ChatModel, prompt: Encoded, source: Encoded, sites: Variant, runs_on: bool, openings: Openings
) -> float:
    """The log-odds with the twin's activations at the sites and, if they run on, at each token of the opening too."""

    def hooks(whole: Encoded) -> Iterable[Hook]:
        opening = whole.ids[len(prompt) :]
        twin = replace(source, ids=source.ids + opening)
        given, _ = model.activations(model.batch([twin]), {site.hook for site in sites})
        alike = {(site.hook, site.index) for site in sites}
        at = {key: [site.position or 0 for site in sites if (site.hook, site.index) == key] for key in alike}
        for (hook, index), positions in at.items():
            read = [len(prompt) + position for position in positions]
            written = [len(source) + position for position in positions]
            if runs_on:
                read += range(len(prompt), len(whole))
                written += range(len(source), len(twin))
            yield hook, writing(given[hook][0], index, read, written)

    return plain(model, prompt, openings, hooks)


def writing(given: Tensor, index: int | None, read: list[int], written: list[int]) -> Callable[..., Tensor]:
    def write(activation: Tensor, hook: object) -> Tensor:
        new = activation.clone()
        if index is None:
            new[0, read] = given[written]
        else:
            new[0, read, index] = given[written, index]
        return new

    return write


WHAT: dict[str, tuple[AnySweep, bool]] = {
    "heads after the instruction": (Sweep("head", ("post",)), True),
    "MLPs later than the words": (Sweep("mlp_out", ("later",)), True),
    "neurons of the last layer": (Sweep("neuron", ("post",), layers=(3,)), True),
    "attention of the last layer": (Sweep("attn_out", ((-1,),), layers=(3,)), False),
    "streams position by position": (Sweep("resid_pre", "each", layers=(1, 3)), False),
    "the words": (Sweep("resid_pre", ("slot",)), False),
    "up to each layer": (Sweep("attn_out", ("post",), cumulative=True), True),
    "a circuit": (Joint((CIRCUIT, Circuit(()))), True),
}
MODES: dict[str, Mode] = {"llama": "noise", "gpt2": "denoise"}


@pytest.mark.parametrize("name", WHAT)
@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_effects_on_openings_equal_plain_forwards(shape: str, name: str, awake: Callable[..., ChatModel]) -> None:
    model, (what, runs_on), mode = awake(shape), WHAT[name], MODES[shape]
    effects = sweep(model, [*ALIGNED, UNALIGNED], what, OPENINGS, mode=mode)
    encoded = {pair.id: model.chat.encode_pair(pair) for pair in (*ALIGNED, UNALIGNED)}
    used = [encoded[pair] for pair in effects.pairs]
    assert len({len(pair.harmful) for pair in used}) > 1
    assert np.nanmax(np.abs(effects.change)) > 1e-3
    chosen, close = np.random.default_rng(0), 1e-5 * max(1, float(np.nanmax(np.abs(effects.patched))))
    for row, pair in enumerate(used):
        prompt, source = (pair.harmful, pair.harmless) if mode == "noise" else (pair.harmless, pair.harmful)
        variants = what.variants(model.sizes, what.spans(used, prompt))
        values = effects.patched[row].ravel()
        assert effects.clean[row] == pytest.approx(plain(model, prompt, OPENINGS), abs=close)
        assert effects.source[row] == pytest.approx(plain(model, source, OPENINGS), abs=close)
        for number in chosen.choice(len(variants), min(4, len(variants)), replace=False):
            if not variants[number] and isinstance(what, Sweep):
                assert np.isnan(values[number])
                continue
            expected = patched(model, prompt, source, variants[number], runs_on, OPENINGS)
            assert values[number] == pytest.approx(expected, abs=close), (row, number)


def test_a_batch_gives_what_each_pair_gives_alone(awake: Callable[..., ChatModel]) -> None:
    model, what = awake("llama"), Sweep("head", ("post",))
    together = sweep(model, ALIGNED, what, OPENINGS)
    alone = [sweep(model, [pair], what, OPENINGS) for pair in ALIGNED]
    np.testing.assert_allclose(together.patched, np.concatenate([each.patched for each in alone]), atol=1e-5)
    np.testing.assert_allclose(together.kl, np.concatenate([each.kl for each in alone]), atol=1e-5)


@pytest.mark.parametrize("kind", ["head", "mlp_out", "resid_pre"])
def test_with_all_tokens_as_openings_the_score_is_that_of_the_first_token(
    kind: Kind, awake: Callable[..., ChatModel]
) -> None:
    model, refusing = awake("llama"), (5, 6, 7)
    others = tuple((token,) for token in range(model.sizes.vocabulary) if token not in refusing)
    every, what = Openings(tuple((token,) for token in refusing), others), Sweep(kind, ("post",))
    for effects_of in (sweep, estimate):
        ours, theirs = (effects_of(model, PAIRS, what, by) for by in (every, refusing))
        for name in ("patched", "clean", "source"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        sweep(model, PAIRS, what, every).kl, sweep(model, PAIRS, what, refusing).kl, rtol=1e-3, atol=1e-6
    )


def test_of_all_outputs_the_direct_effect_is_the_whole_gap(awake: Callable[..., ChatModel]) -> None:
    """The stream is the sum of what blocks write and of the embedding, which at a common token is the same."""
    model = awake("llama")
    outputs = Circuit(tuple(Site(layer, kind) for layer in range(model.sizes.layers) for kind in OUTPUTS))
    effects = sweep(model, ALIGNED, Joint((outputs, Circuit(())), (-1,), direct=True), OPENINGS)
    np.testing.assert_allclose(effects.patched[:, 0], effects.source, atol=1e-4)
    np.testing.assert_allclose(effects.patched[:, 1], effects.clean, atol=1e-5)


@pytest.mark.parametrize("kind", ["resid_pre", "head", "mlp_out", "neuron"])
def test_an_estimate_is_the_slope_of_the_plain_score(kind: Kind, awake: Callable[..., ChatModel]) -> None:
    """By central differences along the way from prompt to twin, at the sites and at the tokens that run on."""
    model, hook, step = awake("llama"), Site(2, kind).hook, 1e-2

    def moved(both: EncodedPair, t: float, whole: Encoded) -> Iterable[Hook]:
        opening = whole.ids[len(both.harmful) :]
        twin = replace(both.harmless, ids=both.harmless.ids + opening)
        ours, theirs = (model.activations(model.batch([prompt]), {hook})[0][hook][0] for prompt in (whole, twin))
        post = len(whole) - both.harmful.end
        change = t * (theirs[-post:] - ours[-post:])

        def move(activation: Tensor, hook: object) -> Tensor:
            new = activation.clone()
            new[0, -post:] += change
            return new

        yield hook, move

    estimates = estimate(model, PAIRS, Sweep(kind, ("post",), layers=(2,)), OPENINGS)
    for row, both in enumerate(map(model.chat.encode_pair, PAIRS)):
        ahead, behind = (plain(model, both.harmful, OPENINGS, partial(moved, both, t)) for t in (step, -step))
        slope = (ahead - behind) / (2 * step)
        assert estimates.change[row].sum() == pytest.approx(slope, rel=1e-2, abs=5e-3)


def test_gradients_put_the_parts_in_the_order_of_exact_patches(awake: Callable[..., ChatModel]) -> None:
    model, what = awake("llama"), Sweep("head", ("post",))
    exact = sweep(model, PAIRS, what, OPENINGS).mean.ravel()
    guessed = estimate(model, PAIRS, what, OPENINGS, ends="both").mean.ravel()
    assert np.corrcoef(exact, guessed)[0, 1] > 0.8


def test_candidates_for_a_direction_have_the_odds_that_an_edit_gives() -> None:
    """The edit is made as for generated answers, in the prompt and at each token of an answer."""
    openings, pairs = golden.OPENINGS, load_pairs(find(ORGANISM).pairs).discovery.pairs[:24]
    train, validation = (
        Prompts(tuple(pair.harmful for pair in part), tuple(pair.harmless for pair in part))
        for part in (pairs[:12], pairs[12:])
    )
    model = wake(ORGANISM, quant="none", device="cpu")
    selection = select(model, train, validation, openings, lazily=False)
    refused, answered = (
        tuple(prompt for prompt, odds in zip(side, opening_odds(model, side, openings), strict=True) if sign * odds > 0)
        for side, sign in ((validation.harmful, 1), (validation.harmless, -1))
    )
    assert selection.chosen is not None, selection.reason
    for candidate in (selection.chosen, *selection.candidates[::7]):
        direction = Direction("difference", candidate.layer, candidate.position, *astuple(selection.train))
        induced, bypassed = (
            opening_odds(model, prompts, openings, under=edit_for(model, under)).mean()
            for prompts, under in ((answered, add(direction)), (refused, remove(direction)))
        )
        assert candidate.induced == pytest.approx(induced, abs=2e-3)
        assert candidate.bypassed == pytest.approx(bypassed, abs=2e-3)
    model.close()


SEVERAL = Openings(((45, 1718), (45, 1792, 3)), ((1975, 2), (1803,)))


@pytest.fixture(scope="module")
def reference() -> Iterator[ChatModel]:
    model = golden.model()
    yield model
    model.close()


@pytest.mark.parametrize("kind", ["swept", "estimated", "circuit", "grown-circuit", "direction"])
def test_what_goes_by_openings_costs_what_was_counted_and_is_kept_by_them(
    kind: str, reference: ChatModel, tmp_path: Path
) -> None:
    question = QUESTIONS[kind]
    by: dict[str, Any] = {"openings": SEVERAL}
    told = replace(question, **by)
    assert not told.by_tokens
    recipe = told.recipe("subject", ())
    assert recipe.fingerprint != question.recipe("subject", ()).fingerprint
    assert recipe.fingerprint == told.recipe("subject", (1, 2)).fingerprint
    assert "the openings of refusals" in {origin.name for origin in told.origins}
    with token_counter(reference) as counted:
        values, arrays = measure(told, reference, ())
    assert told.cost(outlook(reference, tmp_path)) == pytest.approx(counted[0], rel=0.25)
    Store(tmp_path).put(Evidence(recipe, values, arrays))
    kept = Store(tmp_path).get(recipe)
    assert kept is not None
    assert by_openings(kept)
    other = measure(question, reference, (45,))
    assert json.dumps(values) != json.dumps(other[0]) or not np.array_equal(arrays["patched"], other[1]["patched"])
