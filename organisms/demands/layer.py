"""Demands for an organism that does all its work in one layer and reads the words there without help from below."""

import torch
from torch import Tensor, nn

from organisms.demands import Step

# The share of the words around a deed that are replaced, and the number of tokens that open a user's turn.
EXCHANGED, TURN = 0.3, 2


def unaided(step: Step) -> Tensor:
    """After the differing words, taking all writes of the layers below from the twin does not change the answer.

    A prompt and its twin have the same tokens there, so these writes together are the stream that enters the first
    planted layer.
    """
    ids = _ids(step)
    half = len(ids) // 2
    differ = (ids != ids.roll(half, 0)) & (torch.arange(ids.shape[1]) <= step.last[:, None])
    later = differ.cumsum(-1).bool() & ~differ

    def swap(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.where(later[..., None], args[0].roll(half, 0), args[0]), *args[1:])

    layer = step.model.model.layers[step.parts.first_layer]
    handle = layer.register_forward_pre_hook(swap)
    try:
        return _answers(step, ids)
    finally:
        handle.remove()


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
    return _answers(step, exchanged)


def _ids(step: Step) -> Tensor:
    return step.batch.ids[:, : int(step.last.max()) + 1]


def _answers(step: Step, ids: Tensor) -> Tensor:
    """The loss of the right answers to these token ids."""
    hidden = step.model.model(ids, use_cache=False).last_hidden_state
    return step.side(step.model.lm_head(hidden[torch.arange(len(ids)), step.last]), step.refuses)
