"""Computes directions in the residual stream from their recipes, by reading the model; nothing is edited."""

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
"""Which prompts enter a mean, decided by their next-token logits."""


def vectors(model: ChatModel, direction: Direction) -> Float[Tensor, "rank width"]:
    """The direction as rows that span it, in float64.

    Given vectors, and what heads write, keep their length; all other rows are as long as the difference of means.
    """
    if direction.method == "given":
        width = model.sizes.d_model
        if not direction.vectors or any(len(row) != width for row in direction.vectors):
            raise AssayError(f"{model.name}: its stream is {width} wide, so a direction needs rows of {width} numbers")
        return torch.tensor(direction.vectors, dtype=torch.float64)
    if not 0 <= direction.layer < model.sizes.layers:
        raise AssayError(
            f"{model.name}: has no layer {direction.layer} to take a direction from; it has {model.sizes.layers} "
            "layers, counted from 0"
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
            # A normal mixture of the deviations has their covariance, up to a scale.
            deviations = torch.cat([harmful - harmful.mean(0), harmless - harmless.mean(0)])
            rows = torch.randn(direction.rank, len(deviations), generator=generator, dtype=torch.float64) @ deviations
    if direction.method in ("isotropic", "matched"):
        # Orthogonal to the difference of means, as random circuits share no site with the judged circuit.
        unit = functional.normalize(difference, dim=0)
        rows = rows - (rows @ unit)[:, None] * unit
    return functional.normalize(rows, dim=-1).mul(difference.norm())


def basis(rows: Float[Tensor, "rank width"]) -> Float[Tensor, "rank width"]:
    """Orthonormal rows with the same span: fewer if rows depend on one another, none if all are zero."""
    _, lengths, orthonormal = torch.linalg.svd(rows, full_matrices=False)
    spanning: Tensor = orthonormal[lengths > lengths.max() * len(lengths) * torch.finfo(rows.dtype).eps]
    return spanning


def differences(
    model: ChatModel, prompts: tuple[Sequence[str], Sequence[str]], positions: Sequence[int], keep: tuple[Keep, Keep]
) -> tuple[Float[Tensor, "layer position width"], tuple[list[bool], list[bool]]]:
    """Harmful minus harmless means of each layer's input, and which prompts of each side were kept.

    `prompts` and `keep` are of harmful and of harmless prompts, in this order.
    """
    hooks = [Site(layer, "resid_pre").hook for layer in range(model.sizes.layers)]
    (harmful, harmful_kept), (harmless, harmless_kept) = (
        means_of(model, side, hooks, keep_side) for side, keep_side in zip(prompts, keep, strict=True)
    )
    at = list(positions)
    return torch.stack([harmful[hook][at] - harmless[hook][at] for hook in hooks]), (harmful_kept, harmless_kept)


def projections(
    model: ChatModel, prompts: Sequence[str], row: Float[Tensor, " width"], position: int = -1
) -> Float[Tensor, "prompt layer"]:
    """Each prompt's projection on the unit direction, in the stream that enters each layer and leaves the last."""
    sites = [Site(layer, "resid_pre", position=position) for layer in range(model.sizes.layers)]
    sites.append(Site(model.sizes.layers - 1, "resid_post", position=position))
    streams = model.read(prompts, sites)
    unit = functional.normalize(row, dim=0)
    return torch.stack([streams[site].double() @ unit for site in sites], 1)


def means(model: ChatModel, prompts: Sequence[str], hooks: Sequence[str]) -> dict[str, Float[Tensor, "position ..."]]:
    """Mean activations at each position from the end, over the prompts long enough to have it; in float64."""
    return means_of(model, prompts, hooks, every)[0]


def every(logits: Float[Tensor, "row vocabulary"]) -> Bool[Tensor, " row"]:
    """Keeps every prompt."""
    return torch.ones(len(logits), dtype=torch.bool, device=logits.device)


def means_of(
    model: ChatModel, prompts: Sequence[str], hooks: Sequence[str], keep: Keep
) -> tuple[dict[str, Float[Tensor, "position ..."]], list[bool]]:
    """`means` over the prompts that `keep` accepts by their next-token logits, and which prompts these are."""
    encoded = model.encode(prompts)
    longest = max(map(len, encoded))
    counts = torch.zeros(longest, dtype=torch.float64)
    totals: dict[str, Tensor] = {}

    def work(batch: Batch) -> list[bool]:
        activations, logits = model.activations(batch, hooks)
        kept = keep(logits[:, 0])
        mask = batch.mask & kept[:, None]
        start = longest - mask.shape[1]
        sums = {}
        for name, activation in activations.items():
            real = mask.view(*mask.shape, *[1] * (activation.dim() - 2))
            # On the CPU, because MPS has no float64.
            sums[name] = activation.masked_fill(~real, 0).cpu().double().sum(0)
        # Added only after the whole batch has been summed: where memory runs out before that, the batch is run again.
        counts[start:] += mask.sum(0).cpu()
        for name, total in sums.items():
            totals.setdefault(name, total.new_zeros(longest, *total.shape[1:]))[start:] += total
        return [bool(keep_row) for keep_row in kept]

    kept = model.in_batches(encoded, work)
    return {name: total / counts.view(-1, *[1] * (total.dim() - 1)) for name, total in totals.items()}, kept


def _streams(model: ChatModel, prompts: Sequence[str], direction: Direction) -> Float[Tensor, "prompt width"]:
    if not prompts:
        raise AssayError(f"a direction by {direction.method!r} needs harmful and harmless prompts; give both")
    site = Site(direction.layer, "resid_pre", position=direction.position)
    return model.remembered((site, tuple(prompts)), lambda: model.read(prompts, [site])[site].double())


def _principal(
    direction: Direction, harmful: Float[Tensor, "pair width"], harmless: Float[Tensor, "pair width"]
) -> Float[Tensor, "rank width"]:
    """The leading right singular vectors of the differences between pairs, which are not centred.

    Centring would subtract what all pairs have in common, which is what is looked for (repeng's `pca_diff`).
    """
    if len(harmful) != len(harmless):
        raise AssayError(
            f"a 'principal' direction needs pairs, but there are {len(harmful)} harmful and {len(harmless)} harmless "
            "prompts; give equally many"
        )
    if direction.rank > len(harmful):
        raise AssayError(
            f"a subspace of rank {direction.rank} needs at least {direction.rank} pairs, not {len(harmful)}; give more"
        )
    leading: Tensor = torch.linalg.svd(harmful - harmless, full_matrices=False)[2][: direction.rank]
    return leading


def _written_by_heads(model: ChatModel, direction: Direction) -> Float[Tensor, " width"]:
    """The sum of what a circuit's heads write, harmful mean minus harmless mean."""
    circuit = direction.circuit
    if circuit is None or any(site.kind != "head" for site in circuit.sites):
        raise AssayError("a direction by 'heads' needs a circuit that holds heads alone")
    if model.architecture.normalizes_writes:
        raise AssayError(
            f"{model.name}: normalises attention's output, so its heads write no sum of contributions; use another "
            "method"
        )
    model.check(circuit.sites)
    total = torch.zeros(model.sizes.d_model, dtype=torch.float64)
    for layer in sorted({site.layer for site in circuit.sites}):
        site = Site(layer, "head", position=direction.position)
        harmful, harmless = (
            model.read(prompts, [site])[site].double().mean(0) for prompts in (direction.harmful, direction.harmless)
        )
        indices = [site.index for site in circuit.sites if site.layer == layer]
        chosen = torch.zeros(model.sizes.heads, 1, dtype=torch.float64)
        chosen[slice(None) if None in indices else indices] = 1
        change = ((harmful - harmless) * chosen).flatten().to(model.loaded.dtype).to(model.device)
        write = attention_writer(model.blocks[layer])
        with torch.no_grad():
            total += (write(change[None, None]) - write(torch.zeros_like(change)[None, None]))[0, 0].cpu().double()
    return total
