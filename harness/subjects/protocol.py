"""What a subject offers: what claims, quantities and the gate may ask, whichever subject answers.

`AnySubject` holds for recorded judgements too; `MeasuredSubject` for those whose answers are measured: live, planned,
drawn, and placebos.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from jaxtyping import Bool

from harness.inputs.judges.phrases import PHRASES
from harness.inputs.model_record import Sizes
from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.inputs.sites import At, Site
from harness.judging.estimate import Estimate
from harness.measurements.effects import Effects
from harness.measurements.evidence import Evidence
from harness.measurements.interventions import Circuit, Direction, Intervention
from harness.measurements.questions import Measurement
from harness.measurements.sweep_plan import Joint, Mode, Sweep


class AnySubject(Protocol):
    """A subject whose answers are judged, be they measured or recorded."""

    @property
    def name(self) -> str:
        """The model's name as asked for on the command line."""
        ...

    @property
    def level(self) -> float:
        """The error level of the claim that asks."""
        ...

    @property
    def all_pairs(self) -> PromptSet:
        """All prompts on which it may be judged."""
        ...

    def reading(self) -> AbstractContextManager[list[str]]:
        """Collects the fingerprints of the evidence asked for while the block runs; a block inside it has its own."""
        ...

    def judged(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = PHRASES
    ) -> Bool[np.ndarray, " pair"]:
        """Whether each answer is a refusal, by the judge of that name."""
        ...

    def scored(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> Bool[np.ndarray, " pair"]:
        """Whether each answer's first token is likelier to refuse than not."""
        ...

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the intervention changes anything at all, to the bit."""
        ...

    def asides(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """Controls and side effects of an arm, as far as the subject knows them; they decide nothing."""
        ...

    def direction(self, pairs: PromptSet) -> Direction:
        """The direction of refusal, found on these prompts or published."""
        ...


class MeasuredSubject(AnySubject, Protocol):
    """A subject with weights, or with evidence of them: whatever is asked of it can be measured."""

    @property
    def sizes(self) -> Sizes:
        """Layers, heads, widths and parameters."""
        ...

    @property
    def controls(self) -> bool:
        """Whether controls are measured beside a verdict, and figures drawn; else the verdict is all."""
        ...

    @property
    def score_serves(self) -> bool:
        """Whether the first token's score tells generated refusals from answers."""
        ...

    def ask(self, what: Measurement) -> Evidence:
        """The evidence by which something is judged."""
        ...

    def seek(self, what: Measurement) -> Evidence:
        """Evidence that a search goes by; nothing is judged by it."""
        ...

    def effects(self, pairs: PairSet, what: Sweep | Joint, mode: Mode = "noise", *, searching: bool = False) -> Effects:
        """Exact effects of patching from the twin's run, in the first token's score."""
        ...

    def share_of(self, name: str, found: Effects, change: np.ndarray) -> Estimate:
        """A change in log-odds as a share of the whole gap between prompts and twins."""
        ...

    def clusters(self, names: Sequence[str]) -> np.ndarray:
        """The cluster of each of these pairs: those of one template, or that share a prompt, are one."""
        ...

    def circuit(self, pairs: PairSet, *, heads: float = 0, neurons: float = 0, at: At = "post") -> Circuit:
        """The heads and neurons that carry most of the effect on these pairs."""
        ...

    def ranked(self, circuit: Circuit) -> tuple[Site, ...]:
        """The parts of a circuit that was found here, by what each carries by itself; none of any other circuit."""
        ...

    def show(self, asked: Iterable[Measurement]) -> None:
        """Has this measured for figures, where controls are measured at all; it decides nothing."""
        ...

    def also(self, estimates: Iterable[Estimate]) -> None:
        """Evaluates these estimates and reports them, where controls are measured at all; they decide nothing."""
        ...
