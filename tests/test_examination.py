"""The self-examination passes on sound models and catches each property broken on purpose."""

import math
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.inputs.chat_tokens import Encoded
from harness.inputs.errors import Refused
from harness.inputs.files.differences import restored
from harness.inputs.model_catalog import Machine, Quant, find
from harness.inputs.model_record import Check, Examination
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.sites import Kind, Site
from harness.model.chat_model import ChatModel
from harness.model.self_examination import _relative, _worst, examine, failure, reference_logits, sample
from harness.model.wake import awaken, wake
from tests.tools import shapes

NAMES = [
    "bridge equals the unwrapped model",
    "padded equals alone",
    "in a batch equals alone",
    "suffix from recorded K/V equals the full run",
    "later tokens change nothing earlier",
    "identity patch changes nothing",
    "restored residual equals the clean run",
    "writes reach the stream in full",
    "gradient equals the finite difference",
    "arithmetic equals the CPU's in float64",
]


@pytest.fixture
def llama(folder: Callable[[str], Path]) -> ChatModel:
    """A model of the test's own, to be broken."""
    return wake(str(folder("llama")), quant="none", device="cpu")


def prompts_of(model: ChatModel) -> list[Encoded]:
    return [model.chat.encode(prompt) for prompt in sample(load_pairs(DATA / "pairs.jsonl"))]


def failed(examination: Examination) -> list[str]:
    return [check.name for check in examination.failed]


@pytest.mark.parametrize(
    ("shape", "quant"),
    [
        *shapes.EACH_QUANTIZED,
        *[pytest.param(name, "int8", marks=() if name == "llama" else pytest.mark.slow) for name in shapes.SHAPES],
    ],
)
def test_every_shape_passes_every_check(shape: str, quant: Quant, awake: Callable[..., ChatModel]) -> None:
    examination = awake(shape, quant).record.examination
    assert [check.name for check in examination.checks] == NAMES
    assert not examination.failed
    # The largest difference seen is the noise of int8 through a projection the bridge has split.
    assert examination.noise <= 0.05 * examination.scale


@pytest.mark.parametrize("quant", ["none", pytest.param("nf4", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", ["gemma2", "qwen3"])
def test_bfloat16_passes(shape: str, quant: Quant, tmp_path: Path) -> None:
    folder = shapes.build(shape, tmp_path / shape, dtype=torch.bfloat16)
    woken = wake(str(folder), quant=quant, device="cpu")
    assert woken.loaded.dtype == torch.bfloat16
    assert not woken.record.examination.failed


@pytest.mark.parametrize("quant", ["none", "nf4"])
def test_a_trained_llama_passes_in_bfloat16(quant: Quant, tmp_path: Path) -> None:
    # A random one stands at the border: where padding flips one rounding, as some processors do, it moves by 0.052.
    with restored(DATA / "organisms" / "reference") as whole:
        folder = Path(shutil.copytree(whole, tmp_path / "reference"))
    weights = load_file(folder / "model.safetensors")
    rounded = {name: tensor.bfloat16() for name, tensor in weights.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    woken = wake(str(folder), quant=quant, device="cpu")
    assert woken.loaded.dtype == torch.bfloat16
    assert not woken.record.examination.failed


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
    point = model.bridge.hook_dict[Site(1, "mlp_out").hook]
    point.register_forward_hook(lambda module, inputs, output: output * (1.01 if point.fwd_hooks else 1))


def break_stream(model: ChatModel) -> None:
    """A side path around the middle: the residual stream is not all that upper layers see."""
    kept: list[Tensor] = []
    first = model.bridge.hook_dict[Site(0, "mlp_out").hook]
    last = model.bridge.hook_dict[Site(3, "resid_pre").hook]
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
    point = model.bridge.hook_dict[Site(1, "mlp_out").hook]
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


def break_writing(model: ChatModel) -> None:
    """Heads can be read, but what is written to them never gets anywhere."""
    point = model.bridge.hook_dict[Site(2, "head").hook]
    point.register_forward_hook(lambda module, inputs, output: inputs[0], prepend=False)
    original = point.add_hook

    def late(*arguments: Any, **settings: Any) -> Any:
        handle = original(*arguments, **settings)
        point._forward_hooks.move_to_end(next(iter(point._forward_hooks)))
        return handle

    point.add_hook = late


def break_causality(model: ChatModel) -> None:
    """Every position sees the mean of all."""
    point = model.bridge.hook_dict[Site(0, "attn_out").hook]
    point.register_forward_hook(lambda module, inputs, output: output + output.mean(1, keepdim=True))


def break_gradient(model: ChatModel) -> None:
    """The forward pass is right and the backward pass is not: one branch has no gradient."""
    point = model.bridge.hook_dict[Site(0, "mlp_out").hook]
    point.register_forward_hook(lambda module, inputs, output: output.detach())


BREAKS = {
    "bridge equals the unwrapped model": break_weights,
    "identity patch changes nothing": break_hooks,
    "restored residual equals the clean run": break_stream,
    "padded equals alone": break_mask,
    "in a batch equals alone": break_batch,
    "suffix from recorded K/V equals the full run": break_cache,
    "gradient equals the finite difference": break_gradient,
    "writes reach the stream in full": break_writing,
    "later tokens change nothing earlier": break_causality,
}


def test_a_sound_model_passes_as_often_as_it_is_examined(llama: ChatModel) -> None:
    reference = truth(llama)
    for _ in range(2):
        assert not failed(reexamine(llama, reference))


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_property_is_caught_and_the_model_refused(name: str, llama: ChatModel) -> None:
    reference = truth(llama)
    BREAKS[name](llama)
    examination = reexamine(llama, reference)
    assert name in failed(examination)
    assert re.match(f"broken: failed its self-examination .*{name}: off by .* allowed", failure("broken", examination))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["attn_out", "mlp_out", "head", "neuron"])
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_any_branch_without_a_gradient_is_caught(kind: Kind, layer: int, llama: ChatModel) -> None:
    reference = truth(llama)
    point = llama.bridge.hook_dict[Site(layer, kind).hook]
    point.register_forward_hook(lambda module, inputs, output: output.detach())
    assert failed(reexamine(llama, reference)) == ["gradient equals the finite difference"]


def test_a_bfloat16_model_without_gradients_of_attention_is_caught(tmp_path: Path) -> None:
    model = wake(str(shapes.build("llama", tmp_path / "llama", dtype=torch.bfloat16)), quant="none", device="cpu")
    reference = truth(model)
    point = model.bridge.hook_dict[Site(0, "attn_out").hook]
    point.register_forward_hook(lambda module, inputs, output: output.detach())
    assert failed(reexamine(model, reference)) == ["gradient equals the finite difference"]


def test_a_device_that_computes_wrongly_is_caught(llama: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong on both sides of every other comparison, as a faulty kernel is."""
    linear = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional,
        "linear",
        lambda x, weight, bias=None: linear(x, weight, bias) + 0.5 * linear(x.roll(1, -1), weight),
    )
    assert failed(reexamine(llama, truth(llama))) == ["arithmetic equals the CPU's in float64"]


def test_nan_passes_nothing(llama: ChatModel) -> None:
    reference = truth(llama)
    with torch.no_grad():
        llama.loaded.hf.lm_head.weight.fill_(torch.nan)
    assert "bridge equals the unwrapped model" in failed(reexamine(llama, reference))


def _has_avx512bf16() -> bool:
    return bool(bnb.functional.has_avx512bf16())


@pytest.mark.skipif(not _has_avx512bf16(), reason="this CPU has no AVX512-BF16 kernel to go wrong")
def test_the_repacking_kernel_of_nf4_would_be_caught(folder: Callable[[str], Path]) -> None:
    model = wake(str(folder("llama")), quant="nf4", device="cpu")
    quantized = [module for module in model.loaded.hf.modules() if isinstance(module, Linear4bit)]
    assert quantized
    assert not any(module.support_avx512bf16_for_cpu for module in quantized)
    reference = truth(model)
    for module in quantized:
        # A tiny model's weights are kept unpacked, and so never reach that kernel.
        del vars(module)["forward"]
        module.support_avx512bf16_for_cpu = True
    assert failed(reexamine(model, reference))


def test_it_prints_each_check_with_its_error(awake: Callable[..., ChatModel]) -> None:
    text = str(awake("llama").record.examination)
    assert all(name in text for name in NAMES)
    assert "noise" in text


def silenced(folder: Path, layer: int) -> Path:
    """A block that writes nothing, as pruning leaves it."""
    weights = load_file(folder / "model.safetensors")
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        weights[f"model.layers.{layer}.{name}.weight"].zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=pytest.mark.slow), torch.bfloat16], ids=str)
@pytest.mark.parametrize("layer", [0, 2])
def test_a_block_that_writes_nothing_has_lost_nothing(layer: int, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = silenced(shapes.build("llama", tmp_path / "llama", dtype=dtype), layer)
    assert not wake(str(folder), quant="none", device="cpu").record.examination.failed


@pytest.mark.parametrize("errors", [(math.nan, 0.1), (0.1, math.nan), (0.1, math.nan, 0.2)])
def test_a_nan_at_any_depth_passes_nothing(errors: tuple[float, ...]) -> None:
    assert not Check("any", _worst(errors), 1e9).passed
    assert _worst([0.1, 0.3, 0.2]) == 0.3


def test_a_block_that_writes_unseen_is_caught(folder: Callable[[str], Path], tmp_path: Path) -> None:
    """Its outputs show nothing written, and yet its stream changes."""
    llama = wake(str(silenced(shutil.copytree(folder("llama"), tmp_path / "llama"), 2)), quant="none", device="cpu")
    reference = truth(llama)
    point = llama.bridge.hook_dict[Site(2, "resid_post").hook]
    point.register_forward_hook(lambda module, inputs, output: output * 1.5)
    assert "writes reach the stream in full" in failed(reexamine(llama, reference))


def test_none_of_nothing_is_none_and_any_of_nothing_is_all() -> None:
    nothing, some = torch.zeros(3), torch.ones(3)
    assert _relative(nothing, nothing) == 0
    assert _relative(some, nothing) == math.inf
    assert _relative(some, 2 * some) == 0.5
    assert math.isnan(_relative(some * torch.nan, some))
    assert not Check("any", _relative(some * torch.nan, nothing), 1e9).passed


def own(count: int) -> PairSet:
    pairs = load_pairs(DATA / "context.jsonl")
    return PairSet("mine", tuple(pairs.discovery.pairs[:count]))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_however_few_prompts_there_are_some_are_chosen(count: int) -> None:
    chosen = sample(own(count))
    assert len(chosen) == 2 * min(count, 3)
    assert set(chosen) <= {*own(7).harmful, *own(7).harmless}


@pytest.mark.parametrize(("count", "examined"), [(2, 4), (0, 6)])
def test_a_model_is_examined_on_the_runs_own_prompts(
    count: int, examined: int, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Sequence[Encoded]] = []

    def listening(model: ChatModel, prompts: Sequence[Encoded], reference: Sequence[Tensor]) -> Examination:
        heard.append(prompts)
        return examine(model, prompts, reference)

    monkeypatch.setattr("harness.model.wake.examine", listening)
    model = awaken(find(str(folder("llama"))), quant="none", device="cpu", examined_on=own(count))
    expected = sample(own(count)) or sample(load_pairs(DATA / "pairs.jsonl"))
    assert heard == [[model.chat.encode(prompt) for prompt in expected]]
    assert len(heard[0]) == examined


def failing_unless(passes: Callable[[ChatModel], bool], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Examinations that fail for all models but these; each model that was examined."""
    tried: list[str] = []

    def examined(model: ChatModel, *arguments: object) -> Examination:
        tried.append(f"{model.loaded.quant} {model.loaded.dtype}")
        return Examination((Check("a property", 0.0 if passes(model) else 1.0, 0.5),), 1.0, 0.0, 0.0)

    monkeypatch.setattr("harness.model.wake.examine", examined)
    return tried


@pytest.mark.slow
def test_a_refusal_says_which_precision_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shapes.build("llama", tmp_path / "llama", dtype=torch.bfloat16)
    whole: list[tuple[Callable[[ChatModel], bool], str, list[str]]] = [
        (
            lambda model: model.loaded.dtype == torch.float32,
            "it passes with --dtype float32$",
            ["nf4 torch.bfloat16", "nf4 torch.float32"],
        ),
        (
            lambda model: model.loaded.quant == "none",
            "it passes with --dtype float32 --quant none$",
            ["nf4 torch.bfloat16", "nf4 torch.float32", "none torch.float32"],
        ),
        (
            lambda model: False,
            "it also fails with --dtype float32 --quant none$",
            ["nf4 torch.bfloat16", "nf4 torch.float32", "none torch.float32"],
        ),
    ]
    for passes, said, expected in whole:
        with monkeypatch.context() as patched:
            tried = failing_unless(passes, patched)
            with pytest.raises(Refused, match=f"failed its self-examination .*off by 1, allowed 0.5.*; {said}"):
                wake(str(folder), quant="nf4", device="cpu")
            assert tried == expected


def test_what_does_not_fit_is_not_tried(
    folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = shapes.build("llama", tmp_path / "llama", dtype=torch.bfloat16)
    monkeypatch.setattr("harness.model.loading.this_machine", lambda: Machine(ram=600_000, gpu=0))
    tried = failing_unless(lambda model: False, monkeypatch)
    with pytest.raises(Refused, match=r"--dtype float32 could not be tried \(.*needs about .* GiB"):
        wake(str(half), quant="none", device="cpu")
    assert tried == ["none torch.bfloat16"]
    with pytest.raises(Refused, match="it was loaded in full precision, so no other precision would help"):
        monkeypatch.undo()
        failing_unless(lambda model: False, monkeypatch)
        wake(str(folder("llama")), quant="none", device="cpu")
