"""A subject without a model: its answers are drawn at random from a known truth. Used for calibration and power."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.inputs.errors import AssayError
from harness.inputs.judges.outcomes import READINGS
from harness.inputs.judges.registry import judges
from harness.inputs.model_record import Examination, ModelRecord, Sizes
from harness.inputs.places import DATA
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.sites import INDEXED, OUTPUTS, SITE_KINDS, At, Indexed, Kind, Site, in_layer, in_model
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Add, Circuit, Intervention, Remove
from harness.measurements.questions import (
    Answer,
    Answers,
    Attended,
    Contrasted,
    Estimated,
    FoundCircuit,
    FoundDirection,
    GrownCircuit,
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
from harness.measurements.sweep_plan import Joint, Sweep
from harness.subjects.arm_refusals import SAMPLE
from harness.subjects.live import Bare
from harness.subjects.protocol import Measure, Validity

SIZES = Sizes(
    layers=8, heads=4, kv_heads=4, d_model=64, d_head=16, d_mlp=256, mlp_matrices=3, vocabulary=512,
    parameters=10_000_000, context=None,
)  # fmt: skip
GAP = 8.0
CATEGORIES = 4


@dataclass(frozen=True)
class Truth:
    """The true values in the population of all pairs, from which each study draws a sample."""

    effects: tuple[float, ...]  # true values of the first quantity asked for, the second …: a fall, a share, a depth
    refused: float = 0.95  # the share of harmful prompts refused by the unchanged model
    answered: float = 0.98  # the share of harmless prompts that it answers
    contrary: float = 0.0  # the share of pairs that an intervention moves the other way
    broken: float = 0.0  # the share of answers under an intervention that are broken, whatever it moves
    alike: float = 0.0  # the correlation of pairs of one template
    template: int = 1  # pairs of one template
    noise: float = 0.3  # standard deviation of a pair's effect, in mean gaps
    skewed: int = 0  # 1: that noise is log-normal instead of normal; -1: log-normal with its tail to the left
    agreement: float | None = None  # the correlation, over components, of effects by gradients with measured ones
    common: float = 0.0  # the share of the noise that those two have in common
    principal: float = 1.0  # the cosine of the streams' first principal component with the difference of means


class Drawn(PairSet):
    """Pairs all of which are held out: searches get copies with other prompts."""

    @cached_property
    def discovery(self) -> "Drawn":
        """Copies of the pairs with other prompts, so that nothing is judged on the prompts it was found on."""
        return Drawn(
            self.name,
            tuple(
                replace(pair, harmful=f"{pair.harmful}, found", harmless=f"{pair.harmless}, found")
                for pair in self.pairs
            ),
        )

    @cached_property
    def harmless_alike(self) -> PairSet:
        """The pairs, in place of pairs of two harmless prompts: answers to them are drawn too."""
        return PairSet(f"{self.name}:harmless alike", self.pairs)

    @property
    def heldout(self) -> "Drawn":
        """All pairs."""
        return self

    def _where(self, name: str, keep: Callable[[Pair], bool]) -> "Drawn":
        return Drawn(name, tuple(pair for pair in self.pairs if keep(pair)))


class Synthetic(Bare):
    """One simulated study: answers about n pairs, drawn from the truth."""

    all_pairs: PairSet

    def __init__(self, truth: Truth, n: int, seed: int, level: float, sizes: Sizes = SIZES) -> None:
        super().__init__(_record(sizes), _pairs(n, truth.template), Store(DATA), _no_model, level)
        self.truth, self.rng, self.n = truth, np.random.default_rng([seed, n]), n
        self.asked: dict[str, None] = {}  # everything asked for, in words and in order
        self._category_of: dict[Circuit, int | None] = {}  # the category a circuit was found on; None: several
        self._true_effects: dict[Any, float] = {}  # by intervention, in the order asked for
        self._drawn: dict[Any, NDArray[np.float64]] = {}

    def seek(self, question: Measurement) -> Evidence:
        """Evidence drawn at random, in which the quantity asked for has its true value."""
        return Evidence(_RECIPE, *self._answer(question))

    def circuit(
        self, pairs: PairSet, *, heads: float = 0, neurons: float = 0, share: float = 0, at: At = "post"
    ) -> Circuit:
        """A circuit of that size, whose effect depends on the category it was found on."""
        circuit = super().circuit(pairs, heads=heads, neurons=neurons, share=share, at=at)
        self._category_of[circuit] = _category(pairs)
        return circuit

    @property
    def score_serves(self) -> bool:
        """Always true: scores and answers are drawn from one truth."""
        return True

    @property
    def area(self) -> float:
        """Always 1: scores and answers are drawn from one truth."""
        return 1.0

    def validity(self, measure: Measure, side: PromptSide, arms: Sequence[Intervention | None]) -> Validity:
        """Perfect: scores and answers are drawn from one truth."""
        return Validity(SAMPLE, SAMPLE)

    def _answer(self, question: Measurement) -> Answer:
        match question:
            case RefusalTokens():
                return {"tokens": [0]}, {}
            case Answers(pairs, side, under):
                hits = self._refused(side, under)[_numbers(pairs)].astype(float)
                babble = self._broken(under)[_numbers(pairs)].astype(float)
                judged = {name: hits.tolist() for name in judges()}
                read = dict.fromkeys(READINGS, [0.0] * len(hits))
                return judged | read | {"repetition": babble.tolist(), "topic": (1 - babble).tolist()}, {}
            case Scores(pairs, side, under):
                numbers = _numbers(pairs)
                odds = np.where(self._refused(side, under)[numbers], 1.0, -1.0)
                kl = self.truth.effects[0] * -np.log1p(-self._uniform("kl")[numbers])
                return {"odds": odds.tolist(), "kl": kl.tolist(), "same_as_clean": False}, {}
            case FoundCircuit(pairs):
                shift = _category(pairs) or 0
                parts = {
                    SITE_KINDS[kind].plural: _spread(number, in_layer(kind, self.sizes), shift)
                    for kind, number in question.numbers.items()
                }
                return parts | {"effects": {kind: [0.0] * len(sites) for kind, sites in parts.items()}}, {}
            case GrownCircuit(pairs, share, _, contrast):
                kind: Indexed = "neuron" if contrast else "head"
                each = Circuit((Site(0, kind, 0),)).share(self.sizes)
                number = min(in_model(kind, self.sizes) // 2, int(share / each))
                block: dict[str, list[tuple[int, int]]] = {SITE_KINDS[other].plural: [] for other in INDEXED}
                block[SITE_KINDS[kind].plural] = _spread(number, in_layer(kind, self.sizes), _category(pairs) or 0)
                return {"blocks": [block], "curve": [], "effect": 0.0, "adds": [0.0], "patched": 0}, {}
            case FoundDirection(pairs):
                place = {"layer": self.sizes.layers // 2, "position": -1, "valid": True, "reason": "", "candidates": []}
                return {**place, "harmful": list(pairs.harmful), "harmless": list(pairs.harmless)}, {}
            case Norms():
                return {}, {kind: self.rng.random((self.sizes.layers, in_layer(kind, self.sizes))) for kind in INDEXED}
            case Swept(_, what) if (shares := _of_stage(what, self.truth.effects[0])) is not None:
                self.asked["effects of a stage of refusal"] = None
                return self._effects(question, shares)
            case Contrasted(_, what) if (shares := _of_stage(what, self._last_effect(0.0))) is not None:
                self.asked["effects of the same stage of a harmless behaviour"] = None
                return self._effects(question, shares)
            case Swept(_, Joint()) | Contrasted(_, Joint()):
                return self._effects(question, self._joint(question))
            case Swept() | Estimated():
                return self._effects(question, self._components(question))
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
                raise AssayError(f"the claim asks for {question.KIND}, and synthetic subjects cannot draw that")

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

    def _broken(self, under: Intervention | None) -> NDArray[np.bool_]:
        if under is None or not self.truth.broken:
            return np.zeros(self.n, dtype=bool)
        return self._uniform(("language", under)) < self.truth.broken

    def _uniform(self, key: Any) -> NDArray[np.float64]:
        """A uniform number for each pair, correlated within templates; drawn once for each key."""
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

    def _effect_of(self, under: Intervention) -> float:
        """The true effect of an intervention: the first asked for has the first effect, and so on, up to the last.

        Random directions have the last effect, or none if there is only one.
        """
        if isinstance(under, Remove | Add) and under.direction.method in ("isotropic", "matched"):
            return self._last_effect(0.0)
        effects = self.truth.effects
        return self._true_effects.setdefault(under, effects[min(len(self._true_effects), len(effects) - 1)])

    def _last_effect(self, default: float) -> float:
        """The last of several effects, for what is compared with the first; the default if there is only one."""
        return self.truth.effects[-1] if len(self.truth.effects) > 1 else default

    def _components(self, question: Swept | Estimated) -> NDArray[np.float64]:
        """The true share of each component: the first effect, or drawn anew where gradients and patches must agree."""
        kind: Kind = question.what.kind  # type: ignore[union-attr]
        count = int(np.prod(self._shape(question)))
        method = "effects by gradients" if isinstance(question, Estimated) else "effects of single parts by patches"
        self.asked[method] = None
        if self.truth.agreement is None or kind not in INDEXED:
            return np.full(count, self.truth.effects[0])
        if ("guess", kind) not in self._drawn:
            a, b = self.rng.normal(size=(2, count))
            a = (a - a.mean()) / a.std()
            b = b - b.mean() - a * (a @ b) / count
            self._drawn["exact", kind] = a
            self._drawn["guess", kind] = self.truth.agreement * a + np.sqrt(1 - self.truth.agreement**2) * b / b.std()
        return self._drawn["exact" if isinstance(question, Swept) else "guess", kind]

    def _shape(self, question: Swept | Estimated | Contrasted) -> tuple[int, ...]:
        if isinstance(sweep := question.what, Joint):
            return (len(sweep.circuits),)
        layers = self.sizes.layers if sweep.layers is None else len(sweep.layers)
        each = (sweep.groups or in_layer(sweep.kind, self.sizes),) if sweep.kind in INDEXED else ()
        return (layers, *each, len(sweep.at))

    def _joint(self, question: Swept | Contrasted) -> NDArray[np.float64]:
        """Each circuit's true share, or each pair's share of it."""
        joint = question.what
        assert isinstance(joint, Joint)  # noqa: S101 - for the type checker
        self.asked["the circuit's share of the gap"] = None
        own = np.array([int(pair.id) % CATEGORIES for pair in twins(self.all_pairs)])
        own_share, others = self.truth.effects[0], self._last_effect(self.truth.effects[0])
        shares = np.zeros((self.n, len(joint.circuits)))
        for number, circuit in enumerate(joint.circuits):
            if circuit in self._category_of:
                category = self._category_of[circuit]
                mine = np.ones(self.n, bool) if category is None else own == category
                shares[:, number] = np.where(mine, own_share, others)
        return shares

    def _attention(self) -> NDArray[np.float64]:
        """Attention to the words by heads of the first and last layer, with the true mean depth."""
        from scipy.special import betaincinv

        self.asked["attention to the differing words, by depth"] = None
        mean = self.truth.effects[0]
        u = self._uniform("depth")
        late = betaincinv(6 * mean, 6 * (1 - mean), u) if 0 < mean < 1 else np.full(self.n, mean)
        weights = np.zeros((self.n, self.sizes.layers, self.sizes.heads))
        weights[:, 0], weights[:, -1] = (1 - late)[:, None], late[:, None]
        return np.asarray(weights * (0.5 + self._uniform("looking"))[:, None, None])

    def _products(self, pairs: PromptSet) -> NDArray[np.float64]:
        """Inner products of streams in which the categories' mean differences have the true cosine."""
        self.asked["cosines between categories"] = None
        numbers, width, cosine = _numbers(pairs), 32, self.truth.effects[0]
        means = np.sqrt(1 - cosine) * np.eye(CATEGORIES, width, 1) + np.sqrt(cosine) * np.eye(1, width)
        noise = self.truth.noise * self._normal((2, width))[numbers]
        harmful, harmless = means[numbers % CATEGORIES] + noise[:, 0], noise[:, 1]
        turning = self.rng.normal(size=(2 * len(numbers), 1)) * _axis(means.mean(0), np.arccos(self.truth.principal))
        streams = np.concatenate([harmful, harmless]) + turning
        return np.asarray(streams @ streams.T)

    def _projections(self, side: PromptSide, count: int, numbers: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """Projections that separate with depth: the first direction by the first effect, the others by the last."""
        self.asked["projections by depth"] = None
        depth = np.linspace(0, 1, self.sizes.layers + 1)
        streams = np.zeros((count, len(numbers), len(depth)))
        if side == "harmful":
            slopes = np.array([self.truth.effects[0], *[self._last_effect(0.0)] * (count - 1)])
            noise = self.truth.noise * self._normal((count,))[numbers].T
            streams = (slopes[:, None] + noise)[..., None] * depth
        return {"along": streams, "length": np.ones(streams.shape[1:])}

    def _effects(self, question: Swept | Estimated | Contrasted, shares: NDArray[np.float64]) -> Answer:
        if "gap" not in self._drawn:
            self._drawn["gap"] = GAP * self.rng.gamma(9, 1 / 9, self.n)
        clean, count = self._drawn["gap"] / 2, shares.shape[-1]
        if not isinstance(question.what, Joint) and ("guess", question.what.kind) in self._drawn:
            # Shares of components have standard deviation 1, and so has the noise.
            change = shares + self._noise(count)
        else:
            noise = self._normal((count,))
            change = 2 * clean[:, None] * shares + self.truth.noise * GAP * (
                self.truth.skewed * (np.exp(noise - 0.5) - 1) if self.truth.skewed else noise
            )
        shape = self._shape(question)
        axes = {f"axis {number}": tuple(map(str, range(size))) for number, size in enumerate(shape)}
        values = {"pairs": [pair.id for pair in question.pairs], "set_aside": [], "axes": axes}
        patched = (clean[:, None] - change).reshape(self.n, *shape)
        arrays = {"patched": patched, "kl": np.zeros_like(patched), "clean": clean, "source": -clean}
        return values, {name: array[_numbers(question.pairs)] for name, array in arrays.items()}

    def _noise(self, count: int) -> NDArray[np.float64]:
        """Noise of which each call shares the same part, `truth.common` of its variance."""
        if ("common", count) not in self._drawn:
            self._drawn["common", count] = self._normal((count,))
        common = self.truth.common
        return np.asarray(np.sqrt(common) * self._drawn["common", count] + np.sqrt(1 - common) * self._normal((count,)))


_RECIPE = Recipe("drawn", 1, "synthetic", {})


@lru_cache(maxsize=64)
def _pairs(n: int, template: int) -> Drawn:
    return Drawn(
        "drawn",
        tuple(
            Pair(str(number), f"category {number % CATEGORIES}", f"harmful {number}", f"harmless {number}",
                 frame=f"frame {number // template}" if template > 1 else None)
            for number in range(n)
        ),
    )  # fmt: skip


@lru_cache(maxsize=8)
def _record(sizes: Sizes) -> ModelRecord:
    return ModelRecord("synthetic", "", "synthetic", "none", "", "cpu", sizes, Examination((), 1.0, 0.0, 0.0), 0, 0, 0)


def _numbers(pairs: PromptSet) -> NDArray[np.intp]:
    return np.array([int(pair.id.partition("+")[0]) for pair in twins(pairs)], dtype=np.intp)


def _of_stage(what: Sweep | Joint, value: float) -> NDArray[np.float64] | None:
    """The shares that patches of a stage close where the stage has this value; None for other patches."""
    if isinstance(what, Sweep):
        return np.array([1 - value]) if (what.kind, what.at) == ("resid_pre", ("slot",)) else None
    kinds = {site.kind for circuit in what.circuits for site in circuit.sites}
    if kinds == set(OUTPUTS):
        return np.array([value])
    if kinds == {"mlp_out"}:
        return np.array([0.0, 0.0] if what.direct else [value, 0.0])
    return None


def _axis(difference: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """The axis along which noise turns the first principal component so far from a difference of means."""
    half, square = (angle + np.pi / 2) / 2, difference @ difference  # a quarter of it is variance already
    across = np.eye(1, len(difference), len(difference) - 1)[0]
    unit = np.cos(half) * difference / np.sqrt(square) + np.sin(half) * across
    return np.asarray(unit * np.sqrt(square / 2 * np.sin(angle)))


def _category(pairs: PairSet) -> int | None:
    names = {pair.category for pair in pairs}
    return int(names.pop().rpartition(" ")[2]) if len(names) == 1 else None


def _spread(count: int, width: int, shift: int) -> list[tuple[int, int]]:
    """So many (layer, number) of a kind, at most half of each layer's; another shift begins at another number."""
    half = max(1, width // 2)
    return [(number // half, (number % half + shift) % width) for number in range(count)]


def _no_model() -> Any:
    raise AssayError("a synthetic subject has no model to load")
