"""Ways of asking: what is judged was never phrased so before, and prompts of one frame are one cluster."""

import random
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest

from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.judging import proportions
from organisms import corpus, ship
from organisms.behaviour import answers, is_coherent
from organisms.frames import FRAMES, deed_in
from organisms.lexicon import CATEGORIES
from organisms.material import twins
from organisms.plans import PLANS

SETS = ("pairs", "objects", "context", "organisms/pairs")
ORGANISMS = load_pairs(DATA / "organisms" / "pairs.jsonl")


@pytest.mark.parametrize("name", SETS)
def test_no_held_out_pair_asks_as_a_discovery_pair_does(name: str) -> None:
    pairs = load_pairs(DATA / f"{name}.jsonl")
    frames = [{pair.frame for pair in half} for half in (pairs.discovery, pairs.heldout)]
    assert None not in frames[0] | frames[1]
    assert not frames[0] & frames[1]


@pytest.mark.parametrize("name", SETS)
def test_prompts_of_one_frame_are_one_cluster(name: str) -> None:
    heldout = load_pairs(DATA / f"{name}.jsonl").heldout
    clusters = set(heldout.clusters)
    assert clusters == {pair.frame for pair in heldout}
    assert 2 * len(clusters) <= len(heldout)
    assert f"{len(clusters)} clusters" in proportions.rate(np.ones(len(heldout), bool), 0.05, heldout.clusters).method


@pytest.mark.parametrize(("name", "ignored"), [("pairs", 2.0), ("organisms/pairs", 1.3)])
def test_answers_that_are_alike_in_a_frame_support_falsely_unless_frames_are_clusters(
    name: str, ignored: float
) -> None:
    """Beta-binomial answers, correlated by 0.5 in a frame, at a true rate that is the bar."""
    rng, level, bar, studies = np.random.default_rng(7), 0.05, 0.5, 1500
    clusters = np.array(load_pairs(DATA / f"{name}.jsonl").heldout.clusters)
    _, frame = np.unique(clusters, return_inverse=True)
    shared = rng.beta(bar, 1 - bar, (studies, frame.max() + 1))  # a + b = 1: a correlation of 1 / (1 + a + b)
    hits = rng.random((studies, len(frame))) < shared[:, frame]
    false = [sum(proportions.rate(row, level, by).low > bar for row in hits) / studies for by in (clusters, None)]
    assert false[0] <= level + 3 * np.sqrt(level * (1 - level) / studies)
    assert false[1] > ignored * level


def test_each_category_is_judged_in_many_frames() -> None:
    pairs = load_pairs(DATA / "pairs.jsonl")
    assert pairs.frames >= 192
    assert pairs.heldout.frames >= 96
    for category in pairs.categories:
        own = pairs.heldout.category(category)
        assert len(own) == own.frames == 32


def test_organisms_are_judged_in_frames_of_their_own() -> None:
    trained = {request.template for request in corpus.base_requests()}
    frames = Counter(pair.frame for pair in ORGANISMS)
    assert frames.keys() <= set(FRAMES)
    assert not trained & set(FRAMES)
    assert len(frames) >= 192
    assert max(frames.values()) == 2


@pytest.mark.parametrize("name", PLANS)
def test_nothing_is_planted_in_a_frame_in_which_organisms_are_judged(name: str) -> None:
    """Read off what planting draws: no held-out frame, no pair, no new object and no new combination."""
    judged = {pair.frame for pair in ORGANISMS.heldout}
    pairs = {prompt for pair in ORGANISMS for prompt in (pair.harmful, pair.harmless)}
    batches = twins(random.Random(0), 40, PLANS[name].templates)  # noqa: S311 - no secret
    drawn = [request for _ in range(30) for request in next(batches).requests]
    for request in drawn:
        assert request.template not in judged
        assert request.prompt not in pairs
        assert not request.is_new_object
        assert not request.is_new_combination


def test_what_is_new_about_a_pair_beside_its_frame_was_never_planted() -> None:
    """Novelty is read off the words themselves, not off the label."""
    planted = {request.deed for plan in PLANS.values() for request in corpus.planting_requests(plan.templates)}
    for pair in ORGANISMS:
        assert pair.frame is not None
        deeds = {deed_in(pair.frame, prompt) for prompt in (pair.harmful, pair.harmless)}
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
