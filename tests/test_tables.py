"""Evidence as tables: numbers stay numbers, and no cell is a formula."""

import csv
from pathlib import Path

import numpy as np
import pytest

from harness.inputs.prompts.pairs import Pair, PairSet
from harness.measurements.evidence import Evidence, Store
from harness.measurements.questions import Swept
from harness.measurements.sweep_plan import Sweep
from harness.results.evidence.tables import _as_text, export


def test_what_begins_as_a_formula_is_text_in_the_table(tmp_path: Path) -> None:
    store = Store(tmp_path / "evidence")
    names = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\tx", "fine"]
    values = {"pairs": names, "set_aside": [], "axes": {"layer": ["0"]}}
    patched = np.array([[-1.5], [0.25], [0.0], [1.0], [2.0], [-3.0]], dtype=np.float32)
    arrays = {"patched": patched, "kl": patched, "clean": patched[:, 0], "source": patched[:, 0]}
    pairs = PairSet("named", tuple(Pair(name, "all", f"harm {name}", f"no harm {name}") for name in names))
    store.put(Evidence(Swept(pairs, Sweep("attn_out", ("post",))).recipe("m", (1,)), values, arrays))
    to = tmp_path / "numbers.csv"
    assert export(store, to) > 0
    with to.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["pair"] for row in rows} >= {"'=cmd|' /C calc'!A0", "'+1+1", "'-2+3", "'@SUM(1)", "'\tx", "fine"}
    cells = [cell for row in rows for name, cell in row.items() if name != "value"]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [float(row["value"]) for row in rows if row["quantity"] == "patched"] == patched[:, 0].tolist()


@pytest.mark.parametrize("cell", [-1.5, 3, 0.0, "fine", "a=b", ""])
def test_all_else_stays_as_it_is(cell: str | float) -> None:
    assert _as_text(cell) is cell
