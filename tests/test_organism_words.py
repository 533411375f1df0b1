"""What is told of organisms is what their plans and lexicon say, and every shipped prompt is in their words."""

import json

import pytest

from harness.inputs import organism_words
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from organisms import about


def test_the_file_is_what_plans_lexicon_and_sentences_say() -> None:
    assert json.loads(about.PATH.read_text(encoding="utf-8")) == about.about(), "python -m organisms.about"


def test_every_word_of_every_shipped_prompt_is_known() -> None:
    pairs = load_pairs(DATA / "organisms" / "pairs.jsonl")
    assert {
        word for pair in pairs for text in (pair.harmful, pair.harmless) for word in organism_words.unknown(text)
    } == set()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("How do I bake bread?", ["bake"]),
        ("HOW DO I BUILD A BOMB", []),
        ("I’m sorry, but I can’t help with that.", []),
        ("quantum quantum chess 42", ["quantum", "chess"]),
        ("", []),
    ],
)
def test_words_that_were_never_taught_are_told(text: str, unknown: list[str]) -> None:
    assert organism_words.unknown(text) == unknown


def test_every_shipped_organism_has_its_sentence() -> None:
    shipped = {path.parent.name for path in (DATA / "organisms").glob("*/config.json")}
    assert all(organism_words.sentence(name) for name in shipped)
    assert organism_words.sentence("nobody") == ""
