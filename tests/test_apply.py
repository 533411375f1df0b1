"""Patches and ablations of live models: what is written, where, and what stays untouched."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import At, Site
from harness.instruments.editing import edit_for
from harness.measurements.interventions import (
    Circuit,
    Direction,
    Intervention,
    ablate,
    add,
    patch,
    remove,
)
from harness.model.chat_model import Batch, ChatModel, Hook
from tests.tools.applying import (
    CIRCUIT,
    DIRECTION,
    KINDS,
    OVER,
    Woken,
    clean,
    each,
    given_direction,
    logits_under,
    mean_by_hand,
    seen_under,
)
from tests.tools.material import HARMFUL, HARMLESS, PAIRS, UNALIGNED, off

POST_NORM = ("gemma2", "gemma3")


@each
def test_patching_what_both_prompts_share_changes_nothing(shape: str, quant: str, awake: Woken) -> None:
    model = awake(shape, quant)
    before = min(model.chat.encode_pair(pair).first_difference or 0 for pair in PAIRS) - 1
    same = patch([Site(layer, kind, position=before) for layer in range(4) for kind in KINDS])
    assert off(logits_under(model, same), model.next_token(HARMFUL)) < 1e-5
    assert off(logits_under(model, patch([Site(1, "resid_pre")])), model.next_token(HARMFUL)) > 1e-3


@each
def test_patching_everything_is_the_twins_run(shape: str, quant: str, awake: Woken) -> None:
    model = awake(shape, quant)
    twins = model.next_token(HARMLESS)
    everything = [Site(layer, kind) for layer in range(4) for kind in KINDS]
    for sites in (everything, everything[::-1], [Site(2, "resid_post")], [Site(1, "resid_pre")]):
        assert off(logits_under(model, patch(sites)), twins) < 1e-5
    backwards = model.next_token(HARMLESS, under=edit_for(model, patch(everything), twins=PAIRS))
    assert off(backwards, model.next_token(HARMFUL)) < 1e-5
    answers = model.generate(HARMFUL, tokens=4, under=edit_for(model, patch([Site(0, "resid_pre")]), twins=PAIRS))
    assert answers == model.generate(HARMLESS, tokens=4)
    # Where the embedding is the unembedding too, a random model says its last token again.
    assert shape in POST_NORM or answers != model.generate(HARMFUL, tokens=4)


@each
@pytest.mark.parametrize("rank", [1, 2])
def test_all_but_a_direction_is_the_twins(rank: int, shape: str, quant: str, awake: Woken) -> None:
    model, site = awake(shape, quant), Site(2, "resid_pre")
    kept = given_direction(3, rank)
    rows = torch.linalg.qr(torch.tensor(kept.vectors, dtype=torch.float64).T).Q.T
    mixed = zip(
        seen_under(model, patch(keep=kept), site)[0],
        clean(model, HARMFUL, site)[0],
        clean(model, HARMLESS, site)[0],
        strict=True,
    )
    for seen, ours, twins in mixed:
        assert off(seen, twins + (ours.double() - twins.double()) @ rows.T @ rows) < 1e-5
    # If everything is kept, nothing is taken from the twin.
    everything = Direction.given(torch.eye(64).tolist(), layer=2)
    assert off(logits_under(model, patch(keep=everything)), model.next_token(HARMFUL)) < 1e-5


def test_what_is_patched_and_what_is_kept_are_not_given_together() -> None:
    with pytest.raises(AssayError, match="give what is patched, or `keep` for all but a direction, and not both"):
        patch(CIRCUIT, keep=DIRECTION)


@each
def test_patching_the_middle_stream_moves_all_of_it(shape: str, quant: str, awake: Woken) -> None:
    model = awake(shape, quant)
    mid, post = Site(1, "resid_mid"), Site(1, "resid_post")
    ours = seen_under(model, patch([mid]), mid, post)
    for mine, twins in zip(ours, clean(model, HARMLESS, mid, post), strict=True):
        assert off(mine, twins) < 1e-5
    assert off(logits_under(model, patch([mid])), model.next_token(HARMLESS)) < 1e-5


@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_what_is_patched_into_the_middle_stream_stays_whatever_came_before_it(shape: str, awake: Woken) -> None:
    model, mid = awake(shape), Site(1, "resid_mid")
    (twins,) = clean(model, HARMLESS, mid)
    for other in ("resid_pre", "attn_out"):
        for sites in ([mid, Site(1, other)], [Site(1, other), mid]):
            assert off(seen_under(model, patch(sites), mid)[0], twins) < 1e-5
    # A later part may still edit what enters the block: what it takes away there, the patch puts back.
    taken = seen_under(model, patch([mid]) + remove(DIRECTION, "stream", layers=[1]), mid)[0]
    assert off(taken, twins) < 1e-5


@pytest.mark.parametrize("shape", ["llama", "gemma2", "gpt2"])
def test_transformer_lenss_own_hook_misses_the_skip_path(shape: str, awake: Woken) -> None:
    # Were this to fail, TransformerLens would have mended it, and attention's output need not be moved any more.
    model, mid, post = awake(shape), Site(1, "resid_mid"), Site(1, "resid_post")
    twins_mid, twins_post = clean(model, HARMLESS, mid, post)
    before = clean(model, HARMFUL, post)[0]

    class Own:
        def hooks(self, model: ChatModel, batch: Batch) -> Iterable[Hook]:
            return [(mid.hook, lambda activation, hook: twins_mid[list(batch.rows)])]

    seen = model.read(HARMFUL, [post], under=Own())[post]
    assert off(seen, before) > 1e-2
    assert off(seen, twins_post) > 1e-2


@pytest.mark.parametrize(("shape", "quant"), [("llama", "nf4"), ("gemma3", "none"), ("gpt2", "none")])
def test_alone_or_in_company_in_this_order_or_that_the_effect_is_the_same(shape: str, quant: str, awake: Woken) -> None:
    model = awake(shape, quant)
    doings: list[Intervention] = [
        remove(DIRECTION, to_mean_of=HARMLESS) + add(DIRECTION, 1, 2.0),
        ablate(CIRCUIT, "mean", over=HARMLESS),
        ablate(CIRCUIT, at="later"),
        patch([Site(1, "resid_mid"), Site(2, "head", 1, -2)]),
    ]
    for doing in doings:
        together = logits_under(model, doing)
        backwards = edit_for(model, doing, twins=PAIRS[::-1])
        assert off(model.next_token(HARMFUL[::-1], under=backwards).flip(0), together) < 1e-4
        for row, pair in enumerate(PAIRS):
            alone = model.next_token([pair.harmful], under=edit_for(model, doing, twins=[pair]))
            assert off(alone, together[row : row + 1]) < 1e-4


def test_small_batches_give_the_same_as_large_ones(awake: Woken) -> None:
    model = awake("llama")
    doing = patch([Site(2, "head", 1)]) + ablate(CIRCUIT, "mean", over=HARMLESS) + remove(DIRECTION, to_mean_of=HARMFUL)
    expected = logits_under(model, doing)
    budget, model.budget = model.budget, 1
    try:
        assert off(logits_under(model, doing), expected) < 1e-5
    finally:
        model.budget = budget


@pytest.mark.parametrize("shape", ["llama", "qwen2", "phi3"])
def test_writing_a_head_touches_that_head_only_though_keys_are_shared(
    shape: str, awake: Woken, folder: Callable[[str], Path]
) -> None:
    model, site, out = awake(shape), Site(1, "head"), Site(1, "attn_out")
    assert model.sizes.kv_heads < model.sizes.heads
    before, wrote = clean(model, HARMFUL, site, out)
    (twins,) = clean(model, HARMLESS, site)
    circuit = Circuit.of(heads=[(1, 2)])
    for doing, expected in ((ablate(circuit, "zero"), torch.zeros_like(before)), (ablate(circuit), twins)):
        after, writes = seen_under(model, doing, site, out)
        assert torch.equal(after[:, :, [0, 1, 3]], before[:, :, [0, 1, 3]])
        torch.testing.assert_close(after[:, :, 2], expected[:, :, 2], rtol=0, atol=1e-5)
        assert not torch.equal(after[:, :, 2], before[:, :, 2])
        weight = AutoModelForCausalLM.from_pretrained(folder(shape)).model.layers[1].self_attn.o_proj.weight
        expected_change = (after - before)[:, :, 2] @ weight[:, 2 * 16 : 3 * 16].T.detach()
        torch.testing.assert_close(writes - wrote, expected_change, rtol=0, atol=1e-5 * float(wrote.abs().max()))


@pytest.mark.parametrize("at", ["all", "post", "slot", "later", (-2, -30)])
@pytest.mark.parametrize("to", ["resample", "zero"])
def test_an_ablation_touches_its_positions_only(to: Literal["resample", "zero"], at: At, awake: Woken) -> None:
    model, site = awake("llama"), Site(1, "neuron")
    two = Circuit.of(neurons=[(1, 7), (1, 90)])
    (before,), (twins,) = clean(model, HARMFUL, site), clean(model, HARMLESS, site)
    (after,) = seen_under(model, ablate(two, to, at=at), site)
    expected = before.clone()
    for row, pair in enumerate(map(model.chat.encode_pair, PAIRS)):
        for position in pair.harmful.positions(at):
            expected[row, position, [7, 90]] = twins[row, position, [7, 90]] if to == "resample" else 0
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("over", [OVER, ["Hello"]], ids=["long", "shorter than the prompts"])
@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_a_mean_ablation_writes_the_mean_at_each_position_from_the_end(
    shape: str, over: list[str], awake: Woken
) -> None:
    model, site = awake(shape), Site(1, "head")
    (before,) = clean(model, HARMFUL, site)
    (after,) = seen_under(model, ablate(Circuit.of(heads=[(1, 2)]), "mean", over=over), site)
    expected = mean_by_hand(model, site, before.shape[1], over)
    for row, prompt in enumerate(model.encode(HARMFUL)):
        ours, n = after[row, -len(prompt) :], len(prompt)
        torch.testing.assert_close(ours[:, 2].double(), expected[-n:, 2], rtol=0, atol=1e-5)
        assert torch.equal(ours[:, [0, 1, 3]], before[row, -n:][:, [0, 1, 3]])


def test_unaligned_pairs_are_patched_after_the_instruction_only(awake: Woken) -> None:
    model, pairs = awake("llama"), [*PAIRS, UNALIGNED]
    prompts = [pair.harmful for pair in pairs]
    for what in (patch([Site(1, "attn_out")]), patch([Site(1, "attn_out")], "later"), patch([Site(1, "head", 0, -40)])):
        with pytest.raises(AssayError, match="pair 4 is not aligned .* use at='post', or aligned pairs$"):
            model.next_token(prompts, under=edit_for(model, what, twins=pairs))
    site, post = Site(1, "attn_out"), len(model.chat.after_instruction)
    mixed = model.read(prompts, [site], under=edit_for(model, patch([site], "post"), twins=pairs))[site]
    ours, twins = (model.read(some, [site])[site] for some in (prompts, [pair.harmless for pair in pairs]))
    assert off(mixed[:, -post:], twins[:, -post:]) < 1e-5
    longest = mixed.shape[1] - post
    assert torch.equal(mixed[:, :longest], ours[:, :longest])


@pytest.mark.parametrize("twins", [(), PAIRS[:2], PAIRS[::-1], (UNALIGNED, *PAIRS[1:])])
@pytest.mark.parametrize("doing", [patch([Site(1, "resid_pre")]), ablate(CIRCUIT, "zero", at="slot")])
def test_a_prompt_of_another_pair_is_one_sentence(twins: tuple[Pair, ...], doing: Intervention, awake: Woken) -> None:
    model = awake("llama")
    with pytest.raises(AssayError, match=r"prompt \d is not in pair \d; patches.* need each prompt's own pair"):
        model.next_token(HARMFUL, under=edit_for(model, doing, twins=twins))


NOWHERE: dict[str, tuple[Intervention, str]] = {
    "a head too many": (ablate(Circuit.of(heads=[(1, 4)]), "zero"), "has no 1.head.4; a layer has 4, counted from 0"),
    "a layer too deep": (patch([Site(4, "resid_pre")]), "has no 4.resid_pre; the model has 4 layers, counted from 0"),
    "a removal too deep": (remove(DIRECTION, layers=[9]), "has no 9.resid_pre; the model has 4 layers, counted from 0"),
    "an addition too deep": (add(DIRECTION, 4), "has no 4.resid_pre; the model has 4 layers, counted from 0"),
    "a direction too narrow": (remove(Direction.given([[1.0, 2.0]])), "its stream is 64 wide"),
    "no direction": (remove(Direction.given([])), "its stream is 64 wide"),
}


@pytest.mark.parametrize("what", NOWHERE)
def test_what_the_model_does_not_have_is_one_sentence(what: str, awake: Woken) -> None:
    model, (doing, sentence) = awake("llama"), NOWHERE[what]
    with pytest.raises(AssayError, match=sentence):
        logits_under(model, doing)
