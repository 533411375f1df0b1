"""A subject without a model, whose truth is known because its answers are drawn: for calibration and for power."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.inputs.errors import AssayError
from harness.inputs.judges.registry import judges
from harness.inputs.model_record import Examination, ModelRecord, Sizes
from harness.inputs.places import DATA
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.sites import INDEXED, OUTPUTS, SITE_KINDS, At, in_layer
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Add, Circuit, Intervention, Remove
from harness.measurements.questions import (
    Answers,
    Attended,
    Estimated,
    FoundCircuit,
    FoundDirection,
    Measurement,
    Norms,
    PlainText,
    Products,
    Projected,
    PromptSide,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.measurements.recipe import Recipe
from harness.measurements.sweep_plan import Joint
from harness.subjects.live import Bare

SIZES = Sizes(
    layers=8, heads=4, kv_heads=4, d_model=64, d_head=16, d_mlp=256, mlp_matrices=3, vocabulary=512,
    parameters=10_000_000, context=None,
)  # fmt: skip
GAP = 8.0
CATEGORIES = 4


@dataclass(frozen=True)
class Truth:
    """What is so of every pair there could be; a study draws some of them."""

    effects: tuple[float, ...]  # of the first thing asked about, the second …: a fall, a share, a depth, a cosine
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
    def discovery(self) -> PairSet:
        """Others of the same make: what is found does not depend on them."""
        return PairSet(
            self.name,
            tuple(
                replace(one, harmful=f"{one.harmful}, found", harmless=f"{one.harmless}, found") for one in self.pairs
            ),
        )

    @property
    def heldout(self) -> "Drawn":
        """The same."""
        return self

    def _where(self, name: str, keep: Callable[[Pair], bool]) -> "Drawn":
        return Drawn(name, tuple(pair for pair in self.pairs if keep(pair)))


class Synthetic(Bare):
    """One study of n pairs."""

    def __init__(self, truth: Truth, n: int, seed: int, level: float, sizes: Sizes = SIZES) -> None:
        super().__init__(_record(sizes), _pairs(n, truth.template), Store(DATA), _sleeps, level)
        self.truth, self.rng, self.n = truth, np.random.default_rng([seed, n]), n
        self.asked: dict[str, None] = {}  # arms, in order, in words
        self._found: dict[Circuit, int | None] = {}  # on which category, or on all
        self._effect: dict[Any, float] = {}
        self._drawn: dict[Any, NDArray[np.float64]] = {}

    def seek(self, what: Measurement) -> Evidence:
        """Drawn, so that what it asks about has the effect it truly has."""
        return Evidence(_RECIPE, *self._answer(what))

    def circuit(self, pairs: PairSet, *, heads: float = 0, neurons: float = 0, at: At = "post") -> Circuit:
        """One of that size; what it does depends on where it was sought."""
        found = super().circuit(pairs, heads=heads, neurons=neurons, at=at)
        self._found[found] = _category(pairs)
        return found

    @property
    def score_serves(self) -> bool:
        """Scores and answers are drawn from one truth."""
        return True

    @property
    def area(self) -> float:
        """As above."""
        return 1.0

    def _answer(self, what: Measurement) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        match what:
            case RefusalTokens():
                return {"tokens": [0]}, {}
            case Answers(pairs, side, under):
                hits = self._refused(side, under)[_numbers(pairs)].astype(float)
                # In language as often as it has an effect.
                fluent = self._uniform("language") < self.truth.effects[0]
                babble = np.where(fluent[_numbers(pairs)], 0.0, 1.0)
                judged = {name: hits.tolist() for name in judges()}
                return judged | {"repetition": babble.tolist(), "cross_entropy": babble.tolist()}, {}
            case Scores(pairs, side, under):
                numbers = _numbers(pairs)
                odds = np.where(self._refused(side, under)[numbers], 1.0, -1.0)
                kl = self.truth.effects[0] * -np.log1p(-self._uniform("kl")[numbers])
                return {"odds": odds.tolist(), "kl": kl.tolist(), "same_as_clean": False}, {}
            case FoundCircuit(pairs):
                shift = _category(pairs) or 0
                found = {
                    SITE_KINDS[kind].plural: _spread(number, in_layer(kind, self.sizes), shift)
                    for kind, number in what.numbers.items()
                }
                return found | {"effects": {kind: [0.0] * len(some) for kind, some in found.items()}}, {}
            case FoundDirection(pairs):
                prompts = {"harmful": list(pairs.harmful), "harmless": list(pairs.harmless)}
                return {"layer": self.sizes.layers // 2, "position": -1, "valid": True, "reason": "", **prompts}, {}
            case Norms():
                return {}, {kind: self.rng.random((self.sizes.layers, in_layer(kind, self.sizes))) for kind in INDEXED}
            case Swept(_, Joint()):
                return self._effects(what, *self._joint(what))
            case Swept() | Estimated():
                return self._effects(what, self._components(what))
            case Attended(pairs):
                return {}, {"words": self._attention()[_numbers(pairs)]}
            case Products(pairs):
                return {}, {"products": self._products(pairs)}
            case Projected(pairs, side, directions):
                return {}, self._projections(side, len(directions), _numbers(pairs))
            case PlainText(_, passages, under):
                self.asked["plain text with and without the intervention"] = None
                more = 0.0 if under is None else self.truth.effects[0] + 0.3 * self.rng.normal(size=len(passages))
                return {"nats": (np.full(len(passages), 3.0) + more).tolist()}, {}
            case _:
                raise AssayError(f"nothing is drawn for {what.KIND}, which the claim asks for")

    def _refused(self, side: PromptSide, under: Intervention | None) -> NDArray[np.bool_]:
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

    def _uniform(self, key: Any) -> NDArray[np.float64]:
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

    def _effect_of(self, what: Any) -> float:
        """The first thing of its kind has the first effect, the second the second, others the last."""
        if isinstance(what, Remove | Add) and what.direction.method in ("isotropic", "matched"):
            return self._beside(0.0)
        return self._effect.setdefault(what, self.truth.effects[min(len(self._effect), len(self.truth.effects) - 1)])

    def _beside(self, default: float) -> float:
        """The effect of what is put beside the first: the last one of several."""
        return self.truth.effects[-1] if len(self.truth.effects) > 1 else default

    def _components(self, what: Swept | Estimated) -> NDArray[np.float64]:
        """The true shares of all components; of those of which two methods are to agree, drawn anew."""
        kind = what.what.kind  # type: ignore[union-attr]
        count = int(np.prod(self._shape(what)))
        self.asked["effects by gradients" if isinstance(what, Estimated) else "effects of single parts by patches"] = (
            None
        )
        if self.truth.agreement is None or kind not in INDEXED:
            return np.full(count, self.truth.effects[0])
        if "guess" not in self._drawn:
            a, b = self.rng.normal(size=(2, count))
            a = (a - a.mean()) / a.std()
            b = b - b.mean() - a * (a @ b) / count
            self._drawn["exact"] = a
            self._drawn["guess"] = self.truth.agreement * a + np.sqrt(1 - self.truth.agreement**2) * b / b.std()
        return self._drawn["exact" if isinstance(what, Swept) else "guess"]

    def _shape(self, what: Swept | Estimated) -> tuple[int, ...]:
        if isinstance(what.what, Joint):
            return (len(what.what.circuits),)
        layers = self.sizes.layers if what.what.layers is None else len(what.what.layers)
        each = (in_layer(what.what.kind, self.sizes),) if what.what.kind in INDEXED else ()
        return (layers, *each, len(what.what.at))

    def _joint(self, what: Swept) -> tuple[NDArray[np.float64], bool]:
        """Each circuit's share, or each pair's of it; and whether its noise is in that already."""
        joint = what.what
        assert isinstance(joint, Joint)  # noqa: S101 - for the type checker
        kinds = {site.kind for circuit in joint.circuits for site in circuit.sites}
        if kinds == set(OUTPUTS):
            stage = joint.at, joint.direct
            self.asked[f"effects of blocks at {joint.at}" + (" on the logits" if joint.direct else "")] = None
            return self._two_ends(stage, len(joint.circuits)), True
        if kinds == {"mlp_out"}:
            self.asked["shares of the gap of sets of MLPs"] = None
            return np.array([self.truth.effects[0], *[self._beside(0.0)] * (len(joint.circuits) - 1)]), False
        self.asked["the circuit's share of the gap"] = None
        own = np.array([int(pair.id) % CATEGORIES for pair in twins(self.all_pairs)])
        own_share, others = self.truth.effects[0], self._beside(self.truth.effects[0])
        shares = np.zeros((self.n, len(joint.circuits)))
        for number, circuit in enumerate(joint.circuits):
            if circuit in self._found:
                category = self._found[circuit]
                mine = np.ones(self.n, bool) if category is None else own == category
                shares[:, number] = np.where(mine, own_share, others)
        return shares, False

    def _two_ends(self, what: Any, layers: int) -> NDArray[np.float64]:
        """All effect in the first layer and in the last, in parts whose mean depth is the effect asked for."""
        from scipy.special import betaincinv

        before = sum(isinstance(one, tuple) for one in self._effect)
        # With one effect, each stage lies by so much below the one before.
        mean = self._effect.setdefault(what, self._stage(before))
        late = (
            betaincinv(6 * mean, 6 * (1 - mean), self._uniform(("depth", what)))
            if 0 < mean < 1
            else np.full(self.n, mean)
        )
        weights = np.zeros((self.n, layers))
        weights[:, 0], weights[:, -1] = 1 - late, late
        return weights

    def _stage(self, before: int) -> float:
        effects = self.truth.effects
        return effects[min(before, len(effects) - 1)] if len(effects) > 1 else min(1.0, before * effects[0])

    def _attention(self) -> NDArray[np.float64]:
        self.asked["attention to the differing words, by depth"] = None
        self._effect.setdefault("words", self.truth.effects[0])
        heads = np.repeat(self._two_ends("words", self.sizes.layers)[..., None], self.sizes.heads, 2)
        return np.asarray(heads * (0.5 + self._uniform("looking"))[:, None, None])

    def _products(self, pairs: PromptSet) -> NDArray[np.float64]:
        """Of streams in which the categories' differences have the asked cosine."""
        self.asked["cosines between categories"] = None
        numbers, width, cosine = _numbers(pairs), 32, self.truth.effects[0]
        means = np.sqrt(1 - cosine) * np.eye(CATEGORIES, width, 1) + np.sqrt(cosine) * np.eye(1, width)
        noise = self.truth.noise * self._normal((2, width))[numbers]
        harmful, harmless = means[numbers % CATEGORIES] + noise[:, 0], noise[:, 1]
        streams = np.concatenate([harmful, harmless])
        return np.asarray(streams @ streams.T)

    def _projections(self, side: PromptSide, count: int, numbers: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """Streams that part with depth by the first effect along the first direction, by the last along others."""
        self.asked["projections by depth"] = None
        depth, streams = (
            np.linspace(0, 1, self.sizes.layers + 1),
            np.zeros((count, len(numbers), self.sizes.layers + 1)),
        )
        if side == "harmful":
            slopes = np.array([self.truth.effects[0], *[self._beside(0.0)] * (count - 1)])
            noise = self.truth.noise * self._normal((count,))[numbers].T
            streams = (slopes[:, None] + noise)[..., None] * depth
        return {"along": streams, "length": np.ones(streams.shape[1:])}

    def _effects(
        self, what: Swept | Estimated, shares: NDArray[np.float64], exact: bool = False
    ) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        if "gap" not in self._drawn:
            self._drawn["gap"] = GAP * self.rng.gamma(9, 1 / 9, self.n)
        clean, count = self._drawn["gap"] / 2, shares.shape[-1]
        if "guess" in self._drawn and not isinstance(what.what, Joint):
            # As large as the components' own differences.
            change = shares + self._noise(count)
        elif exact:
            change = 2 * clean[:, None] * shares
        else:
            noise = self._normal((count,))
            change = 2 * clean[:, None] * shares + self.truth.noise * GAP * (
                np.exp(noise - 0.5) - 1 if self.truth.skewed else noise
            )
        shape = self._shape(what)
        axes = {f"axis {number}": tuple(map(str, range(size))) for number, size in enumerate(shape)}
        values = {"pairs": [pair.id for pair in what.pairs], "set_aside": [], "axes": axes}
        patched = (clean[:, None] - change).reshape(self.n, *shape)
        arrays = {"patched": patched, "kl": np.zeros_like(patched), "clean": clean, "source": -clean}
        return values, {name: array[_numbers(what.pairs)] for name, array in arrays.items()}

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


def _numbers(pairs: PromptSet) -> NDArray[np.intp]:
    return np.array([int(pair.id) for pair in twins(pairs)], dtype=np.intp)


def _category(pairs: PairSet) -> int | None:
    names = {pair.category for pair in pairs}
    return int(names.pop().rpartition(" ")[2]) if len(names) == 1 else None


def _spread(count: int, width: int, shift: int) -> list[tuple[int, int]]:
    """So many of one kind, layer after layer, no more than half of any; others for another shift."""
    half = max(1, width // 2)
    return [(number // half, (number % half + shift) % width) for number in range(count)]


def _sleeps() -> Any:
    raise AssayError("a synthetic subject has no model to wake")
