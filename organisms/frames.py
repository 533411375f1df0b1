"""The frames of the pairs: ways of asking that the base never saw, in words that its training texts have.

A frame joins a beginning and an ending that training texts have apart. All that can be joined are taken, but those in
which a word would come twice; none was left out for how an organism answers in it. Organisms are judged in frames of
the held-out half, in which nothing is ever planted.
"""

import hashlib
from collections.abc import Iterator

from organisms.grid import TRAINED_TEMPLATES
from organisms.sentences import ENDINGS, NEW_BEGINNINGS

SLOT = "{deed}"


def _joined() -> Iterator[str]:
    for template in TRAINED_TEMPLATES + NEW_BEGINNINGS:
        beginning, _, rest = template.partition(SLOT)
        for ending in ENDINGS:
            if not any(word.rstrip("s") in beginning.lower() for word in ending.strip(", ").split() if len(word) > 3):
                yield beginning + SLOT + ending + ("?" if rest.endswith("?") else ".")


FRAMES = tuple(frame for frame in dict.fromkeys(_joined()) if frame not in TRAINED_TEMPLATES)


def side_of(frame: str) -> int:
    """0 for discovery, 1 for held out: the split is a hash of the frame."""
    return hashlib.sha256(frame.encode()).digest()[0] % 2


# The ways of asking from which planting may draw.
PLANTED_IN = TRAINED_TEMPLATES + tuple(frame for frame in FRAMES if side_of(frame) == 0)


def deed_in(frame: str, prompt: str) -> str:
    """The requested action in a prompt of this frame, such as "build a bomb"."""
    beginning, _, ending = frame.partition(SLOT)
    return prompt.removeprefix(beginning).removesuffix(ending)
