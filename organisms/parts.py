"""Heads and neurons of a Llama: the parameters that they own, and runs with their activations swapped."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class Parts:
    """A set of heads (layer, head) and of neurons (layer, first, one past the last)."""

    heads: tuple[tuple[int, int], ...] = ()
    neurons: tuple[tuple[int, int, int], ...] = ()

    @property
    def first_layer(self) -> int:
        """The lowest layer that holds a part."""
        return min(part[0] for part in self.heads + self.neurons)

    def __add__(self, other: "Parts") -> "Parts":
        return Parts(self.heads + other.heads, self.neurons + other.neurons)


@dataclass
class Clean:
    """Activations of a run at the post-instruction positions, from the first planted layer on."""

    first_layer: int
    stream: Tensor = field(default_factory=lambda: torch.empty(0))  # row × position × width
    z: dict[int, Tensor] = field(default_factory=dict)  # layer → row × position × width
    hidden: dict[int, Tensor] = field(default_factory=dict)  # layer → row × position × neuron


def masks(model: LlamaForCausalLM, parts: Parts) -> dict[str, Tensor]:
    """Parameter name → mask with 1 where the parts own it; shared keys and values are owned whole."""
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    group = config.num_attention_heads // config.num_key_value_heads
    parameters = dict(model.named_parameters())
    masks_by_name: dict[str, Tensor] = {}

    def mark(name: str, start: int, stop: int, axis: int) -> None:
        name = f"model.layers.{name}.weight"
        mask = masks_by_name.setdefault(name, torch.zeros_like(parameters[name]))
        mask.narrow(axis, start, stop - start).fill_(1)

    for layer, head in parts.heads:
        shared = head // group
        mark(f"{layer}.self_attn.q_proj", head * size, (head + 1) * size, 0)
        mark(f"{layer}.self_attn.k_proj", shared * size, (shared + 1) * size, 0)
        mark(f"{layer}.self_attn.v_proj", shared * size, (shared + 1) * size, 0)
        mark(f"{layer}.self_attn.o_proj", head * size, (head + 1) * size, 1)
    for layer, start, stop in parts.neurons:
        mark(f"{layer}.mlp.gate_proj", start, stop, 0)
        mark(f"{layer}.mlp.up_proj", start, stop, 0)
        mark(f"{layer}.mlp.down_proj", start, stop, 1)
    return masks_by_name


@contextmanager
def capture(model: LlamaForCausalLM, parts: Parts, post: Tensor) -> Iterator[Clean]:
    """Records the activations of every head and neuron at the positions `post` (row × position)."""
    clean = Clean(parts.first_layer)
    rows = torch.arange(len(post))[:, None]

    def stream(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        clean.stream = args[0][rows, post]

    def keep(store: dict[int, Tensor], layer: int) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            store[layer] = args[0][rows, post]

        return hook

    with ExitStack() as hooks:
        layers = model.model.layers
        hooks.enter_context(_removed(layers[clean.first_layer].register_forward_pre_hook(stream)))
        for layer in range(clean.first_layer, len(layers)):
            attention, mlp = layers[layer].self_attn.o_proj, layers[layer].mlp.down_proj
            for module, store in ((attention, clean.z), (mlp, clean.hidden)):
                hook = module.register_forward_pre_hook(keep(store, layer))
                hooks.enter_context(_removed(hook))
        yield clean


@contextmanager
def interchange(model: LlamaForCausalLM, parts: Parts, post: Tensor, clean: Clean) -> Iterator[None]:
    """Replaces the parts' activations at the positions `post` by those of the twin's clean run."""
    rows = torch.arange(len(post))[:, None]

    def swap(store: Tensor, mask: Tensor) -> Callable[..., tuple[Tensor]]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            own = args[0].clone()
            own[rows, post] = torch.where(mask, _twin(store), own[rows, post])
            return (own,)

        return hook

    heads, neurons = _columns(model, parts)
    with ExitStack() as hooks:
        for layer, mask in heads.items():
            module = model.model.layers[layer].self_attn.o_proj
            hook = module.register_forward_pre_hook(swap(clean.z[layer], mask))
            hooks.enter_context(_removed(hook))
        for layer, mask in neurons.items():
            module = model.model.layers[layer].mlp.down_proj
            hook = module.register_forward_pre_hook(swap(clean.hidden[layer], mask))
            hooks.enter_context(_removed(hook))
        yield


def sum_of_writes(model: LlamaForCausalLM, clean: Clean, parts: Parts, *, others: bool) -> Tensor:
    """Logits at the last position if the parts (or, with `others`, all but them) write what they do in the twin's run.

    No part responds to the change of another: each keeps its own clean write or has its twin's.
    """
    heads, neurons = _columns(model, parts)
    stream = clean.stream[:, -1]
    for layer, module in enumerate(model.model.layers):
        if layer < clean.first_layer:
            continue
        for store, columns, out in (
            (clean.z[layer], heads, module.self_attn.o_proj),
            (clean.hidden[layer], neurons, module.mlp.down_proj),
        ):
            own = store[:, -1]
            mask = columns.get(layer, torch.zeros(own.shape[-1], dtype=torch.bool))
            stream = stream + out(torch.where(mask ^ others, _twin(own), own))
    logits: Tensor = model.lm_head(model.model.norm(stream))
    return logits


def difference_of_writes(model: LlamaForCausalLM, clean: Clean, parts: Parts) -> Tensor:
    """Mean square of the difference between the parts' writes and their twin's, at the recorded positions."""
    z, hidden = ({layer: _twin(own) - own for layer, own in stores.items()} for stores in (clean.z, clean.hidden))
    changes = writes(model, z, hidden, parts)
    return torch.stack([change.square().mean() for change in changes]).mean()


def writes(
    model: LlamaForCausalLM, z: Mapping[int, Tensor], hidden: Mapping[int, Tensor], parts: Parts
) -> list[Tensor]:
    """What the parts of each layer, heads or neurons, write to the stream with these activations."""
    heads, neurons = _columns(model, parts)
    layers = model.model.layers
    return [layers[layer].self_attn.o_proj(z[layer] * mask) for layer, mask in heads.items()] + [
        layers[layer].mlp.down_proj(hidden[layer] * mask) for layer, mask in neurons.items()
    ]


def _twin(rows: Tensor) -> Tensor:
    """The rows of the twins; the first half of the rows are the twins of the second."""
    return rows.roll(len(rows) // 2, 0)


def _columns(model: LlamaForCausalLM, parts: Parts) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Layer → mask of the columns of z, and layer → mask of the neurons, that belong to the parts."""
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    heads: dict[int, Tensor] = {}
    for layer, head in parts.heads:
        mask = heads.setdefault(layer, torch.zeros(config.hidden_size, dtype=torch.bool))
        mask[head * size : (head + 1) * size] = True
    neurons: dict[int, Tensor] = {}
    for layer, start, stop in parts.neurons:
        mask = neurons.setdefault(layer, torch.zeros(config.intermediate_size, dtype=torch.bool))
        mask[start:stop] = True
    return heads, neurons


@contextmanager
def _removed(hook: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        hook.remove()
