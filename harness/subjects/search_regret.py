"""By how much the joint search can fall short of the best circuit, as measured on planted ones."""

import math
from functools import cache
from pathlib import Path

from msgspec import Struct

from harness.inputs.files.json_files import Finite, read
from harness.inputs.places import DATA
from harness.measurements.questions import GrownCircuit

PATH = DATA / "search_regret.json"


class Planted(Struct):
    """A planted circuit, and what the search found where it just fits: shares of parameters and E on held-out pairs."""

    organism: str
    parts: str
    limit: Finite
    share: Finite
    planted: Finite
    found: Finite
    low: Finite
    high: Finite

    @property
    def short(self) -> float:
        """By how much the circuit that was found carries less than the planted one, or than all if that does more."""
        return min(self.planted, 1.0) - self.found


class Regrets(Struct):
    """The table, with the revision of the search and the error level of each interval."""

    schema: int
    revision: int
    level: Finite
    circuits: list[Planted]


@cache
def regret(path: Path = PATH) -> float:
    """The largest upper end of any planted circuit, 0 at least; infinite if this revision of the search has none."""
    table = read(path, Regrets, no="table of the search's regret", do="write it anew: python -m tests.tools.regret")
    if table.revision != GrownCircuit.REVISION or not table.circuits:
        return math.inf
    return max(0.0, max(planted.high for planted in table.circuits))
