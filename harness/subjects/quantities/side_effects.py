"""Side effects of an intervention: on harmless prompts, on the language of answers, on plain text."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from harness.inputs.arguments import all_checked
from harness.inputs.judges.outcomes import coherent, together
from harness.inputs.places import DATA
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging import answer_shares, means
from harness.judging.estimate import Estimate
from harness.judging.ranges import BOTH_WAYS, RANGES
from harness.measurements.interventions import Intervention, Patch
from harness.measurements.questions import PlainText, PromptSide, Scores
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.refusals import counted, estimated


@all_checked
@dataclass(frozen=True)
class SideEffects:
    """Side effects of one intervention, measured on the prompts of one set of pairs."""

    subject: MeasuredSubject
    pairs: PromptSet
    under: Intervention

    def refused(self) -> Estimate:
        """The rise in the share of harmless prompts that are refused."""
        with self.subject.reading() as read:
            before, after = (self.subject.judged(self.pairs, "harmless", under) for under in (None, self.under))
        interval = answer_shares.paired_difference(
            after, before, self.subject.level, self.pairs.clusters_of("harmless")
        )
        self.subject.also(self._counts("harmless"))
        return estimated("harmless refused", interval, read, unit=self.pairs.unit, reach=RANGES["side_effects.refused"])

    def coherent(self, side: PromptSide = "harmless") -> Estimate:
        """The share of answers that are still coherent language."""
        with self.subject.reading() as read:
            questions = self.subject.to_answer(self.pairs, side, self.under)
            hits = together([coherent(self.subject.ask(question).values) for question in questions])
        interval = answer_shares.rate(hits, self.subject.level, self.pairs.clusters_of(side))
        return estimated("coherent", interval, read, unit="answers", reach=RANGES["side_effects.coherent"])

    def of_arm(self, side: PromptSide) -> tuple[Estimate, ...]:
        """Estimates reported with an arm: coherence on its side, and effects on harmless prompts if that is harmful."""
        on_side = replace(self.coherent(side), name=f"coherent, {side}"), *self._counts(side)
        if side == "harmless" or isinstance(self.under, Patch):
            return on_side
        return *on_side, replace(self.divergence(), name="harmless, KL"), self._refused_by_score()

    def _counts(self, side: PromptSide) -> Iterator[Estimate]:
        """Shares of answers with a refusing phrase, and of those on which the first token says the same."""
        level, clusters = self.subject.level, self.pairs.clusters_of(side)
        with self.subject.reading() as read:
            hits = self.subject.judged(self.pairs, side, self.under)
        yield counted(f"answers with a phrase, {side}", hits, level, clusters, read)
        with self.subject.reading() as read:
            hits = self.subject.judged(self.pairs, side, self.under)
            odds = self.subject.ask(Scores(self.pairs, side, self.under)).values["odds"]
        yield counted(f"first token agrees, {side}", hits == (np.array(odds) > 0), level, clusters, read)

    def _refused_by_score(self) -> Estimate:
        """The rise in the share of harmless prompts that are refused; answers are generated only where scores fail."""
        with self.subject.reading() as read:
            before, after = (self.subject.scored(self.pairs, "harmless", [under]) for under in (None, self.under))
        clusters = self.pairs.clusters_of("harmless")
        interval = answer_shares.paired_difference(after.hits[0], before.hits[0], self.subject.level, clusters)
        estimate = estimated("harmless, refused", interval, read, unit=self.pairs.unit, reach=BOTH_WAYS)
        return replace(estimate, method=f"{after.by}; {estimate.method}")

    def divergence(self) -> Estimate:
        """Mean KL divergence of the next token on harmless prompts, in nats."""
        with self.subject.reading() as read:
            values = self.subject.ask(Scores(self.pairs, "harmless", self.under)).values["kl"]
        clusters = self.pairs.clusters_of("harmless")
        interval = means.mean(values, self.subject.level, clusters, (0.0, np.inf))
        return estimated("KL", interval, read, unit="prompts", reach=RANGES["side_effects.divergence"])

    def cross_entropy(self) -> Estimate:
        """The rise in cross-entropy on plain text, in nats per token."""
        with self.subject.reading() as read:
            before, after = (
                self.subject.ask(PlainText(self.pairs, passages(), under)).values["nats"]
                for under in (None, self.under)
            )
        interval = means.mean_difference(after, before, self.subject.level)
        return estimated("cross-entropy", interval, read, unit="passages")


@cache
def passages() -> tuple[str, ...]:
    """The plain text in data/plain.txt, one passage per line."""
    return tuple(filter(None, (DATA / "plain.txt").read_text(encoding="utf-8").splitlines()))
