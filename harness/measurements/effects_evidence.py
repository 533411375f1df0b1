"""Effects as evidence, and parts of long sweeps, kept until the whole is: a kill costs one part at most."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.measurements.effects import Effects
from harness.measurements.evidence import Evidence, Store
from harness.measurements.questions import described
from harness.measurements.recipe import Recipe
from harness.measurements.sweep_plan import AnySweep


def packed(effects: Effects) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Effects as values and arrays."""
    values = {
        "pairs": list(effects.pairs),
        "set_aside": list(effects.set_aside),
        "axes": {name: list(labels) for name, labels in effects.axes.items()},
    }
    arrays = {name: getattr(effects, name).astype(np.float32) for name in ("patched", "kl", "clean", "source")}
    return values, arrays


def unpacked(evidence: Evidence) -> Effects:
    """Effects as they were measured."""
    values, arrays = evidence.values, evidence.arrays
    axes = {name: tuple(labels) for name, labels in values["axes"].items()}
    numbers: Mapping[str, Any] = {name: arrays[name] for name in ("patched", "kl", "clean", "source")}
    return Effects(
        tuple(values["pairs"]), tuple(values["set_aside"]), axes, **numbers, evidence=(evidence.fingerprint,)
    )


class Parts:
    """The parts of one sweep, in the store beside the whole; `kept` collects their fingerprints, to be let go of."""

    def __init__(self, store: Store, whole: Recipe, what: AnySweep, kept: set[str]) -> None:
        self._store, self._whole, self._what, self._kept = store, whole, what, kept

    def get(self, pairs: tuple[str, ...]) -> Effects | None:
        """The part that was measured on these pairs."""
        recipe = self._recipe(pairs)
        if (found := self._store.get(recipe)) is None:
            return None
        self._kept.add(recipe.fingerprint)
        return unpacked(found)

    def put(self, part: Effects) -> None:
        """Keeps a part."""
        self._kept.add(self._store.put(Evidence(self._recipe(part.pairs), *packed(part))).fingerprint)

    def _recipe(self, pairs: tuple[str, ...]) -> Recipe:
        of = {"whole": self._whole.fingerprint, "what": described(self._what), "pairs": list(pairs)}
        return Recipe("part", self._whole.revision, self._whole.subject, of)
