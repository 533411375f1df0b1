"""The base of all that can be measured: a value that knows its recipe, its cost and the content of its answer."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from harness.inputs.chat_tokens import EncodedPair
from harness.inputs.model_record import Sizes
from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet, twins
from harness.measurements.interventions import LATER, Ablate, Add, Circuit, Direction, Intervention, Patch, Remove
from harness.measurements.openings import Openings, runs_of
from harness.measurements.origins import Origin, origins_in
from harness.measurements.questions.contents import Content
from harness.measurements.recipe import Recipe, digest
from harness.measurements.sweep_plan import AnySweep

Answer = tuple[Mapping[str, Any], Mapping[str, np.ndarray]]
"""Values as JSON has them, and arrays."""

# A backward pass costs about twice a forward one.
WITH_GRADIENTS = 3


class Outlook(Protocol):
    """A model before anything is measured: its sizes, its tokens, and the cost of sweeps on it."""

    @property
    def sizes(self) -> Sizes:
        """The model's dimensions."""
        ...

    @property
    def after_instruction(self) -> int:
        """Tokens of the template after the instruction."""
        ...

    @property
    def without_prompt(self) -> int:
        """Tokens of the template around an empty instruction."""
        ...

    def tokens(self, prompts: Sequence[str]) -> int:
        """Tokens of all prompts, each in its chat template."""
        ...

    def plain_tokens(self, texts: Sequence[str]) -> int:
        """Tokens of all texts, without a template."""
        ...

    def encoded(self, pairs: PairSet) -> list[EncodedPair]:
        """Both prompts of each pair as tokens."""
        ...

    def swept(self, pairs: PairSet, variants: AnySweep, openings: Openings | None = None) -> float:
        """Tokens through the whole model that a sweep takes; its memory is noted as well."""
        ...


@dataclass(frozen=True)
class Measurement(ABC):
    """A question to a model. REVISION is raised when the numbers of its answer change.

    A subclass must define KIND, CONTENT, cost and placeholder; `instruments/answer.py` registers how it is answered.
    """

    KIND: ClassVar[str]
    CONTENT: ClassVar[Content]
    REVISION: ClassVar[int] = 1
    SCORED: ClassVar[bool] = True  # whether the answer depends on which tokens, or openings, refuse
    TWINS: ClassVar[bool] = False  # whether it compares prompts with their twins

    pairs: PromptSet

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if missing := [name for name in ("KIND", "CONTENT") if not hasattr(cls, name)]:
            raise TypeError(f"the measurement {cls.__name__} lacks {' and '.join(missing)}")
        KINDS[cls.KIND] = cls

    def __post_init__(self) -> None:
        under = getattr(self, "under", None)
        if self.TWINS:
            twins(self.pairs)
        require_twins(self.pairs, () if under is None else (under,))

    @property
    def by_tokens(self) -> bool:
        """Whether the answer depends on which tokens refuse; with openings it depends on these instead."""
        return self.SCORED and getattr(self, "openings", None) is None

    @abstractmethod
    def cost(self, model: Outlook) -> float:
        """Tokens through the whole model that an answer takes."""

    @abstractmethod
    def placeholder(self, model: Outlook) -> Answer:
        """An answer of the right content and lengths, whose numbers mean nothing."""

    def recipe(self, subject: str, tokens: Sequence[int]) -> Recipe:
        """Everything the answer depends on; `tokens` are those that refuse."""
        scored = {"refusing": list(tokens)} if self.by_tokens else {}
        return Recipe(self.KIND, self.REVISION, subject, described(self) | scored)

    @property
    def origins(self) -> Iterator[Origin]:
        """The circuits and directions in the question that were searched for on prompts."""
        for member in fields(self):
            if member.name != "pairs":
                yield from origins_in(getattr(self, member.name))

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts of the side that the question is about; harmful ones where it is about pairs."""
        side: PromptSide = getattr(self, "side", "harmful")
        return self.pairs.harmful if side == "harmful" else self.pairs.harmless

    @property
    def twins(self) -> tuple[str, ...]:
        """The prompts of the other side."""
        harmful, harmless = self.pairs.harmful, self.pairs.harmless
        return harmless if getattr(self, "side", "harmful") == "harmful" else harmful

    @property
    def both(self) -> tuple[str, ...]:
        """The prompts of both sides."""
        return (*self.pairs.harmful, *self.pairs.harmless)


KINDS: dict[str, type[Measurement]] = {}
"""Every measurement by its kind."""


def described(value: Any) -> Any:
    """A value as recipes hold it: sets of pairs by their fingerprint, long lists of prompts by their hash."""
    match value:
        case PairSet() | PromptLists():
            return value.in_recipes
        case Direction():
            return {"direction": value.fingerprint}
        case Circuit():
            return {"circuit": [str(site) for site in value.sites]}
        case tuple() if value and all(isinstance(text, str) and " " in text for text in value):
            return {"prompts": digest(list(value))[:16], "n": len(value)}
        case tuple() | list():
            return [described(member) for member in value]
        case Mapping():
            return {str(key): described(member) for key, member in value.items()}
        case _ if is_dataclass(value):
            members = [member for member in fields(value) if _counts(value, member)]
            return {"a": type(value).__name__} | {name.name: described(getattr(value, name.name)) for name in members}
        case _:
            return value


def with_gradients(prompts: Sequence[str], model: Outlook, openings: Openings | None) -> float:
    """The tokens that a gradient of the score takes at these prompts.

    A score of several runs has a gradient in each, weighted by what the runs say together: all are read twice.
    """
    runs = runs_of(openings)
    read = sum(model.tokens(prompts) + len(prompts) * len(given) for given in runs)
    return float(read * (WITH_GRADIENTS + (len(runs) > 1)))


def read_for(under: Intervention | None, twins: tuple[str, ...]) -> tuple[str, ...]:
    """The prompts that are read before an intervention can be made: twins, those of a direction, those of a mean."""
    prompts: tuple[str, ...] = ()
    for part in under.parts if under else ():
        match part:
            case Patch(keep=keep):
                prompts += twins + (keep.harmful + keep.harmless if keep else ())
            case Ablate(over=over):
                prompts += over
            case Remove(direction=direction, over=over):
                prompts += direction.harmful + direction.harmless + over
            case Add(direction=direction):
                prompts += direction.harmful + direction.harmless
    return prompts


def forget_answers(asked: Measurement, under: Intervention | None) -> None:
    """Removes `during` from the intervention of a question that generates nothing, so that it is in no recipe."""
    if under is not None:
        object.__setattr__(asked, "under", under.when_scored)


def require_twins(prompts: PromptSet, arms: Sequence[Intervention]) -> None:
    """Raises AssayError if an intervention takes something from twins and the prompts have none."""
    if any(_needs_twins(part) for arm in arms for part in arm.parts):
        twins(prompts)


def _needs_twins(part: Intervention) -> bool:
    """Whether it takes activations from twins, or works at the words in which pairs differ."""
    return isinstance(part, Patch) or (isinstance(part, Ablate) and part.at in ("slot", "later"))


def _counts(value: Any, member: Field[Any]) -> bool:
    """Whether a member is part of recipes: LATER members at their default are not, so that old recipes stay valid."""
    return member.compare and (member.metadata != LATER or getattr(value, member.name) != member.default)
