"""Answers what is asked of a live model: the one place where measurements meet weights."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import torch

from harness.inputs import machine
from harness.inputs.judges.phrases import PREFIX
from harness.inputs.judges.registry import judgements
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.inputs.sites import INDEXED, SITE_KINDS, Site
from harness.instruments.answer_contrast import contrast
from harness.instruments.attribution import attention, estimate, lens
from harness.instruments.circuit_search import circuit
from harness.instruments.direction_selection import Prompts, select
from harness.instruments.directions import vectors
from harness.instruments.editing import live
from harness.instruments.sweep import Chunks, sweep
from harness.measurements.effects_evidence import packed
from harness.measurements.interventions import Intervention
from harness.measurements.questions import (
    Answer,
    Answers,
    Attended,
    Contrasted,
    Encoding,
    Estimated,
    FoundCircuit,
    FoundDirection,
    Lens,
    Measurement,
    Norms,
    PlainText,
    Products,
    Projected,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.measurements.questions.searches import VALIDATION
from harness.measurements.sweep_plan import AnySweep
from harness.model.chat_model import ChatModel, Edit
from harness.model.coherence import coherence
from harness.model.loading import peak_bytes
from harness.model.refusal_score import Scorer, refusal_tokens

Kept = Callable[[AnySweep], Chunks | None]
"""Where parts of a sweep are kept."""


def _nothing(what: AnySweep) -> None:
    """Parts are not kept."""


def observed(
    asked: Measurement, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing
) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray], Mapping[str, Any]]:
    """The answer, and beside it the environment in which it was measured."""
    began = time.perf_counter()
    values, arrays = measure(asked, model, tokens, chunks)
    device = model.loaded.device
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return values, arrays, machine.measured(name, time.perf_counter() - began, peak_bytes(device))


@singledispatch
def measure(asked: Measurement, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    """The answer; `tokens` are those that refuse, `chunks` keeps parts of long sweeps."""
    raise TypeError(f"{type(asked).__name__} has no answer: register one in {__name__}")


@measure.register
def _(asked: Encoding, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    encoded = [model.chat.encode_pair(pair) for pair in asked.pairs]
    return {
        "aligned": [pair.aligned for pair in encoded],
        "harmful": [len(pair.harmful) for pair in encoded],
        "harmless": [len(pair.harmless) for pair in encoded],
        "post": len(model.chat.after_instruction),
    }, {}


@measure.register
def _(asked: RefusalTokens, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    return {"tokens": list(refusal_tokens(model, asked.pairs))}, {}


@measure.register
def _(asked: Answers, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    prompts = getattr(asked.pairs, asked.side)
    edit = _live(model, asked.under, _twins(asked.pairs))
    said = tuple(one.text for one in model.generate(prompts, tokens=asked.tokens, under=edit))
    read = coherence(said, prompts=prompts, model=model)
    return {
        "prefixes": [text[:PREFIX] for text in said],
        "repetition": [one.repetition for one in read],
        "cross_entropy": [one.cross_entropy for one in read],
        **judgements(prompts, said),
    }, {}


@measure.register
def _(asked: Scores, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    prompts, scorer = getattr(asked.pairs, asked.side), Scorer(model, tokens)
    clean = model.remembered(("next token", prompts), lambda: model.next_token(prompts)).to(model.device)
    edited = (
        clean
        if asked.under is None
        else model.next_token(prompts, under=_live(model, asked.under, _twins(asked.pairs)))
    )
    scorer.clean(clean)
    odds, kl = scorer(edited.to(model.device)[:, None].clone(), list(range(len(prompts))))
    # Two arms that are equal to the bit are one arm under two names.
    same = bool(asked.under is not None and torch.equal(clean.cpu(), edited.cpu()))
    return {"odds": odds[:, 0].tolist(), "kl": kl[:, 0].tolist(), "same_as_clean": same}, {}


@measure.register
def _(asked: Swept, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    return packed(sweep(model, asked.pairs, asked.what, tokens, mode=asked.mode, chunks=chunks(asked.what)))


@measure.register
def _(asked: Contrasted, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    return packed(contrast(model, asked.pairs, asked.what, chunks=chunks(asked.what)))


@measure.register
def _(asked: Estimated, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    return packed(estimate(model, asked.pairs, asked.what, tokens, mode=asked.mode))


@measure.register
def _(asked: FoundCircuit, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    found = circuit(model, asked.pairs, tokens, heads=asked.heads, neurons=asked.neurons, at=asked.at, chunks=chunks)
    ranked = {
        SITE_KINDS[kind].plural: [(site, effect) for site, effect in found.items() if site.kind == kind]
        for kind in INDEXED
    }
    places = {kind: [[site.layer, site.index] for site, _ in some] for kind, some in ranked.items()}
    return places | {"effects": {kind: [effect for _, effect in some] for kind, some in ranked.items()}}, {}


@measure.register
def _(asked: FoundDirection, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    sides = asked.pairs.harmful, asked.pairs.harmless
    chosen = Prompts(*(prompts[::VALIDATION] for prompts in sides))
    train = Prompts(*(tuple(one for at, one in enumerate(prompts) if at % VALIDATION) for prompts in sides))
    found = select(model, train, chosen, tokens)
    best = found.chosen or found.nearest
    return {
        "layer": None if best is None else best.layer,
        "position": None if best is None else best.position,
        "valid": found.chosen is not None,
        "reason": found.reason,
        "harmful": list(found.used.harmful),
        "harmless": list(found.used.harmless),
        "ties": [[one.layer, one.position] for one in found.ties],
        "candidates": [[one.layer, one.position, one.induced, one.left, one.kl] for one in found.candidates],
    }, {}


@measure.register
def _(asked: Projected, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    prompts, last = getattr(asked.pairs, asked.side), model.sizes.layers - 1
    rows = torch.cat([vectors(model, direction)[:1] for direction in asked.directions])
    sites = [Site(layer, "resid_pre", position=asked.position) for layer in range(last + 1)]
    sites.append(Site(last, "resid_post", position=asked.position))
    streams = torch.stack([value.double() for value in model.read(prompts, sites).values()], 1)
    along = streams @ (rows / rows.norm(dim=-1, keepdim=True)).T
    return {}, {"along": along.permute(2, 0, 1).contiguous().numpy(), "length": streams.norm(dim=-1).numpy()}


@measure.register
def _(asked: Lens, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    return {}, {"odds": lens(model, getattr(asked.pairs, asked.side), tokens, asked.position).numpy()}


@measure.register
def _(asked: Attended, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    rows = []
    for pair in asked.pairs:
        encoded = model.chat.encode_pair(pair).harmful
        slot, later = (torch.tensor(encoded.positions(at)) for at in ("slot", "later"))
        rows.append(attention(model, pair.harmful)[..., later, :][..., slot].sum(-1).mean(-1))
    return {}, {"words": torch.stack(rows).float().numpy()}


@measure.register
def _(asked: Products, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    site = Site(asked.layer, "resid_pre", position=asked.position)
    streams = model.read([*asked.pairs.harmful, *asked.pairs.harmless], [site])[site].double()
    return {}, {"products": (streams @ streams.T).numpy()}


@measure.register
def _(asked: PlainText, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    return {"nats": model.surprise(asked.passages, under=_live(model, asked.under, ()))}, {}


@measure.register
def _(asked: Norms, model: ChatModel, tokens: Sequence[int], chunks: Kept = _nothing) -> Answer:
    sites = [Site(layer, kind, position=-1) for kind in INDEXED for layer in range(model.sizes.layers)]
    read = model.read(asked.pairs.harmful, sites)
    lengths = {
        site: (values.abs() if SITE_KINDS[site.kind].scalar else values.norm(dim=-1)).mean(0)
        for site, values in read.items()
    }
    return {}, {kind: torch.stack([lengths[site] for site in sites if site.kind == kind]).numpy() for kind in INDEXED}


def _twins(prompts: PromptSet) -> Sequence[Pair]:
    """Those of the prompts, where they have any."""
    return prompts.pairs if isinstance(prompts, PairSet) else ()


def _live(model: ChatModel, under: Intervention | None, pairs: Sequence[Pair]) -> Edit | None:
    return None if under is None else live(model, under, twins=pairs)
