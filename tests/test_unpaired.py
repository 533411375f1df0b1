"""Claims that need no twin, judged on prompts without twins."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.claims.claim import claims_in
from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load, load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet, twins
from harness.instruments.answer import measure
from harness.judging.estimate import Estimate, Inconclusive, asides
from harness.measurements.evidence import Store
from harness.measurements.interventions import Circuit, Direction, add, patch, remove
from harness.measurements.questions import (
    Answers,
    Encoding,
    FoundCircuit,
    FoundDirection,
    Lens,
    Measurement,
    Norms,
    Products,
    Projected,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.measurements.sweep_plan import Sweep
from harness.model.chat_model import ChatModel
from harness.results.run_list import latest
from harness.results.run_record import Run
from harness.subjects.live import Subject
from harness.subjects.sleeper import Sleeper
from tests.test_prompt_lists import GOALS, OTHERS, advbench

ROOT = DATA.parent
ROWS = [json.loads(line) for line in (DATA / "organisms" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]

NEED_TWINS: list[Callable[[PromptLists], Measurement]] = [
    Encoding,  # type: ignore[list-item]
    lambda lists: FoundCircuit(lists, 3),  # type: ignore[arg-type]
    lambda lists: Swept(lists, Sweep("head")),  # type: ignore[arg-type]
    lambda lists: Answers(lists, "harmful", patch(Circuit.of(heads=[(0, 0)]))),
    lambda lists: Scores(lists, "harmless", remove(Direction("difference", 1)) + patch(Circuit.of(heads=[(0, 0)]))),
]


@pytest.mark.parametrize("ask", NEED_TWINS)
def test_whatever_compares_twins_is_refused_where_there_are_none(ask: Callable[[PromptLists], Measurement]) -> None:
    with pytest.raises(AssayError, match="mine: its prompts have no twins; a claim that needs none says needs_twins"):
        ask(PromptLists("mine", tuple(GOALS), tuple(OTHERS)))


def test_a_tiny_model_measures_lists_as_it_measures_pairs(awake: Callable[..., ChatModel]) -> None:
    model, pairs = awake("llama"), PairSet("p", load_pairs(DATA / "pairs.jsonl").pairs[:12])
    # Lists in another order on either side, and unequal.
    lists = PromptLists("l", pairs.harmful[::-1], pairs.harmless[3:])
    tokens = [5, 9]
    direction = Direction("difference", 1, -1, pairs.harmful, pairs.harmless)
    for under in (None, remove(direction), add(direction)):
        for side, there in (("harmful", slice(None, None, -1)), ("harmless", slice(3, None))):
            for kind, names in ((Scores, ("odds", "kl")), (Answers, ("prefixes", "phrases-anywhere"))):
                ours, theirs = (measure(kind(of, side, under), model, tokens)[0] for of in (lists, pairs))  # type: ignore[arg-type]
                for name in names:
                    expected = list(theirs[name])[there]
                    if name in ("odds", "kl"):
                        np.testing.assert_allclose(ours[name], expected, atol=1e-4)
                    else:
                        assert list(ours[name]) == expected
    for side, there in (("harmful", slice(None, None, -1)), ("harmless", slice(3, None))):
        along, odds = (
            [measure(kind, model, tokens)[1] for kind in kinds]
            for kinds in (
                [Projected(of, side, (direction,)) for of in (lists, pairs)],  # type: ignore[arg-type]
                [Lens(of, side) for of in (lists, pairs)],  # type: ignore[arg-type]
            )
        )
        np.testing.assert_allclose(along[0]["along"], along[1]["along"][:, there], atol=1e-4)
        np.testing.assert_allclose(odds[0]["odds"], odds[1]["odds"][there], atol=1e-4)
    products = [measure(Products(of, 2, -1), model, tokens)[1]["products"] for of in (lists, pairs)]
    order = [*range(11, -1, -1), *range(15, 24)]
    np.testing.assert_allclose(products[0], products[1][np.ix_(order, order)], rtol=1e-4)
    of_lists, of_pairs = (measure(Norms(of), model, tokens)[1]["head"] for of in (lists, pairs))
    np.testing.assert_allclose(of_lists, of_pairs, rtol=1e-4)
    assert len(measure(RefusalTokens(lists), model, ())[0]["tokens"]) >= 0


def test_the_same_prompts_as_pairs_give_the_same_direction(awake: Callable[..., ChatModel]) -> None:
    model, pairs = awake("llama"), PairSet("p", load_pairs(DATA / "pairs.jsonl").pairs[:16])
    first = [answer.ids[0] for answer in model.generate(pairs.harmful, tokens=1) if answer.ids]
    lists = PromptLists("l", pairs.harmful, pairs.harmless)
    ours, theirs = (measure(FoundDirection(of), model, sorted(set(first[::2])))[0] for of in (lists, pairs))
    assert ours == theirs


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """`organism:reference` on a sixth of its pairs."""
    store = Store(tmp_path_factory.mktemp("unpaired") / "evidence")
    sleeper = Sleeper("organism:reference", "none", "cpu", store)
    some = load_pairs(DATA / "organisms" / "pairs.jsonl").pairs[::6]
    # Without frames, for lists know none.
    yield sleeper.subject(PairSet("some", tuple(replace(pair, frame=None) for pair in some)))
    sleeper.close()


def shown(estimate: Estimate) -> tuple[str, float, float, float, int]:
    return estimate.name, estimate.value, estimate.low, estimate.high, estimate.n


@pytest.mark.slow
def test_estimates_of_lists_are_those_of_the_same_prompts_in_pairs(subject: Subject) -> None:
    pairs = subject.all_pairs.heldout
    kinds = pairs.categories_of("harmful"), pairs.categories_of("harmless")
    lists = PromptLists("lists", pairs.harmful, pairs.harmless, kinds)
    direction = subject.direction(subject.all_pairs.discovery)
    questions: tuple[Callable[[PromptSet], Estimate], ...] = (
        lambda of: subject.refuses(of).rate("harmful"),
        lambda of: subject.refuses(of).rate("harmless"),
        lambda of: subject.refuses(of).fall(under=remove(direction)),
        lambda of: subject.refuses(of).rise(under=add(direction)),
        lambda of: subject.refuses(of).lead(under=remove(direction)),
        lambda of: subject.refuses(of).by_category(under=remove(direction)),
        lambda of: subject.side_effects(of, remove(direction)).refused(),
        lambda of: subject.side_effects(of, remove(direction)).divergence(),
        lambda of: subject.geometry(of).growth(direction),
    )
    for ask in questions:
        with asides() as ours:
            of_lists = ask(lists)
        with asides() as theirs:
            of_pairs = ask(pairs)
        assert shown(of_lists) == pytest.approx(shown(of_pairs), abs=1e-5)
        assert of_lists.unit != "pairs"
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert shown(ours[name]) == pytest.approx(shown(theirs[name]), abs=1e-5, nan_ok=True)


@pytest.mark.slow
def test_lists_of_unequal_length_are_judged_side_by_side(subject: Subject) -> None:
    pairs = subject.all_pairs.heldout
    lists = PromptLists("lists", pairs.harmful[:20], pairs.harmless)
    direction = subject.direction(
        PromptLists("d", subject.all_pairs.discovery.harmful[4:], subject.all_pairs.discovery.harmless)
    )
    answers = subject.refuses(lists)
    assert answers.fall(under=remove(direction)).n == 20
    assert answers.rise(under=add(direction)).n == len(pairs)
    assert (answers.fall(under=remove(direction)).value, answers.rise(under=add(direction)).value) == (1.0, 1.0)
    assert subject.geometry(lists).growth(direction).n == 20
    with pytest.raises(Inconclusive, match="fewer than two categories have 4 prompts in both lists"):
        subject.geometry(lists).agreement()


def test_the_directions_of_categories_are_compared_where_both_lists_have_them(subject: Subject) -> None:
    pairs = twins(subject.all_pairs)
    kinds = tuple("ab"[at % 2] for at in range(len(pairs)))
    lists = PromptLists("lists", pairs.harmful, pairs.harmless, (kinds, kinds))
    same = PairSet("pairs", tuple(replace(pair, category=kind) for pair, kind in zip(pairs, kinds, strict=True)))
    subject = Subject(subject.record, same, subject.store, subject.wake, subject.level)
    with asides() as beside:
        ours = subject.geometry(lists).agreement()
    assert shown(ours) == pytest.approx(shown(subject.geometry(same).agreement()), abs=1e-6)
    assert "no twins" in str(beside["cosine, harmless twins"])
    longer = PromptLists("longer", pairs.harmful, pairs.harmless[:40], (kinds, kinds[:40]))
    assert subject.geometry(longer).agreement().n == 40


def judged(evidence: Path, *arguments: str | Path) -> tuple[Run, str, Path]:
    """The run, what it said, and its folder."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "hypotheses", "-p", "no:cacheprovider", "--evidence", evidence, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    folder = latest(evidence.parent / "runs")
    assert folder is not None, done.stdout + done.stderr
    return Run.load(folder), done.stdout, folder


@pytest.mark.slow
def test_all_claims_on_an_advbench_file_are_judged_or_say_why_not(tmp_path: Path) -> None:
    mine = advbench(tmp_path, [row["harmful"] for row in ROWS[:72]])
    run, said, folder = judged(
        tmp_path / "evidence", "--model", "organism:reference", "--quant", "none", "--pairs", mine
    )
    words = {verdict["claim"]: verdict["word"] for verdict in run.verdicts}
    assert set(words) == {claim.name for claim in claims_in()}
    assert "BROKEN" not in words.values(), said
    for claim in claims_in():
        assert (words[claim.name] == "SKIPPED") == claim.needs_twins
    assert {words[name] for name in ("baseline", "direction-necessity", "direction-sufficiency")} == {"SUPPORTED"}
    assert {words[name] for name in ("shared-geometry", "direction-categories")} == {"INCONCLUSIVE"}
    reasons = {one["claim"]: one["reason"] for one in run.verdicts}
    assert "the prompts have no categories" in reasons["direction-categories"]
    assert "fewer than two categories have 4 prompts in both lists" in reasons["shared-geometry"]
    for one in run.verdicts:
        if one["word"] == "SKIPPED":
            assert one["reason"].startswith("advbench: its prompts have no twins, and this claim compares them")
    assert "72 harmful prompts" in said
    assert "advbench.csv, column 'goal'" in said
    assert "the harmless prompts of data/organisms/pairs.jsonl" in said
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "prompts for discovery" in page
    # The answers that were judged stand in the page, and so does every prompt they answer.
    heldout = load(mine).heldout.harmful
    assert len(heldout) >= 24
    assert all(prompt in page for prompt in heldout)


def test_a_claim_that_needs_twins_is_skipped_before_anything_is_loaded(tmp_path: Path) -> None:
    mine = advbench(tmp_path, [row["harmful"] for row in ROWS[:72]])
    run, _, _ = judged(
        tmp_path / "evidence", "--model", "organism:reference", "--judge-only", "--pairs", mine, "-k", "small_circuit"
    )
    # The model was never measured: asked for, it would be UNMEASURED.
    assert [verdict["word"] for verdict in run.verdicts] == ["SKIPPED"]
    assert "no twins" in run.verdicts[0]["reason"]
