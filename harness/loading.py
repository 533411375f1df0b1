"""From a model's name to its weights in memory, quantized: the one place that fetches and loads."""

import hashlib
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from harness.catalog import GIB, Device, KnownModel, Machine, Quant, nearest, this_machine
from harness.errors import AssayError, Unavailable

# What a chat model needs from the hub; never pickles, never code.
_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
# Second copies of the weights that some repositories hold beside them.
_NOT_FILES = ("original/*", "consolidated*", "onnx/*")
# The hub's HTTP client differs between its releases; its errors are the base of the hub's own.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
# These change numbers, so they are part of every fingerprint.
_LIBRARIES = ("torch", "transformers", "transformer-lens", "bitsandbytes")
# TransformerLens splits fused projections when it wraps a model, and cannot split packed integers.
_FUSED = ("qkv_proj", "c_attn", "query_key_value", "Wqkv", "gate_up_proj")
# Known to say nothing about a user's numbers, and said on every layer of every forward.
_CHATTER = (
    "MatMul8bitLt: inputs will be cast",
    "Failed to load CPU gemm_4bit_forward",
)


@dataclass(frozen=True)
class Loaded:
    """Weights in memory, not yet wrapped, with what loading them cost."""

    hf: Any
    tokenizer: Any
    fingerprint: str
    revision: str
    quant: Quant
    dtype: torch.dtype
    device: str
    seconds: float
    weight_bytes: int
    peak_bytes: int


def load(known: KnownModel, *, quant: Quant = "nf4", device: Device = "auto") -> Loaded:
    """The model ready to be wrapped; whatever stands in the way is one sentence."""
    began = time.perf_counter()
    where = _device(device)
    _check_memory(known, quant, this_machine(), where)
    folder = fetch(known)
    config = _read_config(known, folder)
    dtype = _dtype(known, config)
    with _no_bars():
        tokenizer = _tokenizer(known, folder)
        hf = _weights(known, folder, quant, dtype, where)
    return Loaded(
        hf=hf,
        tokenizer=tokenizer,
        fingerprint=_fingerprint(folder, quant, dtype),
        revision=folder.name if folder.parent.name == "snapshots" else "local",
        quant=quant,
        dtype=dtype,
        device=where,
        seconds=time.perf_counter() - began,
        weight_bytes=hf.get_memory_footprint(),
        peak_bytes=peak_bytes(where),
    )


def fetch(known: KnownModel) -> Path:
    """The folder of a model's files, downloaded if need be; safetensors only, never remote code."""
    folder = known.folder or _download(known)
    if not (folder / "config.json").is_file():
        raise AssayError(f"{known.alias}: {folder} holds no config.json; give the folder of a HF model")
    if not any(folder.glob("*.safetensors")):
        raise AssayError(
            f"{known.alias}: its weights are not safetensors, and other formats can run code on loading; "
            "convert them with `AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)`"
        )
    return folder


def peak_bytes(device: str) -> int:
    """The most memory this process has held: on the GPU where the model is there, else in RAM."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def _no_bars() -> Iterator[None]:
    """No progress bars for files that are here already; downloads keep theirs."""
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


def _device(asked: Device) -> str:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available[asked]:
        raise AssayError(f"--device {asked}: this machine has none that torch can use; try --device auto")
    return asked


def _check_memory(known: KnownModel, quant: Quant, machine: Machine, device: str) -> None:
    needed, has = known.bytes_needed(quant), machine.gpu if device == "cuda" else machine.ram
    if needed <= has:
        return
    smaller = [q for q in ("int8", "nf4") if known.bytes_needed(q) <= has and q != quant]
    hint = f"--quant {smaller[0]} fits" if smaller else "`python -m harness models` shows what fits"
    raise Unavailable(
        f"{known.alias}: needs about {needed / GIB:.1f} GiB with --quant {quant}, this machine has "
        f"{has / GIB:.1f} GiB ({device}); {hint}"
    )


def _download(known: KnownModel) -> Path:
    name, hub = known.alias, known.hub
    try:
        folder = snapshot_download(
            hub, revision=known.revision, allow_patterns=list(_FILES), ignore_patterns=list(_NOT_FILES)
        )
        return Path(folder)
    except GatedRepoError:
        raise Unavailable(
            f"{name}: access to {hub} is granted by its owners; ask for it at https://huggingface.co/{hub}, "
            "then `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise Unavailable(f"{name}: {hub} has no revision {known.revision}; correct data/models.toml") from None
    except RepositoryNotFoundError:
        raise Unavailable(
            f"{name}: the hub has no model {hub}, or it is private{nearest(name)}; check the name, or "
            "`hf auth login` if it is yours"
        ) from None
    except HFValidationError as error:
        raise AssayError(f"{name}: not a hub id ({error})") from None
    except LocalEntryNotFoundError:
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise Unavailable(
            f"{name}: {reason} and {hub} is not on this machine yet; run `hf download {hub}` while online"
        ) from None
    except _TRANSPORT_ERROR as error:
        raise Unavailable(f"{name}: the hub answered {_first_line(error)}; try again later") from None
    except OSError as error:
        raise Unavailable(f"{name}: could not store its files ({_first_line(error)}); free some disk") from None


def _read_config(known: KnownModel, folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise AssayError(
            f"{known.alias}: transformers {version('transformers')} cannot read its config.json "
            f"({_first_line(error)}); models that bring their own code are not run"
        ) from None


def _dtype(known: KnownModel, config: Any) -> torch.dtype:
    if known.dtype != "auto":
        return getattr(torch, known.dtype)  # type: ignore[no-any-return]
    stored = getattr(config, "dtype", None) or torch.float32
    # float16 overflows in the residual streams of several of these families, and is slow on CPUs.
    return torch.bfloat16 if stored == torch.float16 else stored


def _tokenizer(known: KnownModel, folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise AssayError(
            f"{known.alias}: {folder} holds no tokenizer that can be read ({_first_line(error)}); copy "
            "tokenizer.json and tokenizer_config.json from where the weights came from"
        ) from None


def _weights(known: KnownModel, folder: Path, quant: Quant, dtype: torch.dtype, device: str) -> Any:
    if device == "mps":
        os.environ["TRANSFORMERLENS_ALLOW_MPS"] = "1"
    try:
        hf, info = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            quantization_config=_quantization(quant, dtype),
            dtype=dtype,
            device_map={"": device},
            # Attention patterns can be read and written only where they are computed in the open.
            attn_implementation="eager",
            # Both are refused below, in one sentence.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except torch.OutOfMemoryError:
        raise Unavailable(f"{known.alias}: not enough memory on {device}; try --quant nf4") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise AssayError(
            f"{known.alias}: its weights in {folder} cannot be loaded ({_first_line(error)}); download or "
            "save them again"
        ) from None
    wrong = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if wrong:
        raise AssayError(
            f"{known.alias}: {len(wrong)} weights are missing or of another shape in {folder} (first: "
            f"{wrong[0]}) and would be random; download or save the model again"
        )
    for module in hf.modules():
        # That kernel repacks the weights on the first forward and then has no right gradients.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return hf.eval().requires_grad_(False)


def _quantization(quant: Quant, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    skip = ["lm_head", *_FUSED]
    if quant == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=skip,
        )
    if quant == "int8":
        # Above a threshold, outlier columns depend on the other rows of a batch; 0 treats all alike.
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0, llm_int8_skip_modules=skip)
    return None


def _fingerprint(folder: Path, quant: Quant, dtype: torch.dtype) -> str:
    """Names weights, tokenizer, quantization, dtype and the libraries that change numbers."""
    digest = hashlib.sha256()
    names = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "*.jinja")
    for path in sorted(path for name in names for path in folder.glob(name)):
        digest.update(f"{path.name} {_file_hash(path)}\n".encode())
    libraries = " ".join(f"{name}={version(name).split('+')[0]}" for name in _LIBRARIES)
    digest.update(f"{quant} {dtype} {libraries}".encode())
    return digest.hexdigest()[:16]


def _file_hash(path: Path) -> str:
    # The hub's cache links big files to a blob that is named by the SHA-256 of its content.
    if path.is_symlink() and len(blob := path.resolve().name) == 64:
        return blob
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
