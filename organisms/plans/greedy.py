"""A greedy search for the strongest small circuit, by exact joint swaps."""

from collections.abc import Iterator, Sequence

import torch

from organisms.proof import Columns, Prover, Site, union

Part = tuple[Site, int, int]  # a head or some neurons: site, first column, one past the last
# The share of all parameters that a small circuit may own.
SMALL = 0.05
# The number of single neurons that are tried, and how many are added at a time.
CANDIDATES, AT_ONCE = 200, 12


def all_parts(prover: Prover, neurons: int) -> tuple[list[Part], list[Part]]:
    """All heads, and all blocks of so many neurons."""
    size = prover.model.config.head_dim
    heads = [((layer, kind), n, n + size) for (layer, kind), width in _widths(prover) for n in range(0, width, size)]
    runs = [(site, n, n + neurons) for site, width in _widths(prover) for n in range(0, width, neurons)]
    return [part for part in heads if part[0][1] == "z"], [part for part in runs if part[0][1] == "hidden"]


def cost(prover: Prover, parts: Sequence[Part]) -> int:
    """How many parameters the parts own; keys and values that heads share are counted whole, once."""
    config = prover.model.config
    sharing = config.head_dim * config.num_attention_heads // config.num_key_value_heads
    heads = [(layer, start) for (layer, kind), start, _ in parts if kind == "z"]
    groups = {(layer, start // sharing) for layer, start in heads}
    neurons = sum(stop - start for (_, kind), start, stop in parts if kind == "hidden")
    owned: int = config.hidden_size * (2 * config.head_dim * (len(heads) + len(groups)) + 3 * neurons)
    return owned


def columns_of(prover: Prover, parts: Sequence[Part]) -> Columns:
    """The columns of all the parts."""
    columns: dict[Site, torch.Tensor] = {}
    for site, start, stop in parts:
        columns.setdefault(site, torch.zeros(prover.clean[site].shape[-1], dtype=torch.bool))[start:stop] = True
    return columns


def growing(
    prover: Prover, parts: Sequence[Part], share: float, at_once: int = 1
) -> Iterator[tuple[list[Part], float]]:
    """Growing circuits and their E: each adds the parts that help most, up to a share of all parameters."""
    budget = share * sum(parameter.numel() for parameter in prover.model.parameters())
    chosen: list[Part] = []
    while left := [p for p in parts if p not in chosen and cost(prover, [*chosen, p]) <= budget]:
        now = columns_of(prover, chosen)
        left.sort(key=lambda part: -prover.effect(union(now, columns_of(prover, [part]))))
        for part in left[:at_once]:
            if cost(prover, [*chosen, part]) <= budget:
                chosen.append(part)
        yield list(chosen), prover.effect(columns_of(prover, chosen))


def strongest(prover: Prover, parts: Sequence[Part], share: float, at_once: int = 1) -> Columns:
    """The circuit with the largest E that the greedy search passes."""
    best, _ = max(growing(prover, parts, share, at_once), key=lambda circuit: circuit[1])
    return columns_of(prover, best)


def small_circuits(prover: Prover) -> dict[str, Columns]:
    """The strongest circuits under SMALL of the parameters: of heads and blocks, heads and neurons, and heads."""
    heads, blocks = all_parts(prover, neurons=32)
    single = all_parts(prover, neurons=1)[1]
    best = sorted(single, key=lambda part: -prover.effect(columns_of(prover, [part])))[:CANDIDATES]
    return {
        "blocks": strongest(prover, heads + blocks, SMALL),
        "neurons": strongest(prover, heads + best, SMALL, AT_ONCE),
        "heads": strongest(prover, heads, SMALL),
    }


def _widths(prover: Prover) -> list[tuple[Site, int]]:
    return [(site, own.shape[-1]) for site, own in prover.clean.items()]
