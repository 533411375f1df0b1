"""Effects as evidence, and the parts of long sweeps: kept until the whole is, so that a kill loses one part at most."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.measurements.effects import Effects
from harness.measurements.evidence import Evidence, Store
from harness.measurements.evidence_kinds import PART
from harness.measurements.questions import described
from harness.measurements.recipe import Recipe
from harness.measurements.sweep_plan import AnySweep


def packed(effects: Effects) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The values and arrays under which evidence keeps effects."""
    values = {
        "pairs": list(effects.pairs),
        "set_aside": list(effects.set_aside),
        "axes": {name: list(labels) for name, labels in effects.axes.items()},
    }
    arrays = {name: getattr(effects, name).astype(np.float32) for name in ("patched", "kl", "clean", "source")}
    return values, arrays


def unpacked(evidence: Evidence) -> Effects:
    """The effects in evidence, with its fingerprint."""
    values, arrays = evidence.values, evidence.arrays
    axes = {name: tuple(labels) for name, labels in values["axes"].items()}
    numbers: Mapping[str, Any] = {name: arrays[name] for name in ("patched", "kl", "clean", "source")}
    return Effects(
        tuple(values["pairs"]), tuple(values["set_aside"]), axes, **numbers, evidence=(evidence.fingerprint,)
    )


class Parts:
    """The measured parts of one sweep in a store; `kept` collects their fingerprints, for removal after the whole."""

    def __init__(self, store: Store, whole: Recipe, sweep: AnySweep, kept: set[str]) -> None:
        self._store, self._whole, self._sweep, self._kept = store, whole, sweep, kept

    def get(self, pairs: tuple[str, ...]) -> Effects | None:
        """The part measured on these pairs; None if there is none."""
        recipe = self._recipe(pairs)
        if (evidence := self._store.get(recipe)) is None:
            return None
        self._kept.add(recipe.fingerprint)
        return unpacked(evidence)

    def put(self, part: Effects) -> None:
        """Writes a part to the store."""
        self._kept.add(self._store.put(Evidence(self._recipe(part.pairs), *packed(part))).fingerprint)

    def _recipe(self, pairs: tuple[str, ...]) -> Recipe:
        of = {"whole": self._whole.fingerprint, "what": described(self._sweep), "pairs": list(pairs)}
        return Recipe(PART, self._whole.revision, self._whole.subject, of)
