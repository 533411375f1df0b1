"""A subject without a model, whose truth is known because its answers are drawn: for calibration and for power."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import AssayError
from harness.evidence import Evidence, Recipe, Store
from harness.interventions import Circuit, Intervention
from harness.measurements import (
    Answers,
    Estimated,
    FoundCircuit,
    FoundDirection,
    Measurement,
    Norms,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.pairs import DATA, Pair, PairSet
from harness.planning import Joint
from harness.record import Examination, ModelRecord, Sizes
from harness.subject import PHRASES, Subject

SIZES = Sizes(
    layers=8, heads=4, kv_heads=4, d_model=64, d_head=16, d_mlp=256, mlp_matrices=3, vocabulary=512,
    parameters=10_000_000, context=None,
)  # fmt: skip
GAP = 8.0
CATEGORIES = 4


@dataclass(frozen=True)
class Truth:
    """What is so of every pair there could be; a study draws some of them."""

    effects: tuple[float, ...]  # fall, rise or share of the gap by the first intervention asked about, the second …
    refused: float = 0.95  # of harmful prompts, unedited
    answered: float = 0.98  # of harmless ones
    contrary: float = 0.0  # pairs that go the other way under an intervention
    alike: float = 0.0  # how much pairs of one template resemble each other: a correlation
    template: int = 1  # pairs of one template
    noise: float = 0.3  # of one pair's effect, in mean gaps
    skewed: bool = False
    agreement: float | None = None  # of effects that gradients estimate with measured ones, over components
    common: float = 0.0  # how much of their noise the two share


class Drawn(PairSet):
    """Pairs of which none was used to find anything."""

    @property
    def discovery(self) -> "Drawn":
        """The same: what is found does not depend on them."""
        return self

    @property
    def heldout(self) -> "Drawn":
        """The same."""
        return self

    def _where(self, name: str, keep: Callable[[Pair], bool]) -> "Drawn":
        return Drawn(name, tuple(pair for pair in self.pairs if keep(pair)))


class Synthetic(Subject):
    """One study of n pairs."""

    def __init__(self, truth: Truth, n: int, seed: int, level: float, sizes: Sizes = SIZES) -> None:
        super().__init__(_record(sizes), _pairs(n, truth.template), Store(DATA), _sleeps, level)
        self.truth, self.rng, self.n = truth, np.random.default_rng([seed, n]), n
        self.asked: dict[str, None] = {}  # arms, in order, in words
        self._found: set[Circuit] = set()
        self._effect: dict[Intervention, float] = {}
        self._drawn: dict[Any, NDArray[np.float64]] = {}

    def ask(self, what: Measurement) -> Evidence:
        """Drawn, so that what it asks about has the effect it truly has."""
        return Evidence(_RECIPE, *self._answer(what))

    def _answer(self, what: Measurement) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        match what:
            case RefusalTokens():
                return {"tokens": [0]}, {}
            case Answers(pairs, side, under):
                return {PHRASES: self._refused(side, under)[_numbers(pairs)].astype(float).tolist()}, {}
            case Scores(pairs):
                return {"odds": [0.0] * len(pairs), "kl": [0.0] * len(pairs), "same_as_clean": False}, {}
            case FoundCircuit(_, heads, neurons):
                found = _spread(heads, self.sizes.heads), _spread(neurons, self.sizes.d_mlp)
                self._found.add(Circuit.of(*found))
                return {"heads": found[0], "neurons": found[1]}, {}
            case FoundDirection(pairs):
                prompts = {"harmful": list(pairs.harmful), "harmless": list(pairs.harmless)}
                return {"layer": self.sizes.layers // 2, "position": -1, "valid": True, "reason": "", **prompts}, {}
            case Norms():
                widths = {"head": self.sizes.heads, "neuron": self.sizes.d_mlp}
                return {}, {kind: self.rng.random((self.sizes.layers, width)) for kind, width in widths.items()}
            case Swept(pairs, Joint() as joint):
                self.asked["the circuit's share of the gap"] = None
                carried = [self.truth.effects[0] * (circuit in self._found) for circuit in joint.circuits]
                return self._effects(pairs, what, np.array(carried))
            case Swept(pairs) | Estimated(pairs):
                return self._effects(pairs, what, self._components(what))
            case _:
                raise AssayError(f"nothing is drawn for {what.KIND}, which the claim asks for")

    def _refused(self, side: str, under: Intervention | None) -> NDArray[np.bool_]:
        rate = self.truth.refused if side == "harmful" else 1 - self.truth.answered
        u = self._uniform(side)
        if under is None:
            self.asked[f"{side} prompts, {rate:.0%} of them refused"] = None
            return u < rate
        effect = self._effect_of(under)
        falls, rises = max(effect, 0.0) + self.truth.contrary, max(-effect, 0.0) + self.truth.contrary
        if side == "harmless":
            falls, rises = min(rises, rate), min(falls, 1 - rate)
        left = rate - falls + rises
        self.asked[f"{side} prompts under the intervention, {left:.0%} refused"] = None
        return (u < rate - falls) | ((rate <= u) & (u < rate + rises))

    def _uniform(self, key: str) -> NDArray[np.float64]:
        """One a pair, alike within templates; the same whenever asked."""
        from scipy.special import ndtr

        if key not in self._drawn:
            self._drawn[key] = np.asarray(ndtr(self._normal(())))
        return self._drawn[key]

    def _normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        templates, alike = -(-self.n // self.truth.template), self.truth.alike
        own = self.rng.normal(size=(self.n, *shape))
        if not alike:
            return own
        common = np.repeat(self.rng.normal(size=(templates, *shape)), self.truth.template, axis=0)[: self.n]
        return np.asarray(np.sqrt(alike) * common + np.sqrt(1 - alike) * own)

    def _effect_of(self, what: Intervention) -> float:
        return self._effect.setdefault(what, self.truth.effects[min(len(self._effect), len(self.truth.effects) - 1)])

    def _components(self, what: Swept | Estimated) -> NDArray[np.float64]:
        """The true shares of all components, the same in every study but for those of the two methods' agreement."""
        count = self.sizes.layers * (self.sizes.heads if what.what.kind == "head" else self.sizes.d_mlp)  # type: ignore[union-attr]
        if self.truth.agreement is None:
            self.asked["every component's share of the gap"] = None
            return np.full(count, self.truth.effects[0])
        self.asked["effects by gradients, effects by patches"] = None
        if "guess" not in self._drawn:
            a, b = self.rng.normal(size=(2, count))
            a = (a - a.mean()) / a.std()
            b = b - b.mean() - a * (a @ b) / count
            self._drawn["exact"] = a
            self._drawn["guess"] = self.truth.agreement * a + np.sqrt(1 - self.truth.agreement**2) * b / b.std()
        return self._drawn["exact" if isinstance(what, Swept) else "guess"]

    def _effects(
        self, pairs: PairSet, what: Swept | Estimated, shares: NDArray[np.float64]
    ) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        if "gap" not in self._drawn:
            self._drawn["gap"] = GAP * self.rng.gamma(9, 1 / 9, self.n)
        clean = self._drawn["gap"] / 2
        if "guess" in self._drawn and not isinstance(what.what, Joint):
            # As large as the components' own differences.
            change = shares + self._noise(len(shares))
        else:
            noise = self._normal((len(shares),))
            change = 2 * clean[:, None] * shares + self.truth.noise * GAP * (
                np.exp(noise - 0.5) - 1 if self.truth.skewed else noise
            )
        axes = {"component": tuple(map(str, range(len(shares))))}
        values = {"pairs": [pair.id for pair in pairs], "set_aside": [], "axes": axes}
        arrays = {"patched": clean[:, None] - change, "kl": np.zeros_like(change), "clean": clean, "source": -clean}
        return values, {name: array[_numbers(pairs)] for name, array in arrays.items()}

    def _noise(self, count: int) -> NDArray[np.float64]:
        if "common" not in self._drawn:
            self._drawn["common"] = self._normal((count,))
        common = self.truth.common
        return np.asarray(np.sqrt(common) * self._drawn["common"] + np.sqrt(1 - common) * self._normal((count,)))


_RECIPE = Recipe("drawn", 1, "synthetic", {})


@lru_cache(maxsize=64)
def _pairs(n: int, template: int) -> Drawn:
    return Drawn(
        "drawn",
        tuple(
            Pair(str(number), f"category {number % CATEGORIES}", f"harmful {number}", f"harmless {number}",
                 template=f"template {number // template}" if template > 1 else None)
            for number in range(n)
        ),
    )  # fmt: skip


@lru_cache(maxsize=8)
def _record(sizes: Sizes) -> ModelRecord:
    return ModelRecord("synthetic", "", "synthetic", "none", "", "cpu", sizes, Examination((), 1.0, 0.0, 0.0), 0, 0, 0)


def _numbers(pairs: PairSet) -> NDArray[np.intp]:
    return np.array([int(pair.id) for pair in pairs], dtype=np.intp)


def _spread(count: int, width: int) -> list[tuple[int, int]]:
    """So many of one kind, layer after layer, no more than half of any."""
    half = max(1, width // 2)
    return [(number // half, number % half) for number in range(count)]


def _sleeps() -> Any:
    raise AssayError("a synthetic subject has no model to wake")
