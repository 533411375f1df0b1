"""Prompt pairs, split once and for all. Never touches a model."""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

from harness.inputs.arguments import did_you_mean
from harness.inputs.errors import AssayError
from harness.inputs.prompts.prompt_text import Slot, differing_words, normalised

Side = Literal["discovery", "heldout"]
PromptSide = Literal["harmful", "harmless"]

NO_CATEGORY = "all"
SIDES: tuple[PromptSide, PromptSide] = ("harmful", "harmless")
# How pairs come to a side. 1: by their own id. 2: pairs that share a prompt by the smallest id among them; where none
# share one, 2 is 1.
SPLIT = 2


@dataclass(frozen=True)
class Pair:
    """A harmful prompt and its harmless twin."""

    id: str
    category: str
    harmful: str
    harmless: str
    template: str | None = None  # pairs of one template are clustered in the statistics
    novel: str | None = None  # what an organism's planting never saw of this pair
    group: str | None = None  # the smallest id of the pairs that share a prompt with this one, where any do

    @property
    def slot(self) -> Slot:
        """The shortest contiguous run of words outside which the two prompts are the same."""
        return differing_words(self.harmful, self.harmless)

    @property
    def words(self) -> dict[str, str]:
        """The differing words themselves, as the field `words` of a pairs file holds them."""
        slot = self.slot
        return {
            "harmful": self.harmful[slice(*slot.harmful)],
            "harmless": self.harmless[slice(*slot.harmless)],
        }

    @property
    def side(self) -> Side:
        """`discovery` or `heldout`, by a hash of the id: new pairs move no other that shares no prompt with them."""
        return side_of(self.group or self.id)

    @property
    def as_json(self) -> dict[str, Any]:
        """For files and fingerprints: of a pair that shares no prompt they are what they were before groups."""
        return {name: value for name, value in asdict(self).items() if name != "group" or value is not None}


@dataclass(frozen=True)
class PairSet:
    """An ordered set of pairs with a fingerprint; a selection keeps the order."""

    name: str
    pairs: tuple[Pair, ...]
    split: int = SPLIT  # the rule by which its pairs have their sides

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    @cached_property
    def discovery(self) -> "PairSet":
        """The pairs on which circuits and directions may be sought."""
        return self._where(f"{self.name}:discovery", lambda pair: pair.side == "discovery")

    @cached_property
    def heldout(self) -> "PairSet":
        """The pairs on which whatever was found is judged."""
        return self._where(f"{self.name}:heldout", lambda pair: pair.side == "heldout")

    @property
    def categories(self) -> tuple[str, ...]:
        """Every category, in order of first appearance."""
        return tuple(dict.fromkeys(pair.category for pair in self.pairs))

    def category(self, name: str) -> "PairSet":
        """The pairs of one category."""
        require_category(name, self.categories)
        return self._where(f"{self.name}:{name}", lambda pair: pair.category == name)

    def without(self, name: str) -> "PairSet":
        """The pairs of all categories but one."""
        require_category(name, self.categories)
        return self._where(f"{self.name}:not {name}", lambda pair: pair.category != name)

    @property
    def harmful(self) -> tuple[str, ...]:
        """The harmful prompts, in order."""
        return tuple(pair.harmful for pair in self.pairs)

    @property
    def harmless(self) -> tuple[str, ...]:
        """The harmless twins, in the same order."""
        return tuple(pair.harmless for pair in self.pairs)

    @cached_property
    def clusters(self) -> tuple[str, ...]:
        """Each pair's template, or its own id; pairs that share a prompt are one cluster, and so are their templates.

        Pairs of one cluster are no independent witnesses.
        """
        names = [pair.template or pair.id for pair in self.pairs]
        if not self.sharing:
            return tuple(names)
        keys = [
            (name, *([("group", pair.group)] if pair.group else [])) for name, pair in zip(names, self, strict=True)
        ]
        parts = connected(keys)
        least: dict[int, str] = {}
        for part, name in zip(parts, names, strict=True):
            least[part] = min(least.get(part, name), name)
        return tuple(least[part] for part in parts)

    @cached_property
    def cluster_of(self) -> dict[str, str]:
        """The cluster of each pair, by its id."""
        return dict(zip((pair.id for pair in self.pairs), self.clusters, strict=True))

    def clusters_of(self, side: PromptSide) -> tuple[str, ...]:
        """The same of either side: both prompts of a pair are of its cluster."""
        return self.clusters

    def categories_of(self, side: PromptSide) -> tuple[str, ...]:
        """The category of each prompt of a side, in order."""
        return tuple(pair.category for pair in self.pairs)

    def named(self, side: PromptSide) -> tuple[str, ...]:
        """A name for each prompt of a side: its category, and its pair."""
        return tuple(f"{pair.category}, {pair.id}" for pair in self.pairs)

    @property
    def unit(self) -> str:
        """What is counted: each answer is of one pair."""
        return "pairs"

    @property
    def in_recipes(self) -> dict[str, Any]:
        """What a recipe says of it."""
        return {"pairs": self.fingerprint, "n": len(self)}

    @cached_property
    def sharing(self) -> int:
        """How many pairs share a prompt with another one."""
        return sum(pair.group is not None for pair in self.pairs)

    @property
    def described(self) -> str:
        """What it holds, in a sentence."""
        text = f"{self.name}: {len(self)} pairs, {len(self.discovery)} to find on and {len(self.heldout)} to judge on"
        if not self.sharing:
            return text
        groups = len({pair.group for pair in self.pairs if pair.group})
        return f"{text}; {self.sharing} share a prompt with another pair: {groups} groups, each one cluster on one side"

    @cached_property
    def harmless_alike(self) -> "PairSet":
        """Pairs of two harmless prompts of one template that differ in as few words as can be, each prompt once."""
        found: list[tuple[int, Pair, set[str]]] = []
        by_template: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            if pair.template is not None:
                by_template.setdefault(pair.template, []).append(pair)
        for template, some in by_template.items():
            for one, other in combinations(some, 2):
                both = Pair(f"{one.id}+{other.id}", one.category, one.harmless, other.harmless, template)
                ours, theirs = (words.split() for words in both.words.values())
                # As many words as the other's: then the tokens may be as many.
                if ours and len(ours) == len(theirs):
                    found.append((len(ours), both, {one.harmless, other.harmless}))
        kept: list[Pair] = []
        taken: set[str] = set()
        for _, both, prompts in sorted(found, key=lambda one: one[0]):
            if not prompts & taken:
                taken |= prompts
                kept.append(both)
        return PairSet(f"{self.name}:harmless alike", tuple(kept))

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any pair, or their order, changes; the set's name does not enter."""
        text = json.dumps([pair.as_json for pair in self.pairs], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _where(self, name: str, keep: Callable[[Pair], bool]) -> "PairSet":
        return PairSet(name, tuple(pair for pair in self.pairs if keep(pair)), self.split)


def grouped(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs, those that share a prompt (as `normalised`) under the smallest id among them."""
    parts = connected([(normalised(pair.harmful), normalised(pair.harmless)) for pair in pairs])
    members: dict[int, list[str]] = {}
    for part, pair in zip(parts, pairs, strict=True):
        members.setdefault(part, []).append(pair.id)
    least = {part: min(ids) for part, ids in members.items() if len(ids) > 1}
    return tuple(
        replace(pair, group=least[part]) if part in least else pair for part, pair in zip(parts, pairs, strict=True)
    )


def connected(items: Sequence[Iterable[Hashable]]) -> list[int]:
    """The number of each item's component, where items that have a key in common are connected."""
    parent = list(range(len(items)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[Hashable, int] = {}
    for place, keys in enumerate(items):
        for key in keys:
            ours, theirs = root(place), root(first.setdefault(key, place))
            parent[max(ours, theirs)] = min(ours, theirs)
    return [root(place) for place in range(len(items))]


def require_category(name: str, known: Sequence[str]) -> None:
    """Refuses a category that none of some prompts is of; where there are no prompts at all, there is none to miss."""
    if known and name not in known:
        raise AssayError(
            f"no category of these prompts is called {name!r}; there are {', '.join(sorted(known))}"
            f"{did_you_mean(str(name), known)}"
        )


def side_of(key: str) -> Side:
    """The half a pair belongs to, by a stable hash of its id."""
    return "heldout" if hashlib.sha256(key.encode()).digest()[0] % 2 else "discovery"
