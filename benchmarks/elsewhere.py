"""Runs libraries that have environments of their own on the saved model and tokens, and compares their outputs."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.clock import settled
from benchmarks.model import REFUSAL
from harness.inputs.prompts.pairs import Pair
from harness.instruments.sweep import sweep
from harness.measurements.sweep_plan import Sweep
from harness.model.chat_model import ChatModel

PEERS = ("nnsight", "pyvene")


def compare(model: ChatModel, pairs: Sequence[Pair], folder: Path) -> int:
    """Patches all heads at the final position in Assay and each peer; 1 if outputs differ.

    A peer that is not installed or does not run is reported in one line and is not a failure.
    """
    ours, effects = settled(lambda: sweep(model, pairs, Sweep("head", ((-1,),)), REFUSAL))
    encoded = [model.chat.encode_pair(pair) for pair in pairs]
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / "work.safetensors"
    save_file(
        {
            "prompts": torch.tensor([pair.harmful.ids for pair in encoded]),
            "twins": torch.tensor([pair.harmless.ids for pair in encoded]),
            "tokens": torch.tensor(REFUSAL),
            "patched": torch.from_numpy(effects.patched[..., 0].copy()),  # pair, layer, head
        },
        work,
    )
    print(f"assay: {ours:.3f} s")
    failed = 0
    for name in PEERS:
        line, equal = _run(name, folder, Path(str(model.known.folder)), work, ours)
        print(f"{name}: {line}")
        failed |= not equal
    return failed


def _run(name: str, folder: Path, model: Path, work: Path, ours: float) -> tuple[str, bool]:
    python = folder / name / "bin" / "python"
    if not python.exists():
        return "not installed", True
    script = Path(__file__).parent / f"in_{name}.py"
    done = subprocess.run(
        [python, script, model, work], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        return f"did not run: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}", True
    said = json.loads(done.stdout.strip().splitlines()[-1])
    equal = said["max_abs_diff"] <= 1e-4
    words = "" if equal else ", NOT EQUAL"
    return (
        f"{said['version']}, {said['seconds']:.2f} s, {said['seconds'] / ours:.1f}× ours, "
        f"outputs within {said['max_abs_diff']:.0e}{words}"
    ), equal
