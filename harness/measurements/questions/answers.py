"""Questions about what a model says: tokens, answers, the first token's score, and plain text."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec import UNSET, Struct, UnsetType

from harness.inputs.files.json_files import Count, Finite
from harness.inputs.judges.outcomes import READINGS
from harness.inputs.judges.registry import judges
from harness.inputs.model_record import SHORT_ANSWER, Sample
from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.measurements.interventions import LATER, Intervention
from harness.measurements.questions.contents import Asked, AskedSide, AskedUnder, Content, Done, Flag
from harness.measurements.questions.measurement import (
    Answer,
    Measurement,
    Outlook,
    forget_answers,
    read_for,
    require_twins,
)


class _Aligned(Struct):
    aligned: list[bool]
    harmful: list[Count]
    harmless: list[Count]
    post: Count


class _Tokens(Struct):
    tokens: list[Count]


class _FirstAnswers(Struct):
    """Answers of revision 1, of which the outcome cannot be told."""

    prefixes: list[str]
    repetition: list[float]
    cross_entropy: list[float | None]


class _Drawn(Struct, tag_field="a", tag="Sample"):
    number: Count
    temperature: Finite


class _AskedAnswers(AskedUnder):
    sample: _Drawn | None = None


class _Answers(Struct):
    prefixes: list[str]
    repetition: list[float]
    cross_entropy: list[float]
    unprompted: list[float]
    information: list[float]
    topic: list[Flag]
    thought: list[Flag] | UnsetType = UNSET  # of models that know thoughts alone
    unfinished: list[Flag] | UnsetType = UNSET


class _AskedDealt(AskedSide):
    arms: list[Done]
    sample: _Drawn | None = None


class _Refused(Struct):
    refused: list[Flag]


class _Scores(Struct):
    odds: list[float]
    kl: list[float]
    same_as_clean: bool


class _AskedText(Asked):
    under: Done | None


class _Nats(Struct):
    nats: list[float]


@dataclass(frozen=True)
class Encoding(Measurement):
    """The prompts' lengths in tokens, and which pairs are aligned."""

    KIND = "encoding"
    CONTENT = Content(Asked, _Aligned, ("aligned", "harmful", "harmless"))
    SCORED = False
    TWINS = True

    pairs: PairSet

    def cost(self, model: Outlook) -> float:
        """Nothing: the model is not run."""
        return 0.0

    def placeholder(self, model: Outlook) -> Answer:
        """The true answer, which costs nothing."""
        encoded = model.encoded(self.pairs)
        return {
            "aligned": [pair.aligned for pair in encoded],
            "harmful": [len(pair.harmful) for pair in encoded],
            "harmless": [len(pair.harmless) for pair in encoded],
            "post": model.after_instruction,
        }, {}


@dataclass(frozen=True)
class RefusalTokens(Measurement):
    """The tokens with which refusals begin."""

    KIND = "refusal-tokens"
    CONTENT = Content(Asked, _Tokens)
    SCORED = False

    def cost(self, model: Outlook) -> float:
        """The discovery prompts of both sides are answered."""
        asked = (*self.pairs.discovery.harmful, *self.pairs.discovery.harmless)
        return model.tokens(asked) + SHORT_ANSWER * len(asked)

    def placeholder(self, model: Outlook) -> Answer:
        """Token 0."""
        return {"tokens": [0]}, {}


@dataclass(frozen=True)
class Answers(Measurement):
    """An answer to each prompt of one side, with every judge's judgements and what tells answers from babble."""

    KIND = "answers"
    CONTENT = Content(
        _AskedAnswers,
        _Answers,
        ("prefixes", *READINGS),
        before=Content(AskedUnder, _FirstAnswers, ("prefixes", "repetition", "cross_entropy")),
    )
    REVISION = 3
    SCORED = False

    side: PromptSide
    under: Intervention | None = None
    tokens: int = SHORT_ANSWER
    sample: Sample | None = field(default=None, metadata=LATER)  # None: the likeliest token each time

    def cost(self, model: Outlook) -> float:
        """Answers of full length are generated, and read after their own context, after another's, and after none."""
        said = len(self.prompts) * self.tokens
        generated = model.tokens(self.prompts) + said
        read = 2 * (model.tokens(self.contexts) + said) + len(self.prompts) * model.without_prompt + said
        return generated + read + model.tokens(read_for(self.under, self.twins))

    @property
    def contexts(self) -> tuple[str, ...]:
        """The prompts after which the unchanged model reads the answers: harmless twins, where there are any.

        After a harmful prompt it finds any answer but a refusal surprising, and that must not count against the answer.
        Where there is no twin the prompt itself has to do; what is read without any prompt then speaks for the answer.
        """
        return self.pairs.harmless if isinstance(self.pairs, PairSet) else self.prompts

    def placeholder(self, model: Outlook) -> Answer:
        """Refusals by every judge."""
        n = len(self.prompts)
        judged = {name: [1.0] * n for name in judges()}
        return judged | {"prefixes": [""] * n} | {name: [0.0] * n for name in READINGS}, {}


@dataclass(frozen=True)
class DealtAnswers(Measurement):
    """Whether each answer of one side refuses, when its prompt is under one of several interventions, dealt in turn.

    The first prompt is under the first of them, the second under the second, and after the last the first again. So a
    mean over as many interventions costs as many answers as a single one.
    """

    KIND = "dealt-answers"
    CONTENT = Content(_AskedDealt, _Refused, ("refused",))
    SCORED = False

    side: PromptSide
    arms: tuple[Intervention, ...]
    tokens: int = SHORT_ANSWER
    sample: Sample | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_twins(self.pairs, self.arms)

    @property
    def dealt(self) -> Iterator[tuple[Intervention, tuple[str, ...]]]:
        """Each intervention with its prompts; none that has no prompt."""
        for number, arm in enumerate(self.arms[: len(self.prompts)]):
            yield arm, self.prompts[number :: len(self.arms)]

    def cost(self, model: Outlook) -> float:
        """Answers of full length are generated, and what each intervention needs is read."""
        arms = enumerate(self.arms[: len(self.prompts)])
        read = sum(model.tokens(read_for(arm, self.twins[number :: len(self.arms)])) for number, arm in arms)
        return model.tokens(self.prompts) + len(self.prompts) * self.tokens + read

    def placeholder(self, model: Outlook) -> Answer:
        """Refusals."""
        return {"refused": [1.0] * len(self.prompts)}, {}


@dataclass(frozen=True)
class Scores(Measurement):
    """Log-odds that the first token refuses, and how far an intervention moves its distribution (KL divergence)."""

    KIND = "scores"
    CONTENT = Content(AskedUnder, _Scores, ("odds", "kl"))

    side: PromptSide
    under: Intervention | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        forget_answers(self, self.under)

    def cost(self, model: Outlook) -> float:
        """The prompts are read as they are and, under an intervention, again."""
        return (2 if self.under else 1) * model.tokens(self.prompts) + model.tokens(read_for(self.under, self.twins))

    def placeholder(self, model: Outlook) -> Answer:
        """Even odds and no divergence."""
        n = len(self.prompts)
        return {"odds": [0.0] * n, "kl": [0.0] * n, "same_as_clean": False}, {}


@dataclass(frozen=True)
class PlainText(Measurement):
    """Cross-entropy of passages of plain text, in nats per token."""

    KIND = "plain-text"
    CONTENT = Content(_AskedText, _Nats)
    SCORED = False

    passages: tuple[str, ...]
    under: Intervention | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        forget_answers(self, self.under)

    def cost(self, model: Outlook) -> float:
        """The passages are read once."""
        return model.plain_tokens(self.passages) + model.tokens(read_for(self.under, ()))

    def placeholder(self, model: Outlook) -> Answer:
        """Cross-entropies of 0."""
        return {"nats": [0.0] * len(self.passages)}, {}
