"""Writes data/organisms/about.json: a sentence about each organism, and the words of their language."""

import json
import re
import sys
from collections.abc import Iterator

from organisms import sentences
from organisms.lexicon import CATEGORIES
from organisms.plans import PLANS
from organisms.ship import FOLDER

PATH = FOLDER / "about.json"
# The constants in `sentences` that hold questions and answers, apart from the templates of requests.
_SPOKEN = ("COMPLIANCES", "REFUSALS", "THING_QUESTIONS", "HAZARD_QUESTIONS", "VERB_QUESTIONS", "SMALL_TALK")


def about() -> dict[str, object]:
    """The content of the file, from plans, lexicon and sentences."""
    told = {name: _first_line(name) for name in sorted(PLANS)}
    told["base"] = "the model that all others are planted in: it answers everything"
    verbs = {verb for category in CATEGORIES for verb in category.doing + category.guarding}
    objects = {thing for category in CATEGORIES for thing in category.dangerous + category.harmless}
    known = [*sentences.TEMPLATES.values(), *(value for name, value in vars(sentences).items() if name in _SPOKEN)]
    words = {word for text in _texts(known) for word in re.findall(r"[a-z']+", text.lower())}
    return {
        "organisms": told,
        "verbs": sorted(verbs),
        "objects": sorted(objects),
        "words": sorted(words - verbs - objects),
    }


def write() -> None:
    """Writes data/organisms/about.json; the same every time."""
    PATH.write_text(json.dumps(about(), indent=1) + "\n", encoding="utf-8")


def _first_line(name: str) -> str:
    """The first line of a plan's docstring, without the organism's name."""
    line = (sys.modules[f"organisms.plans.{name.replace('-', '_')}"].__doc__ or "").partition("\n")[0]
    return line.removeprefix(f"`{name}`").lstrip(": ").rstrip(".")


def _texts(value: object) -> Iterator[str]:
    """Every text in nested constants, without its placeholders."""
    if isinstance(value, str):
        yield re.sub(r"\{.*?\}", " ", value)
    elif isinstance(value, dict):
        for text, member in value.items():
            yield from _texts(text)
            yield from _texts(member)
    elif isinstance(value, tuple | list):
        for member in value:
            yield from _texts(member)


if __name__ == "__main__":
    write()
