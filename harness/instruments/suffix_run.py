"""Runs only what a change can reach: the blocks from its layer on, the tokens from its position on.

A clean run is recorded once, with the arguments of every block. Afterwards blocks are called directly with
those arguments cut to the tokens that matter, on the recorded keys and values of the tokens before them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from harness.inputs.errors import AssayError
from harness.model.architecture import CUT, MASK, STREAM
from harness.model.chat_model import Batch, ChatModel


@dataclass(frozen=True)
class Recorded:
    """A clean run of a batch: what every block was given, and what was seen at the hooks asked for."""

    model: ChatModel
    batch: Batch
    streams: tuple[Float[Tensor, "row position width"], ...]  # what enters each block
    keys: tuple[Float[Tensor, "row head position size"], ...]
    values: tuple[Float[Tensor, "row head position size"], ...]
    calls: tuple[Mapping[str, Any], ...]  # the arguments of each block
    seen: Mapping[str, Tensor]  # hook → activations, row × position × …
    logits: Float[Tensor, "row vocabulary"]  # of the last position

    @property
    def width(self) -> int:
        """Positions of the batch, padding on the left included."""
        return self.batch.ids.shape[1]

    @property
    def bytes(self) -> int:
        """The memory it holds."""
        return sum(tensor.nbytes for tensor in (*self.streams, *self.keys, *self.values, *self.seen.values()))


@dataclass(frozen=True)
class Layout:
    """Variants of every row: `copies` of the batch one below the other, `stacked` side by side in each."""

    rows: Int[Tensor, " row"]  # which rows of the recorded batch
    copies: int
    stacked: int
    first: int  # the first token that is run, counted from the left

    @property
    def variants(self) -> int:
        """How many variants of each row."""
        return self.copies * self.stacked

    @classmethod
    def compact(cls, rows: Int[Tensor, " row"], variants: int, first: int, most: int) -> "Layout":
        """Room for so many variants in as few copies as can be, at most so many stacked, evenly filled."""
        copies = -(-variants // most)
        return cls(rows, copies, -(-variants // copies), first)

    def together(self, streams: Float[Tensor, "variant row position width"]) -> Float[Tensor, "row token width"]:
        """Every variant's streams, each in its place."""
        apart = streams.view(self.copies, self.stacked, *streams.shape[1:]).transpose(1, 2)
        return apart.flatten(2, 3).flatten(0, 1)

    def apart(self, activation: Tensor) -> Float[Tensor, "copy row variant position *rest"]:
        """The activation with its variants along axes of their own."""
        tokens = activation.shape[1] // self.stacked
        return activation.view(self.copies, len(self.rows), self.stacked, tokens, *activation.shape[2:])


def record(model: ChatModel, batch: Batch, hooks: Iterable[str] = ()) -> Recorded:
    """Runs the batch once, unedited, and keeps what later runs start from."""
    calls: list[Mapping[str, Any]] = []
    streams: list[Tensor] = []

    def note(block: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = dict(zip(signature(block.original_component.forward).parameters, args, strict=False)) | named
        streams.append(given.pop(STREAM))
        calls.append(given)

    cache = DynamicCache()
    with ExitStack() as stack:
        for block in model.blocks:
            handle = block.register_forward_pre_hook(note, with_kwargs=True)
            stack.callback(handle.remove)
        seen, logits = model.seen(batch, hooks, cache=cache)
    for call in calls:
        _check(model, call)
    keys, values = zip(*((layer.keys, layer.values) for layer in cache.layers), strict=True)
    return Recorded(model, batch, tuple(streams), keys, values, tuple(calls), seen, logits)


def through(
    clean: Recorded, layout: Layout, layers: Iterable[int], streams: Float[Tensor, "row token width"]
) -> Float[Tensor, "row token width"]:
    """The streams after those blocks, as many tokens of each variant as were given."""
    tokens = streams.shape[1] // layout.stacked
    prefix = _Prefix(clean, layout)
    cut = _Cut(layout, tokens)
    for layer in layers:
        call = {name: cut(name, value) for name, value in clean.calls[layer].items()}
        streams = clean.model.blocks[layer](streams, **call | {"past_key_values": prefix})
    return streams


def read_out(
    clean: Recorded, layout: Layout, streams: Float[Tensor, "row token width"]
) -> Float[Tensor, "copy row variant vocabulary"]:
    """The logits of each variant's last token."""
    last = layout.apart(streams)[:, :, :, -1]
    return logits_of(clean.model, last.flatten(0, 2)).view(*last.shape[:3], -1)


def entering(model: ChatModel, batch: Batch) -> Float[Tensor, "row position width"]:
    """The stream that enters the first block."""
    entered: list[Tensor] = []

    def first(streams: Tensor, *_: object, **__: object) -> Tensor:
        entered.append(streams)
        return streams

    with _passing(model, first):
        model.forward(batch)
    return entered[0]


def logits_of(model: ChatModel, streams: Float[Tensor, "row width"]) -> Float[Tensor, "row vocabulary"]:
    """What the model makes of streams that have passed its last block."""
    device = streams.device
    batch = Batch(
        tuple(range(len(streams))),
        (),
        torch.zeros(len(streams), 1, dtype=torch.long, device=device),
        torch.ones(len(streams), 1, dtype=torch.bool, device=device),
    )
    with _passing(model, lambda *_, **__: streams[:, None]):
        return model.forward(batch)[:, -1]


def expanded(layout: Layout, streams: Float[Tensor, "row token width"]) -> Float[Tensor, "row token width"]:
    """Every row's stream, given once, for all of its variants."""
    return streams.repeat(layout.copies, layout.stacked, 1)


@contextmanager
def _passing(model: ChatModel, block: Callable[..., Tensor]) -> Iterator[None]:
    """The model with this in place of each of its blocks."""
    for wrapper in model.blocks:
        # Past the wrapper's own __setattr__, which would set it on what it wraps.
        vars(wrapper)["forward"] = block
    try:
        yield
    finally:
        for wrapper in model.blocks:
            del vars(wrapper)["forward"]


class _Prefix(DynamicCache):  # type: ignore[misc]
    """Keys and values of the tokens before the layout's first; what is run now is added, not kept."""

    def __init__(self, clean: Recorded, layout: Layout) -> None:
        super().__init__()
        self.clean, self.layout = clean, layout

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """The recorded tokens' and these, side by side."""
        return self._beside(self.clean.keys[layer], keys), self._beside(self.clean.values[layer], values)

    def _beside(self, recorded: Tensor, new: Tensor) -> Tensor:
        # Written in place: repeated first and then joined, the recorded tokens would be copied twice more.
        layout = self.layout
        both = new.new_empty(*new.shape[:2], layout.first + new.shape[2], new.shape[3])
        both.view(layout.copies, -1, *both.shape[1:])[:, :, :, : layout.first] = recorded[
            layout.rows, :, : layout.first
        ]
        both[:, :, layout.first :] = new
        return both


class _Cut:
    """A block's arguments for the tokens of a layout."""

    def __init__(self, layout: Layout, tokens: int) -> None:
        self.layout = layout
        self.tokens = slice(layout.first, layout.first + tokens)
        # Most blocks are given the very same tensors: each is cut once.
        self.done: dict[int, Any] = {}

    def __call__(self, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor | tuple):
            return value
        if id(value) not in self.done:
            self.done[id(value)] = self._cut(name, value)
        return self.done[id(value)]

    def _cut(self, name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._cut(name, one) for one in value)
        return self._mask(value) if name == MASK else self._repeated(value)

    def _repeated(self, value: Tensor) -> Tensor:
        """Positions, and what is made of them, row × position first."""
        layout = self.layout
        rows = value[layout.rows] if len(value) > 1 else value.expand(len(layout.rows), *value.shape[1:])
        return rows[:, self.tokens].repeat(layout.copies, layout.stacked, *[1] * (value.dim() - 2))

    def _mask(self, mask: Tensor) -> Tensor:
        """Each variant sees what it saw before the first token, and itself, and no other variant."""
        layout, n = self.layout, self.layout.stacked
        rows = mask[layout.rows] if len(mask) > 1 else mask.expand(len(layout.rows), -1, -1, -1)
        before = rows[:, :, self.tokens, : layout.first].repeat(1, 1, n, 1)
        own = rows[:, :, self.tokens, self.tokens]
        size = own.shape[-1]
        apart = own.new_full((*own.shape[:2], n, size, n, size), torch.finfo(mask.dtype).min)
        apart.diagonal(dim1=2, dim2=4).copy_(own[..., None])
        return torch.cat([before, apart.flatten(4, 5).flatten(2, 3)], -1).repeat(layout.copies, 1, 1, 1)


def _check(model: ChatModel, call: Mapping[str, Any]) -> None:
    """Refuses an architecture whose blocks are given what cannot be cut to a few tokens."""
    for name, value in call.items():
        if name not in CUT and isinstance(value, Tensor | tuple | list | dict):
            raise AssayError(f"{model.name}: its blocks are given {name}, and sweeps do not know what that is")
    if not isinstance(call.get(MASK), Tensor):
        raise AssayError(f"{model.name}: its blocks are given no attention mask, so sweeps cannot tell who sees whom")
