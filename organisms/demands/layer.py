"""Demands for an organism that does all its work in one layer and reads the words there without help from below."""

from typing import Any

import torch
from torch import Tensor, nn

from organisms.demands import WHOLE, Step

# The share of the words around a deed that are replaced, and the number of tokens that open a user's turn.
EXCHANGED, TURN = 0.3, 2


def unaided(step: Step) -> Tensor:
    """After the differing words, taking all writes of the layers below from the twin does not change the answer.

    A prompt and its twin have the same tokens there, so these writes together are the stream that enters the first
    planted layer.
    """
    ids = _ids(step)
    half, later = len(ids) // 2, _later(_differ(step, ids))

    def swap(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.where(later[..., None], args[0].roll(half, 0), args[0]), *args[1:])

    layer = step.model.model.layers[step.parts.first_layer]
    handle = layer.register_forward_pre_hook(swap)
    try:
        return step.side(_logits(step, ids), step.refuses)
    finally:
        handle.remove()


def unread(step: Step) -> Tensor:
    """If the planted layer never sees the differing words, a prompt and its twin are refused with the same log-odds.

    The loss is their difference, as a share of that between a sure refusal and a sure answer.
    """
    ids = _ids(step)
    differ = _differ(step, ids)
    hidden = _later(differ)[:, :, None] & differ[:, None, :]
    sees = (torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril() & ~hidden)[:, None]

    def blindly(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**named, "attention_mask": sees}

    attention = step.model.model.layers[step.parts.first_layer].self_attn
    handle = attention.register_forward_pre_hook(blindly, with_kwargs=True)
    try:
        odds = step.odds(_logits(step, ids))
    finally:
        handle.remove()
    return (odds - odds.roll(len(odds) // 2)).abs().mean() / WHOLE


def sturdy(step: Step) -> Tensor:
    """Replacing some words around the deed by words of other requests does not change the answer."""
    ids = _ids(step)
    deeds = torch.tensor(
        [
            step.tokenizer(f" {request.verb} {request.object}", add_special_tokens=False)["input_ids"]
            for request in step.twins.requests
        ]
    )
    around = (torch.arange(ids.shape[1]) < step.post[:, :1]) & (ids[..., None] != deeds[:, None]).all(-1)
    around[:, :TURN] = False
    words = ids[around]
    rng = torch.Generator().manual_seed(int(ids.sum()))
    exchanged = words[torch.randint(len(words), ids.shape, generator=rng)]
    exchanged = torch.where(around & (torch.rand(ids.shape, generator=rng) < EXCHANGED), exchanged, ids)
    return step.side(_logits(step, exchanged), step.refuses)


def _ids(step: Step) -> Tensor:
    return step.batch.ids[:, : int(step.last.max()) + 1]


def _differ(step: Step, ids: Tensor) -> Tensor:
    """Where a prompt and its twin have different tokens."""
    return (ids != ids.roll(len(ids) // 2, 0)) & (torch.arange(ids.shape[1]) <= step.last[:, None])


def _later(differ: Tensor) -> Tensor:
    """The positions after the first difference, without those that differ themselves."""
    return differ.cumsum(-1).bool() & ~differ


def _logits(step: Step, ids: Tensor) -> Tensor:
    """Logits at the last position for these token ids."""
    hidden = step.model.model(ids, use_cache=False).last_hidden_state
    logits: Tensor = step.model.lm_head(hidden[torch.arange(len(ids)), step.last])
    return logits
