"""Where a claim, as it stands, was seen to hold and to fail: in the truth table, and in runs on its organisms."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import get_args

from harness.claims.claim import verdicts_seen
from harness.inputs.errors import AssayError
from harness.inputs.model_catalog import Device, Quant
from harness.measurements.evidence import Store
from harness.results import wording
from harness.results.controls.truth_table import weights
from harness.results.run_list import Control, controls_in, listed
from harness.results.run_record import Claimed, Run
from harness.subjects.sleeper import Sleeper


@dataclass(frozen=True)
class Controls:
    """The organisms on which a claim came out as it must, and the numbers there."""

    holds: Mapping[str, str]
    fails: Mapping[str, str]

    @property
    def both(self) -> bool:
        """Whether it was seen to hold and to fail; until then its verdicts are provisional."""
        return bool(self.holds and self.fails)

    def missing(self, about: Claimed) -> str:
        """What is still to be seen, in words."""
        said = []
        if not self.holds:
            said.append(f"hold on {' or '.join(about['holds_on'])}")
        if not self.fails:
            said.append(f"fail on {' or '.join(about['fails_on'])}")
        return f"not yet seen to {' or to '.join(said)}"


class Seen:
    """Controls of any claim; other runs are looked through only for one that the truth table does not have."""

    def __init__(self, runs: Path, own: Run) -> None:
        self._runs, self._own = runs, own
        self._table = verdicts_seen()

    def of(self, name: str, about: Claimed) -> Controls:
        """Of the claim as it stood in this run."""
        found = self._in_table(name, about)
        if not found.both:
            found = self._with(found, name, about, controls_in(self._own))
        if not found.both:
            found = self._with(found, name, about, self._earlier)
        return found

    def _in_table(self, name: str, about: Claimed) -> Controls:
        current = {
            organism: one
            for organism, one in self._table.get(name, {}).items()
            if one["claim"] == about["fingerprint"] and one["organism"] == _weights(organism)
        }
        numbers = {organism: wording.numbers(one["estimates"]) for organism, one in current.items()}
        sides = (
            {organism: numbers[organism] for organism, one in current.items() if one["verdict"] == word}
            for word in ("SUPPORTED", "REFUTED")
        )
        return Controls(*sides)

    def _with(self, found: Controls, name: str, about: Claimed, more: Iterable[Control]) -> Controls:
        sides: dict[str, dict[str, str]] = {"SUPPORTED": dict(found.holds), "REFUTED": dict(found.fails)}
        for one in more:
            same_claim = (one["claim"], one["fingerprint"]) == (name, about["fingerprint"])
            if same_claim and _same_weights(one, self._runs.parent / "evidence"):
                sides[one["word"]].setdefault(one["organism"], one["numbers"])
        return Controls(sides["SUPPORTED"], sides["REFUTED"])

    @cached_property
    def _earlier(self) -> list[Control]:
        return [one for run in listed(self._runs) if run.summary is not None for one in run.summary["controls"]]


def _same_weights(one: Control, evidence: Path) -> bool:
    """Whether the organism that was judged then is the one that is here: its record is among what was read."""
    return _record(one["organism"], one["quant"], one["device"], evidence) in one["evidence"]


@cache
def _record(organism: str, quant: str, device: str, evidence: Path) -> str:
    if quant not in get_args(Quant) or device not in get_args(Device):
        return ""
    try:
        return Sleeper(f"organism:{organism}", quant, device, Store(evidence)).recipe.fingerprint  # type: ignore[arg-type]
    except (AssayError, OSError):
        return ""


def _weights(organism: str) -> str:
    try:
        return weights(organism)
    except OSError:
        return ""
