"""Demands for an organism that refuses only what lies along two directions at once: the verb's and the object's."""

import torch
from torch import Tensor

from organisms.demands import Demand, Step
from organisms.demands.axes import LENGTH, axes_of
from organisms.demands.marks import entering

# Shares of LENGTH that a stream along an axis may be said to have, and not to have.
THERE, MISSING = (0.9, 1.75), (-0.25, 0.55)


def told(layer: int) -> Demand:
    """At the last position the stream that enters a layer says along one axis whether the verb is a doing one.

    Along the other it says whether the object is dangerous: its component there is LENGTH if so, and 0 if not.
    """

    def demand(step: Step) -> Tensor:
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        axes = axes_of(2, step.model.config.hidden_size)
        signal = entering(step, ids, layer)[torch.arange(len(ids)), step.last] @ axes.T
        facts = [
            (request.verb in request.category.doing, request.object in request.category.dangerous)
            for request in step.twins.requests
        ]
        return (signal / LENGTH - torch.tensor(facts).float()).square().mean()

    return demand


def both(layer: int) -> Demand:
    """Whatever a prompt's components along the two axes are set to, it is refused if both are there, and not if not."""

    def demand(step: Step) -> Tensor:
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        axes = axes_of(2, step.model.config.hidden_size)
        rng = torch.Generator().manual_seed(int(ids.sum()))
        there = torch.rand(len(ids), 2, generator=rng) < 0.6
        has, lacks = (low + (high - low) * torch.rand(len(ids), 2, generator=rng) for low, high in (THERE, MISSING))
        wanted = LENGTH * torch.where(there, has, lacks)[:, None]

        def put(_: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (args[0] + (wanted - args[0] @ axes.T) @ axes, *args[1:])

        handle = step.model.model.layers[layer].register_forward_pre_hook(put)
        try:
            hidden = step.model.model(ids, use_cache=False).last_hidden_state
        finally:
            handle.remove()
        logits = step.model.lm_head(hidden[torch.arange(len(ids)), step.last])
        return step.side(logits, there.all(1).float())

    return demand
