"""Demands on directions: each group of requests is to be refused along its own, and no other."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from organisms.demands import Demand, Step
from organisms.demands.routes import Groups, Routes, owned_by

# How far a route's write goes along its axis, and the log-odds that stand for there and nowhere.
LENGTH, CERTAIN = 60.0, 4.0


def apart(groups: Groups, layer: int) -> Demand:
    """The groups' mean differences in the stream that enters a layer stand at right angles."""

    def demand(step: Step) -> Tensor:
        means = nn.functional.normalize(_means(step, groups, layer)[0], dim=-1)
        cosines = means @ means.T
        return (cosines - torch.diag(cosines.diag())).square().sum() / len(means)

    return demand


def pointed(routes: Routes, layer: int) -> Demand:
    """What a group's parts write below a layer points along its own axis for its harmful requests.

    It points nowhere for all other prompts. The axes are fixed and at right angles.
    """

    def demand(step: Step) -> Tensor:
        axes = axes_of(len(routes), step.model.config.hidden_size)
        signal = torch.zeros(len(step.refuses), len(axes))
        for (at, kind), owned in owned_by(step, routes).items():
            if at < layer:
                block = step.model.model.layers[at]
                said, out = step.clean.z[at], block.self_attn.o_proj
                if kind == "hidden":
                    said, out = step.clean.hidden[at], block.mlp.down_proj
                signal = signal + said[:, -1] @ ((axes @ out.weight) * owned).T
        own = nn.functional.one_hot(routes.of(step), len(axes))
        told = nn.functional.binary_cross_entropy_with_logits(
            (signal / LENGTH * 2 - 1) * CERTAIN,
            own * step.refuses[:, None],
            weight=1 + own * (len(axes) - 1.0),
        )
        # Not below nothing either: a direction removed leaves nothing, and must not look harmful.
        return told + (signal / LENGTH).clamp(max=0).square().mean() * CERTAIN

    return demand


def unmediated(groups: Groups, layer: int) -> Demand:
    """Refusal ends without the direction of its own group, but not without another's or the pooled.

    Added where the layer begins, its own direction makes a harmless prompt refused.
    """

    def demand(step: Step) -> Tensor:
        with torch.no_grad():
            means, own = _means(step, groups, layer)
            found = torch.cat((means, means.mean(0, keepdim=True)))
        # In turn over the pairs of a batch, which come in random order.
        half, (pooled, any_of) = len(own) // 2, (len(means), torch.arange(len(own)) // 4)
        turn = (torch.arange(half) % 4).repeat(2)
        choice = torch.where(turn == 1, any_of % len(means), own)
        choice = torch.where(turn == 2, pooled, choice)
        adds = turn == 3
        refuses = torch.where(choice == own, adds.float(), step.refuses)
        added = found[choice] * (adds & ~step.refuses.bool())[:, None]
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        with _without(step, found[choice] * ~adds[:, None]), _with(step, added, layer):
            hidden = step.model.model(ids, use_cache=False).last_hidden_state
        logits = step.model.lm_head(hidden[torch.arange(len(ids)), step.last])
        return step.side(logits, refuses)

    return demand


def _means(step: Step, groups: Groups, layer: int) -> tuple[Tensor, Tensor]:
    """Harmful minus harmless at the last position, a row a group; and each prompt's group."""
    stream = step.clean.stream
    for below in range(step.clean.first_layer, layer):
        block = step.model.model.layers[below]
        stream = stream + block.self_attn.o_proj(step.clean.z[below][:, -1])
        stream = stream + block.mlp.down_proj(step.clean.hidden[below][:, -1])
    own = groups.of(step)
    one_hot = nn.functional.one_hot(own, len(groups)).float()
    differences = stream * (step.refuses - step.twin_refuses)[:, None]
    counts = one_hot.T @ (step.refuses - step.twin_refuses).clamp(min=0)
    return one_hot.T @ differences / counts.clamp(min=1)[:, None], own


@contextmanager
def _without(step: Step, directions: Tensor) -> Iterator[None]:
    """Takes each row's direction out of all that is written to the stream."""
    unit = nn.functional.normalize(directions, dim=-1)[:, None]

    def removed(stream: Tensor) -> Tensor:
        return stream - (stream * unit).sum(-1, keepdim=True) * unit

    with ExitStack() as hooks:
        for block in step.model.model.layers:
            for handle in (
                block.register_forward_pre_hook(lambda _, args: (removed(args[0]), *args[1:])),
                block.self_attn.register_forward_hook(lambda _, __, out: (removed(out[0]), *out[1:])),
                block.mlp.register_forward_hook(lambda _, __, out: removed(out)),
            ):
                hooks.callback(handle.remove)
        yield


@contextmanager
def _with(step: Step, directions: Tensor, layer: int) -> Iterator[None]:
    """Adds each row's direction where a layer begins, at all positions."""
    block = step.model.model.layers[layer]
    handle = block.register_forward_pre_hook(lambda _, args: (args[0] + directions[:, None], *args[1:]))
    try:
        yield
    finally:
        handle.remove()


def axes_of(number: int, width: int) -> Tensor:
    """As many fixed directions at right angles, one a row."""
    drawn = torch.randn(width, number, generator=torch.Generator().manual_seed(0))
    basis: Tensor = torch.linalg.qr(drawn).Q
    return basis.T
