"""Demands for an organism with stages, each of which is needed and has a single task."""

from functools import cache

import torch
from torch import Tensor
from torch.func import functional_call

from organisms import ship
from organisms.demands import Demand, Step
from organisms.grid import Slot
from organisms.parts import Parts, masks


def reads(parts: Parts, slot: Slot) -> Demand:
    """Swapping these parts gives the twin's answer if the twins differ in the slot, and otherwise changes nothing."""

    def demand(step: Step) -> Tensor:
        words = [getattr(request, slot) for request in step.twins.requests]
        half = len(words) // 2
        differ = torch.tensor([own != twin for own, twin in zip(words, words[half:] + words[:half], strict=True)])
        return step.side(step.swapped(parts), torch.where(differ, step.twin_refuses, step.refuses))

    return demand


def needed(parts: Parts) -> Demand:
    """With the base's weights put back into these parts, nothing is refused."""

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
    """The weights in the folder that the model was loaded from, with which planting began."""
    model, _ = ship.load(folder)
    return {name: value.detach() for name, value in model.named_parameters()}
