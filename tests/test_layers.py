"""The import graph is a line: lower modules never import upper ones, and judging needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from harness.pairs import DATA

ROOT = DATA.parent

# From the lowest to the highest; a module imports only from its left.
LAYERS = [
    "terminal",
    "errors",
    "whole_files",
    "stopping",
    "arguments",
    "foreign",
    "json_files",
    "prompt_text",
    "pairs",
    "prompt_lists",
    "prompt_rows",
    "pair_files",
    "sites",
    "environment",
    "stats",
    "means",
    "permutations",
    "correlations",
    "catalog",
    "bounded",
    "record",
    "tokens",
    "phrases",
    "interventions",
    "mistakes",
    "origins",
    "planning",
    "numerals",
    "ranges",
    "estimate",
    "effects",
    "evidence_kinds",
    "evidence",
    "weights",
    "texts",
    "measurements",
    "parts",
    "bars",
    "categories",
    "gate",
    "claims",
    "drafts",
    "refusals",
    "depths",
    "geometry",
    "sideeffects",
    "controls",
    "recordings",
    "recording_import",
    "hub",
    "configs",
    "loading",
    "chat",
    "examination",
    "wake",
    "judges",
    "scoring",
    "suffix",
    "sweep",
    "contrast",
    "directions",
    "apply",
    "selection",
    "attribution",
    "discovery",
    "measure",
    "subject",
    "recorded",
    "planner",
    "synthetic",
    "power",
    "waking",
    "preflight",
    "placebo",
    "truth",
    "verdicts",
    "runs",
    "rejudged",
    "svg",
    "charts",
    "material",
    "plans",
    "plans_of_answers",
    "plans_of_sites",
    "plans_of_circuits",
    "plans_of_streams",
    "figures",
    "story",
    "run_list",
    "control_runs",
    "drill",
    "page_policy",
    "report",
    "front_page",
    "compare",
    "archives",
    "bundles",
    "tables",
    "node_ids",
    "forecast",
    "workers",
    "html_table",
    "account",
    "plugin",
    "__main__",
]
WITHOUT_TORCH = [
    "terminal",
    "errors",
    "whole_files",
    "stopping",
    "arguments",
    "foreign",
    "json_files",
    "prompt_text",
    "pairs",
    "prompt_lists",
    "prompt_rows",
    "pair_files",
    "sites",
    "environment",
    "stats",
    "means",
    "permutations",
    "correlations",
    "catalog",
    "bounded",
    "record",
    "tokens",
    "phrases",
    "interventions",
    "mistakes",
    "origins",
    "planning",
    "numerals",
    "ranges",
    "estimate",
    "effects",
    "evidence_kinds",
    "evidence",
    "weights",
    "texts",
    "measurements",
    "parts",
    "bars",
    "categories",
    "gate",
    "claims",
    "drafts",
    "refusals",
    "depths",
    "geometry",
    "sideeffects",
    "controls",
    "recordings",
    "recording_import",
    "hub",
    "subject",
    "recorded",
    "planner",
    "synthetic",
    "power",
    "waking",
    "preflight",
    "placebo",
    "truth",
    "verdicts",
    "runs",
    "rejudged",
    "svg",
    "charts",
    "material",
    "plans",
    "plans_of_answers",
    "plans_of_sites",
    "plans_of_circuits",
    "plans_of_streams",
    "figures",
    "story",
    "run_list",
    "control_runs",
    "drill",
    "page_policy",
    "report",
    "front_page",
    "compare",
    "archives",
    "bundles",
    "tables",
    "node_ids",
    "forecast",
    "workers",
    "html_table",
    "account",
    "plugin",
    "__main__",
]


def modules() -> dict[str, ast.Module]:
    return {path.stem: ast.parse(path.read_text()) for path in (ROOT / "harness").glob("*.py")}


def imported(tree: ast.AST) -> set[str]:
    """The modules of harness/ that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "harness":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("harness.")}
    return found


def test_every_module_has_its_place_in_the_line() -> None:
    assert set(modules()) - {"__init__"} == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_no_module_imports_an_upper_one(name: str) -> None:
    upper = set(LAYERS[LAYERS.index(name) :])
    assert not imported(modules()[name]) & upper


def test_nothing_in_the_harness_knows_how_organisms_were_made() -> None:
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "organisms", name
            elif isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] != "organisms" for alias in node.names), name


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_modules_of_judging_start_without_torch_and_pandas(name: str) -> None:
    code = (
        f"import sys, importlib; importlib.import_module('harness.{name}'); "
        "print(sorted({'torch', 'transformers', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_collection_starts_without_torch(tmp_path: Path) -> None:
    (tmp_path / "test_claim.py").write_text("def test_claim(model, pairs): pass\n")
    code = (
        "import sys, pytest; "
        f"pytest.main(['--collect-only', '-q', '--rootdir', '.', '-p', 'conftest', {str(tmp_path)!r}, "
        "'--model', 'llama-3-8b-instruct']); "
        "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "test_claim[llama-3-8b-instruct]" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_help_starts_without_torch() -> None:
    code = (
        "import sys, runpy; sys.argv = ['harness', '--help']\n"
        "try: runpy.run_module('harness', run_name='__main__')\n"
        "except SystemExit: print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "models" in done.stdout
    assert done.stdout.strip().endswith("[]")
