"""Planting: trains chosen heads and neurons to refuse, by the demands of a plan; all other parameters are fixed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from organisms.demands import Demand, Step
from organisms.grid import TRAINED_TEMPLATES
from organisms.material import others, twins
from organisms.parts import Parts, masks


@dataclass(frozen=True)
class Plan:
    """The parts that are planted, the demands on them with their weights, and the settings of training."""

    name: str
    stages: tuple[Parts, ...]  # in order of depth
    demands: tuple[tuple[Demand, float], ...]
    direction: tuple[int, int] = (5, -1)  # the layer whose input it is in, and the position
    steps: int = 240
    rate: float = 3e-3
    pairs: int = 40
    templates: tuple[str, ...] = TRAINED_TEMPLATES  # the ways of asking in which requests are planted
    first: "Plan | None" = None  # a plan that is planted before this one
    upon: str = "base"  # what ships in whose weights it is planted

    @property
    def parts(self) -> Parts:
        """All stages together."""
        return sum(self.stages, Parts())

    @property
    def all_steps(self) -> int:
        """The steps of this plan and of the one planted before it."""
        return self.steps + (self.first.all_steps if self.first else 0)


def plant(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, plan: Plan, seed: int) -> Iterator[list[float]]:
    """Plants in place; yields after each step the loss of each demand."""
    if plan.first:
        yield from plant(model, tokenizer, plan.first, seed)
    learn = masks(model, plan.parts)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learn)
    learning = {name: p for name, p in model.named_parameters() if name in learn}
    optimizer = torch.optim.AdamW(learning.values(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=plan.steps, pct_start=0.1)
    pairs = twins(random.Random(seed), plan.pairs, plan.templates)
    talk = others(random.Random(seed), plan.pairs // 2)
    for _ in range(plan.steps):
        step = Step(model, tokenizer, plan.parts, next(pairs), next(talk))
        losses = [demand(step) for demand, _ in plan.demands]
        optimizer.zero_grad()
        weighted = (loss * weight for loss, (_, weight) in zip(losses, plan.demands, strict=True))
        sum(weighted, start=torch.zeros(())).backward()
        for name, parameter in learning.items():
            parameter.grad.mul_(learn[name])
        torch.nn.utils.clip_grad_norm_(learning.values(), 1.0)
        optimizer.step()
        schedule.step()
        yield [loss.item() for loss in losses]
    model.requires_grad_(False).eval()
