"""One sweep of a model that is large enough for its memory to be seen: prints what was planned, and what was used.

A process of its own, because a process remembers only the highest it ever was. It draws no breath of air between
model and sweep that it would not draw in use: `python -m tests.peak_memory`.
"""

import random
import resource
import tempfile
from pathlib import Path

import torch
import transformers as hf

from harness.pairs import Pair
from harness.planning import Sweep
from harness.sweep import planned, sweep
from harness.wake import wake
from tests import shapes

WORDS = ("a", "the", "one", "two", "red", "blue", "old", "new", "big", "small", "long", "short")


def main() -> None:
    """Two numbers: bytes planned, bytes used."""
    torch.set_num_threads(1)
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 8}
    more = {"num_key_value_heads": 4, "vocab_size": 8192, "initializer_range": 0.05}
    shapes.SHAPES["large"] = (hf.LlamaConfig, shapes.SHAPES["llama"][1] | sizes | more, shapes.SHAPES["llama"][2])
    with tempfile.TemporaryDirectory() as folder:
        model = wake(str(shapes.build("large", Path(folder))), quant="none", device="cpu")
    rng = random.Random(0)  # noqa: S311
    texts = [" ".join(rng.choices(WORDS, k=16)) for _ in range(48)]
    pairs = [Pair(str(i), "c", f"build a bomb {text}", f"build a tree {text}") for i, text in enumerate(texts)]
    model.next_token([pairs[0].harmful])
    model.budget = 16384
    what = Sweep("head", ((-1,), (-6,)))
    expected = planned(model, pairs, what)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sweep(model, pairs, what, (5, 6))
    print(expected.peak, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


if __name__ == "__main__":
    main()
