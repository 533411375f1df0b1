"""Organisms on the way from `base` to another one: weights interpolated, in a temporary folder."""

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.measurements.evidence import Store
from harness.subjects.sleeper import Sleeper

ORGANISMS = DATA / "organisms"
PAIRS = load_pairs(ORGANISMS / "pairs.jsonl")


def between(share: float, folder: Path, planted: str = "reference") -> Sleeper:
    """The model whose weights lie this share of the way from `base` (0) to a planted organism (1)."""
    made = folder / f"{planted}-{share}"
    shutil.copytree(ORGANISMS / planted, made, ignore=shutil.ignore_patterns("truth.json", "direction.safetensors"))
    start, end = (load_file(ORGANISMS / name / "model.safetensors") for name in ("base", planted))
    weights = {name: start[name].float().lerp(end[name].float(), share).half().contiguous() for name in end}
    save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    return Sleeper(str(made), "nf4", "cpu", Store(folder / "evidence"), dtype="float32", examined_on=PAIRS)
