"""Thoughts of reasoning models, told from their answers by the markers that the model's own chat template names."""

import re
from dataclasses import dataclass
from typing import Literal

Thought = Literal["none", "ended", "unfinished"]
"""Whether an answer begins with a thought, and whether that ended before the answer was cut."""

# What evidence of answers holds of each, where the model knows thoughts: whether it begins with one, and never ends it.
THOUGHT, UNFINISHED = "thought", "unfinished"
_NAMES = "think|thinking|thought|thoughts|reasoning"
# Qwen and DeepSeek write <think> and </think>, Seed <seed:think>, Magistral [THINK], Kimi ◁think▷, Cohere
# <|START_THINKING|>. A marker of the end tells that there are thoughts; chat templates often name it alone.
_SLASHED = re.compile(rf"([<\[◁])/((?:\w+:)?(?:{_NAMES}))([>\]▷])", re.IGNORECASE)
_WORDED = re.compile(rf"<\|(?:END_({_NAMES})|end_of_({_NAMES}))\|>", re.IGNORECASE)


@dataclass(frozen=True)
class Markers:
    """What stands before and after a thought."""

    opening: str
    closing: str

    def __str__(self) -> str:
        return f"{self.opening} and {self.closing}"

    def inside(self, prompt_end: str) -> bool:
        """Whether the last thought that this text begins has not ended in it."""
        return self.opening in prompt_end.rpartition(self.closing)[2]

    def parted(self, text: str, *, begun: bool) -> tuple[str, Thought]:
        """An answer without the thoughts before it; empty where the thought has not ended.

        `begun`: the prompt itself has begun the thought. Text before a closing marker is a thought in any case.
        """
        thought: Thought = "none"
        while begun or text.lstrip().startswith(self.opening) or (thought == "none" and self.closing in text):
            _, ended, text = text.partition(self.closing)
            if not ended:
                return "", "unfinished"
            text, thought, begun = text.lstrip(), "ended", False
        return text, thought


def markers(template: str) -> Markers | None:
    """The markers of thoughts that a text names; None if it names none."""
    if slashed := _SLASHED.search(template):
        return Markers("".join(slashed.groups()), slashed[0])
    if worded := _WORDED.search(template):
        name = worded[1] or worded[2]
        return Markers(f"<|START_{name}|>" if worded[1] else f"<|begin_of_{name}|>", worded[0])
    return None
