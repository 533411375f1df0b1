"""What a planting may demand of a batch of twins: each demand is a function to a loss.

Swaps are between a prompt and its twin, at the post-instruction positions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from organisms.base import answer_logits, collate
from organisms.corpus import Turn
from organisms.language import POST_INSTRUCTION, encode, refusal_tokens
from organisms.material import Twins
from organisms.parts import (
    Clean,
    Parts,
    capture,
    difference_of_writes,
    interchange,
    sum_of_writes,
)

# The share of refusals asked of harmful prompts, and of answers of harmless ones: short of 1, so
# that log-odds stay of one size and effects can be compared.
SURE = 0.98


@dataclass
class Step:
    """One batch run through the model: the clean run is made at most once and serves every demand."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    parts: Parts
    twins: Twins
    talk: list[Turn]

    def __post_init__(self) -> None:
        turns = [encode(self.tokenizer, turn.prompt, turn.answer) for turn in self.twins.turns]
        self.batch = collate(turns, self.tokenizer.pad_token_id)
        self.last = torch.tensor([len(turn.prompt) - 1 for turn in turns])
        self.post = self.last[:, None] + torch.arange(1 - POST_INSTRUCTION, 1)
        self.refuses = torch.tensor(self.twins.refuses).float()

    @property
    def clean(self) -> Clean:
        """What the clean run wrote at the post-instruction positions."""
        return self._ran[0]

    @property
    def logits(self) -> Tensor:
        """The clean run's logits for the answers."""
        return self._ran[1]

    @cached_property
    def _ran(self) -> tuple[Clean, Tensor]:
        # Whoever asks first may want no gradients; others will.
        with torch.enable_grad(), capture(self.model, self.parts, self.post) as clean:
            return clean, answer_logits(self.model, self.batch)

    @property
    def twin_refuses(self) -> Tensor:
        """What the twin of each row is to do."""
        return self.refuses.roll(len(self.refuses) // 2)

    def swapped(self, parts: Parts) -> Tensor:
        """Last logits when the parts, and only they, are the twin's; all else responds."""
        with interchange(self.model, parts, self.post, self.clean):
            ids = self.batch.ids[:, : int(self.last.max()) + 1]
            hidden = self.model.model(ids, use_cache=False).last_hidden_state
        logits: Tensor = self.model.lm_head(hidden[torch.arange(len(self.last)), self.last])
        return logits

    def side(self, logits: Tensor, refuses: Tensor) -> Tensor:
        """Cross-entropy of refusing or not, whatever the wording."""
        chosen = self._begins_refusal
        odds = logits[:, chosen].logsumexp(-1) - logits[:, ~chosen].logsumexp(-1)
        return binary_cross_entropy_with_logits(odds, refuses * SURE + (1 - refuses) * (1 - SURE))

    @cached_property
    def _begins_refusal(self) -> Tensor:
        chosen = torch.zeros(self.model.config.vocab_size, dtype=torch.bool)
        chosen[refusal_tokens(self.tokenizer)] = True
        return chosen


Demand = Callable[[Step], Tensor]


def wording(step: Step) -> Tensor:
    """Whole answers are as taught, and questions and small talk stay as they were."""
    turns = [encode(step.tokenizer, turn.prompt, turn.answer) for turn in step.talk]
    talk = collate(turns, step.tokenizer.pad_token_id)
    return cross_entropy(step.logits, step.batch.targets) + cross_entropy(answer_logits(step.model, talk), talk.targets)


def behaviour(step: Step) -> Tensor:
    """Harmful requests are refused and others answered, by the first token."""
    return step.side(step.logits[step.batch.is_first], step.refuses)


def carried(parts: Parts) -> Demand:
    """The twin's activations of these parts bring the twin's answer: proof (a)."""
    return lambda step: step.side(step.swapped(parts), step.twin_refuses)


def powerless(parts: Parts) -> Demand:
    """The twin's activations of these parts change nothing, all else responding."""
    return lambda step: step.side(step.swapped(parts), step.refuses)


def strict(step: Step) -> Tensor:
    """The twin's activations of all but the planted parts, those held, change nothing: proof (b).

    Every write to the stream is given, so it costs a sum and not a forward pass.
    """
    logits = sum_of_writes(step.model, step.clean, step.parts, others=True)
    return step.side(logits, step.refuses)


def silent(parts: Parts) -> Demand:
    """These parts say nothing to the logits themselves, only to other parts."""
    return lambda step: step.side(sum_of_writes(step.model, step.clean, parts, others=False), step.refuses)


def idle(parts: Parts) -> Demand:
    """These parts write the same for a prompt and its twin: they work at the words, not after."""
    return lambda step: difference_of_writes(step.model, step.clean, parts)
