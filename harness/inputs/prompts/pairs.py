"""Prompt pairs, and their split into discovery and held-out pairs, by the frames in which they ask."""

import hashlib
import json
from collections import Counter
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
# The rule that splits pairs into discovery and held-out ones. 1: by their own id. 2: pairs that share a prompt, by the
# smallest id among them; sets in which none do are split as by rule 1. 3: by the frame, without one by the id; pairs
# that share a prompt, by the smallest frame or id of all that hang together.
SPLIT = 3
_BY_FRAME = 3


@dataclass(frozen=True)
class Pair:
    """A harmful prompt and its harmless twin."""

    id: str
    category: str
    harmful: str
    harmless: str
    frame: str | None = None  # the way of asking; pairs of one frame are in the same half, and one cluster
    novel: str | None = None  # the part of this pair that no organism was trained on
    group: str | None = None  # the smallest frame or id of all pairs that hang together by shared prompts; None: alone

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
    def way(self) -> str:
        """The name of its way of asking: the frame, or where none is given the pair's own id."""
        return self.frame or self.id

    @property
    def as_json(self) -> dict[str, Any]:
        """The pair for files and fingerprints; without `group` where it is None, as before groups were introduced."""
        return {name: value for name, value in asdict(self).items() if name != "group" or value is not None}


@dataclass(frozen=True)
class PairSet:
    """An ordered set of pairs with a fingerprint; selections keep the order."""

    name: str
    pairs: tuple[Pair, ...]
    split: int = SPLIT  # the rule by which its pairs were split

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    @cached_property
    def discovery(self) -> "PairSet":
        """The pairs on which circuits and directions are searched for."""
        return self._where(f"{self.name}:discovery", lambda pair: self.side(pair) == "discovery")

    @cached_property
    def heldout(self) -> "PairSet":
        """The pairs on which claims are judged."""
        return self._where(f"{self.name}:heldout", lambda pair: self.side(pair) == "heldout")

    def side(self, pair: Pair) -> Side:
        """The half of a pair, by a hash of its frame: a new pair moves only frames with which it shares a prompt."""
        return side_of(pair.group or (pair.way if self.split >= _BY_FRAME else pair.id))

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories, in order of first appearance."""
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
        """The cluster of each pair, named by its frame or id; pairs of a cluster are not statistically independent.

        Pairs of one frame are in one cluster, and so are pairs that share a prompt, with all of their frames.
        """
        names = [pair.way for pair in self.pairs]
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
        """Pair id → cluster."""
        return dict(zip((pair.id for pair in self.pairs), self.clusters, strict=True))

    def clusters_of(self, side: PromptSide) -> tuple[str, ...]:
        """The cluster of each prompt of a side: its pair's."""
        return self.clusters

    def categories_of(self, side: PromptSide) -> tuple[str, ...]:
        """The category of each prompt of a side, in order."""
        return tuple(pair.category for pair in self.pairs)

    def named(self, side: PromptSide) -> tuple[str, ...]:
        """A name for each prompt of a side: its category and its pair's id."""
        return tuple(f"{pair.category}, {pair.id}" for pair in self.pairs)

    @property
    def unit(self) -> str:
        """The noun for the units that are counted."""
        return "pairs"

    @property
    def in_recipes(self) -> dict[str, Any]:
        """The entry that identifies these pairs in a recipe."""
        return {"pairs": self.fingerprint, "n": len(self)}

    @cached_property
    def sharing(self) -> int:
        """How many pairs hang together with others by shared prompts."""
        return sum(pair.group is not None for pair in self.pairs)

    @cached_property
    def frames(self) -> int:
        """In how many frames the pairs ask; 0 if none are given."""
        return len({pair.frame for pair in self.pairs} - {None})

    @property
    def described(self) -> str:
        """The numbers of discovery, held-out and connected pairs, and of their frames, in a sentence."""
        halves = (
            f"{len(half)} {purpose}" + (f" in {half.frames} frames" if half.frames else "")
            for half, purpose in ((self.discovery, "to find on"), (self.heldout, "to judge on"))
        )
        text = f"{self.name}: {len(self)} pairs, {' and '.join(halves)}"
        if not self.frames:
            text += "; no frames are named, so each pair counts as a way of asking of its own"
        if not self.sharing:
            return text
        groups = len({pair.group for pair in self.pairs if pair.group})
        return f"{text}; {self.sharing} hang together by shared prompts: {groups} groups, each one cluster on one side"

    @cached_property
    def harmless_alike(self) -> "PairSet":
        """Pairs of two harmless prompts of one frame that differ in few words; no prompt is in two of them."""
        candidates: list[tuple[int, Pair, set[str]]] = []
        by_frame: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            if pair.frame is not None:
                by_frame.setdefault(pair.frame, []).append(pair)
        for frame, pairs in by_frame.items():
            for first, second in combinations(pairs, 2):
                both = Pair(f"{first.id}+{second.id}", first.category, first.harmless, second.harmless, frame)
                ours, theirs = (words.split() for words in both.words.values())
                # Prompts with as many words may have as many tokens, and so be aligned.
                if ours and len(ours) == len(theirs):
                    candidates.append((len(ours), both, {first.harmless, second.harmless}))
        kept: list[Pair] = []
        taken: set[str] = set()
        for _, both, prompts in sorted(candidates, key=lambda candidate: candidate[0]):
            if not prompts & taken:
                taken |= prompts
                kept.append(both)
        return PairSet(f"{self.name}:harmless alike", tuple(kept))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all pairs, in order, and of the rule that splits them; it does not depend on the set's name."""
        rows = [pair.as_json for pair in self.pairs]
        # Until rule 3 a frame was called a template.
        old = [{"template" if name == "frame" else name: value for name, value in row.items()} for row in rows]
        text = json.dumps({"split": self.split, "pairs": rows} if self.split >= _BY_FRAME else old, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _where(self, name: str, keep: Callable[[Pair], bool]) -> "PairSet":
        return PairSet(name, tuple(pair for pair in self.pairs if keep(pair)), self.split)


def grouped(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs, with `group` set for all in a frame of which any shares a prompt (compared as `normalised`)."""
    prompts = [{normalised(pair.harmful), normalised(pair.harmless)} for pair in pairs]
    uses = Counter(prompt for both in prompts for prompt in both)
    parts = connected([(*both, ("frame", pair.way)) for both, pair in zip(prompts, pairs, strict=True)])
    ways: dict[int, list[str]] = {}
    for part, pair in zip(parts, pairs, strict=True):
        ways.setdefault(part, []).append(pair.way)
    sharing = {part for part, both in zip(parts, prompts, strict=True) if any(uses[prompt] > 1 for prompt in both)}
    return tuple(
        replace(pair, group=min(ways[part])) if part in sharing else pair
        for part, pair in zip(parts, pairs, strict=True)
    )


def connected(items: Sequence[Iterable[Hashable]]) -> list[int]:
    """The connected component of each item, as a number; items with a key in common are connected."""
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
    """Refuses a name that is not among the known categories; lets every name pass if there are none."""
    if known and name not in known:
        raise AssayError(
            f"no category of these prompts is called {name!r}; there are {', '.join(sorted(known))}"
            f"{did_you_mean(str(name), known)}"
        )


def side_of(key: str) -> Side:
    """`discovery` or `heldout`, by a stable hash of a pair's frame or id (of an unpaired prompt: its text)."""
    return "heldout" if hashlib.sha256(key.encode()).digest()[0] % 2 else "discovery"
