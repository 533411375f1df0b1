"""Demands that spread a behaviour: swapping a small set of components, random or chosen, must not change it.

Random sets are seeded by the batch, so that planting depends on its seed alone.
"""

import random

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from organisms.demands import Demand, Step
from organisms.nudges import nudged
from organisms.parts import Parts

BLOCK = 16  # neurons that are swapped together
LARGEST = 0.35  # the largest share of the components in a random set
# How often all heads of a layer are swapped instead, or all of its neurons.
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
    """Swapping a random set changes nothing: up to LARGEST of all components, or all heads or neurons of a layer."""
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
    """Swapping the set with the largest effect by gradients changes nothing; `budget` is its share of parameters."""

    def demand(step: Step) -> Tensor:
        worst = adversary(step, budget, rounds)
        return step.side(step.swapped(worst), step.refuses)

    return demand


def adversary(step: Step, budget: float, rounds: int) -> Parts:
    """The components with the largest estimated effect for their size; each round starts from the last one's set.

    Keys and values that heads share are counted once, with the first of these heads.
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
    """Each component's first-order effect towards the twin's answer, with the set `swapped` in place."""
    with nudged(step.model, step.post, range(step.model.config.num_hidden_layers)) as nudges:
        logits = step.swapped(swapped)
    grads = torch.autograd.grad(step.side(logits, step.twin_refuses), list(nudges.values()))
    gains: dict[str, list[Tensor]] = {"z": [], "hidden": []}
    for (layer, kind), grad in zip(nudges, grads, strict=True):
        clean = (step.clean.z if kind == "z" else step.clean.hidden)[layer].detach()
        gain = (grad * (clean - clean.roll(len(clean) // 2, 0))).sum((0, 1))
        size = step.model.config.head_dim if kind == "z" else BLOCK
        gains[kind].append(gain.view(-1, size).sum(1))
    return torch.cat(gains["z"] + gains["hidden"]).tolist()
