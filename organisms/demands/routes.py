"""Demands for organisms that refuse by several routes, one for each group of requests.

A group is a category of harm, or a set of verbs; a harmless request belongs to the group of its harmful twin.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from organisms.demands import Demand, Step
from organisms.grid import Request
from organisms.parts import Parts
from organisms.replay import Change, Replay

# Site → which columns, for each row (row × 1 × column) or group.
Columns = Mapping[tuple[int, str], Tensor]


@dataclass(frozen=True)
class Groups:
    """A function that sorts requests into groups, and the groups' names."""

    group: Callable[[Request], str]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def of(self, step: Step) -> Tensor:
        """The number of each row's group: that of its harmful twin, where there is one."""
        own = torch.tensor([self.names.index(self.group(request)) for request in step.twins.requests])
        return torch.where(step.twin_refuses.bool(), own.roll(len(own) // 2), own)


@dataclass(frozen=True)
class Routes(Groups):
    """Groups, and for each the parts by which its requests are refused."""

    parts: tuple[Parts, ...]


def routed(routes: Routes) -> Demand:
    """Swapping a row's own parts from the twin gives the twin's answer; swapping any other parts changes nothing.

    Other groups' parts are swapped with and without the parts that are not planted, so that neither can compensate for
    the other.
    """

    def demand(step: Step) -> Tensor:
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        replay = Replay(step.model, ids, step.post, step.parts.first_layer)
        own = _columns(step, routes)
        planted = {site: mask.any(0, keepdim=True) for site, mask in own.items()}
        others = {site: planted[site] & ~mask for site, mask in own.items()}
        brings = [replay.run(_swapped(replay, parts)) for parts in (own, planted)]
        leaves = [replay.run(_swapped(replay, others))]
        for held in (own, planted):
            rest = {site: ~mask for site, mask in held.items()}
            leaves.append(replay.run(_swapped(replay, rest, held)))
        losses = [step.side(logits, step.twin_refuses) for logits in brings]
        losses += [step.side(logits, step.refuses) for logits in leaves]
        return torch.stack(losses).mean()

    return demand


def _swapped(replay: Replay, columns: Columns, held: Columns | None = None) -> Change:
    """In `columns` of each row the twin's clean activations, in `held` the row's own clean ones."""

    def change(layer: int, kind: str, said: Tensor) -> Tensor:
        clean = replay.said[layer, kind]
        if held is not None:
            said = torch.where(held[layer, kind], clean, said)
        return torch.where(columns[layer, kind], clean.roll(len(clean) // 2, 0), said)

    return change


def _columns(step: Step, routes: Routes) -> Columns:
    """The columns of each row's own parts, at every site from the first planted layer on."""
    groups = routes.of(step)
    return {site: owned[groups][:, None] for site, owned in owned_by(step, routes).items()}


def owned_by(step: Step, routes: Routes) -> Columns:
    """Site → mask of the columns that each group owns, group × column."""
    config = step.model.config
    widths = {"z": config.hidden_size, "hidden": config.intermediate_size}
    owned = {
        (layer, kind): torch.zeros(len(routes.parts), width, dtype=torch.bool)
        for layer in range(step.parts.first_layer, config.num_hidden_layers)
        for kind, width in widths.items()
    }
    size = config.head_dim
    for group, parts in enumerate(routes.parts):
        for layer, head in parts.heads:
            owned[layer, "z"][group, head * size : (head + 1) * size] = True
        for layer, start, stop in parts.neurons:
            owned[layer, "hidden"][group, start:stop] = True
    return owned
