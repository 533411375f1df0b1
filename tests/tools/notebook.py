"""Runs `notebooks/exploration.ipynb` in a fresh kernel: `python -m tests.tools.notebook` writes its outputs anew."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import circuitsvis
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from harness.inputs.places import DATA

ROOT = DATA.parent
PATH = ROOT / "notebooks" / "exploration.ipynb"

# What is another in every call and says nothing.
_FLEETING = (
    (re.compile(r" at 0x[0-9a-f]+"), ""),
    (re.compile(r" in \d+\.\d+s( \(.*?\))?"), ""),
    (re.compile(r"circuits-vis-[0-9a-f]+(-[0-9a-f]+)*"), "circuits-vis-1"),
)
# The picture brings its script along, a megabyte of it; what is kept fetches it.
_WHOLE_SCRIPT = re.compile(
    r'>\s*"use strict";var CircuitsVis=.*CircuitsVis\.render\(\s*("[^"]+"),\s*CircuitsVis\.(\w+),', re.DOTALL
)
_FETCHED = rf"""> import {{ render, \2 }} from "https://unpkg.com/circuitsvis@{circuitsvis.__version__}/dist/cdn/esm.js";
render(\1, \2,"""


def copied(folder: Path) -> Path:
    """All that the notebook needs of the project, and nothing measured."""
    for name in ("harness", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pytest.ini"):
        shutil.copy(ROOT / name, folder)
    (folder / "data").symlink_to(DATA)
    return folder


def executed(project: Path) -> NotebookNode:
    """The notebook as it runs there, begun in its own folder as by Jupyter; on the processor, so that numbers agree."""
    notebook = nbformat.read(PATH, as_version=4)
    within = {"metadata": {"path": str(project / "notebooks")}}
    # Of the shell that started this nothing may reach pytest, which the notebook calls.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    # Where Jupyter's widgets are not installed, tqdm says so; it says nothing of the notebook.
    silent = {"PYTHONWARNINGS": "ignore:IProgress not found"}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | silent
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=None, record_timing=False, coalesce_streams=True, resources=within
    )
    client.execute(env=environment)
    return _tidied(notebook)


def said(cell: NotebookNode) -> str:
    """What a cell shows, as far as it is plain text."""
    outputs = cell.get("outputs", ())
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def _tidied(notebook: NotebookNode) -> NotebookNode:
    """Without what differs from call to call, or from machine to machine."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        for output in cell.get("outputs", ()):
            shown = output.get("data", {})
            for kind, text in shown.items():
                shown[kind] = _lasting(text)
            if "text" in output:
                output.text = _lasting(output.text)
    return notebook


def _lasting(text: str) -> str:
    for pattern, instead in _FLEETING:
        text = pattern.sub(instead, text)
    return _WHOLE_SCRIPT.sub(_FETCHED, text)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(copied(Path(folder))), PATH)
    print(PATH)


if __name__ == "__main__":
    main()
