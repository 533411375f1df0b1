"""The benchmarks at a tiny size: rows complete, outputs equal, json written. Times are nobody's claim here."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import rows
from benchmarks.__main__ import write
from benchmarks.growth import overhead
from benchmarks.model import Shape, awake, pairs
from harness.model.chat_model import ChatModel

TINY = Shape(layers=2, heads=2, kv_heads=1, width=32, mlp=48, vocabulary=256, pairs=3, tokens=12)
FIELDS = {"name", "ours", "peer", "ratio", "max_abs_diff", "floor", "fraction_of_floor"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ChatModel:
    return awake(TINY, tmp_path_factory.mktemp("benchmarks") / "model")


def test_prompts_are_aligned_and_as_long_as_said(model: ChatModel) -> None:
    encoded = [model.chat.encode_pair(pair) for pair in pairs(TINY)]
    assert all(pair.aligned and len(pair.harmful) == TINY.tokens for pair in encoded)


def test_rows_are_complete_equal_and_written(model: ChatModel, tmp_path: Path) -> None:
    some = pairs(TINY)
    measured = [
        rows.heads(model, some, "heads-final", ((-1,),), 1, subset=None),
        rows.heads(model, some, "heads-positions", "each", 1, subset=6),
        rows.residual(model, some),
    ]
    assert all(row.equal for row in measured)
    assert "6 random variants of 48" in measured[1].note
    report = tmp_path / "bench.json"
    write(measured, [overhead(model, TINY, times=1)], report, Console(quiet=True))
    written = json.loads(report.read_text())
    assert [row["name"] for row in written] == ["heads-final", "heads-positions", "resid-positions", "overhead-forward"]
    assert all(row.keys() >= FIELDS for row in written[:3])
    assert all(isinstance(row[name], float) for row in written[:3] for name in FIELDS - {"name"})
