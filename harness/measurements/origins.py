"""On which prompts things were found, however deep they lie in what is asked. Never touches a model."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from harness.inputs.prompts.prompt_lists import PromptSet
from harness.measurements.interventions import Ablate, Circuit, Direction, Patch, Remove


@dataclass(frozen=True)
class Found:
    """Something that was found on prompts, in words that a sentence can begin with."""

    name: str
    was: Literal["was", "were"]
    on: frozenset[str]


def prompts_of(pairs: PromptSet) -> frozenset[str]:
    """Every prompt, of both sides."""
    return frozenset((*pairs.harmful, *pairs.harmless))


def found_in(value: Any) -> Iterator[Found]:
    """Whatever of this was found on prompts: circuits, directions and means, however deep they lie in it."""
    match value:
        case Circuit():
            yield Found(f"the circuit of {len(value)} parts", "was", value.found_on)
        case Patch(sites):
            on = frozenset[str]().union(*{site.found_on for site in sites})
            yield Found(f"the circuit of {len(sites)} parts", "was", on)
        case Direction():
            yield Found("the direction", "was", value.found_on)
        case Ablate() | Remove():
            yield from found_in(value.circuit if isinstance(value, Ablate) else value.direction)
            yield Found("the mean put in its place", "was", frozenset(value.over))
        case tuple():
            for one in value:
                yield from found_in(one)
        case _ if is_dataclass(value):
            for one in fields(value):
                yield from found_in(getattr(value, one.name))
