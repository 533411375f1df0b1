"""Numbers do not move unless the revision of what measures them is raised: old evidence would be taken for new."""

import json
from typing import Any

import pytest

from harness.measurements.questions import Measurement
from tests.tools import golden


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return golden.numbers(golden.model())


@pytest.mark.parametrize("kind", Measurement.__subclasses__(), ids=lambda kind: kind.__name__)
def test_numbers_move_only_with_their_revision(kind: type[Measurement], measured: dict[str, Any]) -> None:
    kept = json.loads(golden.GOLDEN.read_text())
    assert kind.KIND in measured, f"tests/tools/golden.py asks no {kind.__name__}; add it, then write golden.json anew"
    now, then = measured[kind.KIND], kept.get(kind.KIND, {"revision": None})
    assert now["revision"] == then["revision"], (
        f"{kind.__name__}.REVISION is {now['revision']}, its golden numbers are of {then['revision']}: "
        "python -m tests.tools.golden"
    )
    assert close(now["numbers"], then["numbers"]), (
        f"{kind.__name__} measures other numbers than before: raise its REVISION, then python -m tests.tools.golden"
    )


def test_a_number_that_moves_is_noticed() -> None:
    kept = json.loads(golden.GOLDEN.read_text())["scores"]["numbers"]
    assert close(kept, kept)
    moved = json.loads(json.dumps(kept))
    moved["odds"][3] *= 1.01
    assert not close(moved, kept)


def close(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(close(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float):
        return one == pytest.approx(other, rel=1e-3, abs=1e-4, nan_ok=True)
    return bool(one == other)
