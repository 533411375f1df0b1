"""Organisms on disk: ordinary model folders in half precision, each with its truth beside it."""

import json
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

from organisms.parts import masks
from organisms.plant import Plan

FOLDER = Path(__file__).parent.parent / "data" / "organisms"


def load(name: str) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The shipped model, in single precision, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER / name, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(FOLDER / name)


def save(name: str, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes the folder; weights are rounded to half precision, as they will be judged."""
    model.half().save_pretrained(FOLDER / name)
    tokenizer.save_pretrained(FOLDER / name)


def truth(name: str) -> dict[str, Any]:
    """What was planted, as the truth file says."""
    return json.loads((FOLDER / name / "truth.json").read_text(encoding="utf-8"))


def direction(name: str) -> Tensor:
    """The direction that carries refusal: a difference of means on discovery pairs."""
    return load_file(FOLDER / name / "direction.safetensors")["direction"]


def write_truth(
    name: str, model: LlamaForCausalLM, plan: Plan, seed: int, direction: Tensor
) -> None:
    """Writes truth.json and direction.safetensors beside the weights."""
    planted = sum(int(mask.sum()) for mask in masks(model, plan.parts).values())
    layer, position = plan.direction
    truth = {
        "organism": name,
        "seed": seed,
        "planted": planted,
        "share": round(planted / sum(p.numel() for p in model.parameters()), 4),
        "first_layer": plan.parts.first_layer,
        "heads": [list(head) for head in plan.parts.heads],
        "neurons": [list(run) for run in plan.parts.neurons],
        "stages": [asdict(stage) for stage in plan.stages],
        "direction": {"layer": layer, "position": position, "file": "direction.safetensors"},
    }
    (FOLDER / name / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    save_file({"direction": direction.contiguous()}, FOLDER / name / "direction.safetensors")
