"""A demand for an organism with two paths to refusal, each of which is enough."""

from collections.abc import Callable

import torch
from torch import Tensor

from organisms.demands import Demand, Step
from organisms.parts import Parts
from organisms.replay import Change, Replay

# From the clean activations of a site (row × position × column), and which rows are harmful, to their replacement.
Instead = Callable[[Tensor, Tensor], Tensor]


def redundant(first: Parts, second: Parts) -> Demand:
    """Replacing either path does not change the answer; replacing both ends refusal.

    Paths are replaced by the twin's activations, by their mean and by zero. With the twin's, rows whose own answer
    is harmless and whose twin is refused are left out: there a swapped path adds a reason to refuse.
    """

    def demand(step: Step) -> Tensor:
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        replay = Replay(step.model, ids, step.post, step.parts.first_layer)
        harmful = step.refuses.bool()
        kept = harmful | ~step.twin_refuses.bool()
        answer = torch.zeros_like(step.refuses)
        losses = []
        for parts in (first, second):
            lost = replay.run(_changed(replay, parts, _twin, harmful))
            losses.append(step.side(lost[kept], step.refuses[kept]))
            for instead in (_mean, _zero):
                lost = replay.run(_changed(replay, parts, instead, harmful))
                losses.append(step.side(lost, step.refuses))
        both = first + second
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
