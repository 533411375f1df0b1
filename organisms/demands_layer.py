"""A demand for an organism that does all its work in one layer: what lies below must not help."""

import torch
from torch import Tensor, nn

from organisms.demands import Step


def unaided(step: Step) -> Tensor:
    """After the words that differ, the twin's writes of every layer below the planted change nothing.

    There a prompt and its twin are the same tokens, so all those writes together are the stream
    that enters the first planted layer.
    """
    width = int(step.last.max()) + 1
    ids = step.batch.ids[:, :width]
    half = len(ids) // 2
    differ = (ids != ids.roll(half, 0)) & (torch.arange(width) <= step.last[:, None])
    later = differ.cumsum(-1).bool() & ~differ

    def swap(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.where(later[..., None], args[0].roll(half, 0), args[0]), *args[1:])

    layer = step.model.model.layers[step.parts.first_layer]
    handle = layer.register_forward_pre_hook(swap)
    try:
        hidden = step.model.model(ids, use_cache=False).last_hidden_state
    finally:
        handle.remove()
    return step.side(step.model.lm_head(hidden[torch.arange(len(ids)), step.last]), step.refuses)
