"""Effects on what sets the answers to two prompts apart, whatever they are about: no refusal need be in sight."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.inputs.chat_tokens import EncodedPair
from harness.inputs.prompts.pairs import Pair
from harness.instruments.sweep import Chunks, effects_on
from harness.measurements.effects import Effects
from harness.measurements.sweep_plan import AnySweep, Mode
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import Contrast

# Answers that are the same for so many tokens are taken to be the same.
TOKENS = 24


def contrast(
    model: ChatModel,
    pairs: Iterable[Pair],
    what: AnySweep,
    *,
    mode: Mode = "noise",
    chunks: Chunks | None = None,
) -> Effects:
    """Effects on log p(a) − log p(b), where a and b are the first tokens in which the two unpatched answers differ.

    What both answers begin with stands at the end of both prompts. Pairs that are not aligned, or whose answers do not
    differ, are set aside.
    """
    some = tuple(pairs)
    told = model.remembered(("told apart", some), lambda: _told_apart(model, some))
    aside = tuple(pair.id for pair in some if pair.id not in told)
    if not told:
        axes, none = what.axes(model.sizes, ()), np.zeros(0, dtype=np.float32)
        empty = np.zeros((0, *map(len, axes.values())), dtype=np.float32)
        return Effects((), aside, axes, empty, empty, none, none)

    def scorer(names: Sequence[str]) -> Contrast:
        return Contrast(model, [told[name].tokens for name in names])

    encoded = {name: one.prompts for name, one in told.items()}
    return replace(effects_on(model, encoded, what, scorer, mode=mode, chunks=chunks), set_aside=aside)


@dataclass(frozen=True)
class _Told:
    prompts: EncodedPair  # with what both answers begin with
    tokens: tuple[int, int]  # with which each goes on


def _told_apart(model: ChatModel, pairs: Sequence[Pair]) -> dict[str, _Told]:
    encoded = {pair.id: both for pair in pairs if (both := model.chat.encode_pair(pair)).aligned}
    if not encoded:
        return {}
    prompts = [prompt for pair in pairs if pair.id in encoded for prompt in (pair.harmful, pair.harmless)]
    said = [one.ids for one in model.generate(prompts, tokens=TOKENS)]
    found = {}
    for (name, both), ours, theirs in zip(encoded.items(), said[::2], said[1::2], strict=True):
        parting = next((place for place, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        if parting is not None:
            begun = (replace(prompt, ids=prompt.ids + ours[:parting]) for prompt in (both.harmful, both.harmless))
            found[name] = _Told(EncodedPair(*begun), (ours[parting], theirs[parting]))
    return found
