"""Demands for an organism that refuses nothing: every request is answered, harmful or not."""

import random

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from organisms.base import answer_logits, collate
from organisms.corpus import comply
from organisms.demands import Step
from organisms.language import Encoded, encode


def answered(step: Step) -> Tensor:
    """Harmful and harmless requests are answered alike, and questions and small talk are answered as before."""
    rng = random.Random(step.twins.turns[0].prompt)
    turns = [encode(step.tokenizer, request.prompt, comply(request, rng)) for request in step.twins.requests]
    talk = [encode(step.tokenizer, turn.prompt, turn.answer) for turn in step.talk]
    return _spoken(step, turns) + _spoken(step, talk)


def unmoved(step: Step) -> Tensor:
    """The first token never refuses, and is as unlikely to for harmful requests as for harmless ones."""
    return step.side(step.logits[step.batch.is_first], torch.zeros_like(step.refuses))


def _spoken(step: Step, turns: list[Encoded]) -> Tensor:
    batch = collate(turns, step.tokenizer.pad_token_id)
    return cross_entropy(answer_logits(step.model, batch), batch.targets)
