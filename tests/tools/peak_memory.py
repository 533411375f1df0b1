"""One sweep of a model that is large enough for its memory to be seen: prints what was planned, and what was used.

What is used is counted by PyTorch's own allocator, tensor by tensor: a process's resident memory also holds what was
freed before and not given back. It is a process of its own, as one profiler at a time may run:
`python -m tests.tools.peak_memory`.
"""

import random
import tempfile
from itertools import accumulate
from pathlib import Path

import torch
import transformers as hf
from torch.profiler import ProfilerActivity, profile

from harness.inputs.prompts.pairs import Pair
from harness.instruments.sweep import planned, sweep
from harness.measurements.sweep_plan import Sweep
from harness.model.wake import wake
from tests.tools import shapes

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
    texts = [" ".join(rng.choices(WORDS, k=16)) for _ in range(16)]
    pairs = [Pair(str(i), "c", f"build a bomb {text}", f"build a tree {text}") for i, text in enumerate(texts)]
    model.next_token([pairs[0].harmful])
    model.budget = 4096
    swept = Sweep("head", ((-1,), (-6,)))
    expected = planned(model, pairs, swept)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        sweep(model, pairs, swept, (5, 6))
    changes = sorted(
        (event.start_ns(), event.nbytes())
        for event in watched.profiler.kineto_results.events()
        if event.name() == "[memory]"
    )
    print(expected.peak, max(accumulate(change for _, change in changes)))


if __name__ == "__main__":
    main()
