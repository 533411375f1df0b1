"""From a model's name to its weights in memory, quantized: the one place that fetches and loads."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
from torch.nn import functional
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)

from harness import environment
from harness.catalog import GIB, Device, KnownModel, Quant, nearest, this_machine
from harness.errors import AssayError, Unavailable
from harness.tokens import TEMPLATE_ARGUMENTS, ChatFormat

# What a chat model needs from the hub; never pickles, never code.
_WEIGHTS = "model*.safetensors"
_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
# Second copies of the weights that some repositories hold beside them.
_NOT_FILES = ("original/*", "consolidated*", "onnx/*")
# Whatever of a folder decides what the model reads, computes or says.
_IDENTITY = (
    _WEIGHTS,
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.jinja",
)
# The hub's HTTP client differs between its releases; its errors are the base of the hub's own.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
# TransformerLens splits fused projections when it wraps a model, and cannot split packed integers.
_FUSED = ("qkv_proj", "c_attn", "query_key_value", "Wqkv", "gate_up_proj")
_QUANTIZED = {"nf4": "Linear4bit", "int8": "Linear8bitLt"}
_TINY = 64 * 1024**2
# Known to say nothing about a user's numbers, and said on every layer of every forward.
_CHATTER = (
    "MatMul8bitLt: inputs will be cast",
    "Failed to load CPU gemm_4bit_forward",
)


@dataclass(frozen=True)
class Loaded:
    """Weights in memory, not yet wrapped, with what loading them cost."""

    hf: Any
    chat: ChatFormat
    stops: frozenset[int]
    fingerprint: str
    revision: str
    quant: Quant
    dtype: torch.dtype
    device: str
    weight_bytes: int


def load(known: KnownModel, *, quant: Quant = "nf4", device: Device = "auto", system: str | None = None) -> Loaded:
    """The model ready to be wrapped; whatever stands in the way is one sentence."""
    where = _device(device, known.bytes_needed(quant))
    _check_memory(known, quant, where)
    folder = fetch(known)
    config = _config(known, folder)
    dtype = _dtype(known, config)
    _check_memory(_sized(known, folder, dtype), quant, where)
    if where == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with _no_bars():
        arguments = dict(TEMPLATE_ARGUMENTS) | known.chat_arguments
        chat = ChatFormat(_tokenizer(known, folder), name=known.alias, arguments=arguments, system=system)
        hf = _weights(known, folder, quant, dtype, where)
    if where == "cpu" and hf.get_memory_footprint() < _TINY:
        # On tiny matrices further threads cost more than they bring, on a busy machine many times more.
        torch.set_num_threads(1)
        _unpack(hf)
    stops = _stops(hf, chat)
    # Else a repetition penalty of the model's own file would take part in every greedy answer.
    hf.generation_config = GenerationConfig()
    return Loaded(
        hf=hf,
        chat=chat,
        stops=stops,
        fingerprint=_fingerprint(known, folder, quant, dtype, system),
        revision=folder.name if folder.parent.name == "snapshots" else "local",
        quant=quant,
        dtype=dtype,
        device=where,
        weight_bytes=hf.get_memory_footprint(),
    )


def fetch(known: KnownModel) -> Path:
    """The folder of a model's files, downloaded if need be; safetensors only, never remote code."""
    folder = known.folder or _download(known)
    if not (folder / "config.json").is_file():
        raise AssayError(f"{known.alias}: {folder} holds no config.json; give the folder of a HF model")
    if not any(folder.glob(_WEIGHTS)):
        if known.folder is None and constants.HF_HUB_OFFLINE:
            raise Unavailable(_not_here(known, "HF_HUB_OFFLINE is set"))
        raise AssayError(
            f"{known.alias}: its weights are not safetensors, and other formats can run code on loading; "
            "convert them with `AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)`"
        )
    return folder


def peak_bytes(device: str) -> int:
    """The most memory held: on a GPU since the load began, else by this process in all its life."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return environment.peak_bytes()


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


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


def _device(asked: Device, needed: int) -> str:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        if available["cuda"] and needed <= _memory("cuda"):
            return "cuda"
        return "mps" if available["mps"] else "cpu"
    if not available[asked]:
        raise AssayError(f"--device {asked}: this machine has none that torch can use; try --device auto")
    return asked


def _memory(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    return this_machine().ram


def _sized(known: KnownModel, folder: Path, dtype: torch.dtype) -> KnownModel:
    """An unlisted model with its size as the files have it, all of it taken for linear layers."""
    if known.linear_millions:
        return known
    size = sum(path.stat().st_size for path in folder.glob(_WEIGHTS))
    name = str(dtype).removeprefix("torch.")
    return KnownModel(known.alias, known.hub, folder, dtype=name, linear_millions=size / dtype.itemsize / 1e6)


def _check_memory(known: KnownModel, quant: Quant, device: str) -> None:
    needed, has = known.bytes_needed(quant), _memory(device)
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
        raise Unavailable(f"{name}: {hub} has no revision {known.revision}; correct it in data/models.toml") from None
    except RepositoryNotFoundError:
        close = nearest(hub)
        hint = f" (did you mean {close}?)" if close else ""
        raise Unavailable(
            f"{name}: the hub has no model {hub}, or it is private; check the name{hint}, or `hf auth login` if it "
            "is yours"
        ) from None
    except HFValidationError as error:
        raise AssayError(f"{name}: not a hub id ({first_line(error)})") from None
    except LocalEntryNotFoundError:
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise Unavailable(_not_here(known, reason)) from None
    except _TRANSPORT_ERROR as error:
        raise Unavailable(f"{name}: the hub answered {first_line(error)}; try again later") from None
    except OSError as error:
        raise Unavailable(f"{name}: its files could not be stored ({first_line(error)}); free some disk") from None


def _not_here(known: KnownModel, reason: str) -> str:
    revision = f" --revision {known.revision}" if known.revision else ""
    return (
        f"{known.alias}: {reason} and {known.hub} is not on this machine yet; run `hf download "
        f"{known.hub}{revision}` while online"
    )


def _config(known: KnownModel, folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise AssayError(
            f"{known.alias}: transformers {version('transformers')} cannot read its config.json "
            f"({first_line(error)}); models that bring their own code are not run"
        ) from None
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise AssayError(
            f"{known.alias}: a {config.model_type} model does not continue text; give a causal language model"
        )
    if getattr(config, "quantization_config", None):
        raise AssayError(
            f"{known.alias}: its weights are stored quantized already, so --quant would not be what was run; "
            "give the original weights"
        )
    return config


def _dtype(known: KnownModel, config: Any) -> torch.dtype:
    if known.dtype != "auto":
        return getattr(torch, known.dtype)  # type: ignore[no-any-return]
    stored = getattr(config, "dtype", None) or torch.float32
    # float16 overflows in the residual streams of several of these families, and is slow on CPUs.
    return torch.bfloat16 if stored == torch.float16 else stored


def _tokenizer(known: KnownModel, folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise AssayError(
            f"{known.alias}: {folder} holds no tokenizer that can be read ({first_line(error)}); copy "
            "tokenizer.json and tokenizer_config.json from where the weights came from"
        ) from None


def _weights(known: KnownModel, folder: Path, quant: Quant, dtype: torch.dtype, device: str) -> Any:
    if device == "mps":
        os.environ["TRANSFORMERLENS_ALLOW_MPS"] = "1"
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
        # All three kinds of mismatch are refused below, in one sentence.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    wrong = [str(key) for kind in ("missing", "mismatched", "unexpected") for key in sorted(info[f"{kind}_keys"])]
    if wrong:
        raise AssayError(
            f"{known.alias}: {len(wrong)} weights are missing, of another shape or unknown to its config.json "
            f"(first: {wrong[0]}); download or save the model again"
        )
    kinds = {type(module).__name__ for module in hf.modules()}
    if quant in _QUANTIZED and _QUANTIZED[quant] not in kinds:
        raise AssayError(f"{known.alias}: --quant {quant} found no layer to quantize; use --quant none")
    for module in hf.modules():
        # That kernel repacks the weights on the first forward and then has no right gradients.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return hf.eval().requires_grad_(False)


def _unpack(hf: Any) -> None:
    """Keeps four-bit weights as the CPU multiplies by them: the very numbers that else every forward unpacks anew."""
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight  # chatters if it comes before the filter

    for module in hf.modules():
        if type(module).__name__ == _QUANTIZED["nf4"]:
            weight = dequantize_bnb_weight(module.weight)
            vars(module)["forward"] = partial(functional.linear, weight=weight, bias=module.bias)


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


def _stops(hf: Any, chat: ChatFormat) -> frozenset[int]:
    """The tokens that end an answer; a model may have none."""
    stops = hf.generation_config.eos_token_id
    if stops is None:
        stops = chat.tokenizer.eos_token_id
    if stops is None:
        return frozenset()
    return frozenset(stops if isinstance(stops, list) else [stops])


def _fingerprint(known: KnownModel, folder: Path, quant: Quant, dtype: torch.dtype, system: str | None) -> str:
    """Names weights, tokenizer, settings, quantization, dtype and the libraries that change numbers."""
    digest = hashlib.sha256()
    for path in sorted({path for name in _IDENTITY for path in folder.glob(name)}):
        digest.update(f"{path.name} {_file_hash(path)}\n".encode())
    versions = environment.numeric(environment.libraries())
    libraries = " ".join(f"{name}={found}" for name, found in versions.items())
    digest.update(f"{quant} {dtype} {libraries}".encode())
    # What is asked of it, and how, is in none of its files.
    settings = known.chat_arguments, known.refusal_tokens, system
    if any(settings):
        digest.update(json.dumps(settings).encode())
    return digest.hexdigest()[:16]


def _file_hash(path: Path) -> str:
    # The hub's cache links big files to a blob that is named by the SHA-256 of its content.
    if path.is_symlink() and len(blob := path.resolve().name) == 64:
        return blob
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
