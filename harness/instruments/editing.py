"""Turns interventions into hooks on a loaded model, the same for scoring, reading and generating."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from transformers.integrations.bitsandbytes import dequantize_bnb_weight

from harness.inputs.chat_tokens import Encoded, EncodedPair
from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import SITE_KINDS, At, Kind, Site
from harness.instruments.directions import basis, means, vectors
from harness.measurements.interventions import Ablate, Add, Intervention, Patch, Remove
from harness.model.architecture import attention_writer, entry_hook, mlp_writer
from harness.model.chat_model import Batch, ChatModel, Edit, Hook


def edit_for(model: ChatModel, intervention: Intervention, *, twins: Sequence[Pair] = ()) -> Edit:
    """The edit that carries out an intervention on this model; its directions and means are computed now.

    `twins` are the prompts' pairs, one for each prompt and in the same order. Patches need them, and so do ablations
    at the words in which pairs differ or at the tokens after these words.
    """
    pairs = tuple(model.chat.encode_pair(pair) for pair in twins)
    edits: list[Edit] = []
    for part in intervention.parts:
        match part:
            case Patch():
                model.check(part.sites)
                kept = None if part.keep is None else basis(vectors(model, part.keep))
                edits.append(_Patched(part, pairs, kept))
            case Ablate():
                model.check(part.circuit.sites)
                edits.append(_Ablated(part, _means(model, part.circuit.sites, part.over), pairs))
            case Remove():
                sites = part.sites(model.sizes.layers)
                model.check(sites)
                rows = basis(vectors(model, part.direction))
                edits.append(_Removed(part, sites, rows, _means(model, sites, part.over)))
            case Add():
                model.check([Site(part.layer, "resid_pre")])
                edits.append(_Added(part, vectors(model, part.direction)[0] * part.scale))
            case _:
                raise AssayError(f"{part!r} is not an intervention; use patch, ablate, remove or add")
    return _Several(tuple(edits))


@contextmanager
def orthogonalized(model: ChatModel, row: Float[Tensor, " width"]) -> Iterator[None]:
    """Inside a `with` block, projects a direction out of every weight that writes to the stream (in memory only).

    Weight orthogonalization (Arditi et al., arXiv 2406.11717, §4.1), on dequantized weights. It equals removal
    everywhere if blocks write nothing but a matrix product; models whose blocks write more are refused.
    """
    if model.architecture.normalizes_writes:
        raise AssayError(
            f"{model.name}: normalises what its blocks write, so orthogonalizing its weights would not remove the "
            "direction; use remove()"
        )
    if model.architecture.biases_writes:
        raise AssayError(
            f"{model.name}: adds biases to the stream, so orthogonalizing its weights would not remove the "
            "direction; use remove()"
        )
    if model.architecture.mixes_experts:
        raise AssayError(f"{model.name}: mixes experts, whose weights cannot be orthogonalized here; use remove()")
    writers = [
        writer.original_component for block in model.blocks for writer in (attention_writer(block), mlp_writer(block))
    ]
    embed = model.embedding.original_component
    changed = [*writers, embed]
    before = [dict(vars(module)) for module in changed]
    unit = functional.normalize(row.double(), dim=0).to(model.device)

    def projected(weight: Float[Tensor, "row width"]) -> Float[Tensor, "row width"]:
        along = weight.double() @ unit
        return torch.addr(weight.double(), along, unit, alpha=-1).to(model.loaded.dtype)

    try:
        for writer in writers:
            weight = dequantize_bnb_weight(writer.weight, getattr(writer, "state", None))
            vars(writer)["forward"] = partial(functional.linear, weight=projected(weight.T).T)
        vars(embed)["forward"] = partial(functional.embedding, weight=projected(embed.weight))
        yield
    finally:
        for module, attributes in zip(changed, before, strict=True):
            vars(module).pop("forward", None)
            vars(module).update(attributes)


@dataclass(frozen=True)
class _Several:
    edits: tuple[Edit, ...]

    def hooks(self, model: ChatModel, batch: Batch) -> Iterator[Hook]:
        for edit in self.edits:
            yield from edit.hooks(model, batch)


@dataclass(frozen=True)
class _Patched:
    """Writes the twin's activations in the prompt; in the answer, if asked, those at the end of the twin's prompt."""

    patch: Patch
    twins: tuple[EncodedPair, ...]
    kept: Float[Tensor, "rank width"] | None = None  # orthonormal

    def hooks(self, model: ChatModel, batch: Batch) -> Iterator[Hook]:
        if not self.patch.sites:
            return
        ours, theirs = _sides(model, batch, self.twins)
        source, _ = model.activations(model.batch(theirs), {site.hook for site in self.patch.sites})
        for (layer, kind, at), indices in _indices_by_place(self.patch.sites, self.patch.at).items():
            self._check(model, batch, at)
            hook = Site(layer, kind).hook
            values, places = _fitted(source[hook], batch), _places(batch, ours, at)
            if self.kept is not None:
                rows = self.kept.float().to(model.device)
                yield hook, partial(_write_beside, rows, places, values, answering=self.patch.answering)
            elif SITE_KINDS[kind].set_through is not None:
                move = partial(_moved, places, values, answering=self.patch.answering)
                yield from mid_stream(layer, move)
            else:
                yield hook, partial(_write, places, values, indices, answering=self.patch.answering)

    def _check(self, model: ChatModel, batch: Batch, at: At) -> None:
        for row in batch.rows:
            if not self.twins[row].aligned and not self.twins[row].after_instruction(at):
                raise AssayError(
                    f"{model.name}: pair {row + 1} is not aligned (equal length, one slot that differs), so only "
                    "positions after the instruction can be patched; use at='post', or aligned pairs"
                )


@dataclass(frozen=True)
class _Ablated:
    """Sets a circuit's activations to their means or to zero."""

    ablate: Ablate
    means: Mapping[str, Tensor]
    twins: tuple[EncodedPair, ...]

    def hooks(self, model: ChatModel, batch: Batch) -> Iterator[Hook]:
        encoded: Sequence[Encoded] = batch.encoded
        if self.ablate.at in ("slot", "later"):
            encoded, _ = _sides(model, batch, self.twins)
        for (layer, kind, at), indices in _indices_by_place(self.ablate.circuit.sites, self.ablate.at).items():
            hook = Site(layer, kind).hook
            places = _places(batch, encoded, at)
            values = _aligned(self.means[hook], batch) if self.means else None
            yield hook, partial(_write, places, values, indices, answering=self.ablate.answering)


@dataclass(frozen=True)
class _Removed:
    """Sets activations' components in a subspace to zero, or to their means."""

    remove: Remove
    sites: tuple[Site, ...]
    rows: Float[Tensor, "rank width"]  # orthonormal
    means: Mapping[str, Tensor]

    def hooks(self, model: ChatModel, batch: Batch) -> Iterator[Hook]:
        for site in self.sites:
            centre = _aligned(self.means[site.hook] @ self.rows.T, batch) if self.means else None
            project = partial(self._project, self.rows.float().to(model.device), centre)
            yield site.hook, _limited(self.remove.answering, batch, project)

    @staticmethod
    def _project(rows: Tensor, centre: Tensor | None, activation: Tensor, hook: object) -> Tensor:
        inside = activation.float() @ rows.T
        if centre is not None:
            # Tokens of the answer get the mean at the prompt's last position.
            inside = inside - (centre if activation.shape[1] == centre.shape[1] else centre[:, -1:])
        return (activation.float() - inside @ rows).to(activation.dtype)


@dataclass(frozen=True)
class _Added:
    """Adds a vector at every position."""

    add: Add
    vector: Float[Tensor, " width"]

    def hooks(self, model: ChatModel, batch: Batch) -> Iterator[Hook]:
        vector = self.vector.to(device=model.device, dtype=model.loaded.dtype)
        site = Site(self.add.layer, "resid_pre")
        yield site.hook, _limited(self.add.answering, batch, lambda activation, hook: activation + vector)


def _limited(
    answering: bool, batch: Batch, edit: Callable[[Tensor, object], Tensor]
) -> Callable[[Tensor, object], Tensor]:
    """`edit` itself if it also holds in the answer; else `edit` on the prompt alone."""
    if answering:
        return edit
    width = batch.ids.shape[1]
    return lambda activation, hook: edit(activation, hook) if activation.shape[1] == width else activation


def _sides(model: ChatModel, batch: Batch, twins: Sequence[EncodedPair]) -> tuple[list[Encoded], list[Encoded]]:
    """The batch's prompts and their twins, both encoded as sides of their pairs."""
    ours, theirs = [], []
    for row, prompt in zip(batch.rows, batch.encoded, strict=True):
        pair = twins[row] if row < len(twins) else None
        if pair is None or prompt.ids not in (pair.harmful.ids, pair.harmless.ids):
            raise AssayError(
                f"{model.name}: prompt {row + 1} is not in pair {row + 1}; patches, and ablations at 'slot' or "
                "'later', need each prompt's own pair, in the order of the prompts"
            )
        sides = (pair.harmful, pair.harmless)
        first, second = sides if prompt.ids == pair.harmful.ids else sides[::-1]
        ours.append(first)
        theirs.append(second)
    return ours, theirs


def _write(
    places: Bool[Tensor, "row position"],
    values: Tensor | None,  # None: zero
    indices: tuple[int, ...] | None,  # None: all
    activation: Tensor,
    hook: object,
    *,
    answering: bool = False,
) -> Tensor:
    """The activation with `values` written at `places`, for these heads or neurons; in the answer too if asked."""
    if activation.shape[1] != places.shape[1]:
        if not answering:
            return activation
        # Tokens of the answer get the value at the prompt's last position.
        places = torch.ones_like(places[:, :1])
        values = None if values is None else values[:, -1:]
    where = places.view(*places.shape, *[1] * (activation.dim() - 2))
    new = torch.zeros_like(activation) if values is None else values.to(activation.dtype).expand_as(activation)
    if indices is None:
        return torch.where(where, new, activation)
    chosen = list(indices)
    written = activation.clone()
    written[:, :, chosen] = torch.where(where, new[:, :, chosen], activation[:, :, chosen])
    return written


def _write_beside(
    rows: Float[Tensor, "rank width"],
    places: Bool[Tensor, "row position"],
    values: Tensor,
    activation: Tensor,
    hook: object,
    *,
    answering: bool,
) -> Tensor:
    """The activation with `values` written at `places`, except in the subspace of `rows`, where it stays."""
    values = values if activation.shape[1] == places.shape[1] else values[:, -1:]
    beside = values + (activation.float() - values.float()) @ rows.T @ rows
    return _write(places, beside, None, activation, hook, answering=answering)


def _moved(
    places: Bool[Tensor, "row position"], values: Tensor, activation: Tensor, entered: Tensor, *, answering: bool
) -> Tensor:
    """Attention's output, changed so that the stream after it has `values` at `places`."""
    if activation.shape[1] == places.shape[1]:
        return _write(places, values - entered, None, activation, None)
    return _write(places, values[:, -1:] - entered, None, activation, None, answering=answering)


def mid_stream(layer: int, moved: Callable[[Tensor, Tensor], Tensor]) -> Iterator[Hook]:
    """Hooks that set the stream between attention and MLP, by changing attention's output.

    `moved` takes attention's output and the block's input, and returns the new output of attention.
    TransformerLens's `hook_resid_mid` feeds only the MLP: setting it would miss the skip path.
    """
    entered: list[Tensor] = []

    def enter(activation: Tensor, hook: object) -> None:
        entered[:] = [activation]

    def move(activation: Tensor, hook: object) -> Tensor:
        return moved(activation, entered[0])

    yield entry_hook(layer), enter
    yield Site(layer, "attn_out").hook, move


def _indices_by_place(sites: Sequence[Site], at: At) -> dict[tuple[int, Kind, At], tuple[int, ...] | None]:
    """The heads or neurons (None: all) to write at each layer, kind and position, in order of depth."""
    by_place: dict[tuple[int, Kind, At], tuple[int, ...] | None] = {}
    # The stream after attention is set through attention's output, so after any other edit of that output.
    for site in sorted(sites, key=lambda site: (site.layer, SITE_KINDS[site.kind].set_through is not None)):
        place = (site.layer, site.kind, at if site.position is None else (site.position,))
        before = by_place.get(place, ())
        by_place[place] = None if site.index is None or before is None else (*before, site.index)
    return by_place


def _places(batch: Batch, encoded: Sequence[Encoded], at: At) -> Bool[Tensor, "row position"]:
    places = torch.zeros_like(batch.mask)
    for row, prompt in enumerate(encoded):
        places[row, list(prompt.positions(at))] = True
    return places


def _fitted(values: Tensor, batch: Batch) -> Tensor:
    """Another batch's activations, cut or zero-padded on the left to this batch's width."""
    missing = batch.ids.shape[1] - values.shape[1]
    if missing <= 0:
        return values[:, -missing:]
    return torch.cat([values.new_zeros(len(values), missing, *values.shape[2:]), values], 1)


def _aligned(means: Tensor, batch: Batch) -> Float[Tensor, "one position *rest"]:
    """The means for this batch's positions; positions before the first that has a mean get that first one."""
    width = batch.ids.shape[1]
    earlier = means[:1].expand(max(0, width - len(means)), *means.shape[1:])
    return torch.cat([earlier, means[-width:]])[None].float().to(batch.ids.device)


def _means(model: ChatModel, sites: Sequence[Site], prompts: Sequence[str]) -> dict[str, Tensor]:
    hooks = tuple(sorted({site.hook for site in sites}))
    return model.remembered((hooks, tuple(prompts)), lambda: means(model, prompts, hooks)) if prompts else {}
