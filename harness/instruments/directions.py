"""Directions in the residual stream: found from a recipe, by reading the model and never editing it."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from harness.inputs.errors import AssayError
from harness.inputs.sites import Site
from harness.measurements.interventions import Direction
from harness.model.architecture import attention_writer
from harness.model.chat_model import Batch, ChatModel

Keep = Callable[[Float[Tensor, "row vocabulary"]], Bool[Tensor, " row"]]
"""Which prompts count, by their next-token logits."""


def vectors(model: ChatModel, direction: Direction) -> Float[Tensor, "rank width"]:
    """The direction, or the rows that span the subspace, in float64; rows are as long as the mean difference."""
    if direction.method == "given":
        width = model.sizes.d_model
        if not direction.vectors or any(len(row) != width for row in direction.vectors):
            raise AssayError(f"{model.name}: its stream is {width} wide, the direction given is not")
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
            rows = _principal(direction, harmful, harmless)
            rows = rows * torch.where(rows @ difference < 0, -1.0, 1.0)[:, None]
        case "isotropic":
            rows = torch.randn(direction.rank, len(difference), generator=generator, dtype=torch.float64)
        case "matched":
            # A random mixture of deviations has their covariance.
            spread = torch.cat([harmful - harmful.mean(0), harmless - harmless.mean(0)])
            rows = torch.randn(direction.rank, len(spread), generator=generator, dtype=torch.float64) @ spread
    if direction.method in ("isotropic", "matched"):
        # As random circuits share nothing with the one that is judged, so random directions.
        unit = functional.normalize(difference, dim=0)
        rows = rows - (rows @ unit)[:, None] * unit
    return functional.normalize(rows, dim=-1).mul(difference.norm())


def basis(rows: Float[Tensor, "rank width"]) -> Float[Tensor, "rank width"]:
    """Orthonormal rows that span the same: fewer where some depend on others, none where all are zero."""
    _, lengths, orthonormal = torch.linalg.svd(rows, full_matrices=False)
    spanning: Tensor = orthonormal[lengths > lengths.max() * len(lengths) * torch.finfo(rows.dtype).eps]
    return spanning


def differences(
    model: ChatModel, prompts: tuple[Sequence[str], Sequence[str]], positions: Sequence[int], keep: tuple[Keep, Keep]
) -> tuple[Float[Tensor, "layer position width"], tuple[list[bool], list[bool]]]:
    """Harmful minus harmless means of the stream that enters each layer, and which prompts of each were kept."""
    hooks = [Site(layer, "resid_pre").hook for layer in range(model.sizes.layers)]
    (ours, some), (theirs, others) = (
        means_of(model, side, hooks, one) for side, one in zip(prompts, keep, strict=True)
    )
    found = torch.stack([ours[hook][list(positions)] - theirs[hook][list(positions)] for hook in hooks])
    return found, (some, others)


def projections(
    model: ChatModel, prompts: Sequence[str], row: Float[Tensor, " width"], position: int = -1
) -> Float[Tensor, "prompt layer"]:
    """How far each prompt's stream goes along a direction, at what enters each layer and at the end of the last."""
    sites = [Site(layer, "resid_pre", position=position) for layer in range(model.sizes.layers)]
    sites.append(Site(model.sizes.layers - 1, "resid_post", position=position))
    streams = model.read(prompts, sites)
    unit = functional.normalize(row, dim=0)
    return torch.stack([streams[site].double() @ unit for site in sites], 1)


def means(model: ChatModel, prompts: Sequence[str], hooks: Sequence[str]) -> dict[str, Float[Tensor, "position ..."]]:
    """Mean activations at each position, counted from the end, over the prompts that have it; in float64."""
    return means_of(model, prompts, hooks, every)[0]


def every(logits: Float[Tensor, "row vocabulary"]) -> Bool[Tensor, " row"]:
    """Keeps every prompt."""
    return torch.ones(len(logits), dtype=torch.bool, device=logits.device)


def means_of(
    model: ChatModel, prompts: Sequence[str], hooks: Sequence[str], keep: Keep
) -> tuple[dict[str, Float[Tensor, "position ..."]], list[bool]]:
    """The means over those prompts whose next-token logits are kept, and which they are: one run for both."""
    encoded = model.encode(prompts)
    longest = max(map(len, encoded))
    counts = torch.zeros(longest, dtype=torch.float64)
    totals: dict[str, Tensor] = {}

    def work(batch: Batch) -> list[bool]:
        seen, logits = model.seen(batch, hooks)
        kept = keep(logits)
        mask = batch.mask & kept[:, None]
        longer = longest - mask.shape[1]
        sums = {}
        for name, activation in seen.items():
            real = mask.view(*mask.shape, *[1] * (activation.dim() - 2))
            # On the CPU: not every device knows float64.
            sums[name] = activation.masked_fill(~real, 0).cpu().double().sum(0)
        # Nothing is counted before all is there: where memory runs out, the batch comes again.
        counts[longer:] += mask.sum(0).cpu()
        for name, some in sums.items():
            totals.setdefault(name, some.new_zeros(longest, *some.shape[1:]))[longer:] += some
        return [bool(one) for one in kept]

    kept = model.in_batches(encoded, work)
    found = {name: total / counts.view(-1, *[1] * (total.dim() - 1)) for name, total in totals.items()}
    return found, kept


def _streams(model: ChatModel, prompts: Sequence[str], direction: Direction) -> Float[Tensor, "prompt width"]:
    if not prompts:
        raise AssayError(f"a direction by {direction.method} needs harmful and harmless prompts")
    site = Site(direction.layer, "resid_pre", position=direction.position)
    return model.remembered((site, tuple(prompts)), lambda: model.read(prompts, [site])[site].double())


def _principal(
    direction: Direction, harmful: Float[Tensor, "pair width"], harmless: Float[Tensor, "pair width"]
) -> Float[Tensor, "rank width"]:
    """The subspace that holds most of the paired differences: right singular vectors, not centred.

    Not centred, because what pairs have in common is what is sought (repeng's `pca_diff`).
    """
    if len(harmful) != len(harmless):
        raise AssayError(
            f"principal directions are of pairs; {len(harmful)} harmful prompts have {len(harmless)} harmless ones"
        )
    if direction.rank > len(harmful):
        raise AssayError(f"a subspace of rank {direction.rank} cannot be found from {len(harmful)} pairs; give more")
    leading: Tensor = torch.linalg.svd(harmful - harmless, full_matrices=False)[2][: direction.rank]
    return leading


def _written_by_heads(model: ChatModel, direction: Direction) -> Float[Tensor, " width"]:
    """The mean difference of what a circuit's heads write, summed."""
    circuit = direction.circuit
    if circuit is None or any(site.kind != "head" for site in circuit.sites):
        raise AssayError("a direction by heads needs a circuit of heads")
    if model.architecture.normalizes_writes:
        raise AssayError(f"{model.name}: normalises after its heads, so that they write no sum of contributions")
    model.check(circuit.sites)
    total = torch.zeros(model.sizes.d_model, dtype=torch.float64)
    for layer in sorted({site.layer for site in circuit.sites}):
        site = Site(layer, "head", position=direction.position)
        ours, theirs = (
            model.read(prompts, [site])[site].double().mean(0) for prompts in (direction.harmful, direction.harmless)
        )
        indices = [site.index for site in circuit.sites if site.layer == layer]
        chosen = torch.zeros(model.sizes.heads, 1, dtype=torch.float64)
        chosen[slice(None) if None in indices else indices] = 1
        change = ((ours - theirs) * chosen).flatten().to(model.loaded.dtype).to(model.device)
        write = attention_writer(model.blocks[layer])
        with torch.no_grad():
            total += (write(change[None, None]) - write(torch.zeros_like(change)[None, None]))[0, 0].cpu().double()
    return total
