"""Searches for the sites that carry most of an effect: gradients propose sites, exact patches rank them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import At, Indexed, Site
from harness.instruments.attribution import estimate
from harness.instruments.sweep import Chunks, sweep
from harness.measurements.questions.searches import PROPOSED
from harness.measurements.sweep_plan import AnySweep, Chosen, Mode, Sweep
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import Refusing


@dataclass(frozen=True)
class Ranking:
    """The variants of largest exact mean effect among those that gradients proposed, largest first."""

    places: tuple[tuple[int, ...], ...]  # indices along the sweep's axes
    effects: tuple[float, ...]
    considered: int  # variants of the whole sweep
    measured: int  # variants that were proposed, and patched

    @property
    def skipped(self) -> int:
        """How many variants were estimated but not measured."""
        return self.considered - self.measured


def top(
    model: ChatModel,
    pairs: Iterable[Pair],
    swept: Sweep,
    refusing: Refusing,
    k: int,
    *,
    mode: Mode = "noise",
    chunks: Callable[[AnySweep], Chunks | None] = lambda swept: None,
) -> Ranking:
    """The k variants of a sweep that carry most of the effect, without patching them all.

    The `PROPOSED` · k variants of largest estimated effect are patched, and the k largest of these are returned.
    """
    listed = list(pairs)
    estimates = estimate(model, listed, swept, refusing, mode=mode, ends="both")
    shape = estimates.patched.shape[1:]
    estimated = np.nan_to_num(np.abs(estimates.mean.ravel()), nan=-1)
    order = np.argsort(-estimated, kind="stable")[: PROPOSED * k]
    proposed = tuple(int(number) for number in order if estimated[number] >= 0)
    chosen = Chosen(swept, proposed)
    exact = sweep(model, listed, chosen, refusing, mode=mode, chunks=chunks(chosen)).mean
    best = np.argsort(-exact, kind="stable")[:k]
    places = tuple(tuple(int(i) for i in np.unravel_index(proposed[at], shape)) for at in best)
    return Ranking(places, tuple(float(exact[at]) for at in best), int(np.prod(shape)), len(proposed))


def circuit(
    model: ChatModel,
    pairs: Iterable[Pair],
    refusing: Refusing,
    *,
    heads: int = 0,
    neurons: int = 0,
    at: At = "post",
    mode: Mode = "noise",
    chunks: Callable[[AnySweep], Chunks | None] = lambda swept: None,
) -> dict[Site, float]:
    """The `heads` heads and `neurons` neurons that carry most, with each one's own effect at `at`, largest first."""
    listed = list(pairs)
    effects: dict[Site, float] = {}
    numbers: dict[Indexed, int] = {"head": heads, "neuron": neurons}
    for kind, k in numbers.items():
        if k:
            ranking = top(model, listed, Sweep(kind, (at,)), refusing, k, mode=mode, chunks=chunks)
            sites = (Site(layer, kind, index) for layer, index, _ in ranking.places)
            effects.update(zip(sites, ranking.effects, strict=True))
    return dict(sorted(effects.items(), key=lambda item: -item[1]))
