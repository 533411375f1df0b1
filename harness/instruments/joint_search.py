"""Searches for a small circuit that carries an effect as a whole: grown by exact joint patches, then pruned."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from jaxtyping import Float

from harness.inputs.chat_tokens import EncodedPair
from harness.inputs.sites import INDEXED, At, Indexed, Site
from harness.instruments.attribution import estimates_on
from harness.instruments.sweep import effects_on
from harness.measurements.interventions import Circuit
from harness.measurements.questions.searches import PIECES, POOL, PRUNED, ROUNDS
from harness.measurements.sweep_plan import Joint, Sweep
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import Scorer

# A part stays only if the circuit's closeness to the whole effect falls by more than this without it.
SPARE = 0.01


@dataclass(frozen=True)
class Grown:
    """A circuit in the blocks in which it grew, what each step carried, and what is left of it after pruning."""

    blocks: tuple[Circuit, ...]  # without the parts that could go
    curve: tuple[tuple[float, float], ...]  # share of the parameters and joint E after each step, before pruning
    effect: float  # joint E after pruning
    adds: tuple[float, ...]  # by how much E falls without each part of the pruned circuit, ascending
    patched: int  # circuits that were patched


def grow(
    model: ChatModel,
    encoded: Mapping[str, EncodedPair],
    scorer: Callable[[Sequence[str]], Scorer],
    limit: float,
    at: At = "post",
) -> Grown:
    """The circuit with less than `limit` of the parameters whose joint effect comes closest to the whole gap.

    Each round proposes pieces of a layer (heads, neurons) by their gradients at both ends, for each parameter; measures
    each piece together with the circuit so far; and adds the run of pieces, in the order of their measured or of their
    estimated effects, that comes closest as a whole. The circuit may double each round, up to the limit.
    """
    search = _Search(model, encoded, scorer, limit, at)
    circuit, effect = Circuit(()), 0.0
    blocks, curve = [], []
    for halvings in reversed(range(ROUNDS)):
        larger, more = search.extended(circuit, effect, limit / 2**halvings)
        if larger != circuit:
            blocks.append(_without(larger, circuit.sites))
            circuit, effect = larger, more
            curve.append((circuit.share(model.sizes), effect))
    pruned, effect = search.pruned(circuit, effect)
    gone = set(circuit.sites) - set(pruned.sites)
    kept = [block for whole in blocks if len(block := _without(whole, gone))]
    return Grown(tuple(kept), tuple(curve), effect, search.losses(pruned, effect), search.patched)


def close(effect: float) -> float:
    """How close E comes to the whole gap: 1 at E = 1, and as much less beyond it as below it."""
    return 1 - abs(1 - effect)


class _Search:
    """What stays the same in all rounds: pairs, score, limit, and the estimates by gradients."""

    def __init__(
        self,
        model: ChatModel,
        encoded: Mapping[str, EncodedPair],
        scorer: Callable[[Sequence[str]], Scorer],
        limit: float,
        at: At,
    ) -> None:
        self.model, self.sizes, self.encoded, self.scorer = model, model.sizes, encoded, scorer
        self.limit, self.at, self.patched = limit, at, 0
        self.estimates = {kind: self._estimates(kind) for kind in INDEXED}

    def extended(self, circuit: Circuit, effect: float, most: float) -> tuple[Circuit, float]:
        """The circuit with the run of pieces that brings it closest, up to a share of the parameters, and its E."""
        pieces = list(self._pieces(circuit, (most if not len(circuit) else most / 2) / PIECES))
        if not pieces:
            return circuit, effect
        joined = [circuit + piece for piece in pieces]
        owned = circuit.share(self.sizes)
        gains = [
            (close(together) - close(effect)) / (whole.share(self.sizes) - owned)
            for together, whole in zip(self._effects(joined), joined, strict=True)
        ]
        orders = [sorted(range(len(pieces)), key=lambda number: -gains[number]), range(len(pieces))]
        runs = dict.fromkeys(
            run for order in orders for run in self._runs(circuit, [pieces[number] for number in order], most)
        )
        larger = list(runs)
        effects = self._effects(larger)
        best = int(np.argmax([close(each) for each in effects]))
        return (larger[best], effects[best]) if close(effects[best]) > close(effect) else (circuit, effect)

    def pruned(self, circuit: Circuit, effect: float) -> tuple[Circuit, float]:
        """The smallest rest that is as close, but for SPARE, when parts are left out in the order of what they add."""
        parts = list(self._parts(circuit))
        if len(parts) < 2:
            return circuit, effect
        losses = [
            (close(effect) - close(each)) / part.share(self.sizes)
            for each, part in zip(self._effects([_without(circuit, part.sites) for part in parts]), parts, strict=True)
        ]
        order = [parts[number] for number in sorted(range(len(parts)), key=lambda number: losses[number])]
        gone = list(accumulate(order[:-1]))
        step = -(-len(gone) // PRUNED)
        rests = [circuit, *(_without(circuit, out.sites) for out in gone[step - 1 :: step])]
        effects = [effect, *self._effects(rests[1:])]
        enough = max(map(close, effects)) - SPARE
        last = max(number for number, each in enumerate(effects) if close(each) >= enough)
        return rests[last], effects[last]

    def losses(self, circuit: Circuit, effect: float) -> tuple[float, ...]:
        """By how much E falls without each part of the circuit, ascending."""
        parts = list(self._parts(circuit))
        if len(parts) < 2:
            return (effect,) * len(parts)
        return tuple(sorted(effect - each for each in self._effects([_without(circuit, part.sites) for part in parts])))

    def _effects(self, circuits: Sequence[Circuit]) -> list[float]:
        """The joint E of each circuit."""
        self.patched += len(circuits)
        swept = Joint(tuple(circuits), self.at)
        return [float(share) for share in effects_on(self.model, self.encoded, swept, self.scorer).mean]

    def _estimates(self, kind: Indexed) -> Float[np.ndarray, "layer index"]:
        """The size of each part's effect by gradients."""
        swept = Sweep(kind, (self.at,))
        estimates = estimates_on(self.model, self.encoded, swept, self.scorer, ends="both")
        sizes: Float[np.ndarray, "layer index"] = np.abs(np.nan_to_num(estimates.mean[..., 0]))
        return sizes

    def _pieces(self, circuit: Circuit, share: float) -> Iterator[Circuit]:
        """For each kind the POOL pieces of a layer with the largest estimates a parameter that still fit."""
        pieces: list[tuple[float, Circuit]] = []
        for kind in INDEXED:
            estimated: list[tuple[float, Circuit]] = []
            size = max(1, int(share / Circuit((Site(0, kind, 0),)).share(self.sizes)))
            for layer, estimates in enumerate(self.estimates[kind]):
                taken = {site.index for site in circuit.sites if (site.layer, site.kind) == (layer, kind)}
                order = [int(index) for index in np.argsort(-estimates, kind="stable") if index not in taken]
                for first in range(0, min(len(order), size * POOL), size):
                    run = order[first : first + size]
                    piece = Circuit(tuple(Site(layer, kind, index) for index in run))
                    estimated.append((float(estimates[run].sum()) / piece.share(self.sizes), piece))
            fitting = (each for each in sorted(estimated, key=lambda each: -each[0]) if self._fits(circuit + each[1]))
            pieces += [each for _, each in zip(range(POOL), fitting, strict=False)]
        yield from (piece for _, piece in sorted(pieces, key=lambda each: -each[0]))

    def _runs(self, circuit: Circuit, pieces: Sequence[Circuit], most: float) -> Iterator[Circuit]:
        """The circuit with the first piece, the first two … of those that fit together."""
        whole = circuit
        for piece in pieces:
            larger = whole + piece
            if self._fits(larger) and (whole == circuit or larger.share(self.sizes) <= most):
                whole = larger
                yield whole

    def _fits(self, circuit: Circuit) -> bool:
        return circuit.share(self.sizes) < self.limit

    def _parts(self, circuit: Circuit) -> Iterator[Circuit]:
        """The circuit cut into parts of a layer, about PRUNED of each kind, weakest estimates first."""
        for kind in INDEXED:
            count = sum(site.kind == kind for site in circuit.sites)
            size = max(1, -(-count // PRUNED))
            for layer in range(self.sizes.layers):
                own = [site.index or 0 for site in circuit.sites if (site.layer, site.kind) == (layer, kind)]
                own.sort(key=lambda index: self.estimates[kind][layer, index])
                for first in range(0, len(own), size):
                    yield Circuit(tuple(Site(layer, kind, index) for index in own[first : first + size]))


def _without(circuit: Circuit, gone: Sequence[Site] | set[Site]) -> Circuit:
    left_out = set(gone)
    return Circuit(tuple(site for site in circuit.sites if site not in left_out))
