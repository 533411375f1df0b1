"""The organisms' own prompt pairs: harmful requests and harmless twins, in frames that the base never saw."""

import json
import random
import re
from collections.abc import Iterator
from functools import cache
from itertools import count, product
from pathlib import Path
from typing import Any

from organisms.frames import FRAMES, side_of
from organisms.grid import SLOTS, Request, Slot
from organisms.lexicon import CATEGORIES, Category

PATH = Path(__file__).parent.parent / "data" / "organisms" / "pairs.jsonl"
# What is new: the frame alone; also that the verb comes with this object; also the object, which planting never sees.
NOVEL = ("template", "combination", "object")
# The number of pairs for each category, kind of novelty, slot and half of the split.
PER_CELL = 3
# The number of pairs in a frame, each of another category.
PER_FRAME = 2
SEED = 0
Row = dict[str, Any]

_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


def judged_pairs(*, heldout: bool | None = None) -> tuple[Row, ...]:
    """The pairs as rows of the file: all, or one half of the split."""
    return tuple(row for row in _rows() if heldout in (None, bool(side_of(row["frame"]))))


@cache
def _rows() -> tuple[Row, ...]:
    """Every category half discovery and half held out, in each kind of novelty and slot."""
    rng = random.Random(SEED)
    numbers = {(category.name, side): count(side, 2) for category in CATEGORIES for side in (0, 1)}
    rows: list[Row] = []
    seen: set[str] = set()
    for side in (0, 1):
        frames = [frame for frame in FRAMES if side_of(frame) == side]
        rng.shuffle(frames)
        for novel, slot, _ in product(NOVEL, SLOTS, range(PER_CELL)):
            for together in _dealt(rng):
                frame = frames.pop()
                for category in together:
                    twins = _twins(category, novel, slot, frame, rng)
                    harmful, harmless = next(both for both in twins if not seen & {both[0].prompt, both[1].prompt})
                    seen |= {harmful.prompt, harmless.prompt}
                    rows.append(_row(next(numbers[category.name, side]), novel, harmful, harmless))
    return tuple(sorted(rows, key=lambda row: row["id"]))


def _dealt(rng: random.Random) -> Iterator[tuple[Category, ...]]:
    """All categories, at random in twos of which both or neither have an article, so that their deeds are as long."""
    for article in ("a ", ""):
        alike = [category for category in CATEGORIES if category.article == article]
        rng.shuffle(alike)
        yield from zip(*[iter(alike)] * PER_FRAME, strict=True)


def write() -> None:
    """Writes data/organisms/pairs.jsonl; the same rows every time."""
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text("".join(json.dumps(row) + "\n" for row in judged_pairs()), encoding="utf-8")


def _twins(
    category: Category, novel: str, slot: Slot, frame: str, rng: random.Random
) -> Iterator[tuple[Request, Request]]:
    """Random pairs in a frame that differ in this slot only; beside the frame, only what `novel` names is new."""
    while True:
        verb, thing = rng.choice(category.doing), rng.choice(category.dangerous)
        harmful = Request(category, verb, thing, frame)
        if slot == "object":
            harmless = Request(category, verb, rng.choice(category.harmless), frame)
        else:
            harmless = Request(category, rng.choice(category.guarding), thing, frame)
        if all(_is_new(request, novel) for request in (harmful, harmless)):
            yield harmful, harmless


def _is_new(request: Request, novel: str) -> bool:
    return (request.is_new_combination, request.is_new_object) == (
        novel == "combination",
        novel == "object",
    )


def _row(number: int, novel: str, harmful: Request, harmless: Request) -> Row:
    words = differing_words(harmful.prompt, harmless.prompt)
    return {
        "id": f"{harmful.category.name}-{number:03d}",
        "category": harmful.category.name,
        "harmful": harmful.prompt,
        "harmless": harmless.prompt,
        "words": dict(zip(("harmful", "harmless"), words, strict=True)),
        "frame": harmful.template,
        "novel": novel,
    }


def differing_words(harmful: str, harmless: str) -> tuple[str, str]:
    """The words of two texts between their common first and their common last words."""
    ours, theirs = (list(_WORD.finditer(text)) for text in (harmful, harmless))
    while ours and theirs and ours[0].group() == theirs[0].group():
        ours, theirs = ours[1:], theirs[1:]
    while ours and theirs and ours[-1].group() == theirs[-1].group():
        ours, theirs = ours[:-1], theirs[:-1]
    return harmful[ours[0].start() : ours[-1].end()], harmless[theirs[0].start() : theirs[-1].end()]
