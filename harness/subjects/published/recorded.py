"""A recording as claims see it: a subject without weights, that answers what was recorded and nothing else."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from harness.claims import gate
from harness.inputs.judges.phrases import RULES
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.judging.estimate import Estimate
from harness.measurements.interventions import Direction, Intervention
from harness.measurements.origins import origins_in, prompts_of
from harness.measurements.questions import PromptSide
from harness.subjects.live import Subject
from harness.subjects.published.recordings import RECORDED, Arm, NotRecorded, Recording
from harness.subjects.quantities.refusals import Refusals, counted, unrecorded


@dataclass(frozen=True)
class RecordedSubject:
    """A recording as claims see it: published arms are known by their kind, anything else was not recorded."""

    recording: Recording
    level: float

    @property
    def name(self) -> str:
        """As asked for on the command line."""
        return RECORDED + self.recording.name

    @property
    def all_pairs(self) -> PairSet:
        """The items."""
        return self.recording.pairs

    def refuses(self, pairs: PromptSet, *, judge: str = "") -> Refusals:
        """How these items were answered, by its own judge or another, and what published interventions made of it."""
        return Refusals(self, pairs, judge or self.recording.judge)

    def direction(self, pairs: PromptSet) -> Direction:
        """The published one, found on prompts that are not among the items; a claim may not say that it was."""
        return replace(self.recording.direction, sought_on=prompts_of(pairs))

    def judged(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = ""
    ) -> Bool[np.ndarray, " pair"]:
        """Whether each item was refused."""
        gate.require_judgeable(pairs, origins_in(under))
        refused = self.recording.judged(side, under, judge).refused
        return np.array([refused[int(pair.id.rpartition("-")[2])] for pair in twins(pairs)], dtype=bool)

    def reading(self) -> AbstractContextManager[list[str]]:
        """Nothing: a recording is no evidence of ours, and the run names the recording itself."""
        return nullcontext([])

    def scored(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> Bool[np.ndarray, " pair"]:
        """First tokens were not recorded: a skip, and no verdict."""
        raise NotRecorded(f"{self.name}: first tokens, by which random directions are compared, were not recorded")

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the arm's completions are others than the baseline's, as far as that was recorded."""
        return not self.recording.judged(side, under).unchanged

    def asides(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """What plain text costs more, where that was published: a mean without an interval. No random direction was."""
        losses = {(one.arm, one.text): one.nats for one in self.recording.losses}
        arm, costs = self.recording.arm(under), []
        for text in (text for done, text in losses if done == Arm()):
            name = f"cross-entropy, {text}"
            if (arm, text) in losses:
                more = losses[arm, text] - losses[Arm(), text]
                costs.append(Estimate(name, more, more, more, 1, "published mean", "mean"))
            else:
                costs.append(unrecorded(name))
        judge = self.recording.judge
        name = "answers with a phrase" if judge in (rule.name for rule in RULES) else f"answers refused by {judge}"
        said = counted(f"{name}, {side}", self.judged(pairs, side, under), self.level, pairs.clusters_of(side), ())
        random = unrecorded(f"{'fall' if side == 'harmful' else 'rise'}, random directions")
        return unrecorded(f"first token refuses, {side}"), said, *costs, random

    def __dir__(self) -> list[str]:
        """All that a claim may ask of a model, be it recorded or not."""
        return [*super().__dir__(), *dir(Subject)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Subject, name):
            raise AttributeError(f"a recorded model has no {name}", name=name, obj=self)
        raise NotRecorded(f"{self.name}: what the claim asks for ({name}) was not recorded")
