"""How many answers of a reasoning model begin with a thought, and how many thoughts do not end in time."""

from collections.abc import Iterator

from harness.inputs.judges.outcomes import together
from harness.inputs.judges.thoughts import THOUGHT, UNFINISHED
from harness.inputs.prompts.pairs import PromptSide
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging.estimate import Estimate
from harness.measurements.interventions import Intervention
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.refusals import counted


def thoughts(
    subject: MeasuredSubject, pairs: PromptSet, side: PromptSide, under: Intervention | None
) -> Iterator[Estimate]:
    """Shares of answers; none where evidence says nothing of thoughts."""
    with subject.reading() as read:
        samples = [subject.ask(question).values for question in subject.to_answer(pairs, side, under)]
    whose = " of the unchanged model" if under is None else ""
    for name, key in (("answers with a thought", THOUGHT), ("unfinished thoughts", UNFINISHED)):
        if all(key in values for values in samples):
            hits = together([values[key] for values in samples])
            yield counted(f"{name}{whose}, {side}", hits, subject.level, pairs.clusters_of(side), read)
