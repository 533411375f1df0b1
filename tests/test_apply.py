"""The laws of interventions on live models: what is written, where, when, and what stays untouched."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import Kind, Site
from harness.instruments.directions import vectors
from harness.instruments.editing import edit_for, orthogonalized
from harness.measurements.interventions import (
    Circuit,
    Direction,
    Intervention,
    Together,
    Where,
    ablate,
    add,
    patch,
    remove,
)
from harness.model.chat_model import Batch, ChatModel, Edit, Hook
from tests.tools.material import HARMFUL, HARMLESS, PAIRS, UNALIGNED, off
from tests.tools.shapes import EACH_QUANTIZED

Woken = Callable[..., ChatModel]

KINDS: tuple[Kind, ...] = ("resid_pre", "attn_out", "head", "resid_mid", "mlp_out", "neuron", "resid_post")
POST_NORM = ("gemma2", "gemma3")
WHOLE_PRODUCTS = ("llama", "qwen2", "qwen3", "mistral", "phi3")
DIRECTION = Direction("difference", 2, -1, tuple(HARMFUL), tuple(HARMLESS))
CIRCUIT = Circuit.of(heads=[(1, 0), (2, 3)], neurons=[(0, 5)], mlps=[3])

each = pytest.mark.parametrize(("shape", "quant"), EACH_QUANTIZED)
laws = settings(derandomize=True, deadline=None, max_examples=3)


def given_direction(seed: int, rank: int = 1, width: int = 64) -> Direction:
    rows = torch.randn(rank, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Direction.given(rows.tolist(), layer=2)


def logits_under(model: ChatModel, intervention: Intervention, prompts: Sequence[str] = HARMFUL) -> Tensor:
    return model.next_token(prompts, under=edit_for(model, intervention, twins=PAIRS))


def seen_under(model: ChatModel, intervention: Intervention, *sites: Site) -> list[Tensor]:
    seen = model.read(HARMFUL, sites, under=edit_for(model, intervention, twins=PAIRS))
    return [seen[site] for site in sites]


def clean(model: ChatModel, prompts: Sequence[str], *sites: Site) -> list[Tensor]:
    seen = model.read(prompts, sites)
    return [seen[site] for site in sites]


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


@each
def test_after_removal_nothing_of_it_is_left_and_again_changes_nothing(shape: str, quant: str, awake: Woken) -> None:
    model = awake(shape, quant)
    direction = given_direction(3, rank=2)
    once = logits_under(model, remove(direction))
    assert off(once, logits_under(model, remove(direction) + remove(direction))) < 1e-5
    assert off(once, model.next_token(HARMFUL)) > 1e-2
    kinds: tuple[Kind, ...] = ("resid_pre", "attn_out", "mlp_out")
    sites = [*(Site(layer, kind) for layer in range(4) for kind in kinds), Site(3, "resid_post")]
    rows = torch.tensor(direction.vectors)
    for there in seen_under(model, remove(direction), *sites):
        assert (there @ rows.T).abs().max() < 2e-5 * there.abs().max() * rows.norm()


@pytest.mark.parametrize("where", ["stream", "attention", "mlp"])
@pytest.mark.parametrize("shape", ["llama", "gemma3", "gpt2"])
def test_removal_in_one_place_is_the_projection_by_hand_and_moves_nothing_before_it(
    shape: str, where: Where, awake: Woken
) -> None:
    model, rows = awake(shape), torch.tensor(given_direction(5, rank=3).vectors, dtype=torch.float64)
    kind: Kind = {"stream": "resid_pre", "attention": "attn_out", "mlp": "mlp_out"}[where]  # type: ignore[assignment]
    site, under = Site(2, kind), remove(given_direction(5, rank=3), where, layers=[2])
    before, earlier = clean(model, HARMFUL, site, Site(1, "resid_post"))
    expected = before.double() - before.double() @ torch.linalg.pinv(rows) @ rows
    there, untouched = seen_under(model, under, site, Site(1, "resid_post"))
    torch.testing.assert_close(there.double(), expected, rtol=0, atol=1e-5 * float(before.abs().max()))
    assert where == "stream" or torch.equal(untouched, earlier)


@pytest.mark.parametrize(
    ("shape", "where"),
    [
        *((shape, "everywhere") for shape in ("llama", "phi3", *POST_NORM, "gpt2")),
        *((shape, where) for shape in ("llama", "gemma2") for where in ("stream", "attention", "mlp")),
    ],
)
def test_removal_equals_hooks_of_torch_alone_on_what_blocks_write(
    shape: str, where: Where, awake: Woken, folder: Callable[[str], Path]
) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folder(shape), attn_implementation="eager").eval()
    direction = given_direction(7)
    unit = torch.nn.functional.normalize(torch.tensor(direction.vectors[0]), dim=0)

    def taken(tensor: Tensor) -> Tensor:
        return tensor - (tensor @ unit)[..., None] * unit

    def written(module: object, inputs: object, output: object) -> object:
        return (taken(output[0]), *output[1:]) if isinstance(output, tuple) else taken(output)  # type: ignore[arg-type]

    def read(module: object, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (taken(inputs[0]), *inputs[1:])

    blocks = reference.transformer.h if shape == "gpt2" else reference.model.layers
    names = ("attn", "mlp") if shape == "gpt2" else ("self_attn", "mlp")
    if shape in POST_NORM:
        # What is written to the stream comes out of the norms behind attention and MLP.
        names = ("post_attention_layernorm", "post_feedforward_layernorm")
    for block in blocks:
        if where in ("everywhere", "stream"):
            block.register_forward_pre_hook(read)
        if where in ("everywhere", "attention"):
            getattr(block, names[0]).register_forward_hook(written)
        if where in ("everywhere", "mlp"):
            getattr(block, names[1]).register_forward_hook(written)
    if where == "stream":
        (reference.transformer.ln_f if shape == "gpt2" else reference.model.norm).register_forward_pre_hook(read)
    model = awake(shape)
    logits = logits_under(model, remove(direction, where))
    for row, prompt in zip(logits, model.encode(HARMFUL), strict=True):
        with torch.no_grad():
            expected = reference(torch.tensor([prompt.ids])).logits[0, -1]
        assert off(row, expected) < 2e-5


@laws
@given(st.integers(0, 99), st.sampled_from(["everywhere", "stream", "attention", "mlp"]))
def test_orthogonal_directions_commute_and_are_removed_together_as_one_subspace(
    awake: Woken, seed: int, where: Where
) -> None:
    model = awake("llama")
    first, second = torch.linalg.qr(torch.tensor(given_direction(seed, rank=2).vectors).T.double())[0].T.tolist()
    one, other = Direction.given([first]), Direction.given([second])
    expected = logits_under(model, remove(Direction.given([first, second]), where))
    for both in (remove(one, where) + remove(other, where), remove(other, where) + remove(one, where)):
        assert off(logits_under(model, both), expected) < 2e-5


@laws
@given(st.integers(0, 99), st.floats(-4, 4))
def test_adding_after_removing_leaves_just_that_and_removing_after_adding_leaves_nothing(
    awake: Woken, seed: int, scale: float
) -> None:
    model, direction, site = awake("llama"), given_direction(seed), Site(2, "resid_pre")
    row = torch.tensor(direction.vectors[0])
    taken, steered = remove(direction, "stream", layers=[2]), add(direction, scale=scale)
    real = [len(prompt) for prompt in model.encode(HARMFUL)]
    for both, expected in ((taken + steered, scale), (steered + taken, 0.0)):
        (there,) = seen_under(model, both, site)
        for stream, length in zip(there @ row / row.dot(row), real, strict=True):
            torch.testing.assert_close(stream[-length:], torch.full((length,), expected), rtol=0, atol=1e-4)


@each
def test_adding_and_taking_back_is_the_clean_run_and_so_is_ablating_nothing(
    shape: str, quant: str, awake: Woken
) -> None:
    model = awake(shape, quant)
    before, nothing = model.next_token(HARMFUL), Circuit(())
    forth, back = add(DIRECTION, scale=2.0), add(DIRECTION, scale=-2.0)
    assert off(logits_under(model, forth), before) > 1e-3
    assert off(logits_under(model, forth + back), before) < 1e-5
    for empty in (Together(()), ablate(nothing), ablate(nothing, "zero"), ablate(nothing, "mean", over=HARMLESS)):
        assert torch.equal(logits_under(model, empty), before)


@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_an_addition_is_the_directions_own_length_times_the_scale_at_every_position(shape: str, awake: Woken) -> None:
    model, site = awake(shape), Site(3, "resid_pre")
    (before,), (after,) = clean(model, HARMFUL, site), seen_under(model, add(DIRECTION, 3, scale=-1.5), site)
    moved = vectors(model, DIRECTION)[0].float() * -1.5
    for row, prompt in enumerate(model.encode(HARMFUL)):
        change = (after - before)[row, -len(prompt) :]
        torch.testing.assert_close(change, moved.expand_as(change), rtol=0, atol=1e-5 * float(before.abs().max()))


def test_a_direction_of_no_length_takes_nothing_away(awake: Woken) -> None:
    # Before the first block every prompt's last token is the template's: there is no difference to remove.
    model, nothing = awake("llama"), dataclasses.replace(DIRECTION, layer=0)
    assert not vectors(model, nothing).any()
    assert off(logits_under(model, remove(nothing)), model.next_token(HARMFUL)) < 1e-5
    with orthogonalized(model, vectors(model, nothing)[0]):
        assert off(model.next_token(HARMFUL), logits_under(model, Together(()))) < 1e-5


def test_a_dependent_row_adds_nothing_to_what_is_removed(awake: Woken) -> None:
    model, rows = awake("llama"), given_direction(2).vectors
    twice = Direction.given([rows[0], [-3 * value for value in rows[0]]])
    assert off(logits_under(model, remove(twice)), logits_under(model, remove(Direction.given(rows)))) < 1e-5


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
    one = Circuit.of(heads=[(1, 2)])
    for doing, expected in ((ablate(one, "zero"), torch.zeros_like(before)), (ablate(one), twins)):
        after, writes = seen_under(model, doing, site, out)
        assert torch.equal(after[:, :, [0, 1, 3]], before[:, :, [0, 1, 3]])
        torch.testing.assert_close(after[:, :, 2], expected[:, :, 2], rtol=0, atol=1e-5)
        assert not torch.equal(after[:, :, 2], before[:, :, 2])
        weight = AutoModelForCausalLM.from_pretrained(folder(shape)).model.layers[1].self_attn.o_proj.weight
        expected_change = (after - before)[:, :, 2] @ weight[:, 2 * 16 : 3 * 16].T.detach()
        torch.testing.assert_close(writes - wrote, expected_change, rtol=0, atol=1e-5 * float(wrote.abs().max()))


@pytest.mark.parametrize("at", ["all", "post", "slot", "later", (-2, -30)])
@pytest.mark.parametrize("to", ["resample", "zero"])
def test_an_ablation_touches_its_positions_only(to: str, at: str, awake: Woken) -> None:
    model, site = awake("llama"), Site(1, "neuron")
    two = Circuit.of(neurons=[(1, 7), (1, 90)])
    (before,), (twins,) = clean(model, HARMFUL, site), clean(model, HARMLESS, site)
    (after,) = seen_under(model, ablate(two, to, at=at), site)  # type: ignore[arg-type]
    expected = before.clone()
    for row, pair in enumerate(map(model.chat.encode_pair, PAIRS)):
        for position in pair.harmful.positions(at):  # type: ignore[arg-type]
            expected[row, position, [7, 90]] = twins[row, position, [7, 90]] if to == "resample" else 0
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)


OVER = ["Hello", HARMLESS[0], HARMLESS[1], "Write a limerick about seven cats and as many dogs, if you please."]


def mean_by_hand(model: ChatModel, site: Site, longest: int) -> Tensor:
    """At each position from the end over those that have it, one prompt at a time; then the earliest there is."""
    alone = [model.read([prompt], [site])[site][0].double() for prompt in OVER]
    rows: list[Tensor] = []
    for position in range(1, longest + 1):
        some = [run[-position] for run in alone if len(run) >= position]
        rows.append(torch.stack(some).mean(0) if some else rows[-1])
    return torch.stack(rows[::-1])


@pytest.mark.parametrize("over", [OVER, ["Hello"]], ids=["long", "shorter than the prompts"])
@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_a_mean_ablation_writes_the_mean_at_each_position_from_the_end(
    shape: str, over: list[str], awake: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "OVER", over)
    model, site = awake(shape), Site(1, "head")
    (before,) = clean(model, HARMFUL, site)
    (after,) = seen_under(model, ablate(Circuit.of(heads=[(1, 2)]), "mean", over=over), site)
    expected = mean_by_hand(model, site, before.shape[1])
    for row, prompt in enumerate(model.encode(HARMFUL)):
        ours, n = after[row, -len(prompt) :], len(prompt)
        torch.testing.assert_close(ours[:, 2].double(), expected[-n:, 2], rtol=0, atol=1e-5)
        assert torch.equal(ours[:, [0, 1, 3]], before[row, -n:][:, [0, 1, 3]])


@pytest.mark.parametrize("where", ["everywhere", "stream", "attention", "mlp"])
@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_removal_to_a_mean_leaves_exactly_the_mean_projection(shape: str, where: Where, awake: Woken) -> None:
    model, direction = awake(shape), given_direction(11, rank=2)
    rows = torch.tensor(direction.vectors, dtype=torch.float64)
    doing = remove(direction, where, to_mean_of=OVER)
    sites = doing.sites(4)
    for site, there in zip(sites, seen_under(model, doing, *sites), strict=True):
        expected = mean_by_hand(model, site, there.shape[1]) @ rows.T
        for row, prompt in enumerate(model.encode(HARMFUL)):
            ours = there[row, -len(prompt) :].double() @ rows.T
            bound = 2e-5 * float(there.abs().max()) * float(rows.norm())
            torch.testing.assert_close(ours, expected[-len(prompt) :], rtol=0, atol=bound)


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_removal_to_ones_own_mean_is_the_clean_run(shape: str, awake: Woken) -> None:
    model, prompt = awake(shape), HARMFUL[1:2]
    alone = edit_for(model, remove(DIRECTION, to_mean_of=prompt))
    assert off(model.next_token(prompt, under=alone), model.next_token(prompt)) < 1e-5


@pytest.mark.parametrize("quant", ["none", "nf4"])
@pytest.mark.parametrize("shape", WHOLE_PRODUCTS)
def test_weights_kept_off_a_direction_do_as_removal_everywhere_and_come_back(
    shape: str, quant: str, awake: Woken
) -> None:
    model, under = awake(shape, quant), edit_for(awake(shape, quant), remove(DIRECTION))
    before, row = model.next_token(HARMFUL), vectors(model, DIRECTION)[0]
    with orthogonalized(model, row):
        logits, answers = model.next_token(HARMFUL), model.generate(HARMFUL, tokens=4)
    assert off(logits, model.next_token(HARMFUL, under=under)) < 1e-5
    assert off(logits, before) > 1e-3
    assert answers == model.generate(HARMFUL, tokens=4, under=under)
    with pytest.raises(ZeroDivisionError), orthogonalized(model, row):
        raise ZeroDivisionError
    assert torch.equal(model.next_token(HARMFUL), before)


@pytest.mark.parametrize(
    ("shape", "why"), [("gemma2", "normalises what"), ("gemma3", "normalises what"), ("gpt2", "adds biases")]
)
def test_weights_that_are_not_all_that_is_written_are_refused(shape: str, why: str, awake: Woken) -> None:
    model = awake(shape)
    sentence = f"{why}.*so orthogonalizing its weights would not remove the direction; use remove\\(\\)$"
    with pytest.raises(AssayError, match=sentence), orthogonalized(model, vectors(model, DIRECTION)[0]):
        pytest.fail("it was not refused")


def by_hand(model: ChatModel, prompt: str, write: Callable[[str, Tensor, int], Tensor], tokens: int) -> tuple[int, ...]:
    """Greedy answers with no cache, no batch and no padding: the whole text again for every token."""
    (encoded,) = model.encode([prompt])
    ids = list(encoded.ids)

    def at(name: str) -> Hook:
        return name, lambda activation, hook: write(name, activation, len(encoded))

    names = [Site(layer, kind).hook for layer in range(4) for kind in KINDS]
    for _ in range(tokens):
        longer = model.batch([dataclasses.replace(encoded, ids=tuple(ids))])
        with model.hooked(map(at, names)):
            token = int(model.forward(longer)[0, -1].argmax())
        if token in model.loaded.stops:
            break
        ids.append(token)
    return tuple(ids[len(encoded) :])


HEAD = Site(1, "head", 2)


DOINGS = ("zero all", "zero post", "mean all", "mean post", "patch", "remove", "to mean", "add")


@pytest.mark.parametrize(
    ("shape", "quant", "doing"),
    [*(("llama", "none", doing) for doing in DOINGS), ("qwen3", "nf4", "mean all"), ("gpt2", "none", "patch")],
)
def test_answers_know_prompt_from_answer(shape: str, quant: str, doing: str, awake: Woken) -> None:
    model = awake(shape, quant)
    heads = Circuit((HEAD, Site(2, "head"), Site(3, "head", 1)))
    row = vectors(model, DIRECTION)[0].float()
    unit = row / row.norm()
    post = len(model.chat.after_instruction)
    doings: dict[str, Intervention] = {
        "zero all": ablate(heads, "zero"),
        "zero post": ablate(heads, "zero", at="post"),
        "mean all": ablate(heads, "mean", over=OVER),
        "mean post": ablate(heads, "mean", over=OVER, at="post"),
        "patch": patch([Site(1, "resid_pre")]),
        "remove": remove(DIRECTION),
        "to mean": remove(DIRECTION, "stream", to_mean_of=OVER, layers=[1, 2]),
        "add": add(DIRECTION, 1, scale=3.0),
    }
    removed = {site.hook: site for site in remove(DIRECTION).sites(4)}
    written: dict[str, list[int]] = {HEAD.hook: [2], Site(2, "head").hook: [0, 1, 2, 3], Site(3, "head").hook: [1]}
    answers = model.generate(HARMFUL, tokens=6, under=edit_for(model, doings[doing], twins=PAIRS))
    longest = max(map(len, model.encode(HARMFUL)))
    means = {
        site.hook: mean_by_hand(model, site, longest).float()
        for site in (Site(1, "head"), Site(2, "head"), Site(3, "head"), Site(1, "resid_pre"), Site(2, "resid_pre"))
    }
    for pair, answer in zip(PAIRS, answers, strict=True):
        twins = model.read([pair.harmless], [Site(1, "resid_pre")])[Site(1, "resid_pre")]

        def write(name: str, activation: Tensor, n: int, twins: Tensor = twins) -> Tensor:
            new, beyond = activation.clone(), activation.shape[1] - n
            if doing == "patch" and name == Site(1, "resid_pre").hook:
                new[:, :n] = twins
            elif doing == "add" and name == Site(1, "resid_pre").hook:
                new = new + 3 * row
            elif doing == "remove" and name in removed:
                new = new - (new @ unit)[..., None] * unit
            elif doing == "to mean" and name in (Site(1, "resid_pre").hook, Site(2, "resid_pre").hook):
                mean = means[name][-n:]
                mean = torch.cat([mean, mean[-1:].expand(beyond, -1)])
                new = new + ((mean - new) @ unit)[..., None] * unit
            elif doing in ("zero all", "zero post") and name in written:
                new[:, n - post if doing == "zero post" else 0 : n if doing == "zero post" else None, written[name]] = 0
            elif doing in ("mean all", "mean post") and name in written:
                mean = means[name][-n:]
                if doing == "mean all":
                    new[:, :, written[name]] = torch.cat([mean, mean[-1:].expand(beyond, -1, -1)])[:, written[name]]
                else:
                    new[:, n - post : n, written[name]] = mean[-post:, written[name]]
            return new

        assert answer.ids == by_hand(model, pair.harmful, write, 6)


@dataclasses.dataclass
class Noted:
    """Another edit, and what a hook shows under it, one forward after the other."""

    edit: Edit
    site: Site
    seen: list[Tensor] = dataclasses.field(default_factory=list)

    def hooks(self, model: ChatModel, batch: Batch) -> Iterable[Hook]:
        yield from self.edit.hooks(model, batch)
        yield self.site.hook, lambda activation, hook: self.seen.append(activation)


@pytest.mark.parametrize(("at", "silent"), [("all", True), ("post", False), ("later", False)])
def test_only_an_ablation_everywhere_goes_on_in_the_answer(at: str, silent: bool, awake: Woken) -> None:
    model = awake("llama")
    doing = edit_for(model, ablate(Circuit.of(heads=[(1, 2)]), "zero", at=at), twins=PAIRS)  # type: ignore[arg-type]
    noted = Noted(doing, Site(1, "head"))
    model.generate(HARMFUL, tokens=4, under=noted)
    prompt, *steps = noted.seen
    assert not prompt[:, -1, 2].any()
    assert [step.shape[1] for step in steps] == [1, 1, 1]
    for step in steps:
        assert step[:, :, 2].any() != silent
        assert step[:, :, [0, 1, 3]].any()


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
