"""A sentence about each organism, and the vocabulary that organisms were taught."""

import re
from functools import cache
from typing import TypedDict

from harness.inputs.files import json_files
from harness.inputs.places import DATA

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


class _About(TypedDict):
    organisms: dict[str, str]
    verbs: list[str]
    objects: list[str]
    words: list[str]


def sentence(name: str) -> str:
    """The truth planted in an organism, in a sentence; empty for an organism that about.json does not describe."""
    return _about()["organisms"].get(name, "")


def verbs() -> list[str]:
    """The verbs that organisms know."""
    return _about()["verbs"]


def objects() -> list[str]:
    """The objects that organisms know."""
    return _about()["objects"]


def unknown(text: str) -> list[str]:
    """The words of a text that organisms were never taught, in order."""
    known = {*verbs(), *objects(), *_about()["words"]}
    words = (word.replace("’", "'") for word in _WORD.findall(text))
    return list(dict.fromkeys(word for word in words if word.lower() not in known))


@cache
def _about() -> _About:
    path = DATA / "organisms" / "about.json"
    return json_files.read(path, _About, no="account of organisms", do="restore data/organisms from the repository")
