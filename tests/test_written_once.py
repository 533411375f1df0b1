"""Names that several modules use are written in one of them: the prefixes of models, and the kinds of evidence."""

import ast
from functools import cache
from pathlib import Path

import pytest

from harness.inputs.model_catalog import ORGANISM
from harness.inputs.places import HOME
from harness.measurements import evidence_kinds
from harness.measurements.questions import KINDS
from harness.subjects.published.recordings import RECORDED

# Prefixes of models' names, each with the module that defines it.
PREFIXES = {ORGANISM: "harness/inputs/model_catalog.py", RECORDED: "harness/subjects/published/recordings.py"}
# Of measurements, and of other evidence; "pairs" and "part" are left out, since they are words for much else.
OF_EVIDENCE = {kind for kind, question in KINDS.items() if question.__module__.startswith("harness.")} | {
    evidence_kinds.MODEL_RECORD,
    evidence_kinds.LISTS,
}
# Strings that equal a kind of evidence and mean something else.
OTHER_MEANING = {
    "harness/report/drawing/answer_figures.py": {"direction"},  # a field of interventions in recipes
    "harness/report/drawing/circuit_figures.py": {"circuit"},  # a figure's name
    "harness/report/drawing/site_figures.py": {"circuit"},  # the label of what was patched
    "harness/report/drawing/stream_figures.py": {"lens", "products"},  # a figure's name, and an array of the evidence
    "harness/results/controls/placebo.py": {"circuit"},  # an axis of effects
    # Fields of sweeps, interventions and scores in recipes.
    "harness/results/verdict_evidence.py": {"circuit", "direction", "openings"},
}


def files(*folders: str) -> list[str]:
    return sorted(str(path.relative_to(HOME)) for folder in folders for path in (HOME / folder).rglob("*.py"))


@cache
def texts(file: str) -> frozenset[str]:
    """Every string constant of a module, pieces of f-strings too, without docstrings."""
    tree = ast.parse(Path(HOME / file).read_text(encoding="utf-8"))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in alone)
    return frozenset(node.value for node in constants if isinstance(node.value, str))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_prefix_of_models_names_is_written_in_one_module(prefix: str) -> None:
    written = {
        (file, text)
        for file in files("harness", "organisms", "benchmarks")
        if file != PREFIXES[prefix]
        for text in texts(file)
        if text.startswith(prefix)
    }
    assert written == set()
    assert prefix in texts(PREFIXES[prefix])


@pytest.mark.parametrize("file", files("harness/results", "harness/report"))
def test_kinds_of_evidence_are_read_from_where_they_are_defined(file: str) -> None:
    assert texts(file) & OF_EVIDENCE == OTHER_MEANING.get(file, set())
