"""`python -m benchmarks`: the table of docs/speed.md, measured here; `python -m benchmarks peers`: those elsewhere."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import elsewhere, rows
from benchmarks.growth import growth, overhead
from benchmarks.model import Shape, awake, pairs
from benchmarks.rows import Row
from harness.inputs.model_catalog import ORGANISM
from harness.inputs.prompts.pair_files import load_pairs
from harness.model.chat_model import ChatModel
from harness.model.wake import wake

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "benchmarks"
REPORT = ROOT / "reports" / "bench.json"
LAST5 = tuple((position,) for position in range(-5, 0))
# Of heads × positions the peer does so many, at random: all would take it ten minutes.
SUBSET = 200


def main() -> int:
    """Measures, prints and writes; the outputs have to be equal, the times only are what they are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("what", nargs="?", choices=("bench", "peers"), default="bench")
    parser.add_argument("--subset", type=int, default=SUBSET, help="variants of heads-positions that the peer does")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    shape = Shape()
    model = awake(shape, BUILD / "model")
    if asked.what == "peers":
        return elsewhere.compare(model, pairs(shape), ROOT / "build" / "peers")
    console = Console(width=150)
    console.print(f"{shape}; one thread, process time")
    measured = patches(model, shape, asked.subset)
    organism = wake(f"{ORGANISM}reference", quant="none", device="cpu")
    material = load_pairs(organism.known.pairs)
    measured += [rows.discovery(organism, material), rows.selection(organism, material)]
    write(measured, [overhead(model, shape), *growth(BUILD / "growth")], REPORT, console)
    return 0 if all(row.equal for row in measured) else 1


def patches(model: ChatModel, shape: Shape, subset: int) -> list[Row]:
    """The rows of the random model."""
    some = pairs(shape)
    return [
        rows.heads(model, some, "heads-final", ((-1,),), 25, subset=None),
        rows.heads(model, some, "heads-last5", LAST5, 15, subset=None),
        rows.heads(model, some, "heads-positions", "each", 3.5, subset=subset),
        rows.residual(model, some),
    ]


def write(measured: Sequence[Row], more: Sequence[dict[str, Any]], path: Path, console: Console) -> None:
    """The table on the console, and everything as a list of rows in json."""
    derived = ("ratio", "fraction_of_floor", "equal")
    listed = [asdict(row) | {name: getattr(row, name) for name in derived} for row in measured]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*listed, *more], indent=1) + "\n")
    table = Table("name", "ours s", "peer s", "ratio", "to reach", "max diff", "floor s", "of floor", "note")
    for row in measured:
        table.add_row(
            row.name, f"{row.ours:.3f}", f"{row.peer:.2f}", f"{row.ratio:.1f}×", f"{row.target:g}×",
            f"{row.max_abs_diff:.0e}{'' if row.equal else ' NOT EQUAL'}", f"{row.floor:.3f}",
            f"{row.fraction_of_floor:.0%}", row.note,
        )  # fmt: skip
    console.print(table)
    for one in more:
        if "exponent" in one:
            times = ", ".join(f"{n}: {s:.2f} s" for n, s in zip(one["sizes"], one["seconds"], strict=True))
            console.print(f"{one['name']}: exponent {one['exponent']:.2f} ({times})")
        else:
            console.print(f"{one['name']}: {one['ratio']:.2f}× plain HF ({one['ours']:.3f} s, {one['peer']:.3f} s)")
    console.print(f"written: {path}")


if __name__ == "__main__":
    raise SystemExit(main())
