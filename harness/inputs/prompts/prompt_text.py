"""Compares the text of prompts: whether two are the same, and in which words they differ."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# Invisible characters outside of category Cf: controls, fillers, variation selectors, the braille blank.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Slot:
    """The words in which a pair differs: the character span [start, end) of each prompt."""

    harmful: tuple[int, int]
    harmless: tuple[int, int]


@lru_cache(maxsize=65536)
def normalised(text: str) -> str:
    """The text in the form that is compared: composed, case-folded, without invisible characters, single spaces."""
    plain = "".join(sign for sign in _UNSEEN.sub("", text) if sign.isascii() or unicodedata.category(sign) != "Cf")
    # Composed again, since case folding may decompose a character.
    return unicodedata.normalize("NFC", " ".join(unicodedata.normalize("NFC", plain).casefold().split()))


def differing_words(harmful: str, harmless: str) -> Slot:
    """The words left after removing the longest common prefix, then the longest common suffix, of words."""
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
