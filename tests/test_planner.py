"""A plan counts every measurement, prompt by prompt."""

from collections.abc import Callable
from pathlib import Path

from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.prompt_lists import PromptLists
from harness.measurements.evidence import Store
from harness.measurements.questions import Answers, Lens, Products, PromptSide, Scores
from harness.model.chat_model import ChatModel
from harness.subjects import dry_run


def test_lists_of_unequal_length_are_planned_prompt_by_prompt(awake: Callable[..., ChatModel], tmp_path: Path) -> None:
    rows = load_pairs(DATA / "pairs.jsonl").pairs
    lists = PromptLists("l", tuple(pair.harmful for pair in rows[:5]), tuple(pair.harmless for pair in rows[:8]))
    asking = dry_run.Planner(awake("llama").record, lists, Store(tmp_path), lambda: awake("llama"), 0.01)
    known = asking.plan(dry_run.Work(), set())
    sides: dict[PromptSide, int] = {"harmful": 5, "harmless": 8}
    for side, count in sides.items():
        assert len(known.seek(Answers(lists, side)).values["cross_entropy"]) == count
        assert len(known.seek(Scores(lists, side)).values["odds"]) == count
        assert len(known.seek(Lens(lists, side)).arrays["odds"]) == count
    assert known.seek(Products(lists, 1, -1)).arrays["products"].shape == (13, 13)
