"""docs/claims.md names everything that a claim can ask with all its arguments, and nothing else."""

import inspect
import re
from collections.abc import Callable
from typing import Any
from unittest.mock import create_autospec

import pytest

import harness
from harness.inputs.places import HOME
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.prompts.prompt_lists import PromptLists
from harness.judging.ranges import RANGES
from harness.measurements.interventions import Add
from harness.subjects.live import Subject
from harness.subjects.quantities.depths import Depths
from harness.subjects.quantities.geometry import Geometry
from harness.subjects.quantities.refusals import Refusals
from harness.subjects.quantities.side_effects import SideEffects
from tests.tools.given import FOUND, pairs_of

PAGE = (HOME / "docs" / "claims.md").read_text(encoding="utf-8")
OWNERS: dict[str, type] = {
    "model": Subject,
    "refuses": Refusals,
    "depths": Depths,
    "geometry": Geometry,
    "side_effects": SideEffects,
}
# What quantities and reports ask of a subject, and no claim does.
NOT_FOR_CLAIMS = {
    *("ask", "also", "area", "asides", "changes", "clusters", "effects", "judged", "name", "outcomes", "reading"),
    *("score_serves", "scored", "seek", "seek_and_cite", "share_of", "show", "sizes", "tokens", "validity", "wake"),
    *("limit_of", "of_arm", "controls", "thoughts", "to_answer", "dealt", "rivals"),
    *("area_by", "beyond_reach", "quote_areas", "require_score", "told"),
}


def signature(name: str, function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters.values()
    bare = inspect.Signature(
        [each.replace(annotation=inspect.Parameter.empty) for each in parameters if each.name not in ("self", "cls")]
    )
    return f"{name}{bare}".replace("'", '"')


def askable() -> set[str]:
    """The signature of every public function that a claim may call."""
    signatures = {signature(name, getattr(harness, name)) for name in harness.__all__}
    for owner, kind in OWNERS.items():
        for name, member in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and name not in NOT_FOR_CLAIMS:
                signatures.add(signature(f"{owner}.{name}", member))
    return signatures


def test_the_page_names_every_question_with_all_its_arguments_and_no_other() -> None:
    written = set(re.findall(r"^`([a-z_.]+\([^`]*\))`$", PAGE, re.MULTILINE))
    assert written == askable()


def test_everything_with_a_range_can_be_asked() -> None:
    names = {text.partition("(")[0] for text in askable()}
    assert set(RANGES) - {"model.share_of"} <= names


def called(example: str) -> Any:
    """The value of a call, on real pairs and interventions, and on subjects that check its name and arguments alone."""
    names = {name: getattr(harness, name) for name in harness.__all__}
    names |= {"pairs": pairs_of("weapons", "fraud"), "name": "weapons", "direction": FOUND}
    names |= {owner: create_autospec(kind, instance=True) for owner, kind in OWNERS.items()}
    return eval(example, names)  # noqa: S307


def test_every_example_on_the_page_can_be_called() -> None:
    owners = "|".join(["pairs", *OWNERS])
    calls = re.findall(rf"`((?:(?:{owners})\.[a-z_.]+|(?:{'|'.join(harness.__all__)}))\([^`]*\))`", PAGE)
    examples = {" ".join(call.split()) for call in calls} - askable()
    assert {"model.circuit(pairs.discovery, heads=10)", 'pairs.discovery.without("weapons")'} <= examples
    assert "add(direction, scale=0.5)" in examples
    for example in examples:
        assert called(example) is not None, example
    assert called("add(direction, scale=0.5)") == Add(FOUND, FOUND.layer, 0.5)
    for wrong in ("model.circuit(pairs.discovery, head=10)", "model.circuits(pairs.discovery)", "add(scale=0.5)"):
        with pytest.raises((TypeError, AttributeError)):
            called(wrong)


def test_a_category_and_what_is_without_it_are_the_whole() -> None:
    pairs = PairSet("few", tuple(Pair(str(n), "ab"[n % 2], f"do harm {n}", f"do good {n}") for n in range(6)))
    assert {pair.id for pair in pairs.without("a")} == {"1", "3", "5"}
    assert {pair.id for pair in pairs.without("a")} | {pair.id for pair in pairs.category("a")} == set("012345")
    lists = PromptLists("l", ("x", "y"), ("z",), (("a", "b"), ("a",)))
    assert (lists.without("a").harmful, lists.without("a").harmless) == (("y",), ())
