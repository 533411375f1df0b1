"""Looks up whether a claim, as it now stands, was seen to hold and to fail: in the truth table and in earlier runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import get_args

from harness.claims.claim import verdicts_seen
from harness.inputs.errors import AssayError
from harness.inputs.model_catalog import ORGANISM, Device, Quant
from harness.measurements.evidence import Store
from harness.results import wording
from harness.results.controls.truth_table import weights
from harness.results.run_list import Control, controls_in, listed
from harness.results.run_record import Claimed, Run
from harness.subjects.sleeper import Sleeper


@dataclass(frozen=True)
class Controls:
    """Organism → its numbers in words, of the organisms on which a claim came out as it must."""

    holds: Mapping[str, str]
    fails: Mapping[str, str]

    @property
    def both(self) -> bool:
        """Whether it was seen to hold and to fail; until then its verdicts are provisional."""
        return bool(self.holds and self.fails)

    def missing(self, about: Claimed) -> str:
        """Which controls are still to be run, in words."""
        missing = []
        if not self.holds:
            missing.append(f"hold on {' or '.join(about['holds_on'])}")
        if not self.fails:
            missing.append(f"fail on {' or '.join(about['fails_on'])}")
        return f"not yet seen to {' or to '.join(missing)}"


class KnownControls:
    """Finds the controls of any claim: in the truth table, then in this run, then in earlier ones."""

    def __init__(self, runs: Path, own: Run) -> None:
        self._runs, self._own = runs, own
        self._table = verdicts_seen()

    def of(self, name: str, about: Claimed) -> Controls:
        """The controls of the claim as it stood in this run."""
        controls = self._in_table(name, about)
        if not controls.both:
            controls = self._with(controls, name, about, controls_in(self._own))
        if not controls.both:
            controls = self._with(controls, name, about, self._earlier)
        return controls

    def _in_table(self, name: str, about: Claimed) -> Controls:
        current = {
            organism: kept
            for organism, kept in self._table.get(name, {}).items()
            if organism in (*about["holds_on"], *about["fails_on"])
            and (kept["claim"], kept["organism"]) == (about["fingerprint"], _weights(organism))
        }
        numbers = {organism: wording.numbers(kept["estimates"]) for organism, kept in current.items()}
        sides = (
            {organism: numbers[organism] for organism, kept in current.items() if kept["verdict"] == word}
            for word in ("SUPPORTED", "REFUTED")
        )
        return Controls(*sides)

    def _with(self, controls: Controls, name: str, about: Claimed, more: Iterable[Control]) -> Controls:
        sides: dict[str, dict[str, str]] = {"SUPPORTED": dict(controls.holds), "REFUTED": dict(controls.fails)}
        for control in more:
            same_claim = (control["claim"], control["fingerprint"]) == (name, about["fingerprint"])
            if same_claim and _same_weights(control, self._runs.parent / "evidence"):
                sides[control["word"]].setdefault(control["organism"], control["numbers"])
        return Controls(sides["SUPPORTED"], sides["REFUTED"])

    @cached_property
    def _earlier(self) -> list[Control]:
        return [control for run in listed(self._runs) if run.summary is not None for control in run.summary["controls"]]


def _same_weights(control: Control, evidence: Path) -> bool:
    """Whether the organism has the weights it had then: the run read the record that these weights have."""
    return _record(control["organism"], control["quant"], control["device"], evidence) in control["evidence"]


@cache
def _record(organism: str, quant: str, device: str, evidence: Path) -> str:
    if quant not in get_args(Quant) or device not in get_args(Device):
        return ""
    try:
        return Sleeper(ORGANISM + organism, quant, device, Store(evidence)).recipe.fingerprint  # type: ignore[arg-type]
    except (AssayError, OSError):
        return ""


def _weights(organism: str) -> str:
    try:
        return weights(organism)
    except OSError:
        return ""
