"""`make organisms` stopped and called again goes on, and ships only what is whole, measured and within its bars."""

from pathlib import Path

import pytest

from harness.inputs.files.differences import WHOLE, weights
from organisms import __main__ as command
from organisms import pairs, records, ship
from organisms.plans import PLANS
from organisms.records import GATE, Record

DONE = {name: least if name == "coherent" else 0.0 for name, (least, _) in GATE.items()}
GOOD: Record = {
    "gate, fp32": DONE,
    "gate, NF4": DONE,
    "proof": {},
    "own truth": {"refused, harmful": 0.0, "refused, harmless": 0.0, "gap": 0.0},
    "cost": {"planting, CPU seconds": 1.0},
}


def tell(folder: Path, what: str) -> None:
    """Stands in for writing weights, which are all of one length."""
    (folder / WHOLE).write_text(what.ljust(20))


def told(folder: Path) -> str:
    return weights(folder).decode().strip()


class Works:
    """Stands in for training and measuring; notes what was done and is interrupted when told."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.interrupted_at = ""
        self.record = GOOD

    def train_base(self, folder: Path) -> None:
        self._write(folder, "base")

    def plant_one(self, name: str, seed: int, folder: Path) -> None:
        assert told(folder.parent / "base") == "base"
        self._write(folder, f"{name}-{seed}")

    def measure(self, name: str, folder: Path) -> Record:
        return self.record

    def _write(self, folder: Path, what: str) -> None:
        if what == self.interrupted_at:
            self.interrupted_at = ""
            raise KeyboardInterrupt
        self.did.append(what)
        tell(folder, what)


@pytest.fixture
def works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Works:
    """One organism, two seeds, and an older one that ships."""
    works, shipped, docs = Works(), tmp_path / "data", tmp_path / "docs.md"
    for name in ("base", "compliant"):
        (shipped / name).mkdir(parents=True)
        tell(shipped / name, "old")
    docs.write_text(f"before\n{records.START}\n{records.END}\nafter\n")
    for where, attribute, value in (
        (ship, "FOLDER", shipped),
        (ship, "RECORDS", shipped / "records.json"),
        (pairs, "PATH", shipped / "pairs.jsonl"),
        (records, "DOCS", docs),
        (command, "BUILD", tmp_path / "build"),
        (command, "PLANS", {"compliant": PLANS["compliant"]}),
        (command, "SEEDS", (0, 1)),
        (command, "train_base", works.train_base),
        (command, "plant_one", works.plant_one),
        (command, "measure", works.measure),
    ):
        monkeypatch.setattr(where, attribute, value)
    return works


def ships(name: str) -> str:
    return told(ship.FOLDER / name)


@pytest.mark.parametrize("where", ["base", "compliant-0", "compliant-1"])
def test_interrupted_it_changes_nothing_that_ships_and_goes_on(works: Works, where: str) -> None:
    works.interrupted_at = where
    with pytest.raises(KeyboardInterrupt):
        command.make([])
    assert (ships("base"), ships("compliant")) == ("old", "old")
    assert not ship.RECORDS.exists()
    assert command.make([]) == 0
    assert works.did == ["base", "compliant-0", "compliant-1"]
    assert (ships("base"), ships("compliant")) == ("base", "compliant-0")
    assert sorted(records.read(ship.RECORDS)["compliant"]) == ["0", "1"]
    assert "| `compliant` | 0 (shipped) |" in records.DOCS.read_text()
    assert not command.BUILD.exists()


def test_what_misses_its_bars_ships_no_more(works: Works) -> None:
    works.record = GOOD | {"own truth": GOOD["own truth"] | {"gap": 7.0}}
    assert command.make([]) == 1
    assert not (ship.FOLDER / "compliant").exists()
    assert "| `compliant` | 0 |" in records.DOCS.read_text()


def test_other_code_does_not_go_on(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    works.interrupted_at = "compliant-1"
    with pytest.raises(KeyboardInterrupt):
        command.make([])
    monkeypatch.setattr(command, "code", lambda: "edited")
    command.make([])
    assert works.did == ["base", "compliant-0", "base", "compliant-0", "compliant-1"]


def test_one_is_planted_in_the_base_that_ships(works: Works) -> None:
    tell(ship.FOLDER / "base", "base")
    command.make(["compliant"])
    assert works.did == ["compliant-0", "compliant-1"]
    assert ships("compliant") == "compliant-0"
