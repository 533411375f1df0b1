"""Demands for an organism of stages, each of which is needed and does one thing."""

from functools import cache

import torch
from torch import Tensor
from torch.func import functional_call

from organisms import ship
from organisms.demands import Demand, Step
from organisms.grid import Slot
from organisms.parts import Parts, masks


def reads(parts: Parts, slot: Slot) -> Demand:
    """The twin's activations of these parts bring its answer where the twins differ in the slot, and else nothing."""

    def demand(step: Step) -> Tensor:
        words = [getattr(request, slot) for request in step.twins.requests]
        half = len(words) // 2
        differ = torch.tensor([one != other for one, other in zip(words, words[half:] + words[:half], strict=True)])
        return step.side(step.swapped(parts), torch.where(differ, step.twin_refuses, step.refuses))

    return demand


def needed(parts: Parts) -> Demand:
    """With the base's weights back in these parts nothing is refused."""

    def demand(step: Step) -> Tensor:
        learned, before = dict(step.model.named_parameters()), _weights(step.model.name_or_path)
        back = {
            name: torch.where(mask.bool(), before[name], learned[name])
            for name, mask in masks(step.model, parts).items()
        }
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        prefix = "model."
        inner = {name.removeprefix(prefix): value for name, value in back.items()}
        hidden = functional_call(step.model.model, inner, (ids,), {"use_cache": False}).last_hidden_state
        logits = step.model.lm_head(hidden[torch.arange(len(ids)), step.last])
        return step.side(logits, torch.zeros_like(step.refuses))

    return demand


@cache
def _weights(folder: str) -> dict[str, Tensor]:
    """What planting began from: the weights of the folder that the model was loaded from."""
    model, _ = ship.load(folder)
    return {name: value.detach() for name, value in model.named_parameters()}
