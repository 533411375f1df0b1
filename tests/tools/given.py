"""A subject whose measurements are given, for cases small enough to work out by hand: no model, no draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.inputs.judges.outcomes import READINGS
from harness.inputs.model_record import Examination, ModelRecord, Sizes
from harness.inputs.prompts.pairs import Pair, PairSet, PromptSide
from harness.measurements.effects import Effects
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, Direction, Intervention, patch
from harness.measurements.openings import Openings
from harness.measurements.origins import Origin
from harness.measurements.questions import Measurement
from harness.measurements.recipe import Recipe
from harness.measurements.sweep_plan import Mode
from harness.subjects.arm_refusals import SAMPLE
from harness.subjects.live import Bare
from harness.subjects.protocol import Measure, Validity

LEVEL = 0.01


def fluent(n: int) -> dict[str, list[float]]:
    """Readings of so many answers that are language and on their topic."""
    return dict.fromkeys(READINGS, [0.0] * n) | {"topic": [1.0] * n}


SIZES = Sizes(9, 4, 4, 16, 4, 10, 3, 64, 10_000, None)
RECORD = ModelRecord("given", "", "given", "none", "", "cpu", SIZES, Examination((), 1.0, 0.0, 0.0), 0, 0, 0)
FOUND = Direction("difference", 1, -1, ("a bomb",), ("a tree",))
PATCH = patch(Circuit.of(heads=[(0, 0)]), at="post")
RECIPE = Recipe("given", 1, "given", {})


def pairs_of(*categories: str, template: int = 1) -> PairSet:
    """One pair of each category named, so many in a row to a template."""
    return PairSet(
        "given",
        tuple(
            Pair(
                str(number),
                name,
                f"harm {number}",
                f"good {number}",
                f"t{number // template}" if template > 1 else None,
            )
            for number, name in enumerate(categories)
        ),
    )


class Given(Bare):
    """A subject whose measurements are given by kind, and whose effects by a function of what is swept."""

    def __init__(
        self,
        pairs: PairSet,
        values: Callable[[Any], Mapping[str, Any]] = lambda question: {},
        arrays: Callable[[Any], Mapping[str, np.ndarray]] = lambda question: {},
        change: Callable[[Any], np.ndarray] | None = None,
        sizes: Sizes = SIZES,
    ) -> None:
        super().__init__(
            replace(RECORD, sizes=sizes), pairs, Store(Path("nowhere")), lambda: pytest.fail("woken"), LEVEL
        )
        self._values, self._arrays, self._change = values, arrays, change
        self.swept: list[tuple[Any, Mode]] = []
        self.asked: list[Measurement] = []
        vars(self).update(tokens=(1,), area=1.0, openings=Openings((), ()))

    @property
    def _tokens_origin(self) -> Origin:
        """Given like all the rest, and found nowhere."""
        return Origin("the tokens that refuse", "were", frozenset())

    def ask(self, question: Measurement) -> Evidence:
        self.asked.append(question)
        return Evidence(RECIPE, self._values(question), self._arrays(question))

    def validity(self, measure: Measure, side: PromptSide, arms: Sequence[Intervention | None]) -> Validity:
        """Given by whether the first token's score serves; openings never do."""
        return Validity(SAMPLE if measure == "first token" and self.score_serves else 0, SAMPLE)

    def seek(self, question: Measurement) -> Evidence:
        """A search may use pairs on which nothing is judged."""
        return self.ask(question)

    def effects(self, pairs: PairSet, sweep: Any, mode: Mode = "noise", *, searching: bool = False) -> Effects:
        """Of a gap from 2 down to −2, all of it by a change of 4 towards the twin."""
        self.swept.append((sweep, mode))
        assert self._change is not None
        shares = self._change(sweep)
        n, shape = len(shares), shares.shape[1:]
        axes = {f"axis {number}": tuple(map(str, range(size))) for number, size in enumerate(shape)}
        names = tuple(pair.id for pair in pairs)[:n]
        return Effects(names, (), axes, 2 - 4 * shares, 0 * shares, np.full(n, 2.0), np.full(n, -2.0))
