"""The self-examination passes on sound models and catches each property broken on purpose."""

from collections.abc import Callable
from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch import Tensor

from harness.chat import ChatModel
from harness.errors import Refused
from harness.examination import Examination, examine, reference_logits, require, sample
from harness.pairs import DATA, load_pairs
from harness.sites import Site
from harness.tokens import Encoded
from harness.wake import Awake, wake
from tests import shapes

NAMES = [
    "bridge equals the unwrapped model",
    "identity patch changes nothing",
    "restored residual equals the clean run",
    "padded equals alone",
    "in a batch equals alone",
    "suffix from recorded K/V equals the full run",
    "gradient equals the finite difference",
]


@pytest.fixture
def llama(folder: Callable[[str], Path]) -> ChatModel:
    """A model of the test's own, to be broken."""
    return wake(str(folder("llama")), quant="none", device="cpu").chat


def prompts_of(model: ChatModel) -> list[Encoded]:
    return [model.chat.encode(prompt) for prompt in sample(load_pairs(DATA / "pairs.jsonl"))]


def failed(examination: Examination) -> list[str]:
    return [check.name for check in examination.checks if not check.passed]


@pytest.mark.parametrize("quant", ["none", "nf4", "int8"])
@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_every_shape_passes_all_seven_checks(shape: str, quant: str, awake: Callable[..., Awake]) -> None:
    examination = awake(shape, quant).examination
    assert [check.name for check in examination.checks] == NAMES
    assert examination.passed
    # The largest difference seen is the noise of int8 through a projection the bridge has split.
    assert examination.noise <= 0.05 * examination.scale


@pytest.mark.parametrize("quant", ["none", "nf4"])
@pytest.mark.parametrize("shape", ["llama", "gemma2", "qwen3"])
def test_bfloat16_passes(shape: str, quant: str, tmp_path: Path) -> None:
    folder = shapes.build(shape, tmp_path / shape, dtype=torch.bfloat16)
    woken = wake(str(folder), quant=quant, device="cpu")
    assert woken.chat.loaded.dtype == torch.bfloat16
    assert woken.examination.passed


def reexamine(model: ChatModel, reference: list[Tensor]) -> Examination:
    return examine(model, prompts_of(model), reference)


def truth(model: ChatModel) -> list[Tensor]:
    """What the sound model says; wrapping changed nothing, as the first check has shown."""
    return reference_logits(model.loaded.hf, prompts_of(model))


def break_weights(model: ChatModel) -> None:
    """The wrapped model is no longer the one that was loaded."""
    with torch.no_grad():
        model.loaded.hf.lm_head.weight.mul_(1.1)


def break_hooks(model: ChatModel) -> None:
    """Being hooked alone changes what the model does."""
    point = model._bridge.hook_dict[Site(1, "mlp_out").hook]
    point.register_forward_hook(lambda module, inputs, output: output * (1.01 if point.fwd_hooks else 1))


def break_stream(model: ChatModel) -> None:
    """A side path around the middle: the residual stream is not all that upper layers see."""
    kept: list[Tensor] = []
    first = model._bridge.hook_dict[Site(0, "mlp_out").hook]
    last = model._bridge.hook_dict[Site(3, "resid_pre").hook]
    first.register_forward_hook(lambda module, inputs, output: kept.append(output))
    last.register_forward_hook(lambda module, inputs, output: output + 0.2 * kept[-1])


def break_mask(model: ChatModel) -> None:
    """Padding is read like text."""
    forward = model.loaded.hf.forward

    def unmasked(*args: object, attention_mask: Tensor | None = None, **kwargs: object) -> object:
        ones = None if attention_mask is None else torch.ones_like(attention_mask)
        return forward(*args, attention_mask=ones, **kwargs)

    model.loaded.hf.forward = unmasked


def break_batch(model: ChatModel) -> None:
    """Rows are normalised by their neighbours, as activation quantization with a threshold does."""
    point = model._bridge.hook_dict[Site(1, "mlp_out").hook]
    point.register_forward_hook(
        lambda module, inputs, output: output - output.mean(0, keepdim=True) * (len(output) > 1)
    )


def break_cache(model: ChatModel) -> None:
    """Positions of a suffix are counted from its own start."""
    forward = model.loaded.hf.forward

    def from_zero(*args: object, position_ids: Tensor | None = None, **kwargs: object) -> object:
        if kwargs.get("past_key_values") is not None and position_ids is not None:
            position_ids = position_ids - position_ids[:, :1]
        return forward(*args, position_ids=position_ids, **kwargs)

    model.loaded.hf.forward = from_zero


def break_gradient(model: ChatModel) -> None:
    """The forward pass is right and the backward pass is not: one branch has no gradient."""
    point = model._bridge.hook_dict[Site(0, "mlp_out").hook]
    point.register_forward_hook(lambda module, inputs, output: output.detach())


BREAKS = {
    "bridge equals the unwrapped model": break_weights,
    "identity patch changes nothing": break_hooks,
    "restored residual equals the clean run": break_stream,
    "padded equals alone": break_mask,
    "in a batch equals alone": break_batch,
    "suffix from recorded K/V equals the full run": break_cache,
    "gradient equals the finite difference": break_gradient,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_property_is_caught_and_the_model_refused(name: str, llama: ChatModel) -> None:
    reference = truth(llama)
    assert not failed(reexamine(llama, reference))
    BREAKS[name](llama)
    examination = reexamine(llama, reference)
    assert name in failed(examination)
    with pytest.raises(Refused, match=f"failed its self-examination .*{name}: off by .* allowed"):
        require("broken", examination)


def test_nan_passes_nothing(llama: ChatModel) -> None:
    reference = truth(llama)
    with torch.no_grad():
        llama.loaded.hf.lm_head.weight.fill_(torch.nan)
    assert "bridge equals the unwrapped model" in failed(reexamine(llama, reference))


def _has_avx512bf16() -> bool:
    return bool(bnb.functional.has_avx512bf16())


@pytest.mark.skipif(not _has_avx512bf16(), reason="this CPU has no AVX512-BF16 kernel to go wrong")
def test_the_repacking_kernel_of_nf4_would_be_caught(folder: Callable[[str], Path]) -> None:
    model = wake(str(folder("llama")), quant="nf4", device="cpu").chat
    quantized = [module for module in model.loaded.hf.modules() if isinstance(module, Linear4bit)]
    assert quantized
    assert not any(module.support_avx512bf16_for_cpu for module in quantized)
    reference = truth(model)
    for module in quantized:
        module.support_avx512bf16_for_cpu = True
    assert failed(reexamine(model, reference))


def test_it_prints_each_check_with_its_error(awake: Callable[..., Awake]) -> None:
    text = str(awake("llama").examination)
    assert all(name in text for name in NAMES)
    assert "noise" in text
