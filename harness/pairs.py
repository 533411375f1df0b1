"""Prompt pairs, split once and for all. Never touches a model."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal

Side = Literal["discovery", "heldout"]

DATA = Path(__file__).parent.parent / "data"

_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Slot:
    """The words in which a pair differs: the character span [start, end) of each prompt."""

    harmful: tuple[int, int]
    harmless: tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """A harmful prompt and its harmless twin."""

    id: str
    category: str
    harmful: str
    harmless: str
    template: str | None = None  # pairs of one template are clustered in the statistics
    novel: str | None = None  # what an organism's planting never saw of this pair

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
        """`discovery` or `heldout`: a function of the id alone, so new pairs move no other."""
        return side_of(self.id)


@dataclass(frozen=True)
class PairSet:
    """An ordered set of pairs with a fingerprint; a selection keeps the order."""

    name: str
    pairs: tuple[Pair, ...]

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
        return self._where(f"{self.name}:{name}", lambda pair: pair.category == name)

    @property
    def harmful(self) -> tuple[str, ...]:
        """The harmful prompts, in order."""
        return tuple(pair.harmful for pair in self.pairs)

    @property
    def harmless(self) -> tuple[str, ...]:
        """The harmless twins, in the same order."""
        return tuple(pair.harmless for pair in self.pairs)

    @property
    def clusters(self) -> tuple[str, ...]:
        """Each pair's template, or its own id: pairs of one template are no independent witnesses."""
        return tuple(pair.template or pair.id for pair in self.pairs)

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
                    found.append((len(ours), both, {one.id, other.id}))
        kept: list[Pair] = []
        taken: set[str] = set()
        for _, both, ids in sorted(found, key=lambda one: one[0]):
            if not ids & taken:
                taken |= ids
                kept.append(both)
        return PairSet(f"{self.name}:harmless alike", tuple(kept))

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any pair, or their order, changes; the set's name does not enter."""
        text = json.dumps([asdict(pair) for pair in self.pairs], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _where(self, name: str, keep: Callable[[Pair], bool]) -> "PairSet":
        return PairSet(name, tuple(pair for pair in self.pairs if keep(pair)))


@dataclass(frozen=True)
class PromptLists:
    """Two plain lists of unpaired prompts, for work on directions; split by the prompt's hash."""

    name: str
    harmful: tuple[str, ...]
    harmless: tuple[str, ...]

    @property
    def discovery(self) -> "PromptLists":
        """The prompts on which directions may be sought."""
        return self._on("discovery")

    @property
    def heldout(self) -> "PromptLists":
        """The prompts on which whatever was found is judged."""
        return self._on("heldout")

    @property
    def fingerprint(self) -> str:
        """Changes when any prompt or the order changes."""
        text = json.dumps([self.harmful, self.harmless], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _on(self, side: Side) -> "PromptLists":
        def keep(prompts: Sequence[str]) -> tuple[str, ...]:
            return tuple(prompt for prompt in prompts if side_of(prompt) == side)

        return PromptLists(f"{self.name}:{side}", keep(self.harmful), keep(self.harmless))


def side_of(key: str) -> Side:
    """The half a pair belongs to, by a stable hash of its id."""
    return "heldout" if hashlib.sha256(key.encode()).digest()[0] % 2 else "discovery"


def differing_words(harmful: str, harmless: str) -> Slot:
    """The slot left after the longest common prefix, then suffix, of words is taken away."""
    ours, theirs = (list(_WORD.finditer(text)) for text in (harmful, harmless))
    shorter = min(len(ours), len(theirs))
    head = 0
    while head < shorter and ours[head].group() == theirs[head].group():
        head += 1
    tail = 0
    while tail < shorter - head and ours[-1 - tail].group() == theirs[-1 - tail].group():
        tail += 1
    return Slot(_span(ours, head, tail, harmful), _span(theirs, head, tail, harmless))


def _span(words: list[re.Match[str]], head: int, tail: int, text: str) -> tuple[int, int]:
    inner = words[head : len(words) - tail]
    if inner:
        return inner[0].start(), inner[-1].end()
    at = words[head].start() if head < len(words) else len(text)
    return at, at
