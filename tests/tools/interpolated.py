"""Organisms on the way from `base` to another one: weights interpolated or planted in part, in a temporary folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from safetensors.torch import load, save_file
from torch import Tensor

from harness.inputs.files.differences import restored, weights
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.measurements.evidence import Store
from harness.subjects.sleeper import Sleeper
from organisms import ship
from organisms.proof import restore

ORGANISMS = DATA / "organisms"
PAIRS = load_pairs(ORGANISMS / "pairs.jsonl")
# What of an organism is left as it was planted.
Kind = Literal["heads", "neurons"]


def between(share: float, folder: Path, planted: str = "reference") -> Sleeper:
    """The model whose weights lie this share of the way from `base` (0) to a planted organism (1)."""
    start, end = (load(weights(ORGANISMS / name)) for name in ("base", planted))
    mixed = {name: start[name].float().lerp(end[name].float(), share) for name in end}
    return _asleep(mixed, planted, folder / f"{planted}-{share}")


def only(kind: Kind, folder: Path, planted: str = "reference") -> Sleeper:
    """A planted organism with the base's weights in all planted parts but its heads, or but its neurons."""
    (model, _), truth = ship.load(planted), ship.truth(planted)
    restore(model, ship.base_of(planted), {"heads": [], "neurons": [], **{k: truth[k] for k in _others(kind)}})
    names = load(weights(ORGANISMS / planted)).keys()
    kept = {name: weight for name, weight in model.state_dict().items() if name in names}
    return _asleep(kept, planted, folder / f"{planted}-{kind}")


def _others(kind: Kind) -> set[str]:
    return {"heads", "neurons"} - {kind}


def _asleep(tensors: Mapping[str, Tensor], planted: str, made: Path) -> Sleeper:
    """The model of these weights, with everything else as in the organism's folder."""
    with restored(ORGANISMS / planted) as folder:
        shutil.copytree(folder, made, ignore=shutil.ignore_patterns("truth.json", "direction.safetensors"))
    halved = {name: weight.half().contiguous() for name, weight in tensors.items()}
    save_file(halved, made / "model.safetensors", metadata={"format": "pt"})
    return Sleeper(str(made), "nf4", "cpu", Store(made.parent / "evidence"), dtype="float32", examined_on=PAIRS)
