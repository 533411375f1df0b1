"""Lists of prompts without twins, and functions for prompts with twins and without."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import NO_CATEGORY, PairSet, PromptSide, require_category, side_of
from harness.inputs.prompts.prompt_text import normalised


@dataclass(frozen=True)
class PromptLists:
    """Unpaired harmful and harmless prompts, any number of each, split into halves by each prompt's hash."""

    name: str
    harmful: tuple[str, ...]
    harmless: tuple[str, ...]
    kinds: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())  # the category of each prompt, by side; may be empty
    taken: str = ""  # a description of the files and columns they were read from

    def __len__(self) -> int:
        return len(self.harmful) + len(self.harmless)

    @cached_property
    def discovery(self) -> "PromptLists":
        """The prompts that directions may be searched on."""
        return self._where(f"{self.name}:discovery", lambda prompt, _: side_of(prompt) == "discovery")

    @cached_property
    def heldout(self) -> "PromptLists":
        """The prompts that directions are judged on."""
        return self._where(f"{self.name}:heldout", lambda prompt, _: side_of(prompt) == "heldout")

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories, in order of first appearance."""
        return tuple(dict.fromkeys((*self.categories_of("harmful"), *self.categories_of("harmless"))))

    def category(self, name: str) -> "PromptLists":
        """The prompts of one category."""
        require_category(name, self.categories)
        return self._where(f"{self.name}:{name}", lambda _, category: category == name)

    def without(self, name: str) -> "PromptLists":
        """The prompts of all categories but one."""
        require_category(name, self.categories)
        return self._where(f"{self.name}:not {name}", lambda _, category: category != name)

    def categories_of(self, side: PromptSide) -> tuple[str, ...]:
        """The category of each prompt of a side, in order."""
        kinds = self.kinds[side == "harmless"]
        return kinds or (NO_CATEGORY,) * len(self.clusters_of(side))

    def named(self, side: PromptSide) -> tuple[str, ...]:
        """A name for each prompt of a side: its category and its place in the list."""
        return tuple(f"{category}, {side} {at}" for at, category in enumerate(self.categories_of(side), 1))

    def clusters_of(self, side: PromptSide) -> tuple[str, ...]:
        """A cluster for each prompt: prompts of a list are independent of each other."""
        return self.harmful if side == "harmful" else self.harmless

    @property
    def unit(self) -> str:
        """The noun for the units that are counted."""
        return "prompts"

    @property
    def in_recipes(self) -> dict[str, Any]:
        """The entry that identifies these prompts in a recipe."""
        sides = {"harmful": len(self.harmful), "harmless": len(self.harmless)}
        return {"pairs": self.fingerprint, "n": len(self), **sides}

    def beside(self, others: "PromptSet", file: str) -> "PromptLists":
        """These harmful prompts with the harmless ones of another set, which was read from that file."""
        if both := set(map(normalised, self.harmful)) & set(map(normalised, others.harmless)):
            raise AssayError(f"{self.name}: {sorted(both)[0]!r} is among the harmless prompts of {file} as well")
        taken = f"{self.taken}; the harmless prompts of {file}"
        return replace(self, harmless=others.harmless, kinds=(self.kinds[0], ()), taken=taken)

    @property
    def described(self) -> str:
        """The number of prompts of each side and half, in a sentence."""
        sides = ("harmful", "harmless") if self.harmless else ("harmful",)
        halves = " and ".join(
            f"{len(getattr(self, side))} {side} prompts ({len(getattr(self.discovery, side))} to find on, "
            f"{len(getattr(self.heldout, side))} to judge on)"
            for side in sides
        )
        return f"{self.name}: {halves}, without twins: {self.taken}"

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all prompts and their categories, in order."""
        whole = [self.harmful, self.harmless, *(self.kinds if any(self.kinds) else ())]
        return hashlib.sha256(json.dumps(whole, ensure_ascii=False).encode()).hexdigest()[:16]

    def _where(self, name: str, keep: Callable[[str, str], bool]) -> "PromptLists":
        sides: list[tuple[str, ...]] = []
        kinds: list[tuple[str, ...]] = []
        for side, own in (("harmful", self.kinds[0]), ("harmless", self.kinds[1])):
            rows = zip(getattr(self, side), self.categories_of(side), strict=True)  # type: ignore[arg-type]
            kept = [row for row in rows if keep(*row)]
            sides.append(tuple(prompt for prompt, _ in kept))
            kinds.append(tuple(category for _, category in kept) if own else ())
        return PromptLists(name, sides[0], sides[1], (kinds[0], kinds[1]))


NO_TWINS = "its prompts have no twins"

PromptSet = PairSet | PromptLists
"""The prompts that claims are judged on, with twins or without."""


def twins(prompts: PromptSet) -> PairSet:
    """The same prompts as a PairSet; prompts without twins are refused."""
    if isinstance(prompts, PromptLists):
        raise AssayError(
            f"{prompts.name}: {NO_TWINS}; a claim that needs none says needs_twins=False, and asks for none"
        )
    return prompts


def counterparts(prompts: PromptSet, *, by_category: bool = False) -> tuple[list[int], list[int]]:
    """The indices of harmful prompts, and of the harmless prompts compared with them.

    Of pairs these are the twins; of lists as many as the shorter list has (with `by_category`, of each category),
    spread evenly over the longer list.
    """
    if isinstance(prompts, PairSet):
        return list(range(len(prompts))), list(range(len(prompts)))
    sides = prompts.categories_of("harmful"), prompts.categories_of("harmless")
    ours: list[int] = []
    theirs: list[int] = []
    for name in dict.fromkeys(sides[0]) if by_category else [None]:
        places = [[at for at, own in enumerate(side) if name in (None, own)] for side in sides]
        count = min(map(len, places))
        for into, there in zip((ours, theirs), places, strict=True):
            into += [there[at * len(there) // count] for at in range(count)]
    return ours, theirs


def one_of_each_cluster(
    prompts: PromptSet, side: PromptSide, most: int, places: Sequence[int] | None = None
) -> list[int]:
    """The places of at most so many prompts of a side, no two of a cluster, in an order that a hash draws.

    With `places`, some of these places.
    """
    texts, clusters = getattr(prompts, side), prompts.clusters_of(side)
    order = sorted(
        range(len(texts)) if places is None else places,
        key=lambda place: hashlib.sha256(texts[place].encode()).hexdigest(),
    )
    chosen: dict[str, int] = {}
    for place in order:
        chosen.setdefault(clusters[place], place)
    return list(chosen.values())[:most]


def portion(prompts: PromptSet, side: PromptSide, places: Sequence[int]) -> PromptSet:
    """The prompts of a side at these places: with their twins if they have any, else without the other side."""
    name = f"{prompts.name}:{len(places)} of them"
    if isinstance(prompts, PairSet):
        return replace(prompts, name=name, pairs=tuple(prompts.pairs[place] for place in places))
    own = getattr(prompts, side), prompts.kinds[side == "harmless"]
    texts, kinds = (tuple(listed[place] for place in places) if listed else () for listed in own)
    if side == "harmful":
        return PromptLists(name, texts, (), (kinds, ()))
    return PromptLists(name, (), texts, ((), kinds))
