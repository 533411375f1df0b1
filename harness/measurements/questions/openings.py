"""Questions about the openings of answers: how refusals begin, and which kind of opening is likelier under an edit."""

from dataclasses import dataclass

from msgspec import Struct

from harness.inputs.model_record import SHORT_ANSWER
from harness.inputs.prompts.pairs import PromptSide
from harness.measurements.interventions import Intervention
from harness.measurements.openings import Openings
from harness.measurements.questions.contents import Asked, AskedUnder, Content, NamedOpenings, OpeningsByKind
from harness.measurements.questions.measurement import Answer, Measurement, Outlook, read_for


class _AskedOpenings(AskedUnder):
    openings: NamedOpenings


class _Odds(Struct):
    odds: list[float]


@dataclass(frozen=True)
class FoundOpenings(Measurement):
    """The shortest beginnings that tell the unchanged model's refusals from its other answers on discovery prompts."""

    KIND = "openings"
    CONTENT = Content(Asked, OpeningsByKind)
    SCORED = False

    def cost(self, model: Outlook) -> float:
        """The discovery prompts of both sides are answered."""
        asked = (*self.pairs.discovery.harmful, *self.pairs.discovery.harmless)
        return model.tokens(asked) + SHORT_ANSWER * len(asked)

    def placeholder(self, model: Outlook) -> Answer:
        """Token 0 refuses, token 1 answers."""
        return {"refusing": [[0]], "answering": [[1]]}, {}


@dataclass(frozen=True)
class OpeningScores(Measurement):
    """Log-odds of the model's refusing openings against its answering ones, several tokens each, teacher-forced."""

    KIND = "opening-scores"
    CONTENT = Content(_AskedOpenings, _Odds, ("odds",))
    SCORED = False

    side: PromptSide
    openings: Openings
    under: Intervention | None = None

    def cost(self, model: Outlook) -> float:
        """The prompts are read once, each followed by every beginning that several openings share."""
        after = sum(map(len, self.openings.runs))
        prompts = self.prompts
        return model.tokens(prompts) + len(prompts) * after + model.tokens(read_for(self.under, self.twins))

    def placeholder(self, model: Outlook) -> Answer:
        """Even odds."""
        return {"odds": [0.0] * len(self.prompts)}, {}
