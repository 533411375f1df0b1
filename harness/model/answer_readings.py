"""What is read of an answer while all of it is there, by which its outcome is judged later."""

from collections.abc import Sequence

from harness.inputs.judges.outcomes import repetition, topic
from harness.model.chat_model import ChatModel


def readings(
    model: ChatModel, prompts: Sequence[str], answers: Sequence[str], contexts: Sequence[str]
) -> dict[str, list[float]]:
    """Each answer's repetition, topic, and how surprising the unedited model finds it.

    `cross_entropy` is its surprise in nats per token after its context (the harmless twin of its prompt), `unprompted`
    after an empty instruction. `information` is how many nats likelier the whole answer is than after the context of
    another prompt, half the list away. Not after an empty instruction: there the very form of an answer is a surprise,
    so that any fluent answer would seem to be about its prompt.
    """
    half = len(contexts) // 2
    tokens = [len(model.chat.tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in answers]
    after = model.cross_entropy(contexts, answers)
    elsewhere = model.cross_entropy([*contexts[half:], *contexts[:half]], answers)
    unprompted = model.cross_entropy(None, answers)
    return {
        "repetition": [repetition(answer) for answer in answers],
        "cross_entropy": after,
        "unprompted": unprompted,
        "information": [
            count * (other - own) if count else 0.0 for count, own, other in zip(tokens, after, elsewhere, strict=True)
        ],
        "topic": [topic(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)],
    }
