"""What can be asked of a model, as values: each knows its recipe before anything is computed. Never touches a model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import Any, ClassVar

from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.pairs import PromptSide as PromptSide
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet, twins
from harness.inputs.sites import At
from harness.measurements.evidence import Recipe, digest
from harness.measurements.interventions import LATER, Ablate, Circuit, Direction, Intervention, Patch
from harness.measurements.origins import Found, found_in
from harness.measurements.sweep_plan import Joint, Mode, Sweep


@dataclass(frozen=True)
class Measurement:
    """One question; REVISION is raised when the numbers of its answer change."""

    KIND: ClassVar[str]
    REVISION: ClassVar[int] = 1
    SCORED: ClassVar[bool] = True  # whether the answer depends on which tokens refuse
    TWINS: ClassVar[bool] = False  # whether it compares prompts with their twins

    pairs: PromptSet

    def __post_init__(self) -> None:
        under = getattr(self, "under", None)
        if self.TWINS or (under is not None and any(map(_needs_twins, under.parts))):
            twins(self.pairs)

    def recipe(self, subject: str, tokens: Sequence[int]) -> Recipe:
        """Everything the answer depends on; `tokens` are those that refuse."""
        scored = {"refusing": list(tokens)} if self.SCORED else {}
        return Recipe(self.KIND, self.REVISION, subject, described(self) | scored)

    @property
    def found(self) -> Iterator[Found]:
        """Whatever was found on prompts and is asked about here."""
        for one in fields(self):
            if one.name != "pairs":
                yield from found_in(getattr(self, one.name))


@dataclass(frozen=True)
class Encoding(Measurement):
    """How the pairs stand in the model's tokens: lengths, and which are aligned."""

    KIND = "encoding"
    SCORED = False
    TWINS = True

    pairs: PairSet


@dataclass(frozen=True)
class RefusalTokens(Measurement):
    """The tokens with which refusals begin."""

    KIND = "refusal-tokens"
    SCORED = False


@dataclass(frozen=True)
class Answers(Measurement):
    """Greedy answers to one side of the pairs, judged every way that could be asked later."""

    KIND = "answers"
    SCORED = False

    side: PromptSide
    under: Intervention | None = None
    tokens: int = 24


@dataclass(frozen=True)
class Scores(Measurement):
    """Log-odds of the first token refusing, and how far the distribution moved."""

    KIND = "scores"

    side: PromptSide
    under: Intervention | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _forget_answers(self)


@dataclass(frozen=True)
class Swept(Measurement):
    """Exact effects of patching from the twin's run."""

    KIND = "swept"
    TWINS = True

    pairs: PairSet
    what: Sweep | Joint
    mode: Mode = "noise"


@dataclass(frozen=True)
class Contrasted(Measurement):
    """Exact effects on what sets the answers to both prompts apart, whatever they are about."""

    KIND = "contrasted"
    SCORED = False
    TWINS = True

    pairs: PairSet
    what: Sweep | Joint


@dataclass(frozen=True)
class Estimated(Measurement):
    """The same effects as gradients estimate them."""

    KIND = "estimated"
    TWINS = True

    pairs: PairSet
    what: Sweep | Joint
    mode: Mode = "noise"


@dataclass(frozen=True)
class FoundCircuit(Measurement):
    """The heads and neurons that carry most, and what each carries by itself, largest first."""

    KIND = "circuit"
    REVISION = 2
    TWINS = True

    pairs: PairSet
    heads: int = 0
    neurons: int = 0
    at: At = "post"


@dataclass(frozen=True)
class FoundDirection(Measurement):
    """The layer and position chosen by the published procedure: three parts of the pairs to train, one to choose.

    Where no candidate passes its filters, those of the one that leaves least refusal when it is removed.
    """

    KIND = "direction"
    REVISION = 2


@dataclass(frozen=True)
class Projected(Measurement):
    """How far each prompt's stream goes along directions, layer by layer, and how long the stream is."""

    KIND = "projected"
    REVISION = 2
    SCORED = False

    side: PromptSide
    directions: tuple[Direction, ...]
    position: int = -1


@dataclass(frozen=True)
class Lens(Measurement):
    """Log-odds of refusing if the stream that enters each layer, or leaves the last, were read out at once."""

    KIND = "lens"

    side: PromptSide
    position: int = -1


@dataclass(frozen=True)
class Attended(Measurement):
    """How much every head looks at the words in which the pairs differ, from the tokens after them."""

    KIND = "attended"
    SCORED = False
    TWINS = True

    pairs: PairSet


@dataclass(frozen=True)
class Products(Measurement):
    """Inner products of all prompts' streams, harmful ones first, where they enter a layer."""

    KIND = "products"
    SCORED = False

    layer: int
    position: int


@dataclass(frozen=True)
class PlainText(Measurement):
    """Nats a token of passages of plain text, of which the pairs know nothing."""

    KIND = "plain-text"
    SCORED = False

    passages: tuple[str, ...]
    under: Intervention | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _forget_answers(self)


@dataclass(frozen=True)
class Norms(Measurement):
    """Mean length of what every head and neuron says at the end of harmful prompts."""

    KIND = "norms"
    SCORED = False


def _needs_twins(part: Intervention) -> bool:
    """Whether it takes activations from twins, or works at the words in which pairs differ."""
    return isinstance(part, Patch) or (isinstance(part, Ablate) and part.at in ("slot", "later"))


def described(value: Any) -> Any:
    """As JSON, short: sets of pairs by their fingerprint, long lists of prompts by their hash."""
    match value:
        case PairSet() | PromptLists():
            return value.in_recipes
        case Direction():
            return {"direction": value.fingerprint}
        case Circuit():
            return {"circuit": [str(site) for site in value.sites]}
        case tuple() if value and all(isinstance(one, str) and " " in one for one in value):
            return {"prompts": digest(list(value))[:16], "n": len(value)}
        case tuple() | list():
            return [described(one) for one in value]
        case Mapping():
            return {str(key): described(one) for key, one in value.items()}
        case _ if is_dataclass(value):
            named = {one.name: described(getattr(value, one.name)) for one in fields(value) if _counts(value, one)}
            return {"a": type(value).__name__} | named
        case _:
            return value


def _counts(value: Any, one: Field[Any]) -> bool:
    """Not where it says nothing of the number, or came later and is at its default: recipes stay what they were."""
    return one.compare and (one.metadata != LATER or getattr(value, one.name) != one.default)


def _forget_answers(asked: Scores | PlainText) -> None:
    """Where nothing is generated, what an intervention would do in an answer is no part of the recipe."""
    if asked.under is not None:
        object.__setattr__(asked, "under", asked.under.when_scored)
