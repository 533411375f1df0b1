"""Directions in the residual stream: found from a recipe, by reading the model and never editing it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from harness.chat import Batch, ChatModel
from harness.errors import AssayError
from harness.interventions import Direction
from harness.sites import Site


def vectors(model: ChatModel, direction: Direction) -> Float[Tensor, "rank width"]:
    """The direction, or the rows that span the subspace, in float64; rows are as long as the mean difference."""
    if direction.method == "given":
        return torch.tensor(direction.vectors, dtype=torch.float64)
    if not 0 <= direction.layer < model.sizes.layers:
        raise AssayError(
            f"{model.name}: has {model.sizes.layers} layers, the direction's layer {direction.layer} is none"
        )
    if direction.method == "heads":
        return _written_by_heads(model, direction)[None]
    harmful, harmless = (_streams(model, prompts, direction) for prompts in (direction.harmful, direction.harmless))
    difference = harmful.mean(0) - harmless.mean(0)
    generator = torch.Generator().manual_seed(direction.seed)
    match direction.method:
        case "difference":
            rows = difference[None]
        case "principal":
            rows = _principal(direction, harmful - harmless)
            rows = rows * torch.where(rows @ difference < 0, -1.0, 1.0)[:, None]
        case "isotropic":
            rows = torch.randn(direction.rank, len(difference), generator=generator, dtype=torch.float64)
        case "matched":
            # A random mixture of deviations has their covariance.
            spread = torch.cat([harmful - harmful.mean(0), harmless - harmless.mean(0)])
            rows = torch.randn(direction.rank, len(spread), generator=generator, dtype=torch.float64) @ spread
    return functional.normalize(rows, dim=-1).mul(difference.norm())


def basis(rows: Float[Tensor, "rank width"]) -> Float[Tensor, "rank width"]:
    """Orthonormal rows that span the same."""
    orthonormal: Tensor = torch.linalg.qr(rows.T)[0]
    return orthonormal.T


def differences(
    model: ChatModel, harmful: Sequence[str], harmless: Sequence[str], positions: Sequence[int]
) -> Float[Tensor, "layer position width"]:
    """Harmful minus harmless means of the stream that enters each layer, summed up in float64."""
    hooks = [Site(layer, "resid_pre").hook for layer in range(model.sizes.layers)]
    ours, theirs = (means(model, prompts, hooks) for prompts in (harmful, harmless))
    return torch.stack([ours[hook][list(positions)] - theirs[hook][list(positions)] for hook in hooks])


def projections(
    model: ChatModel, prompts: Sequence[str], row: Float[Tensor, " width"], position: int = -1
) -> Float[Tensor, "prompt layer"]:
    """How far each prompt's stream goes along a direction, at what enters each layer and at the end of the last."""
    sites = [Site(layer, "resid_pre", position=position) for layer in range(model.sizes.layers)]
    sites.append(Site(model.sizes.layers - 1, "resid_post", position=position))
    streams = model.read(prompts, sites)
    unit = row / row.norm()
    return torch.stack([streams[site].double() @ unit for site in sites], 1)


def means(model: ChatModel, prompts: Sequence[str], hooks: Sequence[str]) -> dict[str, Float[Tensor, "position ..."]]:
    """Mean activations at each position, counted from the end, over the prompts that have it; in float64."""
    encoded = model.encode(prompts)
    longest = max(map(len, encoded))
    counts = torch.zeros(longest, dtype=torch.float64)
    totals: dict[str, Tensor] = {}

    def work(batch: Batch) -> list[None]:
        seen, _ = model.seen(batch, hooks)
        longer = longest - batch.mask.shape[1]
        counts[longer:] += batch.mask.sum(0).cpu()
        for name, activation in seen.items():
            real = batch.mask.view(*batch.mask.shape, *[1] * (activation.dim() - 2))
            # On the CPU: not every device knows float64.
            sums = activation.masked_fill(~real, 0).cpu().double().sum(0)
            totals.setdefault(name, sums.new_zeros(longest, *sums.shape[1:]))[longer:] += sums
        return [None] * len(batch.rows)

    model.in_batches(encoded, work)
    return {name: total / counts.view(-1, *[1] * (total.dim() - 1)) for name, total in totals.items()}


def _streams(model: ChatModel, prompts: Sequence[str], direction: Direction) -> Float[Tensor, "prompt width"]:
    if not prompts:
        raise AssayError(f"a direction by {direction.method} needs harmful and harmless prompts")
    site = Site(direction.layer, "resid_pre", position=direction.position)
    return model.read(prompts, [site])[site].double()


def _principal(direction: Direction, paired: Float[Tensor, "pair width"]) -> Float[Tensor, "rank width"]:
    """The subspace that holds most of the paired differences: right singular vectors, not centred.

    Not centred, because what pairs have in common is what is sought (repeng's `pca_diff`).
    """
    if direction.rank > len(paired):
        raise AssayError(f"a subspace of rank {direction.rank} cannot be found from {len(paired)} pairs; give more")
    leading: Tensor = torch.linalg.svd(paired, full_matrices=False)[2][: direction.rank]
    return leading


def _written_by_heads(model: ChatModel, direction: Direction) -> Float[Tensor, " width"]:
    """The mean difference of what a circuit's heads write, summed."""
    circuit = direction.circuit
    if circuit is None or any(site.kind != "head" for site in circuit.sites):
        raise AssayError("a direction by heads needs a circuit of heads")
    if any(hasattr(block, "ln1_post") for block in model.blocks):
        raise AssayError(f"{model.name}: normalises after its heads, so that they write no sum of contributions")
    total = torch.zeros(model.sizes.d_model, dtype=torch.float64)
    for layer in sorted({site.layer for site in circuit.sites}):
        hook = Site(layer, "head").hook
        ours, theirs = (
            means(model, prompts, [hook])[hook][direction.position]
            for prompts in (direction.harmful, direction.harmless)
        )
        chosen = torch.zeros(model.sizes.heads, 1, dtype=torch.float64)
        chosen[[site.index for site in circuit.sites if site.layer == layer]] = 1
        change = ((ours - theirs) * chosen).flatten().to(model.loaded.dtype).to(model.device)
        write = model.blocks[layer].attn.o
        with torch.no_grad():
            total += (write(change[None, None]) - write(torch.zeros_like(change)[None, None]))[0, 0].cpu().double()
    return total
