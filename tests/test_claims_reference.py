"""docs/claims.md names everything that a claim can ask with all its arguments, and nothing else."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import harness
from harness.inputs.places import HOME
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.prompts.prompt_lists import PromptLists
from harness.judging.ranges import RANGES
from harness.subjects.live import Subject
from harness.subjects.quantities.depths import Depths
from harness.subjects.quantities.geometry import Geometry
from harness.subjects.quantities.refusals import Refusals
from harness.subjects.quantities.side_effects import SideEffects

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
    *("ask", "also", "area", "asides", "changes", "clusters", "effects", "judged", "name", "reading", "score_serves"),
    *("scored", "seek", "share_of", "show", "sizes", "tokens", "wake", "of_arm", "controls"),
}


def signature(name: str, function: Callable[..., Any]) -> str:
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]
    bare = inspect.Signature([one.replace(annotation=inspect.Parameter.empty) for one in parameters])
    return f"{name}{bare}".replace("'", '"')


def askable() -> set[str]:
    """The signature of every public function that a claim may call."""
    found = {signature(name, getattr(harness, name)) for name in harness.__all__}
    for owner, kind in OWNERS.items():
        for name, member in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and name not in NOT_FOR_CLAIMS:
                found.add(signature(f"{owner}.{name}", member))
    return found


def test_the_page_names_every_question_with_all_its_arguments_and_no_other() -> None:
    written = set(re.findall(r"^`([a-z_.]+\([^`]*\))`$", PAGE, re.MULTILINE))
    assert written == askable()


def test_everything_with_a_range_can_be_asked() -> None:
    names = {text.partition("(")[0] for text in askable()}
    assert set(RANGES) - {"model.share_of"} <= names


def test_every_example_on_the_page_parses() -> None:
    for example in re.findall(r"`((?:model|pairs|add|remove|patch)[.(][^`]*\))`", PAGE):
        compile(example.replace(", *, ", ", "), "page", "eval") if "*" in example else compile(example, "page", "eval")


def test_a_category_and_what_is_without_it_are_the_whole() -> None:
    pairs = PairSet("few", tuple(Pair(str(n), "ab"[n % 2], f"do harm {n}", f"do good {n}") for n in range(6)))
    assert {pair.id for pair in pairs.without("a")} == {"1", "3", "5"}
    assert {pair.id for pair in pairs.without("a")} | {pair.id for pair in pairs.category("a")} == set("012345")
    lists = PromptLists("l", ("x", "y"), ("z",), (("a", "b"), ("a",)))
    assert (lists.without("a").harmful, lists.without("a").harmless) == (("y",), ())
