"""By which score searches and effects tell refusals: the first token's, or that of openings of several tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from harness.inputs.judges.outcomes import together
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.judges.registry import judged_by
from harness.inputs.prompts.pairs import PromptSide
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging import proportions
from harness.judging.estimate import Estimate, Inconclusive, beside
from harness.judging.ranges import SHARE
from harness.measurements.evidence import Evidence
from harness.measurements.interventions import Ablate, Intervention, Patch
from harness.measurements.openings import Openings
from harness.measurements.origins import prompts_of
from harness.measurements.questions import Answers, FoundOpenings, Measurement, OpeningScores, RefusalTokens, Scores
from harness.subjects.protocol import Measure, MeasuredSubject, Question

# With an AUC below this, a score cannot be used in place of generated answers.
LEAST_AREA = 0.95

_SIDES: tuple[PromptSide, ...] = ("harmful", "harmless")
_AREAS: dict[Measure, str] = {"first token": "AUC of the score", "openings": "AUC of the openings"}


class ScoreChoice:
    """The choice of the score by which a subject searches and measures effects; a base class of `Subject`."""

    @cached_property
    def tokens(self: MeasuredSubject) -> tuple[int, ...]:
        """The tokens with which this model's refusals begin, found on discovery prompts."""
        return tuple(self.seek(RefusalTokens(self.all_pairs)).values["tokens"])

    @cached_property
    def openings(self: MeasuredSubject) -> Openings:
        """How this model's refusals and its other answers begin, on discovery prompts."""
        found = self.seek(FoundOpenings(self.all_pairs)).values
        refusing, answering = (tuple(map(tuple, found[kind])) for kind in ("refusing", "answering"))
        return Openings(refusing, answering, sought_on=prompts_of(self.all_pairs.discovery))

    @property
    def scored_tokens(self: MeasuredSubject) -> tuple[int, ...]:
        """`tokens` or, where no first token tells refusals, those with which refusing openings begin."""
        return self.tokens or tuple(sorted({opening[0] for opening in self.openings.refusing}))

    @property
    def score_serves(self: MeasuredSubject) -> bool:
        """Whether the first token's score tells the unchanged model's refusals from its answers: AUC of LEAST_AREA."""
        return bool(self.tokens) and self.area >= LEAST_AREA

    @cached_property
    def area(self: MeasuredSubject) -> float:
        """The AUC with which the first token's score tells generated refusals from answers, on discovery prompts."""
        return self.area_by("first token")

    @cached_property
    def opening_area(self: MeasuredSubject) -> float:
        """The AUC with which openings tell them; one half where there are none of either kind."""
        return self.area_by("openings") if self.openings.refusing and self.openings.answering else 0.5

    def area_by(self: MeasuredSubject, measure: Measure) -> float:
        """The AUC with which a measure tells generated refusals from answers, on discovery prompts."""
        pairs, odds, hits = self.all_pairs.discovery, [], []
        with self.reading() as read:
            for side in _SIDES:
                scores = odds_by(self, measure, self.seek_and_cite, pairs, side, None)
                told = answered(self.ask, self.to_answer(pairs, side))
                odds += np.broadcast_to(scores, told.shape).ravel().tolist()
                hits += told.ravel().tolist()
        self.areas_read[measure] = tuple(read)
        return proportions.area(odds, hits)

    @property
    def measure(self: MeasuredSubject) -> Measure | None:
        """The score that searches and effects go by: the first token's where it serves, else openings, else none."""
        if self.score_serves:
            return "first token"
        return "openings" if self.opening_area >= LEAST_AREA else None

    def told(self: MeasuredSubject, question: Question) -> Question:
        """The question by openings where these serve and the first token does not; else unchanged."""
        if getattr(question, "openings", self) is not None or self.measure != "openings":
            return question
        by: dict[str, Any] = {"openings": self.openings}
        return replace(question, **by)

    def beyond_reach(self: MeasuredSubject, under: Intervention) -> str:
        """Why answers under an intervention do not test the parts it changes; empty if they do.

        Where openings tell refusals, the tokens that all answers begin with may decide them, and a patch or ablation
        in the prompt alone leaves these as they are.
        """
        early = any(
            isinstance(part, Ablate | Patch) and not part.answering and not (isinstance(part, Patch) and part.keep)
            for part in under.parts
        )
        if not early or self.measure != "openings":
            return ""
        return "nothing to tell: refusals show only after an answer's first token, and it is edited in the prompt alone"

    def require_score(self: MeasuredSubject, what: str) -> None:
        """Raises Inconclusive where no score tells the unchanged model's refusals from its answers."""
        if self.measure is None:
            raise Inconclusive(
                "nothing to go by: the first token's score tells generated refusals from answers with an AUC of "
                f"{self.area:.2f} only, openings of several tokens with {self.opening_area:.2f}, and {what} by the "
                "one or the other"
            )

    def quote_areas(self: MeasuredSubject) -> None:
        """Reports the AUC of the first token's score and, where they are used instead, that of the openings."""
        areas: dict[Measure, float] = {"first token": self.area}
        if self.measure == "openings":
            areas["openings"] = self.opening_area
        for measure, area in areas.items():
            n, read = 2 * len(self.all_pairs.discovery), self.areas_read.get(measure, ())
            beside(Estimate(_AREAS[measure], area, area, area, n, "counted", "prompts", range=SHARE, evidence=read))


def behind(subject: MeasuredSubject, measure: Measure) -> Iterator[Measurement]:
    """The questions behind the AUC of a measure."""
    pairs = subject.all_pairs.discovery
    for side in _SIDES:
        yield _question(subject, measure, pairs, side, None)
        yield from subject.to_answer(pairs, side)


def odds_by(
    subject: MeasuredSubject,
    measure: Measure,
    ask: Callable[[Measurement], Evidence],
    pairs: PromptSet,
    side: PromptSide,
    arm: Intervention | None,
) -> Float[np.ndarray, " prompt"]:
    """The log-odds of refusing, by one of the measures that generate nothing."""
    return np.array(ask(_question(subject, measure, pairs, side, arm)).values["odds"])


def answered(ask: Callable[[Measurement], Evidence], samples: Sequence[Answers]) -> Bool[np.ndarray, "*sample prompt"]:
    """Whether the generated answers refuse."""
    return together([np.array(judged_by(PHRASES, ask(question).values)) > 0 for question in samples])


def _question(
    subject: MeasuredSubject, measure: Measure, pairs: PromptSet, side: PromptSide, arm: Intervention | None
) -> Scores | OpeningScores:
    if measure == "first token":
        return Scores(pairs, side, arm)
    return OpeningScores(pairs, side, subject.openings, arm)
