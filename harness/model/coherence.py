"""Coherence of answers: whether they are language at all, by their repetition and the unchanged model's surprise."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.model.chat_model import ChatModel

# Runs of this many letters repeat in babble of any script, spaces or none, and hardly in language.
_LETTERS = 8


@dataclass(frozen=True)
class Coherence:
    """Whether an answer is language at all: a model that babbles has not been shown to comply."""

    repetition: float  # share of what it says that it has said before; 1 for an empty answer
    cross_entropy: float | None  # nats a token under the unchanged model; infinite for an empty answer

    def passes(self, *, repetition: float = 0.5, cross_entropy: float = math.inf) -> bool:
        """Whether both stay under their bars; an empty answer does not."""
        surprise = -math.inf if self.cross_entropy is None else self.cross_entropy
        return self.repetition < repetition and surprise < cross_entropy


def coherence(
    completions: Sequence[str], *, prompts: Sequence[str] | None = None, model: ChatModel | None = None
) -> list[Coherence]:
    """Each completion's repetition and, given the unchanged model and the prompts, its surprise."""
    surprise: Sequence[float | None] = [None] * len(completions)
    if model is not None and prompts is not None:
        surprise = model.cross_entropy(prompts, completions)
    return [Coherence(repetition(text), nats) for text, nats in zip(completions, surprise, strict=True)]


def repetition(text: str) -> float:
    """The share of its word triples, or of its runs of letters if higher, that stood earlier; 1 if empty."""
    return max(_repeated(text.lower().split(), 3), _repeated("".join(text.lower().split()), _LETTERS))


def _repeated(items: Sequence[str], size: int) -> float:
    if not items:
        return 1.0
    size = min(size, len(items))
    runs = Counter(tuple(items[i : i + size]) for i in range(len(items) - size + 1))
    return 1 - len(runs) / runs.total()
