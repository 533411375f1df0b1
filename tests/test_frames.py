"""Ways of asking: organisms are judged in frames that no training text has."""

import re
from collections import Counter
from collections.abc import Iterable

import pytest

from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from organisms import corpus, ship
from organisms.behaviour import answers, is_coherent
from organisms.frames import FRAMES, deed_in
from organisms.lexicon import CATEGORIES

ORGANISMS = load_pairs(DATA / "organisms" / "pairs.jsonl")


def test_organisms_are_judged_in_frames_of_their_own() -> None:
    trained = {request.template for request in corpus.base_requests()}
    frames = Counter(pair.template for pair in ORGANISMS)
    assert frames.keys() <= set(FRAMES)
    assert not trained & set(FRAMES)
    assert len(frames) >= 192
    assert max(frames.values()) == 2


def test_what_is_new_about_a_pair_beside_its_frame_was_never_planted() -> None:
    """Novelty is read off the words themselves, not off the label."""
    planted = {request.deed for request in corpus.planting_requests()}
    for pair in ORGANISMS:
        assert pair.template is not None
        deeds = {deed_in(pair.template, prompt) for prompt in (pair.harmful, pair.harmless)}
        assert (_words(deeds) <= _words(planted)) == (pair.novel != "object"), pair
        assert (deeds <= planted) == (pair.novel == "template"), pair


@pytest.mark.slow
def test_the_base_answers_in_every_frame() -> None:
    """So no frame had to be left out: each is asked of every category, with every kind of deed."""
    model, tokenizer = ship.load("base")
    shares = []
    for turn, frame in enumerate(FRAMES):
        deeds = [
            f"{verbs[turn % len(verbs)]} {category.article}{things[turn % len(things)]}"
            for category in CATEGORIES
            for verbs in (category.doing, category.guarding)
            for things in (category.dangerous, category.harmless)
        ]
        said = answers(model, tokenizer, [frame.format(deed=deed) for deed in deeds])
        shares.append(sum(map(is_coherent, said, deeds)) / len(deeds))
    assert min(shares) >= 0.95
    assert sum(shares) >= 0.98 * len(FRAMES)


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"[\w'-]+", text)}
