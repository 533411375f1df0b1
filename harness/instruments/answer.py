"""Answers a question by measuring a loaded model: the only module that turns questions into numbers."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import torch

from harness.inputs import machine
from harness.inputs.chat_tokens import EncodedPair
from harness.inputs.judges.phrases import PHRASES, PREFIX
from harness.inputs.judges.registry import judgements
from harness.inputs.judges.thoughts import THOUGHT, UNFINISHED
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.inputs.sites import INDEXED, SITE_KINDS, Site
from harness.instruments.answer_contrast import contrast, parted
from harness.instruments.attribution import attention, estimate, lens
from harness.instruments.circuit_search import circuit
from harness.instruments.direction_selection import Prompts, select
from harness.instruments.directions import vectors
from harness.instruments.editing import edit_for
from harness.instruments.joint_search import grow
from harness.instruments.sweep import Chunks, sweep
from harness.measurements.effects_evidence import packed
from harness.measurements.interventions import Intervention
from harness.measurements.questions import (
    Answer,
    Answers,
    Attended,
    Contrasted,
    DealtAnswers,
    Encoding,
    Estimated,
    FoundCircuit,
    FoundDirection,
    FoundOpenings,
    GrownCircuit,
    Lens,
    Measurement,
    Norms,
    OpeningScores,
    PlainText,
    Products,
    Projected,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.measurements.questions.searches import VALIDATION
from harness.measurements.sweep_plan import AnySweep
from harness.model.answer_readings import readings
from harness.model.chat_model import ChatModel, Edit
from harness.model.loading import peak_bytes
from harness.model.refusal_score import Refusing, Scorer, opening_odds, openings, refusal_tokens, scorer_of

ChunksFor = Callable[[AnySweep], Chunks | None]
"""Gives the storage for a sweep's finished parts, or None where they are not stored."""


def _unstored(swept: AnySweep) -> None:
    """The default: finished parts are not stored."""


def observed(
    question: Measurement, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored
) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray], Mapping[str, Any]]:
    """The answer (its values and arrays), and the machine, seconds and memory that it took."""
    began = time.perf_counter()
    values, arrays = measure(question, model, tokens, chunks)
    device = model.loaded.device
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return values, arrays, machine.measured(name, time.perf_counter() - began, peak_bytes(device))


@singledispatch
def measure(question: Measurement, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    """The answer: values and arrays.

    `tokens` are the first tokens of refusals; `chunks` gives the storage for finished parts of a long sweep.
    """
    raise TypeError(f"{type(question).__name__} has no answer: register one in {__name__}")


@measure.register
def _(question: Encoding, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    encoded = [model.chat.encode_pair(pair) for pair in question.pairs]
    return {
        "aligned": [pair.aligned for pair in encoded],
        "harmful": [len(pair.harmful) for pair in encoded],
        "harmless": [len(pair.harmless) for pair in encoded],
        "post": len(model.chat.after_instruction),
    }, {}


@measure.register
def _(question: RefusalTokens, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    return {"tokens": list(refusal_tokens(model, question.pairs))}, {}


@measure.register
def _(question: FoundOpenings, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    kinds = zip(("refusing", "answering"), openings(model, question.pairs), strict=True)
    return {name: [list(opening) for opening in kind] for name, kind in kinds}, {}


@measure.register
def _(question: OpeningScores, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    prompts, edit = getattr(question.pairs, question.side), _edit(model, question.under, _twins(question.pairs))
    return {"odds": opening_odds(model, prompts, question.openings, under=edit).tolist()}, {}


@measure.register
def _(question: Answers, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    prompts = getattr(question.pairs, question.side)
    edit = _edit(model, question.under, _twins(question.pairs))
    completions = model.generate(prompts, tokens=question.tokens, under=edit, sample=question.sample)
    answers = tuple(completion.text for completion in completions)
    thoughts = [completion.thought for completion in completions]
    if model.chat.thoughts is None:
        thought: dict[str, list[float]] = {}
    else:
        thought = {
            THOUGHT: [float(told != "none") for told in thoughts],
            UNFINISHED: [float(told == "unfinished") for told in thoughts],
        }
    return {
        "prefixes": [answer[:PREFIX] for answer in answers],
        **thought,
        **readings(model, prompts, answers, question.contexts),
        **judgements(prompts, answers),
    }, {}


@measure.register
def _(question: DealtAnswers, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    refused, twins = [0.0] * len(question.prompts), _twins(question.pairs)
    for number, (arm, prompts) in enumerate(question.dealt):
        edit = edit_for(model, arm, twins=twins[number :: len(question.arms)])
        completions = model.generate(prompts, tokens=question.tokens, under=edit, sample=question.sample)
        answers = tuple(completion.text for completion in completions)
        refused[number :: len(question.arms)] = judgements(prompts, answers)[PHRASES]
    return {"refused": refused}, {}


@measure.register
def _(question: Scores, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    prompts, scorer = getattr(question.pairs, question.side), Scorer(model, tokens)
    clean = model.remembered(("next token", prompts), lambda: model.next_token(prompts)).to(model.device)
    edited = (
        clean
        if question.under is None
        else model.next_token(prompts, under=_edit(model, question.under, _twins(question.pairs)))
    )
    scorer.clean(clean)
    odds, kl = scorer(edited.to(model.device)[:, None].clone(), list(range(len(prompts))))
    # Logits equal to the bit mean that the intervention changed nothing.
    same = bool(question.under is not None and torch.equal(clean.cpu(), edited.cpu()))
    return {"odds": odds[:, 0].tolist(), "kl": kl[:, 0].tolist(), "same_as_clean": same}, {}


@measure.register
def _(question: Swept, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    refusing = question.openings or tokens
    chunked = chunks(question.what)
    return packed(sweep(model, question.pairs, question.what, refusing, mode=question.mode, chunks=chunked))


@measure.register
def _(question: Contrasted, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    return packed(contrast(model, question.pairs, question.what, chunks=chunks(question.what)))


@measure.register
def _(question: Estimated, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    refusing = question.openings or tokens
    return packed(estimate(model, question.pairs, question.what, refusing, mode=question.mode, ends="both"))


@measure.register
def _(question: FoundCircuit, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    refusing = question.openings or tokens
    effects = circuit(
        model, question.pairs, refusing, heads=question.heads, neurons=question.neurons, at=question.at, chunks=chunks
    )
    ranked = {
        SITE_KINDS[kind].plural: [(site, effect) for site, effect in effects.items() if site.kind == kind]
        for kind in INDEXED
    }
    places = {kind: [[site.layer, site.index] for site, _ in ranking] for kind, ranking in ranked.items()}
    return places | {"effects": {kind: [effect for _, effect in ranking] for kind, ranking in ranked.items()}}, {}


@measure.register
def _(question: GrownCircuit, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    pairs = question.searched.pairs
    encoded, scorer = (
        parted(model, pairs) if question.contrast else _refusals(model, pairs, question.openings or tokens)
    )
    if not encoded:
        return {"blocks": [], "curve": [], "effect": 0.0, "adds": [], "patched": 0}, {}
    grown = grow(model, encoded, scorer, question.share, question.at)
    blocks = [
        {
            SITE_KINDS[kind].plural: [[site.layer, site.index] for site in block.sites if site.kind == kind]
            for kind in INDEXED
        }
        for block in grown.blocks
    ]
    curve = [list(point) for point in grown.curve]
    numbers = {"effect": grown.effect, "adds": list(grown.adds), "patched": grown.patched}
    return {"blocks": blocks, "curve": curve} | numbers, {}


@measure.register
def _(question: FoundDirection, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    sides = question.pairs.harmful, question.pairs.harmless
    validation = Prompts(*(prompts[::VALIDATION] for prompts in sides))
    train = Prompts(*(tuple(prompt for at, prompt in enumerate(side) if at % VALIDATION) for side in sides))
    selection = select(model, train, validation, question.openings or tokens)
    best = selection.chosen or selection.fallback
    return {
        "layer": None if best is None else best.layer,
        "position": None if best is None else best.position,
        "valid": selection.chosen is not None,
        "reason": selection.reason,
        "harmful": list(selection.train.harmful),
        "harmless": list(selection.train.harmless),
        "ties": [[tie.layer, tie.position] for tie in selection.ties],
        "candidates": [
            [candidate.layer, candidate.position, candidate.induced, candidate.bypassed, candidate.kl]
            for candidate in selection.candidates
        ],
    }, {}


@measure.register
def _(question: Projected, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    prompts, last = getattr(question.pairs, question.side), model.sizes.layers - 1
    rows = torch.cat([vectors(model, direction)[:1] for direction in question.directions])
    sites = [Site(layer, "resid_pre", position=question.position) for layer in range(last + 1)]
    sites.append(Site(last, "resid_post", position=question.position))
    streams = torch.stack([value.double() for value in model.read(prompts, sites).values()], 1)
    along = streams @ (rows / rows.norm(dim=-1, keepdim=True)).T
    return {}, {"along": along.permute(2, 0, 1).contiguous().numpy(), "length": streams.norm(dim=-1).numpy()}


@measure.register
def _(question: Lens, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    return {}, {"odds": lens(model, getattr(question.pairs, question.side), tokens, question.position).numpy()}


@measure.register
def _(question: Attended, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    rows = []
    for pair in question.pairs:
        encoded = model.chat.encode_pair(pair).harmful
        slot, later = (torch.tensor(encoded.positions(at)) for at in ("slot", "later"))
        rows.append(attention(model, pair.harmful)[..., later, :][..., slot].sum(-1).mean(-1))
    return {}, {"words": torch.stack(rows).float().numpy()}


@measure.register
def _(question: Products, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    site = Site(question.layer, "resid_pre", position=question.position)
    streams = model.read([*question.pairs.harmful, *question.pairs.harmless], [site])[site].double()
    return {}, {"products": (streams @ streams.T).numpy()}


@measure.register
def _(question: PlainText, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    return {"nats": model.surprise(question.passages, under=_edit(model, question.under, ()))}, {}


@measure.register
def _(question: Norms, model: ChatModel, tokens: Sequence[int], chunks: ChunksFor = _unstored) -> Answer:
    sites = [Site(layer, kind, position=-1) for kind in INDEXED for layer in range(model.sizes.layers)]
    read = model.read(question.pairs.harmful, sites)
    lengths = {
        site: (values.abs() if SITE_KINDS[site.kind].scalar else values.norm(dim=-1)).mean(0)
        for site, values in read.items()
    }
    return {}, {kind: torch.stack([lengths[site] for site in sites if site.kind == kind]).numpy() for kind in INDEXED}


def _refusals(
    model: ChatModel, pairs: Sequence[Pair], refusing: Refusing
) -> tuple[dict[str, EncodedPair], Callable[[Sequence[str]], Scorer]]:
    """By pair id, both prompts; and the score of refusing."""
    score = scorer_of(model, refusing)
    return {pair.id: model.chat.encode_pair(pair) for pair in pairs}, lambda names: score


def _twins(prompts: PromptSet) -> Sequence[Pair]:
    """The prompts' pairs; none for prompts that are not paired."""
    return prompts.pairs if isinstance(prompts, PairSet) else ()


def _edit(model: ChatModel, under: Intervention | None, pairs: Sequence[Pair]) -> Edit | None:
    return None if under is None else edit_for(model, under, twins=pairs)
