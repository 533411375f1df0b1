"""Loads a model's weights into memory, quantized if asked; the only module that loads."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch.nn import functional
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)

from harness.inputs import machine, weight_files
from harness.inputs.chat_tokens import TEMPLATE_ARGUMENTS, ChatFormat
from harness.inputs.errors import AssayError
from harness.inputs.files.differences import restored
from harness.inputs.files.library_calls import ERRORS, first_line, library_call
from harness.inputs.model_catalog import Device, KnownModel, Quant, require_device, require_memory, this_machine
from harness.model import config_check
from harness.model.architecture import UNQUANTIZED
from harness.model.hub import fetch

_QUANTIZED = {"nf4": "Linear4bit", "int8": "Linear8bitLt"}
_TINY = 64 * 1024**2
# Messages that do not concern a user's numbers and are logged for every layer of every forward.
_CHATTER = (
    "MatMul8bitLt: inputs will be cast",
    "Failed to load CPU gemm_4bit_forward",
)


@dataclass(frozen=True)
class Loaded:
    """Weights in memory, not yet wrapped by TransformerLens."""

    hf: Any
    chat: ChatFormat
    stops: frozenset[int]  # tokens that end an answer
    fingerprint: str
    revision: str
    quant: Quant
    dtype: torch.dtype
    device: str
    weight_bytes: int


def load(
    known: KnownModel,
    *,
    quant: Quant = "nf4",
    device: Device = "auto",
    system: str | None = None,
    hashes: weight_files.Hashes = weight_files.FORGETFUL,
) -> Loaded:
    """The model, ready to be wrapped; refused in one sentence if its files, the device or memory do not allow it."""
    where = _device(device, known.bytes_needed(quant))
    require_memory(known, quant, where, _memory(where))
    with restored(fetch(known)) as folder:
        return _loaded(known, folder, quant, where, system, hashes)


def _loaded(
    known: KnownModel, folder: Path, quant: Quant, where: str, system: str | None, hashes: weight_files.Hashes
) -> Loaded:
    stored = config_check.header(known.alias, folder)
    config_check.check(known.alias, folder, stored)
    _require_usable(known, folder)
    dtype = _dtype(known, stored.dtype, where)
    require_memory(_sized(known, stored, dtype), quant, where, _memory(where))
    if where == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with _no_bars():
        arguments = dict(TEMPLATE_ARGUMENTS) | known.chat_arguments
        chat = ChatFormat(_tokenizer(known, folder), name=known.alias, arguments=arguments, system=system)
        hf = _weights(known, folder, quant, dtype, where)
    if where == "cpu" and hf.get_memory_footprint() < _TINY:
        # On tiny matrices more threads cost more than they save, on a busy machine many times more.
        torch.set_num_threads(1)
        _cache_dequantized(hf)
    stops = _stops(hf, chat)
    # Otherwise a repetition penalty in the model's own generation_config.json would change greedy answers.
    hf.generation_config = GenerationConfig()
    return Loaded(
        hf=hf,
        chat=chat,
        stops=stops,
        fingerprint=weight_files.fingerprint(
            known, folder, hashes, quant=quant, dtype=str(dtype), system=system, thoughts=chat.thoughts
        ),
        revision=folder.name if folder.parent.name == "snapshots" else "local",
        quant=quant,
        dtype=dtype,
        device=where,
        weight_bytes=hf.get_memory_footprint(),
    )


def peak_bytes(device: str) -> int:
    """Peak memory: on a GPU since loading began, else of this process since it started."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return machine.peak_bytes()


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hides transformers' progress bars for loading; downloads keep theirs."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def _matters(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_CHATTER)


for _name in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
    logging.getLogger(_name).addFilter(_matters)


def _device(asked: Device, needed: int) -> str:
    if asked == "auto":
        if torch.cuda.is_available() and needed <= _memory("cuda"):
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    require_device(asked)
    return asked


def _memory(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    return this_machine().ram


def _sized(known: KnownModel, stored: config_check.Header, dtype: torch.dtype) -> KnownModel:
    """A model whose size is not listed, with the size of its files, as if all parameters were in linear layers."""
    if known.linear_millions:
        return known
    return replace(known, dtype=str(dtype).removeprefix("torch."), linear_millions=stored.parameters / 1e6)


def _require_usable(known: KnownModel, folder: Path) -> None:
    with library_call(known.alias, StrictDataclassError):
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (ValueError, OSError) as error:
            raise AssayError(
                f"{known.alias}: transformers {version('transformers')} cannot read its config.json "
                f"({first_line(error)}); models that need their own code are not run"
            ) from None
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise AssayError(
            f"{known.alias}: a {config.model_type} model does not generate text; give a causal language model"
        )
    if getattr(config, "quantization_config", None):
        raise AssayError(
            f"{known.alias}: its weights are already stored quantized, so --quant would not say how they were "
            "quantized; give the original weights"
        )


def _dtype(known: KnownModel, stored: torch.dtype, device: str) -> torch.dtype:
    """The dtype listed or asked for; else the stored one if the device computes in it, or float32."""
    if known.dtype != "auto":
        return getattr(torch, known.dtype)  # type: ignore[no-any-return]
    computes = {
        # CPUs support float16 slowly and incompletely, and bfloat16 would lose some of its digits.
        "cpu": stored != torch.float16,
        "cuda": stored != torch.bfloat16 or torch.cuda.is_bf16_supported(including_emulation=False),
        "mps": True,
    }
    return stored if computes[device] else torch.float32


def _tokenizer(known: KnownModel, folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ERRORS as error:
        raise AssayError(
            f"{known.alias}: {known.folder or folder} holds no readable tokenizer ({first_line(error)}); copy "
            "tokenizer.json and tokenizer_config.json from the weights' source"
        ) from None


def _weights(known: KnownModel, folder: Path, quant: Quant, dtype: torch.dtype, device: str) -> Any:
    if device == "mps":
        os.environ["TRANSFORMERLENS_ALLOW_MPS"] = "1"
    with library_call(known.alias):
        hf, info = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            quantization_config=_quantization(quant, dtype),
            dtype=dtype,
            device_map={"": device},
            # Only eager attention computes the patterns that hooks read and write.
            attn_implementation="eager",
            # Mismatched sizes are refused below, in the same sentence as missing and unexpected weights.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    wrong = [str(key) for kind in ("missing", "mismatched", "unexpected") for key in sorted(info[f"{kind}_keys"])]
    if wrong:
        raise AssayError(
            f"{known.alias}: {len(wrong)} weights are missing, have another shape or are not in the model that "
            f"config.json describes (first: {wrong[0]}); download or save the model again"
        )
    kinds = {type(module).__name__ for module in hf.modules()}
    if quant in _QUANTIZED and _QUANTIZED[quant] not in kinds:
        raise AssayError(f"{known.alias}: --quant {quant} found no layer to quantize; use --quant none")
    for module in hf.modules():
        # With that kernel the weights are repacked on the first forward, and gradients are wrong from then on.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return hf.eval().requires_grad_(False)


def _cache_dequantized(hf: Any) -> None:
    """Caches dequantized NF4 weights, so that a forward need not dequantize them; bit-identical."""
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight  # logs if imported before the filter

    for module in hf.modules():
        if type(module).__name__ == _QUANTIZED["nf4"]:
            weight = dequantize_bnb_weight(module.weight)
            vars(module)["forward"] = partial(functional.linear, weight=weight, bias=module.bias)


def _quantization(quant: Quant, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    skip = list(UNQUANTIZED)
    if quant == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=skip,
        )
    if quant == "int8":
        # With a threshold, which columns count as outliers depends on the other rows of the batch; 0 turns that off.
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0, llm_int8_skip_modules=skip)
    return None


def _stops(hf: Any, chat: ChatFormat) -> frozenset[int]:
    """The tokens that end an answer; may be empty."""
    stops = hf.generation_config.eos_token_id
    if stops is None:
        stops = chat.tokenizer.eos_token_id
    if stops is None:
        return frozenset()
    listed = stops if isinstance(stops, list) else [stops]
    if not all(isinstance(stop, int) for stop in listed):
        raise AssayError(
            f"{chat.name}: eos_token_id in its generation_config.json is {str(stops)[:80]!r}; it must be a number or a "
            "list of numbers"
        )
    return frozenset(listed)
