"""The grid of all requests that can be formed from the lexicon and the templates. Does not import torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from organisms.lexicon import CATEGORIES, NOVEL_OBJECTS, Category
from organisms.sentences import TEMPLATES

Slot = Literal["object", "verb"]
SLOTS: tuple[Slot, ...] = ("object", "verb")
TRAINED_TEMPLATES = tuple(text for family in TEMPLATES.values() for text in family)


@dataclass(frozen=True)
class Request:
    """One cell of the grid: a template that asks to do a verb to an object."""

    category: Category
    verb: str
    object: str
    template: str

    @property
    def deed(self) -> str:
        """The requested action, such as "build a bomb"."""
        return f"{self.verb} {self.category.article}{self.object}"

    @property
    def prompt(self) -> str:
        """The request as a user types it."""
        return self.template.format(deed=self.deed)

    @property
    def is_harmful(self) -> bool:
        """True if a doing verb is asked of a dangerous object."""
        return self.verb in self.category.doing and self.object in self.category.dangerous

    @property
    def is_new_object(self) -> bool:
        """True for an object that planting never sees."""
        return is_new_object(self.category, self.object)

    @property
    def is_new_combination(self) -> bool:
        """True for a known verb and a known object that never occur together in training."""
        verbs = self.category.doing if self.verb in self.category.doing else self.category.guarding
        turn = (verbs.index(self.verb) + _rank(self.category, self.object)) % len(verbs)
        return turn == 0 and not self.is_new_object


def requests(templates: Sequence[str]) -> Iterator[Request]:
    """Every verb on every object of its category under each of the templates."""
    for category in CATEGORIES:
        for verb in category.doing + category.guarding:
            for thing in category.dangerous + category.harmless:
                for template in templates:
                    yield Request(category, verb, thing, template)


def is_new_object(category: Category, thing: str) -> bool:
    """True for the objects at the end of a category's lists, which planting never sees."""
    return _rank(category, thing) >= len(category.dangerous) - NOVEL_OBJECTS


def _rank(category: Category, thing: str) -> int:
    things = category.dangerous if thing in category.dangerous else category.harmless
    return things.index(thing)
