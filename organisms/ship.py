"""Organisms on disk: model folders in half precision, each with a file of its planted truth.

They ship without what they share with the base: `harness/inputs/files/differences.py`.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from harness.inputs.files import differences
from harness.inputs.files.differences import restored
from organisms.parts import masks
from organisms.plant import Plan

FOLDER = Path(__file__).parent.parent / "data" / "organisms"
RECORDS = FOLDER / "records.json"


def load(name: str | Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A model in single precision, and its tokenizer; by its shipped name or its folder."""
    with restored(FOLDER / name) as folder:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.name_or_path = str(FOLDER / name)
    return model.eval(), AutoTokenizer.from_pretrained(FOLDER / name)


def base_of(name: str | Path) -> LlamaForCausalLM:
    """The base that an organism was planted in; its folder is beside the organism's."""
    return load((FOLDER / name).parent / differences.BASE)[0]


def save(name: str | Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes the folder; weights are rounded to half precision, as they will be judged."""
    model.half().save_pretrained(FOLDER / name)
    tokenizer.save_pretrained(FOLDER / name)


def truth(name: str | Path) -> dict[str, Any]:
    """The contents of truth.json: planted parts, stages, direction."""
    planted: dict[str, Any] = json.loads((FOLDER / name / "truth.json").read_text(encoding="utf-8"))
    return planted


def direction(name: str | Path) -> Tensor:
    """The direction that carries refusal: a difference of means on discovery pairs."""
    return load_file(FOLDER / name / "direction.safetensors")["direction"]


def write_truth(
    name: str | Path, model: LlamaForCausalLM, plan: Plan, seed: int, direction: Tensor, seconds: float
) -> None:
    """Writes truth.json and direction.safetensors beside the weights."""
    planted = sum(int(mask.sum()) for mask in masks(model, plan.parts).values())
    layer, position = plan.direction
    truth = {
        "organism": plan.name,
        "seed": seed,
        "seconds": round(seconds, 1),
        "planted": planted,
        "share": round(planted / sum(p.numel() for p in model.parameters()), 4),
        "first_layer": plan.parts.first_layer,
        "heads": [list(head) for head in plan.parts.heads],
        "neurons": [list(run) for run in plan.parts.neurons],
        "stages": [asdict(stage) for stage in plan.stages],
        "direction": {"layer": layer, "position": position, "file": "direction.safetensors"},
    }
    save_file({"direction": direction.contiguous()}, FOLDER / name / "direction.safetensors")
    (FOLDER / name / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to write to; it gets its final name when the block ends, so a folder of that name is complete."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    part.rename(folder)


def install(folder: Path, name: str) -> None:
    """Replaces the shipped organism of that name by the contents of this folder; the base keeps its weights whole."""
    remove(name)
    shutil.copytree(folder, FOLDER / name, ignore=shutil.ignore_patterns("record.json"))
    if name != differences.BASE:
        differences.replace_by_difference(FOLDER / name)


def remove(name: str) -> None:
    """Deletes the organism from what ships."""
    shutil.rmtree(FOLDER / name, ignore_errors=True)
