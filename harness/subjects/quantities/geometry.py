"""How directions lie in the stream: whether categories share one, and whether the stream turns towards it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from harness.inputs.arguments import all_checked
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import NO_TWINS, PromptLists, PromptSet, counterparts
from harness.judging import correlations, means
from harness.judging.estimate import Estimate, Inconclusive, beside
from harness.judging.ranges import RANGES
from harness.measurements.interventions import Direction
from harness.measurements.questions import Lens, Products, Projected, PromptSide
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.refusals import estimated, unmeasured

# Random directions beside which one is put.
RANDOM = 20
# Of a category with fewer pairs no direction can be told from chance.
LEAST_PAIRS = 4


@all_checked
@dataclass(frozen=True)
class Geometry:
    """Streams of one set of pairs, where a direction was found on others."""

    subject: MeasuredSubject
    pairs: PromptSet

    def agreement(self) -> Estimate:
        """Mean cosine between the categories' differences of means, over what their own halves agree.

        At the prompt's last token, three quarters of the way up: below, prompts differ in their words, whatever is made
        of them.
        """
        found = self.subject.ask(Products(self.pairs, 3 * self.subject.sizes.layers // 4, -1))
        table, (ours, theirs) = found.arrays["products"].astype(float), counterparts(self.pairs, by_category=True)
        groups = np.array(self.pairs.categories_of("harmful"))[ours]
        names, counts = np.unique(groups, return_counts=True)
        kept = np.isin(groups, names[counts >= LEAST_PAIRS])
        if len(set(groups[kept])) < 2:
            raise Inconclusive(f"nothing to compare: fewer than two categories have {LEAST_PAIRS} {self._each}")
        every = np.eye(len(table))
        differences = (every[ours] - every[len(self.pairs.harmful) + np.array(theirs)])[kept]
        read = (found.fingerprint,)
        beside(self._harmless(table, np.where(kept, groups, ""), read))
        between = differences @ table @ differences.T
        return self._cosine("cosine", between, groups[kept], self._clusters(ours)[kept], read)

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
        ours, theirs = (
            (one.arrays["along"].astype(float) / one.arrays["length"])[:, places]
            for one, places in zip(parts, counterparts(self.pairs), strict=True)
        )
        slopes = _slopes(ours - theirs)
        random = (slopes[1:] * np.sign(slopes[1:].mean(1, keepdims=True))).mean(0)
        clusters = self._clusters(range(len(random)))
        interval = means.mean(slopes[0] - random, self.subject.level, clusters)
        evidence = [part.fingerprint for part in parts]
        return estimated("growth over random", interval, evidence, unit=self.pairs.unit)

    @property
    def _each(self) -> str:
        """What a category must have so many of."""
        return "pairs" if isinstance(self.pairs, PairSet) else "prompts in both lists"

    def _clusters(self, places: Sequence[int]) -> np.ndarray:
        """Of these harmful prompts with what is set against each: of lists, every two are a unit of their own."""
        if isinstance(self.pairs, PromptLists):
            return np.arange(len(places))
        return self.subject.clusters([pair.id for pair in self.pairs])

    def _harmless(self, table: np.ndarray, groups: np.ndarray, evidence: tuple[str, ...]) -> Estimate:
        """The same among harmless twins alone: those whose own words stand late in the sentence, less those early ones.

        By length, or by question against order, the last token of some organisms holds no direction at all.
        """
        if isinstance(self.pairs, PromptLists):
            return unmeasured("cosine, harmless twins", f"not to be had: {NO_TWINS}")
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
        found = self._cosine("cosine, harmless twins", made, np.array(names), np.arange(len(names)), evidence)
        return found if np.isfinite(found.value) else unmeasured(found.name, f"not measurable: {found.method}")

    def _cosine(
        self, name: str, table: np.ndarray, groups: np.ndarray, clusters: np.ndarray, evidence: tuple[str, ...]
    ) -> Estimate:
        interval = correlations.alignment(table, groups, self.subject.level, clusters)
        return estimated(name, interval, evidence, unit=self.pairs.unit, reach=RANGES["geometry.agreement"])


def _slopes(values: Float[np.ndarray, "direction pair layer"]) -> Float[np.ndarray, "direction pair"]:
    """Of the least-squares line over depth, 0 to 1."""
    depth = np.linspace(-0.5, 0.5, values.shape[-1])
    return np.asarray(values @ depth / (depth @ depth))
