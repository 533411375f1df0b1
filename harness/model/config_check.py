"""Checks a config.json against its weights before any memory is allocated for what it describes."""

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
# The largest plausible size, in bytes, of a model's tables that are not weights (rotations, attention masks), unless
# the weights are larger still.
_TABLES = 1024**3


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


@dataclass(frozen=True)
class Header:
    """The shapes and dtypes of all tensors in a folder's safetensors files; no weight is read."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]

    @cached_property
    def parameters(self) -> int:
        """How many numbers the tensors hold together."""
        return sum(map(prod, self.shapes.values()))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of most numbers; float32 where that is none that models compute in."""
        numbers: Counter[str] = Counter()
        for name, shape in self.shapes.items():
            numbers[self.dtypes[name]] += prod(shape)
        return _DTYPES.get(numbers.most_common(1)[0][0], torch.float32) if numbers else torch.float32

    @property
    def layers(self) -> int:
        """How many blocks there are, by the numbers in the tensors' names."""
        numbers = (re.search(r"(?:^|\.)(\d+)\.", name) for name in self.shapes)
        return max((int(number[1]) + 1 for number in numbers if number), default=0)

    @property
    def dimensions(self) -> set[int]:
        """Every length of every tensor."""
        return {length for shape in self.shapes.values() for length in shape}


def header(name: str, folder: Path) -> Header:
    """The header of all the folder's safetensors files together."""
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for path in sorted(folder.glob(WEIGHTS)):
        with library_call(name), safe_open(path, framework="pt") as file:
            for tensor in file.keys():  # noqa: SIM118 - the file is no mapping
                part = file.get_slice(tensor)
                shapes[tensor], dtypes[tensor] = tuple(part.get_shape()), str(part.get_dtype())
    return Header(shapes, dtypes)


def check(name: str, folder: Path, stored: Header) -> None:
    """Refuses a config.json that describes another model than the weights hold, and an index of other weight files."""
    _require_own(name, folder)
    for key, value in _sizes(_raw(name, folder)):
        if key in LAYERS and value > stored.layers:
            raise _disagreement(name, f"{key} is {value}", f"the weights hold {stored.layers} layers")
        if key in DIMENSIONS and value not in stored.dimensions:
            raise _disagreement(name, f"{key} is {value}", "no tensor among the weights has that length")
    try:
        described = bounded(partial(_described, folder))
    except TooMuch:
        raise AssayError(
            f"{name}: building the model that its config.json describes takes more than {SECONDS} s of processor time "
            "or too much memory, so a number in it must be wrong; download or save the model again"
        ) from None
    if described is None:  # config.json cannot be read or is no causal language model's: refused on loading
        return
    parameters, tables = described
    # Fewer missing parameters than that are named one by one when the weights are loaded.
    if parameters > 2 * stored.parameters:
        raise _disagreement(name, f"it describes {parameters} parameters", f"the weights hold {stored.parameters}")
    if tables > max(_TABLES, 4 * stored.parameters):
        raise _disagreement(
            name, f"it describes tables of {tables} bytes", f"the weights hold {stored.parameters} parameters"
        )


def _raw(name: str, folder: Path) -> Any:
    try:
        return json.loads(json_files.contents(folder / "config.json"))
    except (OSError, ValueError, RecursionError, json_files.Malformed) as error:
        raise AssayError(
            f"{name}: its config.json cannot be read ({str(error) or 'nested too deep'}); download or save the model "
            "again"
        ) from None


def _require_own(name: str, folder: Path) -> None:
    """Refuses an index that names weight files outside the folder: they would be loaded but not fingerprinted."""
    if not (index := folder / "model.safetensors.index.json").exists():
        return
    with json_files.told(index, no="index of weights", do="download or save the model again"):
        named = set(json_files.typed(json_files.parsed(json_files.contents(index)), _Index).weight_map.values())
    own = {path.name for path in folder.glob(WEIGHTS)}
    if others := sorted(named - own):
        raise AssayError(
            f"{name}: its model.safetensors.index.json names {others[0]!r}, which is not among the {WEIGHTS} files "
            "of its folder; download or save the model again"
        )


def _sizes(raw: Any) -> list[tuple[str, int]]:
    """The names and values of all whole numbers in a config.json, its language model's config included."""
    parts = [raw, raw.get(NESTED)] if isinstance(raw, dict) else []
    return [
        (key, value)
        for part in parts
        if isinstance(part, dict)
        for key, value in part.items()
        if isinstance(value, int) and not isinstance(value, bool)
    ]


def _disagreement(name: str, config: str, weights: str) -> AssayError:
    return AssayError(
        f"{name}: its config.json describes another model than its weights hold: {config}, but {weights}; download or "
        "save the model again"
    )


def _described(folder: Path) -> tuple[int, int] | None:
    """The parameters and the bytes of tables of the model that config.json describes, without allocating them.

    None if it describes no causal language model.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False, attn_implementation="eager")
    return sum(value.numel() for value in model.parameters()), sum(value.nbytes for value in model.buffers())
