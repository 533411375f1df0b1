"""What a subject offers: what claims, quantities and the gate may ask, whichever subject answers.

`AnySubject` holds for recorded judgements too; `MeasuredSubject` for those whose answers are measured: live, planned,
drawn, and placebos.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
from jaxtyping import Bool, Float

from harness.inputs.judges.outcomes import Outcomes
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.model_record import Sizes
from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.inputs.sites import At, Site
from harness.judging import proportions
from harness.judging.answer_shares import per_prompt
from harness.judging.estimate import Estimate
from harness.measurements.effects import Effects
from harness.measurements.evidence import Evidence
from harness.measurements.interventions import Circuit, Direction, Intervention
from harness.measurements.openings import Openings
from harness.measurements.questions import Answers, Measurement
from harness.measurements.sweep_plan import Joint, Mode, Sweep

Measure = Literal["first token", "openings"]
"""What can stand for generated answers in an arm, the cheaper first."""

Question = TypeVar("Question", bound=Measurement)
"""Any measurement."""

# A measure stands for generated answers in an arm if it agrees with at least 0.9 of them there: the lower end, at level
# 0.05, of the exact binomial interval. A share read off it is then wrong by 0.1 at most, a third of the claims' bar of
# 0.30. Of 48 independent prompts one may differ: a measure that errs on one answer in 100 passes nine times in ten, one
# that errs on one in ten passes at most once in twenty.
LEAST_AGREEMENT, LEVEL_OF_AGREEMENT = 0.9, 0.05


@dataclass(frozen=True)
class Validity:
    """On how many of a sample of discovery prompts a measure says of an arm what its generated answers say."""

    same: int
    n: int

    @property
    def serves(self) -> bool:
        """Whether the measure may stand for generated answers there."""
        agreeing = np.arange(self.n) < self.same
        return self.n > 0 and proportions.rate(agreeing, LEVEL_OF_AGREEMENT).low >= LEAST_AGREEMENT

    def __str__(self) -> str:
        return f"{self.same} of {self.n}"


@dataclass(frozen=True)
class Refused:
    """Which prompts are refused in each of several arms, and in words by which measure, with what agreement."""

    hits: Bool[np.ndarray, "arm *sample prompt"]
    by: str

    @property
    def shares(self) -> Float[np.ndarray, "arm prompt"]:
        """How much of each prompt's answers refuses, in each arm."""
        return np.array([per_prompt(own) for own in self.hits])


class AnySubject(Protocol):
    """A subject whose answers can be judged; they may be measured or recorded."""

    @property
    def name(self) -> str:
        """The model's name, as given on the command line."""
        ...

    @property
    def level(self) -> float:
        """The error level of the claim that asks."""
        ...

    @property
    def all_pairs(self) -> PromptSet:
        """All prompts of the run, discovery and held-out."""
        ...

    def reading(self) -> AbstractContextManager[list[str]]:
        """Collects the fingerprints of the evidence asked for while the block runs; a block inside it has its own."""
        ...

    def judged(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = PHRASES
    ) -> Bool[np.ndarray, "*sample pair"]:
        """Whether each answer is a refusal, by the judge of that name; there may be several to each prompt."""
        ...

    def outcomes(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = PHRASES
    ) -> Outcomes:
        """Which answers refuse, which answer, and which are broken."""
        ...

    def scored(
        self,
        pairs: PromptSet,
        side: PromptSide,
        arms: Sequence[Intervention | None],
        first_token: Callable[[], Bool[np.ndarray, "arm prompt"]] | None = None,
    ) -> Refused:
        """Whether each prompt is refused in each arm, by the cheapest measure seen to agree with answers there."""
        ...

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the intervention changes anything at all, to the bit."""
        ...

    def beyond_reach(self, under: Intervention) -> str:
        """Why answers under an intervention do not test the parts it changes; empty if they do."""
        ...

    def asides(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """Controls and side effects of an intervention, where the subject has them; they decide no verdict."""
        ...

    def thoughts(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> tuple[Estimate, ...]:
        """How many answers have a thought, and unfinished ones; empty for models that know no thoughts."""
        ...

    def direction(self, pairs: PromptSet) -> Direction:
        """The direction of refusal, found on these prompts or published."""
        ...


class MeasuredSubject(AnySubject, Protocol):
    """A subject with weights, or with their evidence: every question can be measured."""

    @property
    def sizes(self) -> Sizes:
        """Layers, heads, widths and parameters."""
        ...

    @property
    def controls(self) -> bool:
        """Whether controls are measured and figures drawn, besides the verdict."""
        ...

    @property
    def score_serves(self) -> bool:
        """Whether the first token's score tells generated refusals of the unchanged model from answers."""
        ...

    @property
    def tokens(self) -> tuple[int, ...]:
        """The first tokens of refusals; empty if no first token tells refusals from answers."""
        ...

    @property
    def area(self) -> float:
        """The AUC with which the first token's score tells generated refusals of the unchanged model from answers."""
        ...

    @property
    def opening_area(self) -> float:
        """The same of openings."""
        ...

    @property
    def areas_read(self) -> dict[Measure, tuple[str, ...]]:
        """Fingerprints of the evidence behind the AUC of each score that was computed."""
        ...

    def area_by(self, measure: Measure) -> float:
        """The AUC with which a score tells generated refusals of the unchanged model from answers."""
        ...

    @property
    def measure(self) -> Measure | None:
        """The score that searches and effects go by; None where none serves."""
        ...

    def told(self, question: Question) -> Question:
        """The question, by openings where these serve and the first token does not."""
        ...

    @property
    def openings(self) -> Openings:
        """How refusals and other answers begin."""
        ...

    def dealt(
        self, pairs: PromptSet, side: PromptSide, arms: Sequence[Intervention], *, searching: bool = False
    ) -> Bool[np.ndarray, " prompt"]:
        """Whether the answer to each prompt refuses under one of the arms, which are dealt out to prompts in turn."""
        ...

    def validity(self, measure: Measure, side: PromptSide, arms: Sequence[Intervention | None]) -> Validity:
        """How often a measure says of discovery prompts what their generated answers say, over all arms together."""
        ...

    def to_answer(self, pairs: PromptSet, side: PromptSide, under: Intervention | None = None) -> tuple[Answers, ...]:
        """The questions for these answers as the run asked for them: one or, if they are drawn, one for each sample."""
        ...

    def ask(self, question: Measurement) -> Evidence:
        """The evidence for a judgement; refused where a circuit or direction was found on the same prompts."""
        ...

    def seek(self, question: Measurement) -> Evidence:
        """Evidence for a search; no verdict rests on it."""
        ...

    def seek_and_cite(self, question: Measurement) -> Evidence:
        """Evidence on discovery prompts that shows how far an estimate can be trusted, and is cited by it."""
        ...

    def effects(
        self, pairs: PairSet, sweep: Sweep | Joint, mode: Mode = "noise", *, searching: bool = False
    ) -> Effects:
        """Exact effects of patching from the twin's run, in log-odds of refusing by the score that serves."""
        ...

    def share_of(self, name: str, effects: Effects, change: np.ndarray) -> Estimate:
        """A change in log-odds, as a share of the gap between prompts and their twins."""
        ...

    def clusters(self, names: Sequence[str]) -> np.ndarray:
        """The cluster of each pair: pairs of one frame, or with a prompt in common, are not independent."""
        ...

    def circuit(
        self, pairs: PairSet, *, heads: float = 0, neurons: float = 0, share: float = 0, at: At = "post"
    ) -> Circuit:
        """The heads and neurons that carry most of the effect on these pairs."""
        ...

    def limit_of(self, circuit: Circuit) -> float | None:
        """The share of the parameters under which the joint search found this circuit; None for any other circuit."""
        ...

    def ranked(self, circuit: Circuit) -> tuple[Site, ...]:
        """The sites of a circuit found by this subject, largest effect first; empty for any other circuit."""
        ...

    def show(self, questions: Iterable[Measurement]) -> None:
        """Measures these questions for figures, if controls are on; they decide no verdict."""
        ...

    def also(self, estimates: Iterable[Estimate]) -> None:
        """Evaluates and reports these estimates, if controls are on; they decide no verdict."""
        ...
