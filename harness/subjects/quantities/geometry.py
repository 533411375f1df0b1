"""Directions in the residual stream: whether categories share one, and streams separate along it with depth."""

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

# Random directions that a direction is compared with.
RANDOM = 20
# With fewer pairs a category's direction cannot be told from chance.
LEAST_PAIRS = 4


@all_checked
@dataclass(frozen=True)
class Geometry:
    """Quantities of the streams of one set of pairs; directions must have been found on other pairs."""

    subject: MeasuredSubject
    pairs: PromptSet

    def agreement(self) -> Estimate:
        """In the least category: the mean cosine of its difference of means with the others', with noise set off.

        Measured at the prompt's last token, at three quarters of the depth: in earlier layers streams still differ by
        the prompts' words.
        """
        table, read = self._products()
        ours, theirs = counterparts(self.pairs, by_category=True)
        groups = np.array(self.pairs.categories_of("harmful"))[ours]
        categories, counts = np.unique(groups, return_counts=True)
        kept = np.isin(groups, categories[counts >= LEAST_PAIRS])
        if len(set(groups[kept])) < 2:
            raise Inconclusive(f"nothing to compare: fewer than two categories have {LEAST_PAIRS} {self._each}")
        unit_rows = np.eye(len(table))
        differences = (unit_rows[ours] - unit_rows[len(self.pairs.harmful) + np.array(theirs)])[kept]
        beside(self._harmless(table, np.where(kept, groups, ""), read))
        between = differences @ table @ differences.T
        return self._cosine("cosine", between, groups[kept], self._clusters(ours)[kept], read)

    def principal(self) -> Estimate:
        """How far the streams' first principal component is the difference of means: their cosine, whatever its sign.

        Harmful and harmless streams centred together, measured where `agreement` is.
        """
        (table, read), (ours, theirs) = self._products(), counterparts(self.pairs)
        rows = [*ours, *(len(self.pairs.harmful) + place for place in theirs)]
        interval = correlations.principal(table[np.ix_(rows, rows)], self.subject.level, self._clusters(ours))
        reach = RANGES["geometry.principal"]
        return estimated("cosine of the first component", interval, read, unit=self.pairs.unit, reach=reach)

    def growth(self, direction: Direction) -> Estimate:
        """How much harmful and harmless streams separate along it over the layers, minus the same for random ones.

        The slope from the first layer to the last, as a share of the stream's norm. Random directions have the
        streams' covariance and count by the size of their slope, whatever its sign.
        """
        random_directions = tuple(replace(direction, method="matched", seed=seed) for seed in range(RANDOM))
        directions = (direction, *random_directions)
        sides: tuple[PromptSide, ...] = ("harmful", "harmless")
        projections = [self.subject.ask(Projected(self.pairs, side, directions, direction.position)) for side in sides]
        self.subject.show(Lens(self.pairs, side) for side in sides)
        ours, theirs = (
            (projection.arrays["along"].astype(float) / projection.arrays["length"])[:, places]
            for projection, places in zip(projections, counterparts(self.pairs), strict=True)
        )
        slopes = _slopes(ours - theirs)
        random_slopes = (slopes[1:] * np.sign(slopes[1:].mean(1, keepdims=True))).mean(0)
        clusters = self._clusters(range(len(random_slopes)))
        interval = means.mean(slopes[0] - random_slopes, self.subject.level, clusters)
        evidence = [projection.fingerprint for projection in projections]
        return estimated("growth over random", interval, evidence, unit=self.pairs.unit)

    def _products(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Inner products of all streams at the prompts' last token, at three quarters of the depth; their evidence."""
        evidence = self.subject.ask(Products(self.pairs, 3 * self.subject.sizes.layers // 4, -1))
        return evidence.arrays["products"].astype(float), (evidence.fingerprint,)

    @property
    def _each(self) -> str:
        """The unit that LEAST_PAIRS counts."""
        return "pairs" if isinstance(self.pairs, PairSet) else "prompts in both lists"

    def _clusters(self, harmful_places: Sequence[int]) -> np.ndarray:
        """The cluster of each harmful prompt with its counterpart; in lists each is a cluster of its own."""
        if isinstance(self.pairs, PromptLists):
            return np.arange(len(harmful_places))
        return self.subject.clusters([pair.id for pair in self.pairs])

    def _harmless(self, table: np.ndarray, groups: np.ndarray, evidence: tuple[str, ...]) -> Estimate:
        """The same cosine for a control direction: harmless twins with their own words late minus early.

        Contrasts of length, or of question against order, leave no direction at the last token of some organisms.
        """
        if isinstance(self.pairs, PromptLists):
            return unmeasured("cosine, harmless twins", f"not measurable: {NO_TWINS}")
        n, rows, names = len(groups), [], []
        late = [pair.slot.harmless[0] / len(pair.harmless) for pair in self.pairs]
        for name in np.unique(groups[groups != ""]):
            order = sorted(np.flatnonzero(groups == name), key=lambda place: late[place])
            half = len(order) // 2
            for first, last in zip(order[:half], order[-half:], strict=True):
                row = np.zeros(2 * n)
                row[n + last], row[n + first] = 1, -1
                rows.append(row)
                names.append(name)
        contrast = np.array(rows)
        products = contrast @ table @ contrast.T
        estimate = self._cosine("cosine, harmless twins", products, np.array(names), np.arange(len(names)), evidence)
        return (
            estimate if np.isfinite(estimate.value) else unmeasured(estimate.name, f"not measurable: {estimate.method}")
        )

    def _cosine(
        self, name: str, table: np.ndarray, groups: np.ndarray, clusters: np.ndarray, evidence: tuple[str, ...]
    ) -> Estimate:
        interval = correlations.alignment(table, groups, self.subject.level, clusters)
        return estimated(name, interval, evidence, unit=self.pairs.unit, reach=RANGES["geometry.agreement"])


def _slopes(values: Float[np.ndarray, "direction pair layer"]) -> Float[np.ndarray, "direction pair"]:
    """The slope of the least-squares line over depth, where depth runs from 0 to 1."""
    depth = np.linspace(-0.5, 0.5, values.shape[-1])
    return np.asarray(values @ depth / (depth @ depth))
