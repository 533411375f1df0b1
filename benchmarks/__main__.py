"""Measures the table of docs/speed.md; with `peers`, the libraries that need environments of their own."""

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
from harness.inputs.model_catalog import REFERENCE
from harness.inputs.prompts.pair_files import load_pairs
from harness.model.chat_model import ChatModel
from harness.model.wake import wake

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "benchmarks"
REPORT = ROOT / "reports" / "bench.json"
LAST5 = tuple((position,) for position in range(-5, 0))
# The peer patches so many random (head, position) variants; all of them would take it ten minutes.
SUBSET = 200


def main() -> int:
    """Measures, prints and writes all rows; returns 1 if any outputs differ, whatever the times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benchmark", nargs="?", choices=("bench", "peers"), default="bench")
    parser.add_argument("--subset", type=int, default=SUBSET, help="how many variants of heads-positions the peer does")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    shape = Shape()
    model = awake(shape, BUILD / "model")
    if asked.benchmark == "peers":
        return elsewhere.compare(model, pairs(shape), ROOT / "build" / "peers")
    console = Console(width=150)
    console.print(f"{shape}; one thread, process time")
    measured = patches(model, shape, asked.subset)
    organism = wake(REFERENCE, quant="none", device="cpu")
    material = load_pairs(organism.known.pairs)
    measured += [rows.discovery(organism, material), rows.selection(organism, material)]
    write(measured, [overhead(model, shape), *growth(BUILD / "growth")], REPORT, console)
    return 0 if all(row.equal for row in measured) else 1


def patches(model: ChatModel, shape: Shape, subset: int) -> list[Row]:
    """The rows of the random model."""
    prompts = pairs(shape)
    return [
        rows.heads(model, prompts, "heads-final", ((-1,),), 25, subset=None),
        rows.heads(model, prompts, "heads-last5", LAST5, 15, subset=None),
        rows.heads(model, prompts, "heads-positions", "each", 3.5, subset=subset),
        rows.residual(model, prompts),
    ]


def write(measured: Sequence[Row], more: Sequence[dict[str, Any]], path: Path, console: Console) -> None:
    """Prints the table, and writes all rows to a JSON file as a list."""
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
    for line in more:
        if "exponent" in line:
            times = ", ".join(f"{n}: {s:.2f} s" for n, s in zip(line["sizes"], line["seconds"], strict=True))
            console.print(f"{line['name']}: exponent {line['exponent']:.2f} ({times})")
        else:
            console.print(f"{line['name']}: {line['ratio']:.2f}× plain HF ({line['ours']:.3f} s, {line['peer']:.3f} s)")
    console.print(f"written: {path}")


if __name__ == "__main__":
    raise SystemExit(main())
