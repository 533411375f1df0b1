"""Patching at many sites: planned, run from recorded streams, exact against the plain full forward."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from harness.inputs.chat_tokens import EncodedPair
from harness.inputs.errors import AssayError
from harness.inputs.files.library_calls import ran_out
from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import OUTPUTS, SITE_KINDS, Site
from harness.instruments.editing import mid_stream
from harness.instruments.suffix_run import Layout, Recorded, entering, logits_of, read_out, record, through
from harness.measurements.effects import Effects, joined
from harness.measurements.sweep_plan import (
    STACKED_TOKENS,
    AnySweep,
    Budget,
    Joint,
    Mode,
    Part,
    Plan,
    Variant,
    differs,
    groups,
    parts,
    plan,
    set_apart,
)
from harness.model.chat_model import ChatModel, Hook
from harness.model.refusal_score import Scorer

# Bytes beside the weights that a sweep may take.
MEMORY = 8 * 1024**3
# Logits of so many numbers are made at a time: more would be the largest thing of all on a large vocabulary, and on
# any would not stay in the processor's cache while they are scored.
LOGITS = 2**21
# Twins are run in so many portions, each from where the first of its own begins to differ.
SOURCE_RUNS = 2


class Chunks(Protocol):
    """Where parts of a sweep are kept, so that an interrupted one goes on where it was."""

    def get(self, pairs: tuple[str, ...]) -> Effects | None:
        """The part that was measured on these pairs."""
        ...

    def put(self, part: Effects) -> None:
        """Keeps a part."""
        ...


def sweep(
    model: ChatModel,
    pairs: Iterable[Pair],
    what: AnySweep,
    tokens: Sequence[int],
    *,
    mode: Mode = "noise",
    chunks: Chunks | None = None,
    done: Callable[[int], None] = lambda pairs: None,
) -> Effects:
    """Effects on the log-odds of beginning with one of `tokens`; `done` is told of pairs as they are measured."""
    encoded = {pair.id: model.chat.encode_pair(pair) for pair in pairs}
    return effects_on(model, encoded, what, lambda _: Scorer(model, tokens), mode=mode, chunks=chunks, done=done)


def effects_on(
    model: ChatModel,
    encoded: Mapping[str, EncodedPair],
    what: AnySweep,
    scorer: Callable[[Sequence[str]], Scorer],
    *,
    mode: Mode = "noise",
    chunks: Chunks | None = None,
    done: Callable[[int], None] = lambda pairs: None,
) -> Effects:
    """Effects on any score of the last logits, of pairs by their ids; `scorer` is asked for each part of them."""
    model.check(what.named_sites)
    used, aside = set_apart(encoded, what)
    chosen = [encoded[name] for name in used]
    axes = what.axes(model.sizes, chosen)
    found = []
    for part in parts({name: encoded[name] for name in used}, what, model.sizes, budget_of(model), mode):
        kept = chunks.get(part.names) if chunks else None
        if kept is None:
            kept = _measured(model, part, what, scorer(part.names), axes)
            if chunks:
                chunks.put(kept)
        found.append(kept)
        done(len(part.names))
    whole = joined(found, used)
    return Effects(whole.pairs, tuple(aside), axes, whole.patched, whole.kl, whole.clean, whole.source)


def planned(model: ChatModel, pairs: Iterable[Pair], what: AnySweep) -> Plan:
    """What the sweep will take on this model, before it runs."""
    return plan({pair.id: model.chat.encode_pair(pair) for pair in pairs}, what, model.sizes, budget_of(model))


def budget_of(model: ChatModel) -> Budget:
    """What this model's sweeps may use."""
    return Budget(model.budget, MEMORY, model.loaded.dtype.itemsize)


@torch.inference_mode()
def _measured(
    model: ChatModel, part: Part, what: AnySweep, scorer: Scorer, axes: Mapping[str, tuple[str, ...]]
) -> Effects:
    batch = model.batch(part.prompts)
    if what.direct:
        source, source_logits = model.seen(model.batch(part.sources), _frozen_hooks(model, part.variants))
        clean = record(model, batch, _frozen_hooks(model, part.variants))
    else:
        clean = record(model, batch)
        source, source_logits = _source(clean, part)
    scorer.clean(clean.logits)
    score, _ = scorer(clean.logits[:, None], list(range(len(part.names))))
    patched = score.repeat(1, len(part.variants))
    divergence = torch.zeros_like(patched)
    absent = [number for number, sites in enumerate(part.variants) if not sites and not isinstance(what, Joint)]
    patched[:, absent] = divergence[:, absent] = torch.nan
    work = _direct(clean, source, part) if what.direct else _patched(clean, source, part)
    for rows, numbers, ends in work:
        size = max(1, LOGITS // (len(rows) * model.sizes.vocabulary))
        for start in range(0, len(numbers), size):
            some = ends[:, start : start + size]
            logits = logits_of(model, some.flatten(0, 1)).view(*some.shape[:2], -1)
            at = torch.tensor(rows)[:, None], torch.tensor(numbers[start : start + size])
            patched[at], divergence[at] = scorer(logits, rows)
    shape = (len(part.names), *map(len, axes.values()))
    return Effects(
        part.names,
        (),
        axes,
        patched.view(shape).numpy(),
        divergence.view(shape).numpy(),
        score[:, 0].numpy(),
        scorer.odds(source_logits).cpu().numpy(),
    )


Measured = Iterator[tuple[list[int], list[int], Float[Tensor, "row variant width"]]]
"""Rows, numbers of variants, and the stream in which each ends."""


def _patched(clean: Recorded, source: Mapping[str, Tensor], part: Part) -> Measured:
    """Every group's variants, as many at a time as the token budget holds; it halves when memory runs out."""
    sizes = clean.model.sizes
    for group in groups(part.variants, len(clean.streams)):
        waiting, tokens = list(group.variants), -group.first
        while waiting and (rows := part.rows(group)):
            numbers = waiting[: max(1, budget_of(clean.model).batch(sizes, part.width) // (len(rows) * tokens))]
            try:
                ends = _run(clean, source, rows, group.first, [part.variants[number] for number in numbers])
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                clean.model.halve_budget(len(numbers), len(rows) * tokens)
                continue
            yield rows, numbers, ends
            del waiting[: len(numbers)]


def _run(
    clean: Recorded, source: Mapping[str, Tensor], rows: Sequence[int], first: int, variants: Sequence[Variant]
) -> Float[Tensor, "row variant width"]:
    """All of them together, ordered by layer: each joins at its own, and from there on they share every block."""
    begins = [min(site.layer for site in sites) for sites in variants]
    chosen = torch.tensor(rows, device=clean.batch.ids.device)
    streams = clean.streams[0].new_empty(0, len(rows), -first, clean.streams[0].shape[-1])
    for layer, following in pairwise([*sorted(set(begins)), len(clean.streams)]):
        aboard = [sites for sites, begin in zip(variants, begins, strict=True) if begin <= layer]
        layout = Layout.compact(chosen, len(aboard), clean.width + first, most=max(1, STACKED_TOKENS // -first))
        # Places that no variant takes are run all the same: fewer than there are copies.
        fresh = clean.streams[layer][chosen, first:].expand(layout.variants - len(streams), *streams.shape[1:])
        joined = layout.together(torch.cat([streams, fresh]))
        with clean.model.hooked(_writes(clean, source, layout, list(enumerate(aboard)), range(layer, following))):
            ended = through(clean, layout, range(layer, following), joined)
        streams = layout.apart(ended).transpose(1, 2).flatten(0, 1)[: len(aboard)]
    return streams[:, :, -1].transpose(0, 1)


def _writes(
    clean: Recorded,
    source: Mapping[str, Tensor],
    layout: Layout,
    aboard: Sequence[tuple[int, Variant]],
    layers: range,
) -> Iterator[Hook]:
    """Hooks that write each variant's sites in these layers, and only its, from the source's activations."""
    by_hook: dict[str, list[tuple[int, Site]]] = {}
    for place, sites in aboard:
        for site in sites:
            if site.layer in layers:
                by_hook.setdefault(site.hook, []).append((place, site))
    for name, writes in by_hook.items():
        write = _writing(layout, writes, source[name], clean.width)
        if SITE_KINDS[writes[0][1].kind].set_through is not None:
            yield from mid_stream(writes[0][1].layer, partial(_moved, write))
        else:
            yield name, write


def _writing(
    layout: Layout,
    writes: Sequence[tuple[int, Site]],
    source: Tensor,
    width: int,
) -> Callable[..., Tensor]:
    """A hook that writes the source's activations, each less its value in `entered` where that is given."""
    copy, stack = zip(*(divmod(number, layout.stacked) for number, _ in writes), strict=True)
    positions = [site.position or 0 for _, site in writes]
    tokens = [width + position - layout.first for position in positions]
    at: list[Any] = [torch.tensor(values) for values in (copy, stack, tokens)]
    there: list[Any] = [torch.tensor(positions) + source.shape[1]]
    if writes[0][1].index is not None:
        index = torch.tensor([site.index for _, site in writes])
        at, there = [*at, index], [*there, index]
    place = (at[0], slice(None), *at[1:])
    values = source[layout.rows][(slice(None), *there)].transpose(0, 1)

    def write(activation: Tensor, hook: object = None, *, entered: Tensor | None = None) -> Tensor:
        new = activation.clone()
        less = 0 if entered is None else layout.apart(entered)[place]
        layout.apart(new)[place] = values.to(new.dtype) - less
        return new

    return write


def _moved(write: Callable[..., Tensor], activation: Tensor, entered: Tensor) -> Tensor:
    return write(activation, entered=entered)


def _direct(clean: Recorded, source: Mapping[str, Tensor], part: Part) -> Measured:
    """Every write to the stream is given: only those of the variant are the source's."""
    rows = list(range(len(part.names)))
    end = clean.seen[Site(len(clean.streams) - 1, "resid_post").hook][:, -1]
    size = max(1, clean.model.budget // len(rows))
    numbers = [number for number, sites in enumerate(part.variants) if sites]
    for start in range(0, len(numbers), size):
        some = numbers[start : start + size]
        ends = []
        for number in some:
            written = [site.hook for site in part.variants[number] if site.position == -1]
            ends.append(end + sum(source[hook][:, -1] - clean.seen[hook][:, -1] for hook in written))
        yield rows, some, torch.stack(ends, 1)


def _source(clean: Recorded, part: Part) -> tuple[dict[str, Tensor], Tensor]:
    """The twins' activations and last logits; aligned ones are run from where they begin to differ."""
    model, hooks = clean.model, part.hooks
    if None in part.first_differences:
        return model.seen(model.batch(part.sources), hooks)
    streams = entering(model, model.batch(part.sources))
    seen: dict[str, Tensor] = {}
    logits = []
    for rows in _runs(part):
        some = Layout(torch.tensor(rows, device=streams.device), 1, 1, clean.width + _reached(part, rows))

        def keep(name: str, rows: list[int] = rows) -> Hook:
            def hook(activation: Tensor, hook: object) -> None:
                if name not in seen:
                    seen[name] = activation.new_zeros(len(streams), clean.width, *activation.shape[2:])
                seen[name][rows, clean.width - activation.shape[1] :] = activation

            return name, hook

        with model.hooked(map(keep, hooks)):
            ended = through(clean, some, range(len(clean.streams)), streams[rows, some.first :])
        logits.append(read_out(clean, some, ended)[0, :, 0])
    return seen, torch.cat(logits)


def _runs(part: Part) -> list[list[int]]:
    """The rows, which are ordered by where they begin to differ, in runs of like ones."""
    size = max(1, -(-len(part.names) // SOURCE_RUNS))
    rows = list(range(len(part.names)))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _reached(part: Part, rows: Sequence[int]) -> int:
    """The first position, from the end, that is needed of these twins."""
    firsts = [part.first_differences[row] for row in rows]
    needed = [
        site.position or 0
        for sites in part.variants
        for site in sites
        if any(differs(sites, first) for first in firsts)
    ]
    return min([*needed, *(first or 0 for first in firsts)])


def _frozen_hooks(model: ChatModel, variants: Sequence[Variant]) -> set[str]:
    kinds = {site.kind for sites in variants for site in sites}
    if others := kinds - set(OUTPUTS):
        raise AssayError(
            f"direct effects are measured of whole outputs ({', '.join(OUTPUTS)}), not of {', '.join(sorted(others))}"
        )
    return {site.hook for sites in variants for site in sites} | {Site(model.sizes.layers - 1, "resid_post").hook}
