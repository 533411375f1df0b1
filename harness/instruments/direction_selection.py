"""The direction a model refuses by, chosen as published: Arditi et al. (arXiv 2406.11717, §2.3 and appendix C)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import torch
from jaxtyping import Float
from torch import Tensor

from harness.inputs.chat_tokens import Encoded
from harness.inputs.sites import OUTPUTS, Site
from harness.instruments.directions import differences
from harness.instruments.suffix_run import Layout, Recorded, expanded, read_out, record, through
from harness.measurements.interventions import Direction
from harness.measurements.questions.searches import LAYERS
from harness.model.chat_model import ChatModel, Hook
from harness.model.refusal_score import Scorer, score

# Removal must not change harmless prompts by more nats than this; addition must make them refused.
KL, INDUCED = 0.1, 0.0
# Scores closer than this are the paper's and its own code's difference on one model: a tie.
TIE = 0.05


@dataclass(frozen=True)
class Prompts:
    """Harmful and harmless prompts, not necessarily paired."""

    harmful: tuple[str, ...]
    harmless: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """One layer and position; what was not needed for the choice was not measured."""

    layer: int
    position: int
    induced: float | None = None  # log-odds of refusing harmless prompts with the direction added
    left: float | None = None  # log-odds of refusing harmful prompts with the direction removed
    kl: float | None = None  # nats by which removal changes harmless prompts


@dataclass(frozen=True)
class Selection:
    """All candidates, the one chosen if any, and those that did as well to within `TIE`."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    ties: tuple[Candidate, ...]
    reason: str  # why none was chosen, or empty
    used: Prompts  # the training prompts that were really refused, and really answered
    nearest: Candidate | None = None  # where none was chosen: the one that leaves least refusal when removed

    @property
    def direction(self) -> Direction | None:
        """The recipe of the chosen one."""
        if self.chosen is None:
            return None
        return Direction("difference", self.chosen.layer, self.chosen.position, self.used.harmful, self.used.harmless)


def select(
    model: ChatModel, train: Prompts, validation: Prompts, tokens: Sequence[int], *, lazily: bool = True
) -> Selection:
    """The candidate that leaves least refusal when removed, among those that induce it and change little else.

    Lazily, a candidate that addition rules out is not removed, and harmless prompts are only looked at from the best
    candidate down until one passes: the choice is the same.
    """
    scorer = Scorer(model, tokens)
    validation = _really(model, validation, tokens)
    positions = range(-len(model.chat.after_instruction), 0)
    keep = (lambda logits: scorer.odds(logits) > 0, lambda logits: scorer.odds(logits) < 0)
    vectors, kept = differences(model, (train.harmful, train.harmless), positions, keep)
    train = Prompts(tuple(compress(train.harmful, kept[0])), tuple(compress(train.harmless, kept[1])))
    for prompts, name in ((train, "training"), (validation, "validation")):
        if not prompts.harmful or not prompts.harmless:
            side = "refuses no harmful" if not prompts.harmful else "answers no harmless"
            return Selection(
                (), None, (), f"{model.name} {side} {name} prompt, so there is no direction to find", train
            )
    bench = _Bench(model, validation, tokens, vectors)
    # What enters the first block at a token of the template is the same for all prompts.
    candidates = [
        Candidate(layer, position)
        for layer in range(int(model.sizes.layers * LAYERS))
        for position in positions
        if vectors[layer, position].norm() > 0
    ]
    induced = [
        Candidate(one.layer, one.position, value)
        for one, value in zip(candidates, bench.induced(candidates), strict=True)
    ]
    apt = [one for one in induced if not lazily or (one.induced or 0) >= INDUCED]
    left = bench.left(apt)
    ranked = sorted(
        (Candidate(one.layer, one.position, one.induced, value) for one, value in zip(apt, left, strict=True)),
        key=lambda one: one.left or 0,
    )
    return _chosen(bench, induced, ranked, train, lazily)


def _chosen(
    bench: "_Bench", induced: Sequence[Candidate], ranked: Sequence[Candidate], train: Prompts, lazily: bool
) -> Selection:
    measured = {(one.layer, one.position): one for one in [*induced, *ranked]}
    chosen: Candidate | None = None
    ties = []
    for one in ranked:
        far = chosen is not None and (one.left or 0) > (chosen.left or 0) + TIE
        if far and lazily:
            break
        one = Candidate(one.layer, one.position, one.induced, one.left, bench.kl([one])[0])
        measured[one.layer, one.position] = one
        passes = (one.kl or 0) <= KL and (one.induced or 0) >= INDUCED
        if passes and chosen is None:
            chosen = one
        elif passes and not far:
            ties.append(one)
    reason = (
        "" if chosen else "no valid direction: every candidate either induces no refusal or changes harmless prompts"
    )
    nearest = None
    if chosen is None:
        others = [one for one in measured.values() if one.left is None]
        for one, left in zip(others, bench.left(others), strict=True):
            measured[one.layer, one.position] = replace(one, left=left)
        nearest = min(measured.values(), key=lambda one: one.left or 0)
    return Selection(tuple(measured.values()), chosen, tuple(ties), reason, train, nearest)


class _Bench:
    """Candidates tried on the validation prompts, several side by side in one batch."""

    def __init__(
        self, model: ChatModel, prompts: Prompts, tokens: Sequence[int], vectors: Float[Tensor, "layer position width"]
    ) -> None:
        self.model, self.prompts, self.vectors = model, prompts, vectors
        self.scorer = Scorer(model, tokens)
        self.encoded = {side: model.encode(getattr(prompts, side)) for side in ("harmful", "harmless")}

    def induced(self, candidates: Sequence[Candidate]) -> list[float]:
        """Mean log-odds of harmless prompts, each direction added where it was found: blocks below are not run."""

        def run(clean: Recorded, layout: Layout, some: Sequence[Candidate]) -> Tensor:
            layer = some[0].layer
            added = self._rows(some).repeat_interleave(len(layout.rows), 0)[:, None]
            streams = expanded(layout, clean.streams[layer][layout.rows]) + added.to(clean.streams[layer].dtype)
            ended = through(clean, layout, range(layer, len(clean.streams)), streams)
            return self.scorer.odds(read_out(clean, layout, ended)[:, :, 0])

        return self._mean("harmless", candidates, run, key=lambda one: one.layer)

    def left(self, candidates: Sequence[Candidate]) -> list[float]:
        """Mean log-odds of harmful prompts, each direction removed everywhere."""

        def run(clean: Recorded, layout: Layout, some: Sequence[Candidate]) -> Tensor:
            return self.scorer.odds(self._without(clean, layout, some)[:, :, 0])

        return self._mean("harmful", candidates, run, key=lambda one: 0)

    def kl(self, candidates: Sequence[Candidate]) -> list[float]:
        """Mean divergence of harmless prompts' next token when each direction is removed everywhere."""

        def run(clean: Recorded, layout: Layout, some: Sequence[Candidate]) -> Tensor:
            self.scorer.clean(clean.logits)
            logits = self._without(clean, layout, some)[:, :, 0].transpose(0, 1)
            return self.scorer(logits, list(range(len(layout.rows))))[1].T

        return self._mean("harmless", candidates, run, key=lambda one: 0)

    @torch.inference_mode()
    def _mean(
        self,
        side: str,
        candidates: Sequence[Candidate],
        run: Callable[[Recorded, Layout, Sequence[Candidate]], Tensor],
        key: Callable[[Candidate], int],
    ) -> list[float]:
        totals = dict.fromkeys(candidates, 0.0)
        for some, clean in self._recorded(self.encoded[side]):
            rows = torch.arange(len(some), device=clean.batch.ids.device)
            at_once = max(1, self.model.budget // (len(some) * clean.width))
            for part in _runs(candidates, key, at_once):
                layout = Layout(rows, len(part), 1, 0)
                sums = run(clean, layout, part).sum(1).tolist()
                for one, total in zip(part, sums, strict=True):
                    totals[one] += total
        return [totals[one] / len(self.encoded[side]) for one in candidates]

    def _recorded(self, prompts: Sequence[Encoded]) -> Iterator[tuple[Sequence[Encoded], Recorded]]:
        ordered = sorted(prompts, key=len)
        size = max(1, self.model.budget // len(ordered[-1]))
        for start in range(0, len(ordered), size):
            some = ordered[start : start + size]
            yield some, record(self.model, self.model.batch(some))

    def _without(self, clean: Recorded, layout: Layout, some: Sequence[Candidate]) -> Tensor:
        """Taken out of what enters the first block and of every write, it is in no stream."""
        rows = self._rows(some)
        units = (rows / rows.norm(dim=-1, keepdim=True)).repeat_interleave(len(layout.rows), 0)[:, None]

        def removed(activation: Tensor, hook: object = None) -> Tensor:
            unit = units.to(activation.dtype)
            return torch.baddbmm(activation, activation @ unit.mT, unit, alpha=-1)

        sites = [Site(layer, kind) for layer in range(len(clean.streams)) for kind in OUTPUTS]
        hooks: list[Hook] = [(site.hook, removed) for site in sites]
        with self.model.hooked(hooks):
            streams = removed(expanded(layout, clean.streams[0][layout.rows]))
            ended = through(clean, layout, range(len(clean.streams)), streams)
        return read_out(clean, layout, ended)

    def _rows(self, some: Sequence[Candidate]) -> Float[Tensor, "candidate width"]:
        return torch.stack([self.vectors[one.layer, one.position] for one in some]).float().to(self.model.device)


def _runs(candidates: Sequence[Candidate], key: Callable[[Candidate], int], size: int) -> Iterator[Sequence[Candidate]]:
    by_key: dict[int, list[Candidate]] = {}
    for one in candidates:
        by_key.setdefault(key(one), []).append(one)
    for some in by_key.values():
        for start in range(0, len(some), size):
            yield some[start : start + size]


def _really(model: ChatModel, prompts: Prompts, tokens: Sequence[int]) -> Prompts:
    """Only harmful prompts that are refused, and harmless ones that are answered, by their first token."""
    odds: Mapping[str, Sequence[float]] = {
        side: score(model, getattr(prompts, side), tokens).tolist() for side in ("harmful", "harmless")
    }
    return Prompts(
        tuple(one for one, value in zip(prompts.harmful, odds["harmful"], strict=True) if value > 0),
        tuple(one for one, value in zip(prompts.harmless, odds["harmless"], strict=True) if value < 0),
    )
