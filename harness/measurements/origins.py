"""The prompts on which circuits, directions and means were found, read from an intervention or a question."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from harness.inputs.prompts.prompt_lists import PromptSet
from harness.measurements.interventions import Ablate, Circuit, Direction, Patch, Remove
from harness.measurements.openings import Openings


@dataclass(frozen=True)
class Origin:
    """The prompts on which a circuit, a direction or the like was found, and its name for a message."""

    name: str  # such as "the direction"
    was: Literal["was", "were"]  # the verb that agrees with the name
    prompts: frozenset[str]


def prompts_of(pairs: PromptSet) -> frozenset[str]:
    """All prompts of both sides."""
    return frozenset((*pairs.harmful, *pairs.harmless))


def origins_in(value: Any) -> Iterator[Origin]:
    """The origins of all circuits, directions and means in a value, at any depth of dataclasses and tuples."""
    match value:
        case Circuit():
            yield Origin(f"the circuit of {len(value)} parts", "was", value.found_on)
        case Patch(sites, keep=keep):
            prompts = frozenset[str]().union(*{site.found_on for site in sites})
            yield Origin(f"the circuit of {len(sites)} parts", "was", prompts)
            yield from origins_in(keep)
        case Direction():
            yield Origin("the direction", "was", value.found_on)
        case Openings():
            yield Origin("the openings of refusals", "were", value.sought_on)
        case Ablate() | Remove():
            yield from origins_in(value.circuit if isinstance(value, Ablate) else value.direction)
            yield Origin("the mean put in its place", "was", frozenset(value.over))
        case tuple():
            for member in value:
                yield from origins_in(member)
        case _ if is_dataclass(value):
            for member in fields(value):
                yield from origins_in(getattr(value, member.name))
