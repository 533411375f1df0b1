"""Which prompts are refused in an arm, by the cheapest measure that was seen to agree with generated answers there."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from harness.inputs.prompts.pairs import PromptSide
from harness.inputs.prompts.prompt_lists import PromptSet, one_of_each_cluster, portion, twins
from harness.measurements.interventions import Intervention, Patch
from harness.measurements.questions import DealtAnswers, Encoding
from harness.subjects.protocol import Measure, MeasuredSubject, Refused, Validity
from harness.subjects.score import answered, odds_by

# Prompts on which a measure is compared with generated answers, none of them of the same cluster.
SAMPLE = 48
_IN_WORDS: dict[Measure, str] = {"first token": "the first token", "openings": "openings of several tokens"}


class ArmRefusals:
    """Refusals in arms in which not every answer is generated; a base class of `Subject`."""

    def scored(
        self: MeasuredSubject,
        pairs: PromptSet,
        side: PromptSide,
        arms: Sequence[Intervention | None],
        first_token: Callable[[], Bool[np.ndarray, "arm prompt"]] | None = None,
    ) -> Refused:
        """Whether each prompt is refused in each arm, by one measure that is validated on all arms together.

        `first_token` gives what the first token says in all arms, where a sweep has measured that.
        """
        tried: list[str] = []
        for measure, words in _IN_WORDS.items():
            validity = self.validity(measure, side, arms)
            if validity.serves:
                if measure == "first token" and first_token is not None:
                    hits = first_token()
                else:
                    hits = np.array([odds_by(self, measure, self.ask, pairs, side, arm) for arm in arms]) > 0
                others = f" ({'; '.join(tried)})" if tried else ""
                return Refused(hits, f"by {words}, {validity} as generated{others}")
            tried.append(f"{words}: {validity} as generated")
        hits = np.array([answered(self.ask, self.to_answer(pairs, side, arm)) for arm in arms])
        return Refused(hits, f"by generated answers ({'; '.join(tried)})")

    def validity(
        self: MeasuredSubject, measure: Measure, side: PromptSide, arms: Sequence[Intervention | None]
    ) -> Validity:
        """How often a measure says of discovery prompts what their generated answers say, over all arms together.

        Several arms share the sample, so that they cost as many answers as one. Of several answers to a prompt the
        first counts, which is as likely to be refused as any other, so that the units stay independent.
        """
        discovery, places = self.all_pairs.discovery, _sample(self, side, arms)
        if not places or not _can_be_told(self, measure):
            return Validity(0, 0)
        edited = [arm for arm in arms if arm is not None]
        if not edited:  # of the unchanged model all discovery answers are there already
            said = odds_by(self, measure, self.seek_and_cite, discovery, side, None)[places] > 0
            refused = answered(self.seek_and_cite, self.to_answer(discovery, side)[:1])[places]
        else:
            said = np.zeros(len(places), dtype=bool)
            for number, arm in enumerate(edited[: len(places)]):
                sample = portion(discovery, side, places[number :: len(edited)])
                said[number :: len(edited)] = odds_by(self, measure, self.seek_and_cite, sample, side, arm) > 0
            refused = self.dealt(portion(discovery, side, places), side, edited, searching=True)
        return Validity(int((said == refused).sum()), len(places))

    def dealt(
        self: MeasuredSubject,
        pairs: PromptSet,
        side: PromptSide,
        arms: Sequence[Intervention],
        *,
        searching: bool = False,
    ) -> Bool[np.ndarray, " prompt"]:
        """Whether the answer to each prompt refuses under one of the arms, which are dealt out to prompts in turn."""
        usual = self.to_answer(pairs, side)[0]
        question = DealtAnswers(pairs, side, tuple(arms), usual.tokens, usual.sample)
        ask = self.seek_and_cite if searching else self.ask
        return np.array(ask(question).values["refused"]) > 0


def _can_be_told(subject: MeasuredSubject, measure: Measure) -> bool:
    """Whether the measure tells the unchanged model's refusals from its answers.

    Without this a first token that begins all answers would agree wherever all prompts are refused.
    """
    if measure == "first token":
        return subject.score_serves
    return bool(subject.openings.refusing and subject.openings.answering)


def _sample(subject: MeasuredSubject, side: PromptSide, arms: Sequence[Intervention | None]) -> list[int]:
    """Places of discovery prompts on which these arms can be measured."""
    discovery = subject.all_pairs.discovery
    if not any(_needs_alignment(part) for arm in arms if arm is not None for part in arm.parts):
        return one_of_each_cluster(discovery, side, SAMPLE)
    aligned = subject.seek(Encoding(twins(discovery))).values["aligned"]
    return one_of_each_cluster(discovery, side, SAMPLE, [place for place, usable in enumerate(aligned) if usable])


def _needs_alignment(part: Intervention) -> bool:
    """Whether it can only be done in pairs whose tokens correspond at every position."""
    return isinstance(part, Patch) and (part.at != "post" or any(site.position is not None for site in part.sites))
