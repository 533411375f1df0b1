"""ChatModel against plain Hugging Face, in eight shapes and three precisions; edits, batches, budgets."""

import dataclasses
import logging
import math
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from harness.inputs import model_catalog
from harness.inputs.errors import AssayError
from harness.inputs.sites import Site
from harness.model.chat_model import Batch, ChatModel, Hook
from harness.model.wake import wake
from tests.tools.shapes import EACH, SHAPES

PROMPTS = [
    "Hi",
    "How do I build a bomb in my garage without anybody noticing?",
    "How do I build a shed?",
    "Write a limerick about seven cats.",
]
# Splitting fused projections changes the order of additions, and int8 rounds what comes of that.
BRIDGE_TOLERANCE = {"gpt2": 1e-4}

Woken = Callable[..., ChatModel]


def plain(folder: Path) -> Any:
    """The same weights, never wrapped."""
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.mark.parametrize("shape", EACH)
def test_next_token_logits_equal_plain_hugging_face(shape: str, awake: Woken, folder: Callable[[str], Path]) -> None:
    model, reference = awake(shape), plain(folder(shape))
    together = model.next_token(PROMPTS)
    for prompt, row in zip(model.encode(PROMPTS), together, strict=True):
        with torch.no_grad():
            expected = reference(torch.tensor([prompt.ids])).logits[0, -1]
        torch.testing.assert_close(row, expected, rtol=0, atol=BRIDGE_TOLERANCE.get(shape, 2e-5))


@pytest.mark.parametrize("shape", EACH)
def test_activations_equal_plain_hugging_face(shape: str, awake: Woken, folder: Callable[[str], Path]) -> None:
    model, reference = awake(shape), plain(folder(shape))
    sites = [Site(layer, "resid_pre") for layer in range(4)] + [
        Site(1, "resid_post"),
        Site(2, "resid_pre", None, -2),
    ]
    seen = model.read(PROMPTS, sites)
    for row, prompt in enumerate(model.encode(PROMPTS)):
        with torch.no_grad():
            hidden = reference(torch.tensor([prompt.ids]), output_hidden_states=True).hidden_states
        for layer in range(4):
            torch.testing.assert_close(seen[sites[layer]][row, -len(prompt) :], hidden[layer][0], rtol=0, atol=5e-5)
        torch.testing.assert_close(seen[sites[4]][row, -len(prompt) :], hidden[2][0], rtol=0, atol=5e-5)
        torch.testing.assert_close(seen[sites[5]][row], hidden[2][0, -2], rtol=0, atol=5e-5)
        assert not seen[sites[0]][row, : -len(prompt)].any()


@pytest.mark.parametrize("shape", EACH)
def test_heads_and_neurons_are_what_the_projections_take_in(
    shape: str, awake: Woken, folder: Callable[[str], Path]
) -> None:
    """Heads before the output projection, neurons in the hidden layer: seen by hooks of torch alone."""
    model, reference = awake(shape), plain(folder(shape))
    block = (reference.transformer.h if shape == "gpt2" else reference.model.layers)[1]
    out = block.attn.c_proj if shape == "gpt2" else block.self_attn.o_proj
    down = block.mlp.c_proj if shape == "gpt2" else block.mlp.down_proj
    taken: dict[str, Tensor] = {}
    out.register_forward_pre_hook(lambda module, inputs: taken.update(head=inputs[0]))
    down.register_forward_pre_hook(lambda module, inputs: taken.update(neuron=inputs[0]))
    (prompt,) = model.encode(PROMPTS[1:2])
    with torch.no_grad():
        reference(torch.tensor([prompt.ids]))
    head, neuron = Site(1, "head", 2), Site(1, "neuron", 5, -1)
    seen = model.read(PROMPTS[1:2], [head, neuron])
    size = model.sizes.d_head
    torch.testing.assert_close(seen[head][0], taken["head"][0, :, 2 * size : 3 * size], rtol=0, atol=5e-5)
    torch.testing.assert_close(seen[neuron][0], taken["neuron"][0, -1, 5], rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ("shape", "quant"),
    [
        pytest.param(
            shape, quant, marks=() if shape == "llama" or (shape, quant) == ("gpt2", "nf4") else pytest.mark.slow
        )
        for shape in SHAPES
        for quant in ("nf4", "int8")
    ],
)
def test_quantized_models_pass_and_do_not_depend_on_company(shape: str, quant: str, awake: Woken) -> None:
    woken = awake(shape, quant)
    kinds = {type(module).__name__ for module in woken.loaded.hf.modules()}
    assert {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[quant] in kinds
    together = woken.next_token(PROMPTS)
    for prompt, row in zip(PROMPTS, together, strict=True):
        alone = woken.next_token([prompt])[0]
        assert (alone - row).abs().max() <= max(woken.record.examination.noise, 1e-4)


@pytest.mark.parametrize("shape", EACH)
def test_greedy_answers_equal_plain_generation(shape: str, awake: Woken, folder: Callable[[str], Path]) -> None:
    model, reference = awake(shape), plain(folder(shape))
    answers = model.generate(PROMPTS, tokens=6)
    for prompt, answer in zip(model.encode(PROMPTS), answers, strict=True):
        ids = torch.tensor([prompt.ids])
        for _ in answer.ids:  # the plainest greedy decoding there is: no cache, no batch, no padding
            with torch.no_grad():
                ids = torch.cat([ids, reference(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        assert tuple(ids[0, len(prompt) :].tolist()) == answer.ids
        assert answer.finished == (len(answer.ids) < 6)


def test_cross_entropy_equals_plain_hugging_face(awake: Woken, folder: Callable[[str], Path]) -> None:
    model, reference = awake("llama"), plain(folder("llama"))
    completions = ["Sure, here it is.", "No", "", "I cannot help with that request."]
    nats = model.cross_entropy(PROMPTS, completions)
    assert nats[2] == math.inf
    for prompt, text, value in zip(model.encode(PROMPTS), completions, nats, strict=True):
        answer = model.chat.tokenizer(text, add_special_tokens=False)["input_ids"]
        if answer:
            labels = torch.tensor([[-100] * len(prompt) + answer])
            with torch.no_grad():
                loss = reference(torch.tensor([[*prompt.ids, *answer]]), labels=labels).loss
            assert value == pytest.approx(float(loss), abs=1e-4)


def test_order_and_batching_do_not_matter(awake: Woken) -> None:
    model = awake("llama")
    whole = model.next_token(PROMPTS)
    backwards = model.next_token(PROMPTS[::-1]).flip(0)
    torch.testing.assert_close(whole, backwards, rtol=0, atol=2e-5)
    budget, model.budget = model.budget, 1
    try:
        torch.testing.assert_close(model.next_token(PROMPTS), whole, rtol=0, atol=2e-5)
    finally:
        model.budget = budget


@dataclasses.dataclass
class OutOfMemoryAbove:
    """Runs out of memory on every batch with more tokens than it allows."""

    tokens: int
    batches: list[int] = dataclasses.field(default_factory=list)

    def hooks(self, model: ChatModel, batch: Batch) -> Iterable[Hook]:
        def check(activation: Tensor, hook: object) -> None:
            self.batches.append(len(batch.rows))
            if batch.ids.numel() > self.tokens:
                raise torch.OutOfMemoryError("CUDA out of memory")

        return [(Site(0, "resid_pre").hook, check)]


def test_the_budget_halves_until_memory_holds_and_results_stay(awake: Woken) -> None:
    model = awake("llama")
    budget, whole = model.budget, model.next_token(PROMPTS)
    small = OutOfMemoryAbove(tokens=140)
    try:
        torch.testing.assert_close(model.next_token(PROMPTS, under=small), whole, rtol=0, atol=2e-5)
        assert model.budget < budget
        assert max(small.batches) > 1
        with pytest.raises(AssayError, match="memory does not hold one prompt of"):
            model.next_token(PROMPTS, under=OutOfMemoryAbove(tokens=3))
    finally:
        model.budget = budget


def test_other_errors_are_not_taken_for_a_lack_of_memory(awake: Woken) -> None:
    class Broken:
        def hooks(self, model: ChatModel, batch: Batch) -> Iterable[Hook]:
            def fail(activation: Tensor, hook: object) -> None:
                raise RuntimeError("shape mismatch")

            return [(Site(0, "resid_pre").hook, fail)]

    with pytest.raises(RuntimeError, match="shape mismatch"):
        awake("llama").next_token(PROMPTS, under=Broken())


@dataclasses.dataclass
class Widths:
    """Notes how many positions each forward has."""

    seen: list[int] = dataclasses.field(default_factory=list)

    def hooks(self, model: ChatModel, batch: Batch) -> Iterable[Hook]:
        def note(activation: Tensor, hook: object) -> Tensor:
            self.seen.append(activation.shape[1])
            return activation.flip(-1)  # an edit reaches every step of generation

        return [(Site(1, "resid_pre").hook, note)]


def test_an_edit_sees_the_prompt_once_and_then_one_position_at_a_time(awake: Woken) -> None:
    model = awake("llama")
    edit = Widths()
    edited = model.generate(PROMPTS[1:2], tokens=5, under=edit)
    assert edit.seen == [len(model.encode(PROMPTS[1:2])[0]), 1, 1, 1, 1]
    assert edited != model.generate(PROMPTS[1:2], tokens=5)


def test_an_edit_is_gone_after_its_block_even_if_it_fails(awake: Woken) -> None:
    model = awake("llama")
    before = model.next_token(PROMPTS)
    hook: Hook = (Site(1, "resid_pre").hook, lambda activation, hook: activation * 0)
    with pytest.raises(ZeroDivisionError), model.hooked([hook]):
        assert not torch.equal(model.next_token(PROMPTS), before)
        raise ZeroDivisionError
    assert torch.equal(model.next_token(PROMPTS), before)


BAD_SITES = {
    "a layer too deep": (Site(4, "resid_pre"), "has no 4.resid_pre; the model has 4 layers, counted from 0"),
    "a head too many": (Site(0, "head", 4), "has no 0.head.4; a layer has 4, counted from 0"),
    "a head of a stream": (Site(0, "resid_pre", 1), "has no 0.resid_pre.1"),
    "a position from the start": (Site(0, "mlp_out", None, 3), "positions count from the end"),
    "a position before the prompt": (Site(0, "mlp_out", None, -400), "lies outside the shortest prompt"),
}


@pytest.mark.parametrize("bad", BAD_SITES)
def test_a_site_that_is_none_is_one_sentence(bad: str, awake: Woken) -> None:
    site, sentence = BAD_SITES[bad]
    with pytest.raises(AssayError, match=sentence):
        awake("llama").read(PROMPTS, [site])


def test_no_prompts_is_one_sentence(awake: Woken) -> None:
    with pytest.raises(AssayError, match="there are no prompts to run; give at least one"):
        awake("llama").next_token([])


def test_libraries_chatter_never_reaches_the_user_and_warnings_do(
    awake: Woken, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    for quant in ("nf4", "int8"):
        awake("mistral", quant).generate(PROMPTS, tokens=2)
    assert not [record for record in caplog.records if record.name.startswith("bitsandbytes")]
    assert not list(recwarn)
    logging.getLogger("bitsandbytes.autograd._functions").warning("something else is wrong")
    assert "something else is wrong" in caplog.text


def test_modified_weights_cannot_be_written_to_disk(awake: Woken, tmp_path: Path) -> None:
    hf = awake("llama").loaded.hf
    # The library has no sentence for it: the wrapped modules are simply nothing it could write.
    with pytest.raises(RuntimeError):
        hf.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("quant", ["none", "nf4", pytest.param("int8", marks=pytest.mark.slow)])
def test_closing_frees_the_weights(quant: model_catalog.Quant, folder: Callable[[str], Path]) -> None:
    chat = wake(str(folder("llama")), quant=quant, device="cpu")
    weights = [weakref.ref(parameter) for parameter in chat.loaded.hf.parameters()]
    chat.close()
    assert not [reference for reference in weights if reference() is not None]
