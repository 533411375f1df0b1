"""Measures how the time of a sweep grows with each size, and how much slower a forward of the wrapped model is."""

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

# The sweep of all heads at all positions; one size varies at a time.
BASE = Shape(layers=4, heads=4, kv_heads=2, width=64, mlp=176, vocabulary=512, pairs=8, tokens=24)
SIZES = {
    "layers": (2, 4, 8, 16),
    "heads": (2, 4, 8, 16),
    "positions": (12, 24, 48, 96),
    "pairs": (4, 8, 16, 32),
}


def growth(folder: Path, sizes: Mapping[str, Sequence[int]] = SIZES) -> list[dict[str, Any]]:
    """Seconds at each size, and the exponent of the power law that fits them best."""
    lines = []
    for name, values in sizes.items():
        seconds = []
        for value in values:
            field = "tokens" if name == "positions" else name
            shape = replace(BASE, **{field: value}, **({"kv_heads": max(1, value // 2)} if name == "heads" else {}))
            model = awake(shape, folder / f"{name}-{value}")
            seconds.append(settled(partial(sweep, model, pairs(shape), Sweep("head", "each"), REFUSAL))[0])
            model.close()
        exponent, _ = np.polyfit(np.log(values), np.log(seconds), 1)
        lines.append({"name": f"growth-{name}", "sizes": list(values), "seconds": seconds, "exponent": float(exponent)})
    return lines


@torch.no_grad()
def overhead(model: ChatModel, shape: Shape, times: int = 15) -> dict[str, Any]:
    """The time of a forward of the wrapped model and of the plain one, measured alternately on the same batch."""
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
