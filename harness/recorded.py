"""A recording as claims see it: a subject without weights, that answers what was recorded and nothing else."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from harness.estimate import Estimate
from harness.interventions import Direction, Intervention
from harness.measurements import PromptSide
from harness.pairs import PairSet
from harness.phrases import LITERAL
from harness.recordings import RECORDED, NotRecorded, Recording
from harness.refusals import Refusals, unrecorded


@dataclass(frozen=True)
class RecordedSubject:
    """A recording as claims see it: published arms are known by their kind, anything else was not recorded."""

    recording: Recording
    level: float

    @property
    def name(self) -> str:
        """As asked for on the command line."""
        return RECORDED + self.recording.name

    def refuses(self, pairs: PairSet, *, judge: str = LITERAL.name) -> Refusals:
        """How these items were answered, and what the published interventions made of it, by a judge recorded."""
        return Refusals(self, pairs, judge)

    def direction(self, pairs: PairSet) -> Direction:
        """The published one, found on prompts that are not among the items."""
        return self.recording.direction

    def judged(
        self, pairs: PairSet, side: PromptSide, under: Intervention | None, judge: str = LITERAL.name
    ) -> Bool[np.ndarray, " pair"]:
        """Whether each item was refused."""
        if judge != LITERAL.name:
            raise NotRecorded(f"{self.name}: judged by {LITERAL.name}; what {judge} says was not recorded")
        numbers = tuple(int(pair.id.rpartition("-")[2]) for pair in pairs)
        return np.array(self.recording.hits(side, under, numbers))

    def scored(self, pairs: PairSet, side: PromptSide, under: Intervention | None) -> Bool[np.ndarray, " pair"]:
        """First tokens were not recorded: a skip, and no verdict."""
        raise NotRecorded(f"{self.name}: first tokens, by which random directions are compared, were not recorded")

    def changes(self, pairs: PairSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the arm's completions are others than the baseline's, as far as that was recorded."""
        return self.recording.arm(under) not in self.recording.twins

    def asides(self, pairs: PairSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """What plain text costs more, where that was published: a mean without an interval. No random direction was."""
        arm, losses = self.recording.arm(under), self.recording.cross_entropy
        texts = [key.partition(", ")[2] for key in losses if key.startswith(f"{arm}, ")]
        rises = {text: losses[f"{arm}, {text}"] - losses[f"baseline, {text}"] for text in texts}
        costs = (
            Estimate(f"cross-entropy, {text}", value, value, value, 1, "published mean", "mean")
            for text, value in rises.items()
        )
        return *costs, unrecorded(f"{'fall' if side == 'harmful' else 'rise'}, random directions")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotRecorded(f"{self.name}: what the claim asks for ({name}) was not recorded")
