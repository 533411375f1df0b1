"""Selects a refusal direction by the procedure of Arditi et al. (arXiv 2406.11717, §2.3 and appendix C)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress

import torch
from jaxtyping import Float
from torch import Tensor

from harness.inputs.sites import OUTPUTS, Site
from harness.instruments.directions import differences, every
from harness.instruments.suffix_run import Layout, Recorded, last_logits, record, repeated, run_blocks
from harness.measurements.interventions import Direction
from harness.measurements.openings import Openings
from harness.measurements.questions.searches import LAYERS
from harness.model.chat_model import Batch, ChatModel, Hook
from harness.model.refusal_score import Refusing, score, scorer_of

# The filters of the paper: the most nats by which removal may change harmless prompts, and the least mean log-odds of
# refusing harmless prompts to which adding the direction must lead.
MAX_KL, MIN_INDUCED = 0.1, 0.0
# Candidates closer than this count as tied: the paper and its own code differ by as much on the same model.
TIE = 0.05


@dataclass(frozen=True)
class Prompts:
    """Harmful and harmless prompts, not necessarily paired."""

    harmful: tuple[str, ...]
    harmless: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A layer, a position and the three scores of its direction; None where the choice did not need the score."""

    layer: int
    position: int
    induced: float | None = None  # mean log-odds of refusing harmless prompts with the direction added
    bypassed: float | None = None  # mean log-odds of refusing harmful prompts with the direction removed
    kl: float | None = None  # nats by which removal changes harmless prompts


@dataclass(frozen=True)
class Selection:
    """All candidates, the chosen one if any, and the valid ones whose `bypassed` is within `TIE` of it."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    ties: tuple[Candidate, ...]
    reason: str  # why none was chosen, or empty
    train: Prompts  # the harmful training prompts that the model refuses, and the harmless ones that it answers
    fallback: Candidate | None = None  # where no candidate is valid: the one with the least `bypassed`

    @property
    def direction(self) -> Direction | None:
        """The chosen candidate's direction; None if none was chosen."""
        if self.chosen is None:
            return None
        return Direction("difference", self.chosen.layer, self.chosen.position, self.train.harmful, self.train.harmless)


def select(
    model: ChatModel, train: Prompts, validation: Prompts, refusing: Refusing, *, lazily: bool = True
) -> Selection:
    """The direction whose removal leaves least refusal, among those that pass the filters on added refusal and KL.

    `lazily` skips measurements that cannot change the choice: a candidate that induces no refusal is not removed, and
    harmless prompts under removal are measured from the best candidate down, until one is valid.
    """
    validation = _treated_as_labelled(model, validation, refusing)
    positions = range(-len(model.chat.after_instruction), 0)
    train, vectors = _computed(model, train, positions, refusing)
    for prompts, name in ((train, "training"), (validation, "validation")):
        if not prompts.harmful or not prompts.harmless:
            side = "refuses no harmful" if not prompts.harmful else "answers no harmless"
            return Selection(
                (), None, (), f"{model.name} {side} {name} prompt, so there is no direction to find", train
            )
    trial = _Trial(model, validation, refusing, vectors)
    # The stream that enters the first block at a token of the template is the same for all prompts: no difference.
    places = [
        Candidate(layer, position)
        for layer in range(int(model.sizes.layers * LAYERS))
        for position in positions
        if vectors[layer, position].norm() > 0
    ]
    candidates = [
        replace(candidate, induced=odds) for candidate, odds in zip(places, trial.induced(places), strict=True)
    ]
    to_remove = [candidate for candidate in candidates if not lazily or (candidate.induced or 0) >= MIN_INDUCED]
    ranked = sorted(
        (
            replace(candidate, bypassed=odds)
            for candidate, odds in zip(to_remove, trial.bypassed(to_remove), strict=True)
        ),
        key=lambda candidate: candidate.bypassed or 0,
    )
    return _chosen(trial, candidates, ranked, train, lazily)


def _computed(
    model: ChatModel, train: Prompts, positions: range, refusing: Refusing
) -> tuple[Prompts, Float[Tensor, "layer position width"]]:
    """The prompts that are treated as labelled, and the differences between their means; empty without such prompts."""
    if isinstance(refusing, Openings):
        train = _treated_as_labelled(model, train, refusing)
        if not train.harmful or not train.harmless:
            return train, torch.empty(0)
        return train, differences(model, (train.harmful, train.harmless), positions, (every, every))[0]
    # The first token is read off while the streams are read.
    scorer = scorer_of(model, refusing)
    keep = (lambda logits: scorer.odds(logits) > 0, lambda logits: scorer.odds(logits) < 0)
    vectors, kept = differences(model, (train.harmful, train.harmless), positions, keep)
    return Prompts(tuple(compress(train.harmful, kept[0])), tuple(compress(train.harmless, kept[1]))), vectors


def _chosen(
    trial: "_Trial", candidates: Sequence[Candidate], ranked: Sequence[Candidate], train: Prompts, lazily: bool
) -> Selection:
    """The selection, given candidates ranked by `bypassed`: measures `kl` and applies the filters."""
    measured = {(candidate.layer, candidate.position): candidate for candidate in [*candidates, *ranked]}
    chosen: Candidate | None = None
    ties = []
    for candidate in ranked:
        beyond_ties = chosen is not None and (candidate.bypassed or 0) > (chosen.bypassed or 0) + TIE
        if beyond_ties and lazily:
            break
        candidate = replace(candidate, kl=trial.kl([candidate])[0])
        measured[candidate.layer, candidate.position] = candidate
        valid = (candidate.kl or 0) <= MAX_KL and (candidate.induced or 0) >= MIN_INDUCED
        if valid and chosen is None:
            chosen = candidate
        elif valid and not beyond_ties:
            ties.append(candidate)
    reason, fallback = "", None
    if chosen is None:
        not_removed = [candidate for candidate in measured.values() if candidate.bypassed is None]
        for candidate, odds in zip(not_removed, trial.bypassed(not_removed), strict=True):
            measured[candidate.layer, candidate.position] = replace(candidate, bypassed=odds)
        fallback = min(measured.values(), key=lambda candidate: candidate.bypassed or 0)
        reason = _why_invalid(fallback)
    return Selection(tuple(measured.values()), chosen, tuple(ties), reason, train, fallback)


def _why_invalid(nearest: Candidate) -> str:
    """The filters that the candidate does not pass, and by how much."""
    failed = []
    if nearest.induced is not None and nearest.induced < MIN_INDUCED:
        odds = f"{nearest.induced:.2f} when added (at least {MIN_INDUCED:g})"
        failed.append(f"gives harmless prompts log-odds of refusing of {odds}")
    if nearest.kl is not None and nearest.kl > MAX_KL:
        failed.append(f"changes harmless prompts by {nearest.kl:.2f} nats when removed (at most {MAX_KL:g})")
    place = f"of layer {nearest.layer} and position {nearest.position}"
    return f"no candidate is valid: the nearest, {place}, {' and '.join(failed)}"


class _Trial:
    """Scores candidates on the validation prompts, several candidates in one batch."""

    def __init__(
        self, model: ChatModel, prompts: Prompts, refusing: Refusing, vectors: Float[Tensor, "layer position width"]
    ) -> None:
        self.model, self.prompts, self.vectors = model, prompts, vectors
        self.scorer = scorer_of(model, refusing)
        self.encoded = {side: model.encode(getattr(prompts, side)) for side in ("harmful", "harmless")}

    def induced(self, candidates: Sequence[Candidate]) -> list[float]:
        """Mean log-odds of harmless prompts, each direction added at its layer; earlier blocks are not run again."""

        def run(clean: Recorded, layout: Layout, portion: Sequence[Candidate]) -> Tensor:
            layer = portion[0].layer
            added = self._rows(portion).repeat_interleave(len(layout.rows), 0)[:, None]
            streams = repeated(layout, clean.streams[layer][layout.rows]) + added.to(clean.streams[layer].dtype)
            ended = run_blocks(clean, layout, range(layer, len(clean.streams)), streams)
            return last_logits(clean, layout, ended)[:, :, 0]

        return self._odds("harmless", candidates, run, key=lambda candidate: candidate.layer)

    def bypassed(self, candidates: Sequence[Candidate]) -> list[float]:
        """Mean log-odds of harmful prompts, each direction removed everywhere."""
        return self._odds("harmful", candidates, self._without, key=lambda candidate: 0)

    def kl(self, candidates: Sequence[Candidate]) -> list[float]:
        """Mean divergence of harmless prompts' next token when each direction is removed everywhere."""

        def divergence(clean: Recorded, logits: Tensor) -> Tensor:
            self.scorer.clean(clean.logits[:, 0])
            return self.scorer(logits[:, :, 0].transpose(0, 1), list(range(len(clean.batch.rows))))[1].T

        totals = dict.fromkeys(candidates, 0.0)
        for batch in self._batches("harmless"):
            values = self._values(batch, candidates, self._without, lambda candidate: 0, divergence)
            for candidate, value in values.items():
                totals[candidate] += float(value.sum())
        return self._means("harmless", totals)

    def _odds(
        self, side: str, candidates: Sequence[Candidate], run: "_Run", key: Callable[[Candidate], int]
    ) -> list[float]:
        """Each candidate's log-odds, averaged over the side's prompts."""
        totals = dict.fromkeys(candidates, 0.0)
        for batch in self._batches(side):
            runs = [
                self._values(batch.followed_by(given), candidates, run, key, partial(self._parts, number))
                for number, given in enumerate(self.scorer.runs)
            ]
            for candidate in candidates:
                parts = torch.stack([values[candidate] for values in runs]).sum(0)
                totals[candidate] += float(self.scorer.together(parts).sum())
        return self._means(side, totals)

    def _parts(self, number: int, clean: Recorded, logits: Tensor) -> Tensor:
        return self.scorer.parts(logits, number)

    def _means(self, side: str, totals: Mapping[Candidate, float]) -> list[float]:
        return [total / len(self.encoded[side]) for total in totals.values()]

    @torch.inference_mode()
    def _values(
        self,
        batch: Batch,
        candidates: Sequence[Candidate],
        run: "_Run",
        key: Callable[[Candidate], int],
        read: Callable[[Recorded, Tensor], Tensor],
    ) -> dict[Candidate, Tensor]:
        """What `read` reads off each candidate's logits, row by row; candidates of equal `key` share batches."""
        clean = record(self.model, batch)
        values: dict[Candidate, Tensor] = {}
        rows = torch.arange(len(batch.rows), device=batch.ids.device)
        at_once = max(1, self.model.budget // (len(rows) * clean.width))
        for portion in _portions(candidates, key, at_once):
            values.update(zip(portion, read(clean, run(clean, Layout(rows, len(portion), 1, 0), portion)), strict=True))
        return values

    def _batches(self, side: str) -> Iterator[Batch]:
        ordered = sorted(self.encoded[side], key=len)
        size = max(1, self.model.budget // (len(ordered[-1]) + max(map(len, self.scorer.runs))))
        for start in range(0, len(ordered), size):
            yield self.model.batch(ordered[start : start + size])

    def _without(self, clean: Recorded, layout: Layout, candidates: Sequence[Candidate]) -> Tensor:
        """Last logits with each direction removed from the first block's input and from everything blocks write."""
        rows = self._rows(candidates)
        units = (rows / rows.norm(dim=-1, keepdim=True)).repeat_interleave(len(layout.rows), 0)[:, None]

        def removed(activation: Tensor, hook: object = None) -> Tensor:
            unit = units.to(activation.dtype)
            return torch.baddbmm(activation, activation @ unit.mT, unit, alpha=-1)

        sites = [Site(layer, kind) for layer in range(len(clean.streams)) for kind in OUTPUTS]
        hooks: list[Hook] = [(site.hook, removed) for site in sites]
        with self.model.hooked(hooks):
            streams = removed(repeated(layout, clean.streams[0][layout.rows]))
            ended = run_blocks(clean, layout, range(len(clean.streams)), streams)
        return last_logits(clean, layout, ended)[:, :, 0]

    def _rows(self, candidates: Sequence[Candidate]) -> Float[Tensor, "candidate width"]:
        rows = [self.vectors[candidate.layer, candidate.position] for candidate in candidates]
        return torch.stack(rows).float().to(self.model.device)


_Run = Callable[[Recorded, Layout, Sequence[Candidate]], Tensor]
"""Runs a batch for several candidates, and returns logits by candidate, row and place where they are read off."""


def _portions(
    candidates: Sequence[Candidate], key: Callable[[Candidate], int], size: int
) -> Iterator[Sequence[Candidate]]:
    """The candidates in portions of at most `size`, each of candidates with the same key."""
    by_key: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        by_key.setdefault(key(candidate), []).append(candidate)
    for alike in by_key.values():
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def _treated_as_labelled(model: ChatModel, prompts: Prompts, refusing: Refusing) -> Prompts:
    """The harmful prompts that are refused and the harmless ones that are answered, judged by the score."""
    odds: Mapping[str, Sequence[float]] = {
        side: score(model, getattr(prompts, side), refusing).tolist() for side in ("harmful", "harmless")
    }
    return Prompts(
        tuple(prompt for prompt, value in zip(prompts.harmful, odds["harmful"], strict=True) if value > 0),
        tuple(prompt for prompt, value in zip(prompts.harmless, odds["harmless"], strict=True) if value < 0),
    )
