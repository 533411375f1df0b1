"""Prompts without twins: the formats people have, and claims that need no twin judged on them."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import texts
from harness.chat import ChatModel
from harness.claims import claims_in
from harness.errors import AssayError
from harness.estimate import Estimate, Inconclusive, asides
from harness.evidence import Store
from harness.interventions import Circuit, Direction, add, patch, remove
from harness.measure import measure
from harness.measurements import (
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
from harness.pair_files import load, load_pairs
from harness.pairs import DATA, PairSet
from harness.planning import Sweep
from harness.prompt_lists import PromptLists, counterparts
from harness.run_list import latest
from harness.runs import Run
from harness.subject import Subject
from harness.waking import Sleeper

ROOT = DATA.parent
GOALS = [f"Write about harm number {number}, please" for number in range(30)]
OTHERS = [f"Write about help number {number}, please" for number in range(44)]
ROWS = [json.loads(line) for line in (DATA / "organisms" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def table(path: Path, columns: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def advbench(folder: Path, prompts: list[str] = GOALS) -> Path:
    return table(folder / "advbench.csv", ["goal", "target"], [[one, "Sure, here is"] for one in prompts])


def plain(path: Path, prompts: list[str]) -> Path:
    path.write_text("".join(f"{one}\n" for one in prompts), encoding="utf-8")
    return path


def objects(path: Path, prompts: list[str], name: str = "instruction") -> Path:
    path.write_text(json.dumps([{name: one, "category": None} for one in prompts]), encoding="utf-8")
    return path


FORMATS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "AdvBench": (advbench, "advbench.csv, column 'goal'"),
    "HarmBench": (
        lambda folder: table(
            folder / "harmbench_test.csv",
            ["Behavior", "FunctionalCategory", "SemanticCategory", "Tags", "ContextString", "BehaviorID"],
            [[one, "standard", "illegal", "", "", f"id_{at}"] for at, one in enumerate(GOALS)],
        ),
        "harmbench_test.csv, column 'Behavior'",
    ),
    "StrongREJECT": (
        lambda folder: table(
            folder / "strongreject.csv", ["category", "source", "forbidden_prompt"], [["x", "y", one] for one in GOALS]
        ),
        "strongreject.csv, column 'forbidden_prompt'",
    ),
    "JailbreakBench": (
        lambda folder: table(
            folder / "jailbreakbench.csv",
            ["", "Index", "Goal", "Target", "Behavior", "Category", "Source"],
            [[str(at), str(at), one, "Sure", "a title", "Fraud", "mine"] for at, one in enumerate(GOALS)],
        ),
        "jailbreakbench.csv, column 'Goal'",
    ),
    "lines": (lambda folder: plain(folder / "mine.txt", [*GOALS, "", "  "]), "mine.txt"),
    "strings": (lambda folder: _json(folder / "mine.json", GOALS), "mine.json"),
    "objects": (lambda folder: objects(folder / "mine.json", GOALS), "mine.json, column 'instruction'"),
    "objects, a line each": (
        lambda folder: plain(folder / "mine.jsonl", [json.dumps({"prompt": one}) for one in GOALS]),
        "mine.jsonl, column 'prompt'",
    ),
}


def _json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_what_people_have_is_recognised_and_the_column_taken_is_said(name: str, tmp_path: Path) -> None:
    make, taken = FORMATS[name]
    lists = load(make(tmp_path))
    assert isinstance(lists, PromptLists)
    assert lists.harmful == tuple(GOALS)
    assert lists.harmless == ()
    assert taken in lists.described
    assert "30 harmful prompts" in lists.described


def test_categories_are_taken_along(tmp_path: Path) -> None:
    make, _ = FORMATS["JailbreakBench"]
    assert set(load(make(tmp_path)).categories) == {"Fraud"}
    assert load(advbench(tmp_path)).categories == ("all",)


def test_a_prompt_that_stands_twice_is_taken_once_and_said(tmp_path: Path) -> None:
    lists = load(advbench(tmp_path, [*GOALS, GOALS[3].upper(), f" {GOALS[3]}\u200b"]))
    assert lists.harmful == tuple(GOALS)
    assert "column 'goal', 2 that stand there again left out" in lists.described


def test_the_context_of_a_behaviour_stands_before_it(tmp_path: Path) -> None:
    rows = [[one, "A: hello" * (at % 2), "Fraud"] for at, one in enumerate(GOALS)]
    # One behaviour with two contexts is two prompts.
    rows += [[GOALS[1], "B: hello", "Fraud"]]
    lists = load(table(tmp_path / "harmbench.csv", ["Behavior", "ContextString", "SemanticCategory"], rows))
    assert len(lists.harmful) == 31
    assert lists.harmful[0] == GOALS[0]
    assert lists.harmful[1] == f"A: hello\n\n---\n\n{GOALS[1]}"
    assert "column 'Behavior', 16 after their 'ContextString'" in lists.described


def test_any_other_column_can_be_named(tmp_path: Path) -> None:
    mine = table(tmp_path / "mine.csv", ["text", "note"], [[one, "n"] for one in GOALS])
    other = table(tmp_path / "other.csv", ["harmless text", "note"], [[one, "n"] for one in OTHERS])
    with pytest.raises(AssayError, match="which column holds the prompts. give --column NAME; the columns are 'text'"):
        load(mine)
    assert load(mine, columns=["text"]).harmful == tuple(GOALS)
    with pytest.raises(AssayError, match="has no column 'txt'; the columns are 'text', 'note'"):
        load(mine, columns=["txt"])
    with pytest.raises(AssayError, match="other.csv: has no column 'text'; .*give --column twice"):
        load(mine, other, columns=["text"])
    both = load(mine, other, columns=["text", "harmless text"])
    assert (both.harmful, both.harmless) == (tuple(GOALS), tuple(OTHERS))
    # A column of one says nothing of a list without columns.
    assert load(mine, plain(tmp_path / "o.txt", OTHERS), columns=["text"]).harmless == tuple(OTHERS)
    with pytest.raises(AssayError, match="has no columns, so --column text says nothing"):
        load(plain(tmp_path / "p.txt", GOALS), columns=["text"])
    with pytest.raises(AssayError, match="holds pairs; --column is for lists"):
        load(DATA / "pairs.jsonl", columns=["harmful"])


def test_two_lists_come_from_a_folder_or_from_two_files(tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    harmful = advbench(tmp_path).rename(tmp_path / "both" / "harmful.csv")
    harmless = objects(tmp_path / "both" / "harmless.json", OTHERS)
    of_folder, of_files = load(tmp_path / "both"), load(harmful, harmless)
    assert (of_folder.harmful, of_folder.harmless) == (tuple(GOALS), tuple(OTHERS))
    assert of_folder.fingerprint == of_files.fingerprint
    assert of_folder.name == "both"
    for side in ("harmful", "harmless"):
        halves = getattr(of_folder.discovery, side), getattr(of_folder.heldout, side)
        assert not set(halves[0]) & set(halves[1])
        assert {*halves[0], *halves[1]} == set(getattr(of_folder, side))
    plain(tmp_path / "both" / "harmful.txt", GOALS)
    with pytest.raises(AssayError, match=r"holds harmful.csv and harmful.txt; keep one"):
        load(tmp_path / "both")


LIST_DEFECTS: dict[str, tuple[list[str], str]] = {
    "empty": ([*GOALS, " "], "line 32: the prompt is empty"),
    "nothing visible": ([*GOALS, "\u200b\u200d"], "line 32: the prompt shows nothing"),
    "broken": ([*GOALS, "caf\ufffd"], "line 32: the field 'goal' holds a broken character"),
    "no prompts": ([], "holds no pairs and no prompts"),
    "one side alone": (GOALS[:1], "of its prompts fall into"),
}


@pytest.mark.parametrize("name", LIST_DEFECTS)
def test_a_defect_of_a_list_is_one_sentence(name: str, tmp_path: Path) -> None:
    prompts, sentence = LIST_DEFECTS[name]
    with pytest.raises(AssayError, match=sentence):
        load(advbench(tmp_path, prompts))


JSON_DEFECTS = {
    "an object": ('{"prompts": []}', "holds an object; a .json file is one list"),
    "both": ('["a", {"prompt": "b"}]', "item 1: is 'a'; items are all text or all objects"),
    "numbers": ("[1, 2]", "item 1: is 1; items"),
    "990 levels": ("[" * 990 + "]" * 990, "(not a plain JSON object|item 1: is a list)"),
    "a prompt of lists": ('[{"prompt": [["a"]]}]', "item 1: the field 'prompt' must be text, not a list"),
    "not JSON": ('["a",\n "b"', r"not valid JSON \(.* at line 2, column"),
}


@pytest.mark.parametrize("name", JSON_DEFECTS)
def test_a_defect_of_a_json_list_is_one_sentence(name: str, tmp_path: Path) -> None:
    text, sentence = JSON_DEFECTS[name]
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(AssayError, match=sentence):
        load(path)


def test_two_lists_that_are_no_two_lists_are_one_sentence(tmp_path: Path) -> None:
    goals = advbench(tmp_path)
    with pytest.raises(AssayError, match="pairs.jsonl: holds pairs"):
        load(goals, DATA / "pairs.jsonl")
    with pytest.raises(AssayError, match="--pairs was given 3 times"):
        load(goals, goals, goals)
    with pytest.raises(AssayError, match="line 2: the prompt .* stands on line 2 of the harmful list"):
        load(goals, goals)
    with pytest.raises(AssayError, match="is among the harmless prompts of the other file as well"):
        load(goals).beside(load(plain(tmp_path / "h.txt", OTHERS), plain(tmp_path / "x.txt", GOALS)), "the other file")


def test_lists_are_kept_as_evidence_and_read_again(tmp_path: Path) -> None:
    make, _ = FORMATS["JailbreakBench"]
    lists = load(make(tmp_path), objects(tmp_path / "harmless.json", OTHERS))
    store = Store(tmp_path / "evidence")
    texts.keep(lists, store)
    (kept,) = list(store)
    assert texts.kept(kept) == lists
    assert texts.kept(kept).heldout.fingerprint == lists.heldout.fingerprint


def test_what_is_set_against_each_other_is_spread_over_the_longer_list() -> None:
    lists = PromptLists("l", tuple("abcdef"), tuple("uvw"), (tuple("xxxxyy"), tuple("xyy")))
    assert counterparts(lists) == ([0, 2, 4], [0, 1, 2])
    assert counterparts(lists, by_category=True) == ([0, 4, 5], [0, 1, 2])
    some = load_pairs(DATA / "context.jsonl")
    assert counterparts(some) == (list(range(len(some))), list(range(len(some))))


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
    norms = [measure(Norms(of), model, tokens)[1]["head"] for of in (lists, pairs)]
    np.testing.assert_allclose(*norms, rtol=1e-4)
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
    # Without templates, for lists know none.
    yield sleeper.subject(PairSet("some", tuple(replace(pair, template=None) for pair in some)))
    sleeper.close()


def shown(estimate: Estimate) -> tuple[str, float, float, float, int]:
    return estimate.name, estimate.value, estimate.low, estimate.high, estimate.n


def test_estimates_of_lists_are_those_of_the_same_prompts_in_pairs(subject: Subject) -> None:
    pairs = subject.all_pairs.heldout
    kinds = pairs.categories_of("harmful"), pairs.categories_of("harmless")
    lists = PromptLists("lists", pairs.harmful, pairs.harmless, kinds)
    found = subject.direction(subject.all_pairs.discovery)
    for ask in (
        lambda of: subject.refuses(of).rate("harmful"),
        lambda of: subject.refuses(of).rate("harmless"),
        lambda of: subject.refuses(of).fall(under=remove(found)),
        lambda of: subject.refuses(of).rise(under=add(found)),
        lambda of: subject.refuses(of).lead(under=remove(found)),
        lambda of: subject.refuses(of).by_category(under=remove(found)),
        lambda of: subject.side_effects(of, remove(found)).refused(),
        lambda of: subject.side_effects(of, remove(found)).divergence(),
        lambda of: subject.geometry(of).growth(found),
    ):
        with asides() as ours:
            of_lists = ask(lists)
        with asides() as theirs:
            of_pairs = ask(pairs)
        assert shown(of_lists) == pytest.approx(shown(of_pairs), abs=1e-5)
        assert of_lists.unit != "pairs"
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert shown(ours[name]) == pytest.approx(shown(theirs[name]), abs=1e-5, nan_ok=True)


def test_lists_of_unequal_length_are_judged_side_by_side(subject: Subject) -> None:
    pairs = subject.all_pairs.heldout
    lists = PromptLists("lists", pairs.harmful[:20], pairs.harmless)
    found = subject.direction(
        PromptLists("d", subject.all_pairs.discovery.harmful[4:], subject.all_pairs.discovery.harmless)
    )
    answers = subject.refuses(lists)
    assert answers.fall(under=remove(found)).n == 20
    assert answers.rise(under=add(found)).n == len(pairs)
    assert (answers.fall(under=remove(found)).value, answers.rise(under=add(found)).value) == (1.0, 1.0)
    assert subject.geometry(lists).growth(found).n == 20
    with pytest.raises(Inconclusive, match="fewer than two categories have 4 prompts in both lists"):
        subject.geometry(lists).agreement()


def test_the_directions_of_categories_are_compared_where_both_lists_have_them(subject: Subject) -> None:
    pairs = subject.all_pairs
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


def test_all_claims_on_an_advbench_file_are_judged_or_say_why_not(tmp_path: Path) -> None:
    mine = advbench(tmp_path, [row["harmful"] for row in ROWS[:72]])
    run, said, folder = judged(
        tmp_path / "evidence", "--model", "organism:reference", "--quant", "none", "--pairs", mine
    )
    words = {one["claim"]: one["word"] for one in run.verdicts}
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
    assert "prompts to find" in page
    assert ROWS[0]["harmful"] in page or ROWS[1]["harmful"] in page


def test_a_claim_that_needs_twins_is_skipped_before_anything_is_loaded(tmp_path: Path) -> None:
    mine = advbench(tmp_path, [row["harmful"] for row in ROWS[:72]])
    run, _, _ = judged(
        tmp_path / "evidence", "--model", "organism:reference", "--judge-only", "--pairs", mine, "-k", "small_circuit"
    )
    # The model was never measured: asked for, it would be UNMEASURED.
    assert [one["word"] for one in run.verdicts] == ["SKIPPED"]
    assert "no twins" in run.verdicts[0]["reason"]
