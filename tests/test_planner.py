"""A plan counts every measurement, or says that it cannot."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptLists
from harness.measurements.evidence import Store
from harness.measurements.questions import Answers, Lens, Measurement, Products, PromptSide, Scores
from harness.model.chat_model import ChatModel
from harness.subjects import dry_run


@dataclass(frozen=True)
class Unheard(Measurement):
    """A measurement of tomorrow."""

    pairs: PairSet
    KIND = "unheard"
    REVISION = 1
    SCORED = False


def test_what_no_plan_knows_is_said(awake: Callable[..., ChatModel], tmp_path: Path) -> None:
    pairs = PairSet("few", load_pairs(DATA / "pairs.jsonl").pairs[:3])
    asking = dry_run.Planner(awake("llama").record, pairs, Store(tmp_path), lambda: awake("llama"), 0.01)
    known = asking.plan(dry_run.Work(), set())
    with pytest.raises(AssayError, match="--plan: nobody has said what Unheard takes; add its cost"):
        known.ask(Unheard(pairs))
    with pytest.raises(AssayError, match="--plan: nobody has said what Unheard takes; add its cost"):
        dry_run._placeholder(known, Unheard(pairs))


@pytest.mark.parametrize("function", [dry_run.Planner._tokens, dry_run._placeholder], ids=["cost", "placeholder"])
def test_every_measurement_has_its_place_in_a_plan(function: Callable[..., object]) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    named = {
        node.cls.id for node in ast.walk(tree) if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name)
    }
    theirs = {one.__name__ for one in Measurement.__subclasses__() if one.__module__ == Measurement.__module__}
    assert named == theirs


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
