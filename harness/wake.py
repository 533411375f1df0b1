"""Wakes a chat model: found, loaded, wrapped and examined, or refused in one sentence."""

import time

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from harness.catalog import Device, KnownModel, Quant, find
from harness.chat import ChatModel
from harness.errors import AssayError, Unavailable
from harness.examination import examine, reference_logits, require, sample
from harness.loading import first_line, load, peak_bytes
from harness.pair_files import load_pairs
from harness.record import ModelRecord

# What the libraries raise on weights or a config.json that are not what they claim to be.
_LIBRARY_ERRORS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
)


def wake(name: str, *, quant: Quant = "nf4", device: Device = "auto", system: str | None = None) -> ChatModel:
    """The model of that name (alias, hub id, folder or organism), examined; unfit ones are refused."""
    known = find(name)
    try:
        model = _wake(known, quant, device, system)
    except AssayError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise Unavailable(f"{name}: memory ran out while loading with --quant {quant}; try --quant nf4") from error
    except _LIBRARY_ERRORS as error:
        raise AssayError(
            f"{name}: it cannot be used ({type(error).__name__}: {first_line(error)}); its files are damaged, or "
            "its architecture is none that TransformerLens wraps"
        ) from error
    require(name, model.record.examination)
    return model


def _wake(known: KnownModel, quant: Quant, device: Device, system: str | None) -> ChatModel:
    began = time.perf_counter()
    loaded = load(known, quant=quant, device=device, system=system)
    prompts = [loaded.chat.encode(prompt) for prompt in sample(load_pairs(known.pairs))]
    # Wrapping works in place, so what the model says by itself has to be heard before.
    reference = reference_logits(loaded.hf, prompts)
    model = ChatModel(known, loaded)
    examination = examine(model, prompts, reference)
    model.record = ModelRecord(
        name=known.alias,
        revision=loaded.revision,
        fingerprint=loaded.fingerprint,
        quant=loaded.quant,
        dtype=str(loaded.dtype).removeprefix("torch."),
        device=loaded.device,
        sizes=model.sizes,
        examination=examination,
        seconds=time.perf_counter() - began,
        weight_bytes=loaded.weight_bytes,
        peak_bytes=peak_bytes(loaded.device),
    )
    return model
