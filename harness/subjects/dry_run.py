"""`--plan`: runs claims on a subject that measures nothing, and adds up what measuring would cost.

Its answers are placeholders of the right shape, so that a claim runs on and asks all its questions.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.inputs.chat_tokens import EncodedPair
from harness.inputs.model_record import Sizes
from harness.inputs.prompts.pairs import PairSet
from harness.measurements.evidence import Evidence
from harness.measurements.interventions import Intervention
from harness.measurements.openings import Openings, runs_of
from harness.measurements.questions import Measurement, PromptSide
from harness.measurements.recipe import Recipe
from harness.measurements.sweep_plan import AnySweep
from harness.subjects.arm_refusals import SAMPLE
from harness.subjects.live import Subject
from harness.subjects.protocol import Measure, Validity
from harness.subjects.score import behind


@dataclass
class Work:
    """The cost of a run: tokens through the whole model, and the peak memory besides the weights, in bytes."""

    tokens: float = 0.0
    peak: int = 0
    asked: int = 0  # measurements


class Planner(Subject):
    """Returns placeholders and sums the cost of what is not in the store yet."""

    work: Work
    known: set[str]

    def plan(self, work: Work, known: set[str]) -> "Planner":
        """Adds costs to `work`, except for recipes in `known`: earlier claims have asked for them already."""
        self.work, self.known = work, known
        return self

    def area_by(self, measure: Measure) -> float:
        """The AUC if the evidence behind it is in the store; else 1, so that effects are asked for."""
        questions = list(behind(self, measure))
        for question in questions:
            self.seek(question)
        kept = all(self.store.get(self._recipe(question)) is not None for question in questions)
        return super().area_by(measure) if kept else 1.0

    def validity(self, measure: Measure, side: PromptSide, arms: Sequence[Intervention | None]) -> Validity:
        """Perfect, so that no dearer measure is counted; the answers behind the real validity are counted."""
        super().validity(measure, side, arms)
        return Validity(SAMPLE, SAMPLE)

    def seek(self, question: Measurement) -> Evidence:
        """The evidence in the store; on a miss a placeholder, whose cost is added up."""
        model = Awake(self)
        recipe = self._recipe(question)
        if (kept := self.store.get(recipe)) is not None:
            return kept
        if recipe.fingerprint not in self.known:
            self.known.add(recipe.fingerprint)
            self.work.asked += 1
            self.work.tokens += question.cost(model)
        return Evidence(recipe, *question.placeholder(model))

    def _recipe(self, question: Measurement) -> Recipe:
        return question.recipe(self.record.fingerprint, self.scored_tokens if question.by_tokens else ())


def rate(subject: Subject) -> float:
    """Tokens per second through the whole model, measured now on this machine."""
    prompts = subject.all_pairs.harmful[:16]
    model = subject.wake()
    tokens = sum(map(len, model.encode(prompts)))
    model.next_token(prompts)
    began = time.perf_counter()
    model.next_token(prompts)
    return tokens / (time.perf_counter() - began)


@dataclass(frozen=True)
class Awake:
    """Sizes, tokens and costs of a planned model; its weights are loaded when tokens are first counted."""

    subject: "Planner"

    @property
    def sizes(self) -> Sizes:
        """The model's dimensions."""
        return self.subject.sizes

    @property
    def after_instruction(self) -> int:
        """Tokens of the template after the instruction."""
        return len(self.subject.wake().chat.after_instruction)

    @property
    def without_prompt(self) -> int:
        """Tokens of the template around an empty instruction."""
        return len(self.subject.wake().chat.without_prompt)

    def tokens(self, prompts: Sequence[str]) -> int:
        """Tokens of all prompts, each in its chat template."""
        chat = self.subject.wake().chat
        return sum(len(chat.encode(prompt)) for prompt in prompts)

    def plain_tokens(self, texts: Sequence[str]) -> int:
        """Tokens of all texts, without a template."""
        tokenizer = self.subject.wake().chat.tokenizer
        return sum(len(tokenizer(text)["input_ids"]) for text in texts)

    def encoded(self, pairs: PairSet) -> list[EncodedPair]:
        """Both prompts of each pair as tokens."""
        chat = self.subject.wake().chat
        return [chat.encode_pair(pair) for pair in pairs]

    def swept(self, pairs: PairSet, variants: AnySweep, openings: Openings | None = None) -> float:
        """Tokens through the whole model that a sweep takes; its peak memory is noted."""
        from harness.instruments.sweep import planned  # the model is awake, and torch is there

        sweep, work = planned(self.subject.wake(), pairs, variants, runs_of(openings)), self.subject.work
        work.peak = max(work.peak, sweep.peak)
        return sweep.tokens / self.sizes.layers
