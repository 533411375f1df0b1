"""A recording as claims see it: a subject without weights, which can answer only what was recorded."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from harness.claims import gate
from harness.inputs.judges.outcomes import Outcomes
from harness.inputs.judges.phrases import RULES
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.judging.estimate import Estimate
from harness.measurements.interventions import Direction, Intervention
from harness.measurements.origins import origins_in, prompts_of
from harness.measurements.questions import PromptSide
from harness.subjects.live import Subject
from harness.subjects.protocol import Refused
from harness.subjects.published.recordings import RECORDED, Arm, NotRecorded, Recording
from harness.subjects.quantities.refusals import Refusals, counted, unrecorded


@dataclass(frozen=True)
class RecordedSubject:
    """A recording as claims see it: it knows the published interventions; for any other it raises NotRecorded."""

    recording: Recording
    level: float

    @property
    def name(self) -> str:
        """The recording's name, as given on the command line."""
        return RECORDED + self.recording.name

    @property
    def asking_is_free(self) -> bool:
        """Always true: answers are looked up."""
        return True

    @property
    def all_pairs(self) -> PairSet:
        """All items of the recording."""
        return self.recording.pairs

    def refuses(self, pairs: PromptSet, *, judge: str = "") -> Refusals:
        """Refusals among these items, told by that judge or, by default, the recording's own."""
        return Refusals(self, pairs, judge or self.recording.judge)

    def direction(self, pairs: PromptSet) -> Direction:
        """The published direction, as if found on these prompts: a claim that also judges on them is then refused."""
        return replace(self.recording.direction, sought_on=prompts_of(pairs))

    def rivals(self) -> Iterator[tuple[str, "RecordedSubject"]]:
        """None: what other directions do was not published."""
        yield from ()

    def judged(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = ""
    ) -> Bool[np.ndarray, " pair"]:
        """Whether each item was refused."""
        return self.outcomes(pairs, side, under, judge).refused

    def outcomes(self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = "") -> Outcomes:
        """Which items were refused; of the others those that Llama Guard called unsafe were answered.

        Where it was not recorded, whatever was not refused counts as answered, and estimates are named so.
        """
        gate.require_judgeable(pairs, origins_in(under))
        own = self.recording.judged(side, under, judge)
        items = [int(pair.id.rpartition("-")[2]) for pair in twins(pairs)]
        refused = np.array([own.refused[item] for item in items], dtype=bool)
        if not own.unsafe:
            return Outcomes.of_refusals(refused)
        return Outcomes(refused, ~refused & np.array([own.unsafe[item] for item in items], dtype=bool))

    def reading(self) -> AbstractContextManager[list[str]]:
        """Collects nothing: recordings have no evidence, and a run names the recording itself."""
        return nullcontext([])

    def scored(
        self,
        pairs: PromptSet,
        side: PromptSide,
        arms: Sequence[Intervention | None],
        first_token: Callable[[], Bool[np.ndarray, "arm prompt"]] | None = None,
    ) -> Refused:
        """Raises NotRecorded, which skips the claim: random directions were not recorded, nor first tokens."""
        raise NotRecorded(f"{self.name}: first tokens, by which random directions are compared, were not recorded")

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the arm's completions differ from the baseline's; true where completions were not recorded."""
        return not self.recording.judged(side, under).unchanged

    def beyond_reach(self, under: Intervention) -> str:
        """Empty: recorded interventions hold in the answer too."""
        return ""

    def asides(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """The count of refusals and, where published, the rise in cross-entropy on plain text, without an interval."""
        losses = {(loss.arm, loss.text): loss.nats for loss in self.recording.losses}
        arm, rises = self.recording.arm(under), []
        for text in (text for baseline, text in losses if baseline == Arm()):
            name = f"cross-entropy, {text}"
            if (arm, text) in losses:
                rise = losses[arm, text] - losses[Arm(), text]
                rises.append(Estimate(name, rise, rise, rise, 1, "published mean", "mean"))
            else:
                rises.append(unrecorded(name))
        judge = self.recording.judge
        name = "answers with a phrase" if judge in (rule.name for rule in RULES) else f"answers refused by {judge}"
        refused = counted(f"{name}, {side}", self.judged(pairs, side, under), self.level, pairs.clusters_of(side), ())
        random = unrecorded(f"{'fall' if side == 'harmful' else 'rise'}, random directions")
        return refused, unrecorded(f"first token agrees, {side}"), *rises, random

    def thoughts(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> tuple[Estimate, ...]:
        """Nothing: the recorded models do not think."""
        return ()

    def __dir__(self) -> list[str]:
        """Everything a claim can ask of a model, recorded or not; for error messages."""
        return [*super().__dir__(), *dir(Subject)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Subject, name):
            raise AttributeError(f"a recorded model has no {name}", name=name, obj=self)
        raise NotRecorded(f"{self.name}: what the claim asks for ({name}) was not recorded")
