"""What a sweep measured: a number for every pair and variant, labelled. Never touches a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from harness.judging.estimate import Inconclusive

# A pair whose two runs are closer than this (in log-odds) has no effect to take shares of.
LEAST_GAP = 0.5


@dataclass(frozen=True)
class Effects:
    """Log-odds of refusing, per pair and variant, beside the unpatched run's and its twin's.

    NaN where a pair has no such variant: a shorter prompt has no such position.
    """

    pairs: tuple[str, ...]  # ids, in order
    set_aside: tuple[str, ...]  # ids of pairs that could not be used, being not aligned
    axes: Mapping[str, tuple[str, ...]]  # name → labels, in the order of `patched`'s axes after the first
    patched: Float[np.ndarray, "pair ..."]
    kl: Float[np.ndarray, "pair ..."]  # from the unpatched next-token distribution to the patched one
    clean: Float[np.ndarray, " pair"]
    source: Float[np.ndarray, " pair"]
    evidence: tuple[str, ...] = ()  # fingerprints of the files that hold it; none where it was just measured

    @property
    def change(self) -> Float[np.ndarray, "pair ..."]:
        """What patching changes: patched − clean, in log-odds."""
        return np.asarray(self.patched - self._beside(self.clean))

    @property
    def gap(self) -> Float[np.ndarray, " pair"]:
        """From each prompt's log-odds to its twin's, with the sign that makes the mean gap positive."""
        return np.asarray((self.source - self.clean).astype(float) * self.sign)

    @property
    def towards_twin(self) -> Float[np.ndarray, "pair ..."]:
        """What patching changes, positive where it leads towards the twin: divided by `gap` it is a share."""
        return np.asarray(self.change * self.sign)

    @property
    def no_gap(self) -> str:
        """Why no share of the gap can be taken; empty where one can."""
        gap = float(self.gap.mean())
        if gap >= LEAST_GAP:
            return ""
        return f"nothing to explain: prompts and twins differ by {gap:.2f} in log-odds of refusing"

    @property
    def sign(self) -> float:
        """1 where twins are refused more than the prompts that are patched, on the mean; -1 where they are less."""
        return float(np.sign((self.source - self.clean).mean()))

    @property
    def normalised(self) -> Float[np.ndarray, "pair ..."]:
        """(patched − clean) / (source − clean): 1 is the twin's own behaviour; NaN without a gap."""
        gap = self.source - self.clean
        return np.asarray(self.change / self._beside(np.where(np.abs(gap) < LEAST_GAP, np.nan, gap)))

    @property
    def flips(self) -> Bool[np.ndarray, "pair ..."]:
        """Whether the likelier of refusing and answering is another."""
        return np.asarray((self.patched > 0) != self._beside(self.clean > 0))

    @property
    def mean(self) -> Float[np.ndarray, "..."]:
        """The normalised effect of each variant over all pairs together: mean change over mean gap.

        A ratio of means weighs pairs by their gap; a mean of ratios is ruled by the pairs with hardly any.
        """
        gap = self.source - self.clean
        if abs(gap.mean()) < LEAST_GAP:
            raise Inconclusive("nothing to explain: prompts and their twins are treated alike")
        there = ~np.isnan(self.patched)
        total = np.where(there, self.change, 0).sum(0)
        # Where a shorter pair has no such variant, its gap does not count either.
        whole = np.where(there, self._beside(gap), 0).sum(0)
        return np.asarray(np.divide(total, whole, out=np.full_like(total, np.nan), where=whole != 0))

    def top(self, k: int) -> list[tuple[dict[str, str], float]]:
        """The k variants of largest absolute mean effect, labelled, largest first."""
        flat = self.mean.ravel()
        order = np.argsort(-np.abs(np.nan_to_num(flat)), kind="stable")[:k]
        names, labels = list(self.axes), list(self.axes.values())
        found = []
        for at in order:
            place = np.unravel_index(at, self.mean.shape)
            found.append(({name: labels[axis][place[axis]] for axis, name in enumerate(names)}, float(flat[at])))
        return found

    def _beside(self, values: np.ndarray) -> np.ndarray:
        return np.reshape(values, (-1, *[1] * (self.patched.ndim - 1)))


def joined(parts: Sequence[Effects], order: Sequence[str]) -> Effects:
    """Parts of one sweep as one, its pairs in the order asked."""
    pairs = [pair for part in parts for pair in part.pairs]
    place = [pairs.index(pair) for pair in order if pair in set(pairs)]

    def rows(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])[place]

    return Effects(
        tuple(pairs[i] for i in place),
        tuple(pair for part in parts for pair in part.set_aside),
        parts[0].axes,
        patched=rows("patched"),
        kl=rows("kl"),
        clean=rows("clean"),
        source=rows("source"),
    )
