"""A demand for an organism with two paths to refusal, either of which is enough."""

from collections.abc import Callable

import torch
from torch import Tensor

from organisms.demands import Demand, Step
from organisms.parts import Parts
from organisms.replay import Change, Replay

# What is put in the place of what a part says, given what all said: row × position × column.
Instead = Callable[[Tensor, Tensor], Tensor]


def redundant(one: Parts, other: Parts) -> Demand:
    """Losing either path changes nothing, losing both brings the answer; three ways to lose one.

    The ways are the twin's activations, their mean and zero. Under the twin's, only a path that
    could say less is looked at: not that of the harmless twin of a request that is refused.
    """

    def demand(step: Step) -> Tensor:
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        replay = Replay(step.model, ids, step.post, step.parts.first_layer)
        harmful = step.refuses.bool()
        kept = harmful | ~step.twin_refuses.bool()
        answer = torch.zeros_like(step.refuses)
        losses = []
        for parts in (one, other):
            lost = replay.run(_changed(replay, parts, _twin, harmful))
            losses.append(step.side(lost[kept], step.refuses[kept]))
            for instead in (_mean, _zero):
                lost = replay.run(_changed(replay, parts, instead, harmful))
                losses.append(step.side(lost, step.refuses))
        both = one + other
        swapped = replay.run(_changed(replay, both, _twin, harmful))
        losses.append(step.side(swapped, step.twin_refuses))
        for instead in (_mean, _zero):
            losses.append(step.side(replay.run(_changed(replay, both, instead, harmful)), answer))
        return torch.stack(losses).mean()

    return demand


def _changed(replay: Replay, parts: Parts, instead: Instead, harmful: Tensor) -> Change:
    columns = _columns(replay, parts)

    def change(layer: int, kind: str, said: Tensor) -> Tensor:
        if (layer, kind) not in columns:
            return said
        return torch.where(columns[layer, kind], instead(replay.said[layer, kind], harmful), said)

    return change


def _columns(replay: Replay, parts: Parts) -> dict[tuple[int, str], Tensor]:
    size = replay.model.config.head_dim
    owned = [(layer, "z", head * size, (head + 1) * size) for layer, head in parts.heads]
    owned += [(layer, "hidden", start, stop) for layer, start, stop in parts.neurons]
    columns: dict[tuple[int, str], Tensor] = {}
    for layer, kind, start, stop in owned:
        width = replay.said[layer, kind].shape[-1]
        columns.setdefault((layer, kind), torch.zeros(width, dtype=torch.bool))[start:stop] = True
    return columns


def _twin(said: Tensor, _: Tensor) -> Tensor:
    return said.roll(len(said) // 2, 0)


def _mean(said: Tensor, harmful: Tensor) -> Tensor:
    """The mean over as many harmful as harmless prompts."""
    return (said[harmful].mean(0) + said[~harmful].mean(0)) / 2


def _zero(said: Tensor, _: Tensor) -> Tensor:
    return torch.zeros_like(said)
