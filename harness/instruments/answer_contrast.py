"""Patching effects on the token in which the answers to a prompt and its twin part; the answers need not refuse."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.inputs.chat_tokens import EncodedPair
from harness.inputs.prompts.pairs import Pair
from harness.instruments.sweep import Chunks, effects_on
from harness.measurements.effects import Effects
from harness.measurements.sweep_plan import AnySweep, Mode
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import Contrast

# Answers are generated to this many tokens; those that do not differ in them count as the same.
TOKENS = 24


def contrast(
    model: ChatModel,
    pairs: Iterable[Pair],
    swept: AnySweep,
    *,
    mode: Mode = "noise",
    chunks: Chunks | None = None,
) -> Effects:
    """Effects on log p(a) − log p(b), where a and b are the first tokens in which the two unpatched answers differ.

    The tokens that both answers begin with are appended to both prompts. Pairs that are not aligned, or whose answers
    do not differ, are set aside.
    """
    listed = tuple(pairs)
    encoded, scorer = parted(model, listed)
    aside = tuple(pair.id for pair in listed if pair.id not in encoded)
    if not encoded:
        axes, none = swept.axes(model.sizes, ()), np.zeros(0, dtype=np.float32)
        empty = np.zeros((0, *map(len, axes.values())), dtype=np.float32)
        return Effects((), aside, axes, empty, empty, none, none)
    return replace(effects_on(model, encoded, swept, scorer, mode=mode, chunks=chunks), set_aside=aside)


def parted(
    model: ChatModel, pairs: tuple[Pair, ...]
) -> tuple[dict[str, EncodedPair], Callable[[Sequence[str]], Contrast]]:
    """By pair id, both prompts up to where their answers part; and the score of pairs by their ids."""
    partings = model.remembered(("partings", pairs), lambda: _partings(model, pairs))

    def scorer(names: Sequence[str]) -> Contrast:
        return Contrast(model, [partings[name].tokens for name in names])

    return {name: parting.prompts for name, parting in partings.items()}, scorer


@dataclass(frozen=True)
class _Parting:
    prompts: EncodedPair  # each followed by the tokens that both answers begin with
    tokens: tuple[int, int]  # the next token of each answer


def _partings(model: ChatModel, pairs: Sequence[Pair]) -> dict[str, _Parting]:
    """By pair id, where the two answers part; without pairs that are not aligned or are answered alike."""
    encoded = {pair.id: both for pair in pairs if (both := model.chat.encode_pair(pair)).aligned}
    if not encoded:
        return {}
    prompts = [prompt for pair in pairs if pair.id in encoded for prompt in (pair.harmful, pair.harmless)]
    answers = [answer.ids for answer in model.generate(prompts, tokens=TOKENS)]
    partings = {}
    for (name, both), ours, theirs in zip(encoded.items(), answers[::2], answers[1::2], strict=True):
        at = next((place for place, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        if at is not None:
            extended = (replace(prompt, ids=prompt.ids + ours[:at]) for prompt in (both.harmful, both.harmless))
            partings[name] = _Parting(EncodedPair(*extended), (ours[at], theirs[at]))
    return partings
