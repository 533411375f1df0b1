"""Demands on directions: each group of requests is refused along its own direction, and along no other."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from organisms.demands import Demand, Step
from organisms.demands.routes import Groups, Routes, owned_by

# How far a route writes along its axis, and the log-odds that stand for "fully along it" and "not at all".
LENGTH, CERTAIN = 60.0, 4.0


def apart(groups: Groups, layer: int) -> Demand:
    """The groups' mean differences in the stream that enters a layer are orthogonal."""

    def demand(step: Step) -> Tensor:
        means = nn.functional.normalize(_means(step, groups, layer)[0], dim=-1)
        cosines = means @ means.T
        return (cosines - torch.diag(cosines.diag())).square().sum() / len(means)

    return demand


def pointed(routes: Routes, layer: int) -> Demand:
    """Below this layer, a group's parts write along the group's axis for its harmful requests.

    For all other prompts they write nothing along it. The axes are fixed and orthogonal.
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
        # Nor may the signal be negative: a removed direction leaves 0, which must not look harmful by comparison.
        return told + (signal / LENGTH).clamp(max=0).square().mean() * CERTAIN

    return demand


def unmediated(groups: Groups, layer: int) -> Demand:
    """Removing the group's own direction ends refusal; removing another group's or the pooled one does not.

    Adding the own direction at the layer's input makes a harmless prompt refused.
    """

    def demand(step: Step) -> Tensor:
        with torch.no_grad():
            means, own = _means(step, groups, layer)
            directions = torch.cat((means, means.mean(0, keepdim=True)))
        # Pairs take turns: own direction removed, another's removed, pooled removed, own added. Their order is random.
        half, (pooled, any_of) = len(own) // 2, (len(means), torch.arange(len(own)) // 4)
        turn = (torch.arange(half) % 4).repeat(2)
        choice = torch.where(turn == 1, any_of % len(means), own)
        choice = torch.where(turn == 2, pooled, choice)
        adds = turn == 3
        refuses = torch.where(choice == own, adds.float(), step.refuses)
        added = directions[choice] * (adds & ~step.refuses.bool())[:, None]
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        with _without(step, directions[choice] * ~adds[:, None]), _with(step, added, layer):
            hidden = step.model.model(ids, use_cache=False).last_hidden_state
        logits = step.model.lm_head(hidden[torch.arange(len(ids)), step.last])
        return step.side(logits, refuses)

    return demand


def _means(step: Step, groups: Groups, layer: int) -> tuple[Tensor, Tensor]:
    """Each group's mean difference, harmful minus harmless, at the last position; and each prompt's group."""
    stream = step.clean.stream[:, -1]
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
    """Projects each row's direction out of every write to the stream."""
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
    """Adds each row's direction to the input of a layer, at all positions."""
    block = step.model.model.layers[layer]
    handle = block.register_forward_pre_hook(lambda _, args: (args[0] + directions[:, None], *args[1:]))
    try:
        yield
    finally:
        handle.remove()


def axes_of(number: int, width: int) -> Tensor:
    """Fixed orthonormal directions, one a row."""
    drawn = torch.randn(width, number, generator=torch.Generator().manual_seed(0))
    basis: Tensor = torch.linalg.qr(drawn).Q
    return basis.T
