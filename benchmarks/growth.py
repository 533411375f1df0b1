"""How our cost grows with each size, and what wrapping adds to a forward."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.clock import once, settled
from benchmarks.model import REFUSAL, Shape, awake, pairs
from harness.instruments.sweep import sweep
from harness.measurements.sweep_plan import Sweep
from harness.model.chat_model import ChatModel

# All heads at all positions, one size varied at a time.
BASE = Shape(layers=4, heads=4, kv_heads=2, width=64, mlp=176, vocabulary=512, pairs=8, tokens=24)
SIZES = {
    "layers": (2, 4, 8, 16),
    "heads": (2, 4, 8, 16),
    "positions": (12, 24, 48, 96),
    "pairs": (4, 8, 16, 32),
}


def growth(folder: Path, sizes: Mapping[str, Sequence[int]] = SIZES) -> list[dict[str, Any]]:
    """Seconds at each size, and the exponent of the power that fits them best."""
    found = []
    for name, values in sizes.items():
        seconds = []
        for value in values:
            field = "tokens" if name == "positions" else name
            shape = replace(BASE, **{field: value}, **({"kv_heads": max(1, value // 2)} if name == "heads" else {}))
            model, some = awake(shape, folder / f"{name}-{value}"), pairs(shape)
            seconds.append(settled(partial(sweep, model, some, Sweep("head", "each"), REFUSAL))[0])
            model.close()
        exponent, _ = np.polyfit(np.log(values), np.log(seconds), 1)
        found.append({"name": f"growth-{name}", "sizes": list(values), "seconds": seconds, "exponent": float(exponent)})
    return found


@torch.no_grad()
def overhead(model: ChatModel, shape: Shape, times: int = 15) -> dict[str, Any]:
    """Our forward against the plain model's, turn by turn, on the same batch."""
    hf = AutoModelForCausalLM.from_pretrained(
        str(model.known.folder), attn_implementation="eager", dtype=model.loaded.dtype
    ).eval()
    batch = model.batch(model.encode([pair.harmful for pair in pairs(shape)]))

    def plain() -> torch.Tensor:
        logits: torch.Tensor = hf(
            input_ids=batch.ids,
            attention_mask=batch.mask.long(),
            position_ids=batch.position_ids,
            logits_to_keep=1,
            use_cache=False,
        ).logits
        return logits

    apart = float((plain() - model.forward(batch)).abs().max())
    turns = [(once(lambda: model.forward(batch))[0], once(plain)[0]) for _ in range(times)]
    ours, theirs = (median(side) for side in zip(*turns, strict=True))
    return {"name": "overhead-forward", "ours": ours, "peer": theirs, "ratio": ours / theirs, "max_abs_diff": apart}
