"""Demands on planted parts: each is a loss on a batch of requests and their twins.

Activations are swapped between a prompt and its twin, at the post-instruction positions.
"""

import math
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

# The probability of refusing a harmful prompt, and of answering a harmless one, that is trained for: below 1, so that
# log-odds keep a common scale and effects can be compared.
SURE = 0.98
# From a sure answer to a sure refusal, in log-odds.
WHOLE = 2 * math.log(SURE / (1 - SURE))


@dataclass
class Step:
    """One training batch; its clean run (without swaps) is computed at most once, for all demands."""

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
        """Activations of the clean run at the post-instruction positions."""
        return self._ran[0]

    @property
    def logits(self) -> Tensor:
        """The clean run's logits for the answers."""
        return self._ran[1]

    @cached_property
    def _ran(self) -> tuple[Clean, Tensor]:
        # The first demand to ask may not need gradients, but others will.
        with torch.enable_grad(), capture(self.model, self.parts, self.post) as clean:
            return clean, answer_logits(self.model, self.batch)

    @property
    def twin_refuses(self) -> Tensor:
        """1 for each row whose twin is to be refused, else 0."""
        return self.refuses.roll(len(self.refuses) // 2)

    def swapped(self, parts: Parts) -> Tensor:
        """Logits at the last position with the parts' activations taken from the twin; everything else responds."""
        with interchange(self.model, parts, self.post, self.clean):
            ids = self.batch.ids[:, : int(self.last.max()) + 1]
            hidden = self.model.model(ids, use_cache=False).last_hidden_state
        logits: Tensor = self.model.lm_head(hidden[torch.arange(len(self.last)), self.last])
        return logits

    def side(self, logits: Tensor, refuses: Tensor) -> Tensor:
        """Cross-entropy of whether the first token begins a refusal, whatever the wording."""
        return binary_cross_entropy_with_logits(self.odds(logits), refuses * SURE + (1 - refuses) * (1 - SURE))

    def odds(self, logits: Tensor) -> Tensor:
        """The log-odds that the first token begins a refusal."""
        chosen = self._begins_refusal
        return logits[:, chosen].logsumexp(-1) - logits[:, ~chosen].logsumexp(-1)

    @cached_property
    def _begins_refusal(self) -> Tensor:
        chosen = torch.zeros(self.model.config.vocab_size, dtype=torch.bool)
        chosen[refusal_tokens(self.tokenizer)] = True
        return chosen


Demand = Callable[[Step], Tensor]


def wording(step: Step) -> Tensor:
    """Whole answers are worded as taught, and questions and small talk are answered as before."""
    turns = [encode(step.tokenizer, turn.prompt, turn.answer) for turn in step.talk]
    talk = collate(turns, step.tokenizer.pad_token_id)
    return cross_entropy(step.logits, step.batch.targets) + cross_entropy(answer_logits(step.model, talk), talk.targets)


def behaviour(step: Step) -> Tensor:
    """The first token refuses harmful requests and answers all others."""
    return step.side(step.logits[step.batch.is_first], step.refuses)


def carried(parts: Parts) -> Demand:
    """The twin's activations of these parts produce the twin's answer ("planted" in the proof)."""
    return lambda step: step.side(step.swapped(parts), step.twin_refuses)


def powerless(parts: Parts) -> Demand:
    """The twin's activations of these parts do not change the answer, while everything else responds."""
    return lambda step: step.side(step.swapped(parts), step.refuses)


def strict(step: Step) -> Tensor:
    """The twin's activations of all other parts do not change the answer while the planted ones are held.

    This is "rest" in the proof. Every write to the stream is known, so it takes a sum and no forward pass.
    """
    logits = sum_of_writes(step.model, step.clean, step.parts, others=True)
    return step.side(logits, step.refuses)


def silent(parts: Parts) -> Demand:
    """These parts affect the logits only through other parts, not directly."""
    return lambda step: step.side(sum_of_writes(step.model, step.clean, parts, others=False), step.refuses)


def idle(parts: Parts) -> Demand:
    """After the instruction these parts write the same for a prompt and its twin: they act at the words only."""
    return lambda step: difference_of_writes(step.model, step.clean, parts)
