"""Sweeps: patches many sites one variant at a time, from one recording, with the numbers of plain full forwards."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
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
from harness.instruments.suffix_run import Layout, Recorded, first_stream, last_logits, logits_of, record, run_blocks
from harness.measurements.effects import Effects, joined
from harness.measurements.openings import FIRST_TOKEN, Opening
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
from harness.model.chat_model import Batch, ChatModel, Hook
from harness.model.refusal_score import Refusing, Scorer, scorer_of

# Bytes that a sweep may take besides the weights.
MEMORY = 8 * 1024**3
# Numbers in the logits computed at a time. With a large vocabulary more of them would outgrow everything else in
# memory; with any vocabulary they would not stay in the processor's cache until they are scored.
LOGITS = 2**21
# In how many portions twins are run, each from the first token in which one of its twins differs from its prompt.
SOURCE_RUNS = 2


class Chunks(Protocol):
    """Storage for finished parts of a sweep, so that an interrupted sweep resumes after the last of them."""

    def get(self, pairs: tuple[str, ...]) -> Effects | None:
        """The stored part for these pairs; None if there is none."""
        ...

    def put(self, part: Effects) -> None:
        """Stores a part."""
        ...


def sweep(
    model: ChatModel,
    pairs: Iterable[Pair],
    swept: AnySweep,
    refusing: Refusing,
    *,
    mode: Mode = "noise",
    chunks: Chunks | None = None,
    done: Callable[[int], None] = lambda pairs: None,
) -> Effects:
    """Effects of every variant on the log-odds of refusing, by the first token or by openings.

    `done` is called with the number of pairs of each part as soon as the part is measured.
    """
    encoded = {pair.id: model.chat.encode_pair(pair) for pair in pairs}
    score = scorer_of(model, refusing)
    return effects_on(model, encoded, swept, lambda _: score, mode=mode, chunks=chunks, done=done)


def effects_on(
    model: ChatModel,
    encoded: Mapping[str, EncodedPair],
    swept: AnySweep,
    scorer: Callable[[Sequence[str]], Scorer],
    *,
    mode: Mode = "noise",
    chunks: Chunks | None = None,
    done: Callable[[int], None] = lambda pairs: None,
) -> Effects:
    """Effects on any score of the last logits; `encoded` is by pair id, `scorer` makes the score of a part's ids."""
    model.check(swept.named_sites)
    used, aside = set_apart(encoded, swept)
    axes = swept.axes(model.sizes, [encoded[name] for name in used])
    measured, runs = [], scorer(used[:1]).runs
    for part in parts({name: encoded[name] for name in used}, swept, model.sizes, budget_of(model), mode, runs):
        effects = chunks.get(part.names) if chunks else None
        if effects is None:
            effects = _measured(model, part, swept, scorer(part.names), axes)
            if chunks:
                chunks.put(effects)
        measured.append(effects)
        done(len(part.names))
    whole = joined(measured, used)
    return Effects(whole.pairs, tuple(aside), axes, whole.patched, whole.kl, whole.clean, whole.source)


def planned(model: ChatModel, pairs: Iterable[Pair], swept: AnySweep, runs: Sequence[Opening] = FIRST_TOKEN) -> Plan:
    """The sweep's cost on this model, without running it."""
    return plan({pair.id: model.chat.encode_pair(pair) for pair in pairs}, swept, model.sizes, budget_of(model), runs)


def budget_of(model: ChatModel) -> Budget:
    """The limits of this model's sweeps."""
    return Budget(model.budget, MEMORY, model.loaded.dtype.itemsize)


@torch.inference_mode()
def _measured(
    model: ChatModel, part: Part, swept: AnySweep, scorer: Scorer, axes: Mapping[str, tuple[str, ...]]
) -> Effects:
    """The effects on one part's pairs."""
    runs = (_parts(model, replace(part, run=run), swept, scorer) for run in range(len(scorer.runs)))
    clean, source, patched, divergence = (torch.stack(whole).sum(0) for whole in zip(*runs, strict=True))
    score = scorer.together(patched)
    absent = [number for number, sites in enumerate(part.variants) if not sites and not isinstance(swept, Joint)]
    score[:, absent] = divergence[:, absent] = torch.nan
    shape = (len(part.names), *map(len, axes.values()))
    return Effects(
        part.names,
        (),
        axes,
        score.view(shape).numpy(),
        divergence.view(shape).numpy(),
        scorer.together(clean).numpy(),
        scorer.together(source).numpy(),
    )


def _parts(
    model: ChatModel, part: Part, swept: AnySweep, scorer: Scorer
) -> tuple[
    Float[Tensor, "row part"],
    Float[Tensor, "row part"],
    Float[Tensor, "row variant part"],
    Float[Tensor, "row variant"],
]:
    """What one run adds to the scores of clean, twins' and patched prompts; and the patched ones' divergence."""
    run = part.run
    batch, sources = (model.batch(prompts).followed_by(scorer.runs[run]) for prompts in (part.prompts, part.sources))
    if swept.direct:
        source, source_logits = model.activations(sources, _frozen_hooks(model, part.variants))
        clean = record(model, batch, _frozen_hooks(model, part.variants))
    else:
        clean = record(model, batch)
        source, source_logits = _twin_run(clean, part, sources)
    if run == 0:
        scorer.clean(clean.logits[:, 0])
    own, _ = scorer.measured(clean.logits[:, None], list(range(len(part.names))), run)
    patched = own.repeat(1, len(part.variants), 1)
    divergence = torch.zeros(patched.shape[:2])
    work = _direct_ends(clean, source, part) if swept.direct else _patched_ends(clean, source, part)
    for rows, numbers, ends in work:
        size = max(1, LOGITS // (len(rows) * ends.shape[2] * model.sizes.vocabulary))
        for start in range(0, len(numbers), size):
            portion = ends[:, start : start + size]
            logits = logits_of(model, portion.flatten(0, 2)).view(*portion.shape[:3], -1)
            at = torch.tensor(rows)[:, None], torch.tensor(numbers[start : start + size])
            patched[at], divergence[at] = scorer.measured(logits, rows, run)
    return own[:, 0], scorer.parts(source_logits, run).cpu(), patched, divergence


Ends = Iterator[tuple[list[int], list[int], Float[Tensor, "row variant kept width"]]]
"""Rows, numbers of variants, and the streams that leave the last block in each of them, where logits are read off."""


def _patched_ends(clean: Recorded, source: Mapping[str, Tensor], part: Part) -> Ends:
    """Runs every group's variants, as many at a time as the token budget holds, which halves when memory runs out."""
    sizes = clean.model.sizes
    for group in groups(part.variants, len(clean.streams)):
        waiting, tokens = list(group.variants), clean.batch.given - group.first
        while waiting and (rows := part.rows(group)):
            numbers = waiting[: max(1, budget_of(clean.model).batch(sizes, clean.width) // (len(rows) * tokens))]
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
) -> Float[Tensor, "row variant kept width"]:
    """Runs variants together: each joins the batch at its first patched layer, and all share the blocks from there."""
    begins = [min(site.layer for site in sites) for sites in variants]
    chosen = torch.tensor(rows, device=clean.batch.ids.device)
    start = clean.prompts + first
    tokens = clean.width - start
    streams = clean.streams[0].new_empty(0, len(rows), tokens, clean.streams[0].shape[-1])
    for layer, following in pairwise([*sorted(set(begins)), len(clean.streams)]):
        running = [sites for sites, begin in zip(variants, begins, strict=True) if begin <= layer]
        layout = Layout.compact(chosen, len(running), start, most=max(1, STACKED_TOKENS // tokens))
        # A layout may have room for more variants than there are, by less than one per copy: these run unpatched.
        fresh = clean.streams[layer][chosen, start:].expand(layout.variants - len(streams), *streams.shape[1:])
        merged = layout.merge(torch.cat([streams, fresh]))
        with clean.model.hooked(_write_hooks(clean, source, layout, running, range(layer, following))):
            ended = run_blocks(clean, layout, range(layer, following), merged)
        streams = layout.split(ended).transpose(1, 2).flatten(0, 1)[: len(running)]
    return streams[:, :, -clean.batch.given - 1 :].transpose(0, 1)


def _write_hooks(
    clean: Recorded,
    source: Mapping[str, Tensor],
    layout: Layout,
    variants: Sequence[Variant],
    layers: range,
) -> Iterator[Hook]:
    """Hooks that write the twin's activations at each variant's own sites in these layers."""
    by_hook: dict[str, list[tuple[int, Site]]] = {}
    for place, sites in enumerate(variants):
        for site in sites:
            if site.layer in layers:
                by_hook.setdefault(site.hook, []).append((place, site))
    for name, writes in by_hook.items():
        write = _write_hook(layout, writes, source[name], clean)
        if SITE_KINDS[writes[0][1].kind].set_through is not None:
            yield from mid_stream(writes[0][1].layer, partial(_moved, write))
        else:
            yield name, write


def _write_hook(
    layout: Layout,
    writes: Sequence[tuple[int, Site]],
    source: Tensor,
    clean: Recorded,
) -> Callable[..., Tensor]:
    """A hook that writes the source's activations at the sites of `writes`, minus those of `entered` if given."""
    copy, stack = zip(*(divmod(number, layout.stacked) for number, _ in writes), strict=True)
    positions = [site.position or 0 for _, site in writes]
    tokens = [clean.prompts + position - layout.first for position in positions]
    at: list[Any] = [torch.tensor(values) for values in (copy, stack, tokens)]
    source_at: list[Any] = [torch.tensor(positions) + source.shape[1] - clean.batch.given]
    if writes[0][1].index is not None:
        index = torch.tensor([site.index for _, site in writes])
        at, source_at = [*at, index], [*source_at, index]
    place = (at[0], slice(None), *at[1:])
    values = source[layout.rows][(slice(None), *source_at)].transpose(0, 1)

    def write(activation: Tensor, hook: object = None, *, entered: Tensor | None = None) -> Tensor:
        new = activation.clone()
        minus = 0 if entered is None else layout.split(entered)[place]
        layout.split(new)[place] = values.to(new.dtype) - minus
        return new

    return write


def _moved(write: Callable[..., Tensor], activation: Tensor, entered: Tensor) -> Tensor:
    return write(activation, entered=entered)


def _direct_ends(clean: Recorded, source: Mapping[str, Tensor], part: Part) -> Ends:
    """Direct effects: every output keeps its unpatched value but the variant's own, which take the twin's.

    A variant that writes at the prompt's last token also writes at all given tokens of an answer, whose logits count.
    """
    rows, kept = list(range(len(part.names))), slice(-clean.batch.given - 1, None)
    end = clean.activations[Site(len(clean.streams) - 1, "resid_post").hook][:, kept]
    size = max(1, clean.model.budget // len(rows))
    numbers = [number for number, sites in enumerate(part.variants) if sites]
    for start in range(0, len(numbers), size):
        portion = numbers[start : start + size]
        ends = []
        for number in portion:
            written = [site.hook for site in part.variants[number] if site.position == -1]
            ends.append(end + sum(source[hook][:, kept] - clean.activations[hook][:, kept] for hook in written))
        yield rows, portion, torch.stack(ends, 1)


def _twin_run(clean: Recorded, part: Part, sources: Batch) -> tuple[dict[str, Tensor], Tensor]:
    """The twins' activations and last logits; aligned twins are run only from where they differ from their prompts."""
    model, hooks = clean.model, part.hooks
    if None in part.first_differences:
        return model.activations(sources, hooks)
    streams = first_stream(model, sources)
    source: dict[str, Tensor] = {}
    logits = []
    for rows in _row_portions(part):
        first = clean.prompts + _first_needed(part, rows)
        layout = Layout(torch.tensor(rows, device=streams.device), copies=1, stacked=1, first=first)

        def keep(name: str, rows: list[int] = rows) -> Hook:
            def hook(activation: Tensor, hook: object) -> None:
                if name not in source:
                    source[name] = activation.new_zeros(len(streams), clean.width, *activation.shape[2:])
                source[name][rows, clean.width - activation.shape[1] :] = activation

            return name, hook

        with model.hooked(map(keep, hooks)):
            ended = run_blocks(clean, layout, range(len(clean.streams)), streams[rows, first:])
        logits.append(last_logits(clean, layout, ended)[0, :, 0])
    return source, torch.cat(logits)


def _row_portions(part: Part) -> list[list[int]]:
    """The rows in `SOURCE_RUNS` portions of neighbours; rows are ordered by where twin and prompt begin to differ."""
    size = max(1, -(-len(part.names) // SOURCE_RUNS))
    rows = list(range(len(part.names)))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _first_needed(part: Part, rows: Sequence[int]) -> int:
    """The first position, from the end, at which these twins must be run."""
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
