"""What is read of an answer while all of it is there, by which its outcome is judged later."""

import math
from collections.abc import Sequence

from harness.inputs.judges.outcomes import repetition, topic
from harness.model.chat_model import ChatModel


def readings(
    model: ChatModel, prompts: Sequence[str], answers: Sequence[str], contexts: Sequence[str]
) -> dict[str, list[float]]:
    """Each answer's repetition, topic, and how surprising the unedited model finds it, in nats per token.

    `cross_entropy` is its surprise after its context (the harmless twin of its prompt), `unprompted` after an empty
    instruction. `information` is how much more surprising it is after the context of another prompt, half the list
    away. Not after an empty instruction: there the very form of an answer is a surprise, so that any fluent answer
    would seem to be about its prompt.
    """
    half = len(contexts) // 2
    after = model.cross_entropy(contexts, answers)
    elsewhere = model.cross_entropy([*contexts[half:], *contexts[:half]], answers)
    unprompted = model.cross_entropy(None, answers)
    return {
        "repetition": [repetition(answer) for answer in answers],
        "cross_entropy": after,
        "unprompted": unprompted,
        "information": [
            other - own if math.isfinite(own) else 0.0 for own, other in zip(after, elsewhere, strict=True)
        ],
        "topic": [topic(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)],
    }
