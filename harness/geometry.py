"""How directions lie in the stream: whether categories share one, and whether the stream turns towards it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness import resampling
from harness.arguments import all_checked
from harness.estimate import Estimate, Inconclusive, beside
from harness.interventions import Direction
from harness.measurements import Lens, Products, Projected, PromptSide
from harness.pairs import PairSet
from harness.ranges import RANGES
from harness.refusals import Measured, estimated, unmeasured

# Random directions beside which one is put.
RANDOM = 20
# Of a category with fewer pairs no direction can be told from chance.
LEAST_PAIRS = 4


@all_checked
@dataclass(frozen=True)
class Geometry:
    """Streams of one set of pairs, where a direction was found on others."""

    subject: Measured
    pairs: PairSet

    def agreement(self) -> Estimate:
        """Mean cosine between the categories' differences of means, over what their own halves agree.

        At the prompt's last token, three quarters of the way up: below, prompts differ in their words, whatever is made
        of them.
        """
        found = self.subject.ask(Products(self.pairs, 3 * self.subject.sizes.layers // 4, -1))
        table, n = found.arrays["products"].astype(float), len(self.pairs)
        groups = np.array([pair.category for pair in self.pairs])
        names, counts = np.unique(groups, return_counts=True)
        kept = np.isin(groups, names[counts >= LEAST_PAIRS])
        if len(set(groups[kept])) < 2:
            raise Inconclusive(f"nothing to compare: fewer than two categories have {LEAST_PAIRS} pairs")
        ours = (np.eye(n, 2 * n) - np.eye(n, 2 * n, n))[kept]
        beside(self._harmless(table, np.where(kept, groups, "")))
        clusters = self.subject.clusters([pair.id for pair in self.pairs])
        return self._cosine("cosine", ours @ table @ ours.T, groups[kept], clusters[kept])

    def growth(self, direction: Direction) -> Estimate:
        """How fast harmful and harmless streams part along it from layer to layer, less the same along random ones.

        In shares of the stream's length, from the first layer to the last; random ones have the streams' covariance
        and count by their size, whichever way they go.
        """
        others = tuple(replace(direction, method="matched", seed=seed) for seed in range(RANDOM))
        asked = (direction, *others)
        sides: tuple[PromptSide, ...] = ("harmful", "harmless")
        parts = [self.subject.ask(Projected(self.pairs, side, asked, direction.position)) for side in sides]
        self.subject.show(Lens(self.pairs, side) for side in sides)
        ours, theirs = (one.arrays["along"].astype(float) / one.arrays["length"] for one in parts)
        slopes = _slopes(ours - theirs)
        random = (slopes[1:] * np.sign(slopes[1:].mean(1, keepdims=True))).mean(0)
        clusters = self.subject.clusters([pair.id for pair in self.pairs])
        return estimated("growth over random", resampling.mean(slopes[0] - random, self.subject.level, clusters))

    def _harmless(self, table: np.ndarray, groups: np.ndarray) -> Estimate:
        """The same among harmless twins alone: those whose own words stand late in the sentence, less those early ones.

        By length, or by question against order, the last token of some organisms holds no direction at all.
        """
        n, rows, names = len(groups), [], []
        late = [pair.slot.harmless[0] / len(pair.harmless) for pair in self.pairs]
        for name in np.unique(groups[groups != ""]):
            order = sorted(np.flatnonzero(groups == name), key=lambda one: late[one])
            half = len(order) // 2
            for first, last in zip(order[:half], order[-half:], strict=True):
                row = np.zeros(2 * n)
                row[n + last], row[n + first] = 1, -1
                rows.append(row)
                names.append(name)
        contrast = np.array(rows)
        made = contrast @ table @ contrast.T
        found = self._cosine("cosine, harmless twins", made, np.array(names), np.arange(len(names)))
        return found if np.isfinite(found.value) else unmeasured(found.name, f"not measurable: {found.method}")

    def _cosine(self, name: str, table: np.ndarray, groups: np.ndarray, clusters: np.ndarray) -> Estimate:
        interval = resampling.alignment(table, groups, self.subject.level, clusters)
        return estimated(name, interval, reach=RANGES["geometry.agreement"])


def _slopes(values: Float[np.ndarray, "direction pair layer"]) -> Float[np.ndarray, "direction pair"]:
    """Of the least-squares line over depth, 0 to 1."""
    depth = np.linspace(-0.5, 0.5, values.shape[-1])
    return np.asarray(values @ depth / (depth @ depth))
