"""The result of a sweep: log-odds for every pair and variant, with labels, and the shares computed from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from harness.judging.estimate import Inconclusive

# Below this gap in log-odds between prompts and twins, shares of the gap are not computed.
LEAST_GAP = 0.5


@dataclass(frozen=True)
class Effects:
    """Log-odds of refusing by pair and variant, and those of the unpatched run and of its twin's.

    NaN where a prompt is too short to have a variant's position.
    """

    pairs: tuple[str, ...]  # ids, in order
    set_aside: tuple[str, ...]  # ids of pairs that could not be used, because they are not aligned
    axes: Mapping[str, tuple[str, ...]]  # name → labels, in the order of `patched`'s axes after the first
    patched: Float[np.ndarray, "pair ..."]
    kl: Float[np.ndarray, "pair ..."]  # from the unpatched next-token distribution to the patched one
    clean: Float[np.ndarray, " pair"]
    source: Float[np.ndarray, " pair"]
    evidence: tuple[str, ...] = ()  # fingerprints of the evidence they were read from

    @property
    def change(self) -> Float[np.ndarray, "pair ..."]:
        """The change by patching, in log-odds: patched − clean."""
        return np.asarray(self.patched - self._as_column(self.clean))

    @property
    def gap(self) -> Float[np.ndarray, " pair"]:
        """Each twin's log-odds minus its prompt's, with the sign that makes the mean positive."""
        return np.asarray((self.source - self.clean).astype(float) * self.sign)

    @property
    def towards_twin(self) -> Float[np.ndarray, "pair ..."]:
        """The change by patching, positive where it moves towards the twin; divided by `gap` it is a share."""
        return np.asarray(self.change * self.sign)

    @property
    def no_gap(self) -> str:
        """Why no share of the gap can be computed, as a message; empty where it can."""
        gap = float(self.gap.mean())
        if gap >= LEAST_GAP:
            return ""
        return f"nothing to explain: prompts and twins differ by {gap:.2f} in log-odds of refusing"

    @property
    def sign(self) -> float:
        """1 if twins have higher log-odds of refusing than the patched prompts, on average; -1 if lower."""
        return float(np.sign((self.source - self.clean).mean()))

    @property
    def normalised(self) -> Float[np.ndarray, "pair ..."]:
        """(patched − clean) / (source − clean): 1 is the twin's own behaviour; NaN where the gap is too small."""
        gap = self.source - self.clean
        return np.asarray(self.change / self._as_column(np.where(np.abs(gap) < LEAST_GAP, np.nan, gap)))

    @property
    def flips(self) -> Bool[np.ndarray, "pair ..."]:
        """Whether patching changes which is likelier, refusing or answering."""
        return np.asarray((self.patched > 0) != self._as_column(self.clean > 0))

    @property
    def mean(self) -> Float[np.ndarray, "..."]:
        """The normalised effect of each variant: mean change over mean gap.

        A ratio of means weighs pairs by their gap; a mean of ratios would be dominated by pairs with small gaps.
        """
        gap = self.source - self.clean
        if abs(gap.mean()) < LEAST_GAP:
            raise Inconclusive("nothing to explain: prompts and their twins are treated alike")
        measured = ~np.isnan(self.patched)
        change = np.where(measured, self.change, 0).sum(0)
        # The gap of a pair counts only for variants that the pair has.
        whole = np.where(measured, self._as_column(gap), 0).sum(0)
        return np.asarray(np.divide(change, whole, out=np.full_like(change, np.nan), where=whole != 0))

    def top(self, k: int) -> list[tuple[dict[str, str], float]]:
        """Labels and mean effects of the k variants with the largest absolute mean effect, largest first."""
        flat = self.mean.ravel()
        order = np.argsort(-np.abs(np.nan_to_num(flat)), kind="stable")[:k]
        names, labels = list(self.axes), list(self.axes.values())
        top = []
        for number in order:
            place = np.unravel_index(number, self.mean.shape)
            top.append(({name: labels[axis][place[axis]] for axis, name in enumerate(names)}, float(flat[number])))
        return top

    def _as_column(self, values: np.ndarray) -> np.ndarray:
        """A value per pair, shaped to broadcast over the variants."""
        return np.reshape(values, (-1, *[1] * (self.patched.ndim - 1)))


def joined(parts: Sequence[Effects], order: Sequence[str]) -> Effects:
    """The effects of all parts of a sweep, with the pairs in this order."""
    pairs = [pair for part in parts for pair in part.pairs]
    numbers = [pairs.index(pair) for pair in order if pair in set(pairs)]

    def rows(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])[numbers]

    return Effects(
        tuple(pairs[number] for number in numbers),
        tuple(pair for part in parts for pair in part.set_aside),
        parts[0].axes,
        patched=rows("patched"),
        kl=rows("kl"),
        clean=rows("clean"),
        source=rows("source"),
    )
