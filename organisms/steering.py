"""Removes a direction from an organism's activations, or adds it, while a block of code runs; in plain PyTorch."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

Where = Literal["everywhere", "stream", "attention", "mlp"]


@contextmanager
def without(model: LlamaForCausalLM, direction: Tensor, where: Where = "everywhere") -> Iterator[None]:
    """Projects the direction out of the stream (and the last output), of attention or of MLP outputs, or of all."""
    unit: Tensor = direction / direction.norm()

    def kept(value: Tensor) -> Tensor:
        return value - (value @ unit)[..., None] * unit

    with ExitStack() as hooks:
        for block in model.model.layers:
            if where in ("everywhere", "stream"):
                hooks.callback(block.register_forward_pre_hook(lambda _, args: (kept(args[0]), *args[1:])).remove)
            if where in ("everywhere", "attention"):
                hooks.callback(
                    block.self_attn.register_forward_hook(lambda _, __, out: (kept(out[0]), *out[1:])).remove
                )
            if where in ("everywhere", "mlp"):
                hooks.callback(block.mlp.register_forward_hook(lambda _, __, out: kept(out)).remove)
        if where in ("everywhere", "stream"):
            hooks.callback(model.model.norm.register_forward_pre_hook(lambda _, args: (kept(args[0]),)).remove)
        yield


@contextmanager
def added(model: LlamaForCausalLM, direction: Tensor, layer: int) -> Iterator[None]:
    """Adds the direction to the input of a layer."""
    block = model.model.layers[layer]
    handle = block.register_forward_pre_hook(lambda _, args: (args[0] + direction, *args[1:]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def swapped(model: LlamaForCausalLM, values: dict[tuple[int, str], tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Writes given values into chosen columns at the last positions of a prompt, not while the answer is generated.

    `values` has, for a layer and a module's name, the columns and a row of values for each prompt and position.
    """
    with ExitStack() as hooks:
        for (layer, reader), (columns, instead) in values.items():

            def write(
                _: object, args: tuple[Tensor, ...], columns: Tensor = columns, instead: Tensor = instead
            ) -> tuple[Tensor, ...]:
                if args[0].shape[1] == 1:  # a token of the answer
                    return args
                whole = args[0].clone()
                last = whole[:, -instead.shape[1] :]
                last[:] = torch.where(columns, instead, last)
                return (whole, *args[1:])

            module = model.get_submodule(f"model.layers.{layer}.{reader}")
            hooks.callback(module.register_forward_pre_hook(write).remove)
        yield
