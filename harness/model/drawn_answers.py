"""Draws answers at a temperature, with random numbers that depend on the prompt and the sample alone."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.inputs.model_record import Sample


class Draws:
    """Leaves one token possible in each row: the one that a random number picks from all, by their probabilities.

    Each prompt has a random number for each token of its answer, the same in any batch, order, arm and run.
    """

    def __init__(self, sample: Sample, prompts: Sequence[tuple[int, ...]]) -> None:
        self.temperature = sample.temperature
        self.random = [np.random.default_rng([sample.number, *_seed(prompt)]) for prompt in prompts]

    def __call__(
        self, input_ids: Int[Tensor, "row position"], scores: Float[Tensor, "row vocabulary"]
    ) -> Float[Tensor, "row vocabulary"]:
        """Scores of 0 for the tokens drawn and −∞ for all others."""
        # Sums over a large vocabulary need double precision, which Apple's GPUs lack.
        exact = (scores.cpu() if scores.device.type == "mps" else scores).double()
        below = (exact / self.temperature).softmax(-1).cumsum(-1)
        drawn = torch.tensor([[generator.random()] for generator in self.random], dtype=torch.float64)
        # Of the whole, which rounding leaves a little off 1, so that no draw lies beyond the last token.
        token = torch.searchsorted(below, drawn.to(below.device) * below[:, -1:], right=True).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter(-1, token, 0.0)


def _seed(prompt: tuple[int, ...]) -> list[int]:
    """Numbers from a prompt's tokens."""
    digest = sha256(np.array(prompt, dtype="<i8").tobytes()).digest()
    return [int(number) for number in np.frombuffer(digest, dtype="<u4")]
