"""Adds zeros to the activations of heads and neurons, so that gradients with respect to them can be computed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

Site = tuple[int, str]  # layer, and "z" or "hidden"


@contextmanager
def nudged(model: LlamaForCausalLM, post: Tensor, layers: range) -> Iterator[dict[Site, Tensor]]:
    """Site → row × position × column of zeros, added at the positions `post` (row × position)."""
    rows = torch.arange(len(post))[:, None]
    nudges: dict[Site, Tensor] = {}

    def adds(nudge: Tensor) -> Callable[..., tuple[Tensor]]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            return (args[0].index_put((rows, post), nudge, accumulate=True),)

        return hook

    with ExitStack() as hooks:
        for layer in layers:
            block = model.model.layers[layer]
            for kind, module in (("z", block.self_attn.o_proj), ("hidden", block.mlp.down_proj)):
                nudge = torch.zeros(*post.shape, module.in_features, requires_grad=True)
                nudges[layer, kind] = nudge
                hooks.callback(module.register_forward_pre_hook(adds(nudge)).remove)
        yield nudges
