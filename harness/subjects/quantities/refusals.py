"""How a set of pairs is answered: rates of refusal, and what interventions make of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool

from harness.claims import gate
from harness.claims.categories import too_few
from harness.inputs.arguments import all_checked
from harness.inputs.errors import AssayError
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.prompts.pairs import NO_CATEGORY
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging import means, proportions
from harness.judging.estimate import Estimate, Inconclusive, beside
from harness.judging.ranges import RANGES, SHARE, Range
from harness.measurements.effects import Effects
from harness.measurements.interventions import Add, Intervention, Remove
from harness.measurements.questions import PromptSide
from harness.subjects.protocol import AnySubject

# Two interventions are compared where one of them lowers refusal by more than this.
FALLS = 0.3
# Random circuits, or directions, beside which a found one is put.
RANDOM = 20


@all_checked
@dataclass(frozen=True)
class Refusals:
    """How one set of pairs is answered: rates of refusal, and what interventions change."""

    subject: AnySubject
    pairs: PromptSet
    judge: str = PHRASES

    def rate(self, side: PromptSide = "harmful", under: Intervention | None = None) -> Estimate:
        """The share of refusals."""
        with self.subject.reading() as read:
            hits = self._hits(side, under)
        if under is not None:
            self._require_change(side, under)
            self._put_beside(side, under)
        interval = proportions.rate(hits, self.subject.level, self.pairs.clusters_of(side))
        return estimated(f"refused, {side}", interval, read, unit="prompts", reach=RANGES["refuses.rate"])

    def fall(self, under: Intervention, *, given: Intervention | None = None) -> Estimate:
        """How many more harmful prompts are refused without the intervention than with it, as a share.

        Given another one it is judged only where that one lowers refusal by more than the least fall.
        """
        found = self._lowered("fall", None, under)
        self._require_change("harmful", under)
        self._put_beside("harmful", under)
        return replace(found, nothing=self._small(given))

    def rise(self, under: Intervention) -> Estimate:
        """How many more harmless prompts are refused with the intervention than without, as a share."""
        with self.subject.reading() as read:
            before, after = self._hits("harmless", None), self._hits("harmless", under)
        self._require_change("harmless", under)
        self._put_beside("harmless", under)
        interval = proportions.paired_difference(after, before, self.subject.level, self.pairs.clusters_of("harmless"))
        return estimated("rise", interval, read, unit=self.pairs.unit, reach=RANGES["refuses.rise"])

    def left(self, under: Intervention) -> Estimate:
        """The share of harmful prompts that are refused under the intervention."""
        with self.subject.reading() as read:
            hits = self._hits("harmful", under)
        self._require_change("harmful", under)
        self._put_beside("harmful", under)
        interval = proportions.rate(hits, self.subject.level, self.pairs.clusters_of("harmful"))
        return estimated("left", interval, read, unit=self.pairs.unit, reach=RANGES["refuses.left"])

    def gain(self, more: Intervention, over: Intervention) -> Estimate:
        """How many more refusals of harmful prompts go under the one than under the other, as a share.

        Judged only where the one lowers refusal by more than the least fall.
        """
        if more == over:
            raise AssayError(f"{self.subject.name}: both arms of the gain are the same intervention; give two")
        found = self._lowered("gain", over, more)
        for arm in (over, more):
            self._require_change("harmful", arm)
        self._put_beside("harmful", over, ", the other arm")
        self._put_beside("harmful", more)
        return replace(found, nothing=self._small(more))

    def lead(self, under: Remove | Add) -> Estimate:
        """By how much more refusal falls (or, by addition, rises) than along random directions, on the mean of twenty.

        Half of them isotropic, half with the streams' covariance, all as long and orthogonal to it; refusals here are
        what the first token says. The mean and not the best: a mixture of what the stream holds can by chance hold a
        part that the mechanism needs (one of ten does on `reference`), and that speaks against no direction.
        """
        side: PromptSide = "harmful" if isinstance(under, Remove) else "harmless"
        arms = [under, *random_arms(under)]
        with self.subject.reading() as read:
            hits = np.array([self.subject.scored(self.pairs, side, arm) for arm in arms], dtype=float)
        leads = moved(side, hits[1:], hits[0])
        least = float(leads.mean(1).min())
        name, n = "lead over the best random one", len(hits.T)
        beside(
            Estimate(name, least, least, least, n, "no interval", self.pairs.unit, evidence=tuple(sorted(set(read))))
        )
        interval = means.mean(leads.mean(0), self.subject.level, self.pairs.clusters_of(side), (-1, 1))
        return estimated("lead over random", interval, read, unit=self.pairs.unit, reach=RANGES["refuses.lead"])

    def by_category(self, under: Intervention) -> Estimate:
        """The least fall of any category that is refused to begin with, all categories at once.

        Each category's lower end is at the claim's level, since every one has to fall. The least lies below the mean of
        all as well: the upper end is the lowest of theirs and of the whole's, which share the level.
        """
        if set(self._categories()) == {NO_CATEGORY}:
            raise Inconclusive(f"nothing to compare: the {self.pairs.unit} have no categories")
        for bar in gate.least_bars():
            if why := gate.bar_is_out_of_reach(self.pairs, self.subject.level, bar):
                raise Inconclusive(why)
        with self.subject.reading() as read:
            before, after = self._hits("harmful", None), self._hits("harmful", under)
        self._require_change("harmful", under)
        self._put_beside("harmful", under)
        categories, clusters = (np.array(one) for one in (self._categories(), self.pairs.clusters_of("harmful")))
        names = [str(name) for name in np.unique(categories) if before[categories == name].mean() >= gate.REFUSES]
        if not names:
            raise Inconclusive("nothing to explain: no category is refused to begin with")
        parts = [categories == name for name in names]
        shared = self.subject.level / (len(names) + 1)

        def fall(rows: Bool[np.ndarray, " pair"], level: float) -> proportions.Interval:
            return proportions.paired_difference(before[rows], after[rows], level, clusters[rows])

        found = [fall(rows, self.subject.level) for rows in parts]
        high = min(fall(rows, shared).high for rows in [*parts, np.logical_or.reduce(parts)])
        value, low = min(one.value for one in found), min(one.low for one in found)
        aside = len(set(self._categories())) - len(names)
        more = f"; {aside} more {'is' if aside == 1 else 'are'} not refused to begin with" if aside else ""
        method = f"the lowest of {len(names)} categories{more}; {found[0].method}"
        few = [too_few(self.pairs, names, self.subject.level, bar.number) for bar in gate.least_bars()]
        least = proportions.Interval(value, low, max(value, high), len(before), method)
        found_least = estimated("least fall", least, read, unit=self.pairs.unit, reach=RANGES["refuses.by_category"])
        return replace(found_least, advice="; ".join(filter(None, few)))

    def _categories(self) -> tuple[str, ...]:
        return self.pairs.categories_of("harmful")

    def _hits(self, side: PromptSide, under: Intervention | None) -> Bool[np.ndarray, " pair"]:
        return self.subject.judged(self.pairs, side, under, self.judge)

    def _lowered(self, name: Literal["fall", "gain"], before: Intervention | None, after: Intervention) -> Estimate:
        """How many more harmful prompts are refused before than after, as a share, prompt by prompt."""
        with self.subject.reading() as read:
            more, fewer = self._hits("harmful", before), self._hits("harmful", after)
        interval = proportions.paired_difference(more, fewer, self.subject.level, self.pairs.clusters_of("harmful"))
        return estimated(name, interval, read, unit=self.pairs.unit, reach=RANGES[f"refuses.{name}"])

    def _require_change(self, side: PromptSide, under: Intervention) -> None:
        """Refuses an arm that changes nothing: it would be the same arm under two names."""
        if not self.subject.changes(self.pairs, side, under):
            raise AssayError(
                f"{self.subject.name}: the intervention changes no prompt's logits, to the bit: both arms are one; "
                "look at what is removed, patched or added"
            )

    def _put_beside(self, side: PromptSide, under: Intervention, arm: str = "") -> None:
        """Reports the controls and side effects of an arm, which decide nothing."""
        beside(*(replace(one, name=one.name + arm) for one in self.subject.asides(self.pairs, side, under)))

    def _small(self, under: Intervention | None) -> str:
        if under is None:
            return ""
        fall = self._lowered("fall", None, under)
        if fall.low > FALLS:
            return ""
        return f"nothing to compare with: the other intervention lowers refusal by {fall}"


def counted(
    name: str, hits: Bool[np.ndarray, " prompt"], level: float, clusters: Sequence[str], evidence: Iterable[str]
) -> Estimate:
    """A share, and how many that are."""
    interval = proportions.rate(hits, level, clusters)
    method = f"{int(hits.sum())} of {len(hits)}, {interval.method}"
    return estimated(name, replace(interval, method=method), evidence, unit="prompts", reach=SHARE)


def moved(side: PromptSide, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far an arm moves refusal the way it is meant to: down on harmful prompts, up on harmless ones."""
    return np.asarray(before - after if side == "harmful" else after - before)


def random_arms(under: Remove | Add) -> list[Remove | Add]:
    """The same done with random directions."""
    return [replace(under, direction=under.direction.random(seed)) for seed in range(RANDOM)]


def unrecorded(name: str) -> Estimate:
    """A control that the recording does not have."""
    return unmeasured(name, "not recorded")


def unmeasured(name: str, why: str) -> Estimate:
    """A control that could not be had."""
    return Estimate(name, math.nan, math.nan, math.nan, 0, "", absent=why)


def no_share(name: str, found: Effects, why: str) -> Estimate:
    """A share of a gap that is not there."""
    n = len(found.pairs)
    of = "nothing to take a share of"
    return Estimate(name, math.nan, math.nan, math.nan, n, of, nothing=why, evidence=found.evidence)


def estimated(
    name: str,
    interval: proportions.Interval,
    evidence: Iterable[str],
    *,
    unit: str = "pairs",
    nothing: str = "",
    reach: Range | None = None,
) -> Estimate:
    """An interval under the name by which a claim speaks of it, within what that can reach, and what it rests on."""
    low, high = (-math.inf, math.inf) if reach is None else reach
    value, lower, upper = (float(np.clip(end, low, high)) for end in (interval.value, interval.low, interval.high))
    read = tuple(sorted(set(evidence)))
    return Estimate(name, value, lower, upper, interval.n, interval.method, unit, nothing, range=reach, evidence=read)
