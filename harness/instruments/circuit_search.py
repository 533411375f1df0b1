"""Where in a model refusal is carried: gradients propose, exact patches decide."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import At, Indexed, Site
from harness.instruments.attribution import estimate
from harness.instruments.sweep import Chunks, sweep
from harness.measurements.questions.searches import PROPOSED
from harness.measurements.sweep_plan import AnySweep, Chosen, Mode, Sweep
from harness.model.chat_model import ChatModel


@dataclass(frozen=True)
class Ranking:
    """Variants by their exact mean effect, largest first, of those that gradients proposed."""

    places: tuple[tuple[int, ...], ...]  # along the sweep's axes
    effects: tuple[float, ...]
    considered: int  # variants of the whole sweep
    measured: int  # of them, those that were patched

    @property
    def skipped(self) -> int:
        """Variants whose effect was estimated and not measured."""
        return self.considered - self.measured


def top(
    model: ChatModel,
    pairs: Iterable[Pair],
    what: Sweep,
    tokens: Sequence[int],
    k: int,
    *,
    mode: Mode = "noise",
    chunks: Callable[[AnySweep], Chunks | None] = lambda what: None,
) -> Ranking:
    """The k variants of a sweep that carry most of the effect, most of the sweep left out."""
    some = list(pairs)
    estimates = estimate(model, some, what, tokens, mode=mode, ends="both")
    shape = estimates.patched.shape[1:]
    guess = np.nan_to_num(np.abs(estimates.mean.ravel()), nan=-1)
    order = np.argsort(-guess, kind="stable")[: PROPOSED * k]
    proposed = tuple(int(number) for number in order if guess[number] >= 0)
    chosen = Chosen(what, proposed)
    exact = sweep(model, some, chosen, tokens, mode=mode, chunks=chunks(chosen)).mean
    best = np.argsort(-exact, kind="stable")[:k]
    places = tuple(tuple(int(i) for i in np.unravel_index(proposed[at], shape)) for at in best)
    return Ranking(places, tuple(float(exact[at]) for at in best), int(np.prod(shape)), len(proposed))


def circuit(
    model: ChatModel,
    pairs: Iterable[Pair],
    tokens: Sequence[int],
    *,
    heads: int = 0,
    neurons: int = 0,
    at: At = "post",
    mode: Mode = "noise",
    chunks: Callable[[AnySweep], Chunks | None] = lambda what: None,
) -> dict[Site, float]:
    """So many heads and neurons that carry most, and what each carries by itself at these positions, largest first."""
    some = list(pairs)
    carried: dict[Site, float] = {}
    numbers: dict[Indexed, int] = {"head": heads, "neuron": neurons}
    for kind, k in numbers.items():
        if k:
            found = top(model, some, Sweep(kind, (at,)), tokens, k, mode=mode, chunks=chunks)
            sites = (Site(layer, kind, index) for layer, index, _ in found.places)
            carried.update(zip(sites, found.effects, strict=True))
    return dict(sorted(carried.items(), key=lambda item: -item[1]))
