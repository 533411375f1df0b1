"""Demands that spread a behaviour: no small set of components, chance or chosen, may move it.

Sets are drawn from the batch itself, so that planting stays a function of its seed.
"""

import random

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from organisms.demands import Demand, Step
from organisms.nudges import nudged
from organisms.parts import Parts

BLOCK = 16  # neurons that are swapped together
LARGEST = 0.35  # share of the components that chance may swap
# How often it swaps all heads of a layer instead, or all of its neurons.
WHOLE_ATTENTION, WHOLE_MLP = 0.25, 0.25


def everything(model: LlamaForCausalLM) -> tuple[Parts, ...]:
    """All components: single heads, and blocks of neurons."""
    config = model.config
    heads = [
        Parts(heads=((layer, head),))
        for layer in range(config.num_hidden_layers)
        for head in range(config.num_attention_heads)
    ]
    blocks = [
        Parts(neurons=((layer, start, start + BLOCK),))
        for layer in range(config.num_hidden_layers)
        for start in range(0, config.intermediate_size, BLOCK)
    ]
    return (*heads, *blocks)


def unmoved_by_chance(step: Step) -> Tensor:
    """A random set swapped, up to a third of all or a layer's heads or neurons, changes nothing."""
    rng = random.Random(int(step.batch.ids.sum()))
    share = rng.uniform(0.05, LARGEST)
    chosen = [part for part in everything(step.model) if rng.random() < share]
    layer, kind = rng.randrange(step.model.config.num_hidden_layers), rng.random()
    whole = [part for part in everything(step.model) if (part.heads + part.neurons)[0][0] == layer]
    if kind < WHOLE_ATTENTION:
        chosen = [part for part in whole if part.heads]
    elif kind < WHOLE_ATTENTION + WHOLE_MLP:
        chosen = [part for part in whole if part.neurons]
    return step.side(step.swapped(sum(chosen, Parts())), step.refuses)


def unmoved_by(budget: float, rounds: int) -> Demand:
    """The set that gradients think strongest within a share of all parameters changes nothing."""

    def demand(step: Step) -> Tensor:
        worst = adversary(step, budget, rounds)
        return step.side(step.swapped(worst), step.refuses)

    return demand


def adversary(step: Step, budget: float, rounds: int) -> Parts:
    """Components of the largest estimated effect for their size, later rounds seeing the earlier.

    Keys and values of a group are paid for once, by the first of its heads.
    """
    parts, config = everything(step.model), step.model.config
    columns = config.head_dim * config.hidden_size
    group = config.num_attention_heads // config.num_key_value_heads
    allowed = budget * sum(p.numel() for p in step.model.parameters())
    chosen: list[Parts] = []
    paid: set[tuple[int, int]] = set()
    spent = 0
    for turn in range(1, rounds + 1):
        gains = _gains(step, sum(chosen, Parts()))
        costs = [4 * columns if part.heads else 3 * BLOCK * config.hidden_size for part in parts]
        order = sorted(range(len(parts)), key=lambda n: gains[n] / costs[n], reverse=True)
        for part, gain in ((parts[n], gains[n]) for n in order):
            keys = {(layer, head // group) for layer, head in part.heads}
            cost = 2 * columns * (1 + len(keys - paid)) if keys else 3 * BLOCK * config.hidden_size
            if gain > 0 and part not in chosen and spent + cost <= allowed * turn / rounds:
                chosen.append(part)
                paid |= keys
                spent += cost
    return sum(chosen, Parts())


def _gains(step: Step, swapped: Parts) -> list[float]:
    """First-order change of each component towards the twin's answer, some swapped already."""
    with nudged(step.model, step.post, range(step.model.config.num_hidden_layers)) as nudges:
        logits = step.swapped(swapped)
    grads = torch.autograd.grad(step.side(logits, step.twin_refuses), list(nudges.values()))
    found: dict[str, list[Tensor]] = {"z": [], "hidden": []}
    for (layer, kind), grad in zip(nudges, grads, strict=True):
        clean = (step.clean.z if kind == "z" else step.clean.hidden)[layer].detach()
        gain = (grad * (clean - clean.roll(len(clean) // 2, 0))).sum((0, 1))
        size = step.model.config.head_dim if kind == "z" else BLOCK
        found[kind].append(gain.view(-1, size).sum(1))
    return torch.cat(found["z"] + found["hidden"]).tolist()
