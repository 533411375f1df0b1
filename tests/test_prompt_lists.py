"""Lists of prompts without twins: the formats people have, their defects in one sentence each, and the split."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load, load_pairs
from harness.inputs.prompts.prompt_lists import PromptLists, counterparts
from harness.measurements import pairs_evidence
from harness.measurements.evidence import Store

ROOT = DATA.parent
GOALS = [f"Write about harm number {number}, please" for number in range(30)]
OTHERS = [f"Write about help number {number}, please" for number in range(44)]
ROWS = [json.loads(line) for line in (DATA / "organisms" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def table(path: Path, columns: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def advbench(folder: Path, prompts: list[str] = GOALS) -> Path:
    return table(folder / "advbench.csv", ["goal", "target"], [[prompt, "Sure, here is"] for prompt in prompts])


def plain(path: Path, prompts: list[str]) -> Path:
    path.write_text("".join(f"{prompt}\n" for prompt in prompts), encoding="utf-8")
    return path


def objects(path: Path, prompts: list[str], name: str = "instruction") -> Path:
    path.write_text(json.dumps([{name: prompt, "category": None} for prompt in prompts]), encoding="utf-8")
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
            folder / "strongreject.csv",
            ["category", "source", "forbidden_prompt"],
            [["x", "y", goal] for goal in GOALS],
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
    assert "column 'goal', 2 repeated prompts left out" in lists.described


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
    other = table(tmp_path / "other.csv", ["harmless text", "note"], [[other_prompt, "n"] for other_prompt in OTHERS])
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
    with pytest.raises(AssayError, match="has no columns; leave out --column text"):
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
    with pytest.raises(AssayError, match="line 2: the prompt .* is on line 2 of the harmful list"):
        load(goals, goals)
    with pytest.raises(AssayError, match="is among the harmless prompts of the other file as well"):
        one_list, both = load(goals), load(plain(tmp_path / "h.txt", OTHERS), plain(tmp_path / "x.txt", GOALS))
        assert isinstance(one_list, PromptLists)
        assert isinstance(both, PromptLists)
        one_list.beside(both, "the other file")


def test_lists_are_kept_as_evidence_and_read_again(tmp_path: Path) -> None:
    make, _ = FORMATS["JailbreakBench"]
    lists = load(make(tmp_path), objects(tmp_path / "harmless.json", OTHERS))
    store = Store(tmp_path / "evidence")
    pairs_evidence.keep(lists, store)
    (kept,) = list(store)
    assert pairs_evidence.kept(kept) == lists
    assert pairs_evidence.kept(kept).heldout.fingerprint == lists.heldout.fingerprint


def test_what_is_set_against_each_other_is_spread_over_the_longer_list() -> None:
    lists = PromptLists("l", tuple("abcdef"), tuple("uvw"), (tuple("xxxxyy"), tuple("xyy")))
    assert counterparts(lists) == ([0, 2, 4], [0, 1, 2])
    assert counterparts(lists, by_category=True) == ([0, 4, 5], [0, 1, 2])
    loaded_pairs = load_pairs(DATA / "context.jsonl")
    assert counterparts(loaded_pairs) == (list(range(len(loaded_pairs))), list(range(len(loaded_pairs))))
