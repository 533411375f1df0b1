"""Rooms import one way, modules never in a circle, only two rooms need torch, and no module or function is long."""

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import harness
from harness.inputs.places import DATA

ROOT = DATA.parent

# From the lowest to the highest; a room imports only itself and rooms to its left.
ROOMS = [
    "inputs",
    "judging",
    "measurements",
    "claims",
    "model",
    "instruments",
    "subjects",
    "results",
    "report",
    "running",
    "commands",
    "doors",
]
# Modules and functions of these folders, tests among them, have at most so many lines.
CODE = ("harness", "organisms", "benchmarks", "hypotheses", "tests")
MODULE_LINES, FUNCTION_LINES = 400, 60
# The only rooms whose modules may load torch when they are imported.
WITH_TORCH = {"model", "instruments"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of harness/ by its whole name, parsed."""
    files = sorted((ROOT / "harness").rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text()) for path in files}


MODULES = [name for name in modules() if not name.endswith("__init__")]


def room(module: str) -> str:
    """The room of a module; what stands in harness/ itself is a door."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else "doors"


def imported(tree: ast.AST) -> set[str]:
    """The modules of harness/ that a module imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "harness":
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(MODULES)


def test_every_module_stands_in_a_room() -> None:
    assert {room(name) for name in MODULES} == set(ROOMS)


def test_a_room_holds_ten_modules_at_most() -> None:
    folders = Counter(name.rpartition(".")[0] for name in MODULES)
    assert {folder: count for folder, count in folders.items() if count > 10} == {}


@pytest.mark.parametrize("folder", CODE)
def test_no_module_and_no_function_is_long(folder: str) -> None:
    long: dict[str, int] = {}
    for path in (ROOT / folder).rglob("*.py"):
        text, name = path.read_text(), str(path.relative_to(ROOT))
        long |= {name: lines} if (lines := len(text.splitlines())) > MODULE_LINES else {}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                long |= {f"{name}: {node.name}": lines} if lines > FUNCTION_LINES else {}
    assert long == {}


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_from_an_upper_room(name: str) -> None:
    upper = set(ROOMS[ROOMS.index(room(name)) + 1 :])
    assert {other for other in imported(modules()[name]) if room(other) in upper} == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: imported(tree) for name, tree in modules().items() if name in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_nothing_in_the_harness_knows_how_organisms_were_made() -> None:
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "organisms", name
            elif isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] != "organisms" for alias in node.names), name


def test_modules_outside_the_rooms_of_the_model_start_without_torch_and_pandas() -> None:
    # Where all of them together load none, none of them does; else the first that does is named.
    code = (
        "import sys, importlib\n"
        f"for name in {[name for name in MODULES if room(name) not in WITH_TORCH]}:\n"
        "    importlib.import_module(name)\n"
        "    if loaded := sorted({'torch', 'transformers', 'pandas', 'scipy'} & set(sys.modules)):\n"
        "        sys.exit(f'{name} loads {loaded}')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_claim_files_import_from_the_face_and_from_nowhere_else() -> None:
    asked = set()
    for path in (ROOT / "hypotheses").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module == "harness", path.name
                asked |= {alias.name for alias in node.names}
    # People's claims report estimates beside a verdict; ours leave that to the harness.
    assert asked | {"beside"} == set(harness.__all__)


def test_the_face_offers_its_names_and_loads_none_unasked() -> None:
    code = "import sys, harness; print([name for name in sys.modules if name.startswith('harness.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert all(callable(getattr(harness, name)) for name in harness.__all__)
    assert dir(harness) == harness.__all__
    with pytest.raises(AttributeError, match="has no attribute 'steer'"):
        harness.steer  # noqa: B018


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
