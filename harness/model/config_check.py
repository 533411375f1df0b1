"""A config.json held against the weights beside it, before anything is allocated by what it says."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import safe_open
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

from harness.inputs.errors import AssayError
from harness.inputs.files import json_files
from harness.inputs.files.bounded_process import SECONDS, TooMuch, bounded
from harness.inputs.files.library_calls import library_call
from harness.inputs.weight_files import WEIGHTS
from harness.model.architecture import DIMENSIONS, LAYERS, NESTED

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# Tables that are no weights (of rotations, of what may be attended to): beyond this, and beyond the weights, absurd.
_TABLES = 1024**3


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


@dataclass(frozen=True)
class Header:
    """What the safetensors files say of their tensors; no weight is read."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]

    @cached_property
    def parameters(self) -> int:
        """How many numbers there are."""
        return sum(map(prod, self.shapes.values()))

    @property
    def dtype(self) -> torch.dtype:
        """In which most numbers are stored; float32 for what nobody computes in."""
        stored: Counter[str] = Counter()
        for name, shape in self.shapes.items():
            stored[self.dtypes[name]] += prod(shape)
        return _DTYPES.get(stored.most_common(1)[0][0], torch.float32) if stored else torch.float32

    @property
    def layers(self) -> int:
        """How many blocks the names count."""
        numbers = (re.search(r"(?:^|\.)(\d+)\.", name) for name in self.shapes)
        return max((int(number[1]) + 1 for number in numbers if number), default=0)

    @property
    def dimensions(self) -> set[int]:
        """Every length of every tensor."""
        return {length for shape in self.shapes.values() for length in shape}


def header(name: str, folder: Path) -> Header:
    """Of all the folder's safetensors files."""
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for path in sorted(folder.glob(WEIGHTS)):
        with library_call(name), safe_open(path, framework="pt") as file:
            for tensor in file.keys():  # noqa: SIM118 - it is no mapping
                part = file.get_slice(tensor)
                shapes[tensor], dtypes[tensor] = tuple(part.get_shape()), str(part.get_dtype())
    return Header(shapes, dtypes)


def check(name: str, folder: Path, stored: Header) -> None:
    """One sentence where config.json asks for what the weights do not hold, or their index leads elsewhere."""
    _require_own(name, folder)
    for key, value in _sizes(_raw(name, folder)):
        if key in LAYERS and value > stored.layers:
            raise _disagree(name, f"{key} is {value}", f"they hold {stored.layers} layers")
        if key in DIMENSIONS and value not in stored.dimensions:
            raise _disagree(name, f"{key} is {value}", "no tensor of theirs has that length")
    try:
        asked = bounded(partial(_asked, folder))
    except TooMuch:
        raise AssayError(
            f"{name}: what its config.json describes takes more than {SECONDS} s of the processor to lay out, so its "
            "numbers cannot be right; download or save the model again"
        ) from None
    if asked is None:  # the same call says why where it is loaded
        return
    parameters, tables = asked
    # What little is missing is named, tensor by tensor, where it is loaded.
    if parameters > 2 * stored.parameters:
        raise _disagree(name, f"it describes {parameters} parameters", f"they hold {stored.parameters}")
    if tables > max(_TABLES, 4 * stored.parameters):
        raise _disagree(name, f"it asks for tables of {tables} bytes", f"they hold {stored.parameters} parameters")


def _raw(name: str, folder: Path) -> Any:
    try:
        return json.loads(json_files.contents(folder / "config.json"))
    except (OSError, ValueError, RecursionError, json_files.Malformed) as error:
        raise AssayError(
            f"{name}: its config.json cannot be read ({str(error) or 'nested too deep'}); download or save the model "
            "again"
        ) from None


def _require_own(name: str, folder: Path) -> None:
    """Weights are known by the files beside config.json: an index that leads to others would load what nobody knows."""
    if not (index := folder / "model.safetensors.index.json").exists():
        return
    with json_files.told(index, no="index of weights", do="download or save the model again"):
        named = set(json_files.typed(json_files.parsed(json_files.contents(index)), _Index).weight_map.values())
    own = {path.name for path in folder.glob(WEIGHTS)}
    if others := sorted(named - own):
        raise AssayError(
            f"{name}: its model.safetensors.index.json names {others[0]!r}, which is none of the files {WEIGHTS} "
            "beside it; download or save the model again"
        )


def _sizes(raw: Any) -> list[tuple[str, int]]:
    """Every whole number under its name, of the model itself and of its text part."""
    parts = [raw, raw.get(NESTED)] if isinstance(raw, dict) else []
    return [
        (key, value)
        for part in parts
        if isinstance(part, dict)
        for key, value in part.items()
        if isinstance(value, int) and not isinstance(value, bool)
    ]


def _disagree(name: str, config: str, weights: str) -> AssayError:
    return AssayError(
        f"{name}: its config.json is of another model than its weights: {config}, and {weights}; download or save the "
        "model again"
    )


def _asked(folder: Path) -> tuple[int, int] | None:
    """Parameters, and bytes of tables, of the model as config.json describes it; nothing is allocated."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False, attn_implementation="eager")
    return sum(value.numel() for value in model.parameters()), sum(value.nbytes for value in model.buffers())
