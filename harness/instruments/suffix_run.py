"""Reruns only what a change can reach: the blocks from its layer on, the tokens from its position on.

The unedited ("clean") run is recorded once, with the arguments of every block. Later runs call the blocks directly,
with those arguments cut to the tokens that are run, on the recorded keys and values of the tokens before them.
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
    """The unedited run of a batch: every block's arguments, keys and values, and the activations at chosen hooks."""

    model: ChatModel
    batch: Batch
    streams: tuple[Float[Tensor, "row position width"], ...]  # each block's input
    keys: tuple[Float[Tensor, "row head position size"], ...]
    values: tuple[Float[Tensor, "row head position size"], ...]
    calls: tuple[Mapping[str, Any], ...]  # each block's other arguments
    activations: Mapping[str, Tensor]  # hook → row × position × …
    logits: Float[Tensor, "row kept vocabulary"]  # at the prompts' last token and at each given one of an answer

    @property
    def width(self) -> int:
        """Positions of the batch, padding on the left and given tokens of an answer included."""
        return self.batch.ids.shape[1]

    @property
    def prompts(self) -> int:
        """Positions of the prompts alone, padding on the left included."""
        return self.width - self.batch.given


@dataclass(frozen=True)
class Layout:
    """How variants of every row share a batch: `copies` of the rows, each with `stacked` variants on the token axis."""

    rows: Int[Tensor, " row"]  # which rows of the recorded batch
    copies: int
    stacked: int
    first: int  # the first token that is run, counted from the left

    @property
    def variants(self) -> int:
        """How many variants of each row there is room for."""
        return self.copies * self.stacked

    @classmethod
    def compact(cls, rows: Int[Tensor, " row"], variants: int, first: int, most: int) -> "Layout":
        """Room for `variants` in the fewest copies that stack at most `most` each, evenly filled."""
        copies = -(-variants // most)
        return cls(rows, copies, -(-variants // copies), first)

    def merge(self, streams: Float[Tensor, "variant row position width"]) -> Float[Tensor, "row token width"]:
        """All variants' streams as one batch."""
        split = streams.view(self.copies, self.stacked, *streams.shape[1:]).transpose(1, 2)
        return split.flatten(2, 3).flatten(0, 1)

    def split(self, activation: Tensor) -> Float[Tensor, "copy row variant position *rest"]:
        """A view of the batch's activation with copies, rows and stacked variants on axes of their own."""
        tokens = activation.shape[1] // self.stacked
        return activation.view(self.copies, len(self.rows), self.stacked, tokens, *activation.shape[2:])


def record(model: ChatModel, batch: Batch, hooks: Iterable[str] = ()) -> Recorded:
    """Runs the batch once, unedited, and returns everything that later partial runs need."""
    calls: list[Mapping[str, Any]] = []
    streams: list[Tensor] = []

    def note(block: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        arguments = dict(zip(signature(block.original_component.forward).parameters, args, strict=False)) | named
        streams.append(arguments.pop(STREAM))
        calls.append(arguments)

    cache = DynamicCache()
    with ExitStack() as stack:
        for block in model.blocks:
            handle = block.register_forward_pre_hook(note, with_kwargs=True)
            stack.callback(handle.remove)
        activations, logits = model.activations(batch, hooks, cache=cache)
    for call in calls:
        _check(model, call)
    keys, values = zip(*((layer.keys, layer.values) for layer in cache.layers), strict=True)
    return Recorded(model, batch, tuple(streams), keys, values, tuple(calls), activations, logits)


def run_blocks(
    clean: Recorded, layout: Layout, layers: Iterable[int], streams: Float[Tensor, "row token width"]
) -> Float[Tensor, "row token width"]:
    """The streams after these layers' blocks, given those that enter the first of them; same tokens in and out."""
    tokens = streams.shape[1] // layout.stacked
    prefix = _Prefix(clean, layout)
    cut = _Cut(layout, tokens)
    for layer in layers:
        call = {name: cut(name, value) for name, value in clean.calls[layer].items()}
        streams = clean.model.blocks[layer](streams, **call | {"past_key_values": prefix})
    return streams


def last_logits(
    clean: Recorded, layout: Layout, streams: Float[Tensor, "row token width"]
) -> Float[Tensor, "copy row variant kept vocabulary"]:
    """The logits of each variant at its prompt's last token, and at each given token of an answer."""
    last = layout.split(streams)[:, :, :, -clean.batch.given - 1 :]
    return logits_of(clean.model, last.flatten(0, 3)).view(*last.shape[:4], -1)


def first_stream(model: ChatModel, batch: Batch) -> Float[Tensor, "row position width"]:
    """The stream that enters the first block; no block is run."""
    streams: list[Tensor] = []

    def skip(stream: Tensor, *_: object, **__: object) -> Tensor:
        streams.append(stream)
        return stream

    with _blocks_replaced(model, skip):
        model.forward(batch)
    return streams[0]


def logits_of(model: ChatModel, streams: Float[Tensor, "row width"]) -> Float[Tensor, "row vocabulary"]:
    """The model's logits for streams that leave its last block; no block is run."""
    device = streams.device
    batch = Batch(
        tuple(range(len(streams))),
        (),
        torch.zeros(len(streams), 1, dtype=torch.long, device=device),
        torch.ones(len(streams), 1, dtype=torch.bool, device=device),
    )
    with _blocks_replaced(model, lambda *_, **__: streams[:, None]):
        return model.forward(batch)[:, -1]


def repeated(layout: Layout, streams: Float[Tensor, "row token width"]) -> Float[Tensor, "row token width"]:
    """Each row's stream repeated for every variant of the layout."""
    return streams.repeat(layout.copies, layout.stacked, 1)


@contextmanager
def _blocks_replaced(model: ChatModel, block: Callable[..., Tensor]) -> Iterator[None]:
    """Runs `block` in place of each of the model's blocks, inside the `with`."""
    for wrapper in model.blocks:
        # Written into the instance: the wrapper's own __setattr__ would set it on the module that it wraps.
        vars(wrapper)["forward"] = block
    try:
        yield
    finally:
        for wrapper in model.blocks:
            del vars(wrapper)["forward"]


class _Prefix(DynamicCache):  # type: ignore[misc]
    """The recorded keys and values of the tokens before the layout's first; those of a run are returned, not stored."""

    def __init__(self, clean: Recorded, layout: Layout) -> None:
        super().__init__()
        self.clean, self.layout = clean, layout

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """The recorded tokens' keys and values, followed by the given ones."""
        return self._followed(self.clean.keys[layer], keys), self._followed(self.clean.values[layer], values)

    def _followed(self, recorded: Tensor, new: Tensor) -> Tensor:
        # Filled in place: repeating and then concatenating would copy the recorded tokens twice more.
        layout = self.layout
        both = new.new_empty(*new.shape[:2], layout.first + new.shape[2], new.shape[3])
        both.view(layout.copies, -1, *both.shape[1:])[:, :, :, : layout.first] = recorded[
            layout.rows, :, : layout.first
        ]
        both[:, :, layout.first :] = new
        return both


class _Cut:
    """Cuts a block's recorded arguments to the tokens of a layout."""

    def __init__(self, layout: Layout, tokens: int) -> None:
        self.layout = layout
        self.tokens = slice(layout.first, layout.first + tokens)
        # By identity, because most blocks are called with the same tensors: each is cut once.
        self.cut: dict[int, Any] = {}

    def __call__(self, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor | tuple):
            return value
        if id(value) not in self.cut:
            self.cut[id(value)] = self._cut(name, value)
        return self.cut[id(value)]

    def _cut(self, name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._cut(name, item) for item in value)
        return self._mask(value) if name == MASK else self._repeated(value)

    def _repeated(self, value: Tensor) -> Tensor:
        """An argument whose first axes are row × position: position ids and their embeddings."""
        layout = self.layout
        rows = value[layout.rows] if len(value) > 1 else value.expand(len(layout.rows), *value.shape[1:])
        return rows[:, self.tokens].repeat(layout.copies, layout.stacked, *[1] * (value.dim() - 2))

    def _mask(self, mask: Tensor) -> Tensor:
        """Each variant attends to the recorded tokens and to its own, and to no other variant."""
        layout, n = self.layout, self.layout.stacked
        rows = mask[layout.rows] if len(mask) > 1 else mask.expand(len(layout.rows), -1, -1, -1)
        before = rows[:, :, self.tokens, : layout.first].repeat(1, 1, n, 1)
        own = rows[:, :, self.tokens, self.tokens]
        size = own.shape[-1]
        among = own.new_full((*own.shape[:2], n, size, n, size), torch.finfo(mask.dtype).min)
        among.diagonal(dim1=2, dim2=4).copy_(own[..., None])
        return torch.cat([before, among.flatten(4, 5).flatten(2, 3)], -1).repeat(layout.copies, 1, 1, 1)


def _check(model: ChatModel, call: Mapping[str, Any]) -> None:
    """Refuses an architecture whose blocks take arguments that cannot be cut to a few tokens."""
    for name, value in call.items():
        if name not in CUT and isinstance(value, Tensor | tuple | list | dict):
            raise AssayError(
                f"{model.name}: its blocks take an argument {name!r} that sweeps cannot cut to a few tokens; use "
                "another model, or add the argument as docs/adding-a-model.md says"
            )
    if not isinstance(call.get(MASK), Tensor):
        raise AssayError(
            f"{model.name}: its blocks are called without an attention mask, so a sweep cannot keep variants from "
            "attending to one another; use another model"
        )
