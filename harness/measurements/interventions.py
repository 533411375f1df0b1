"""What is done to a model, as values: the same for scoring, generating and sweeping. Never touches a model."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from harness.inputs.arguments import called, check_fields, checked
from harness.inputs.errors import AssayError, Misuse
from harness.inputs.model_record import Sizes
from harness.inputs.sites import SITE_KINDS, At, Kind, Site, check_at, in_layer

Where = Literal["everywhere", "stream", "attention", "mlp"]
Method = Literal["difference", "principal", "heads", "isotropic", "matched", "given", "published"]

During = Literal["prompt", "answer"]
"""While what an intervention holds: the prompt alone, or the answer as well, token by token as it is generated."""

# A setting that came after evidence had been kept: at its default it is no part of any recipe.
LATER = {"later": True}
# Places of a prompt that reach its end, and so can go on in the answer.
_TO_THE_END = ("all", "post", "later")

# Where in each block a direction is taken out; the stream's end, which the logits read, is added to "stream".
_WRITTEN: dict[Where, tuple[Kind, ...]] = {
    "everywhere": ("resid_pre", "attn_out", "mlp_out"),
    "stream": ("resid_pre",),
    "attention": ("attn_out",),
    "mlp": ("mlp_out",),
}


@dataclass(frozen=True)
class Circuit:
    """A set of heads, neurons and whole outputs of blocks, wherever they stand in the prompt."""

    sites: tuple[Site, ...]

    def __post_init__(self) -> None:
        check_fields(self, "sites")
        for site in self.sites:
            if not SITE_KINDS[site.kind].in_circuits or site.position is not None:
                parts = ", ".join(kind for kind, row in SITE_KINDS.items() if row.in_circuits)
                raise AssayError(f"{site} is no part of a circuit; a circuit holds sites of the kinds {parts}")
        each: dict[Site, Site] = {}
        for site in self.sites:
            found_on = site.found_on | each.get(site, site).found_on
            each[site] = site if found_on == site.found_on else replace(site, found_on=found_on)
        object.__setattr__(self, "sites", tuple(sorted(each.values(), key=_order)))

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def found_on(self) -> frozenset[str]:
        """The prompts on which any of its parts was found; none of those given by hand."""
        return frozenset[str]().union(*{site.found_on for site in self.sites})

    def __add__(self, other: "Circuit") -> "Circuit":
        if not isinstance(other, Circuit):
            raise Misuse(f"+ joins circuits with circuits, and {called(other)} was given")
        return Circuit(self.sites + other.sites)

    @classmethod
    @checked
    def of(
        cls,
        heads: Iterable[tuple[int, int]] = (),
        neurons: Iterable[tuple[int, int]] = (),
        mlps: Iterable[int] = (),
    ) -> "Circuit":
        """From (layer, head), (layer, neuron) and layers of whole MLPs."""
        return cls(
            (
                *(Site(layer, "head", head) for layer, head in heads),
                *(Site(layer, "neuron", neuron) for layer, neuron in neurons),
                *(Site(layer, "mlp_out") for layer in mlps),
            )
        )

    @property
    def parted(self) -> bool:
        """Whether it holds heads and neurons alone: a layer has others of those, and no other whole output."""
        return all(site.index is not None for site in self.sites)

    def random(self, sizes: Sizes, seed: int) -> "Circuit":
        """As many heads and neurons in each layer, others than these, as far as there are others."""
        if not self.parted:
            raise AssayError("whole outputs have no others in their layers to draw from; give heads and neurons")
        key = hashlib.sha256(json.dumps([str(site) for site in self.sites]).encode()).hexdigest()[:8]
        rng = np.random.default_rng([seed, int(key, 16)])
        sites: list[Site] = []
        for layer, kind in sorted({(site.layer, site.kind) for site in self.sites}):
            taken = {site.index for site in self.sites if (site.layer, site.kind) == (layer, kind)}
            others = [index for index in range(in_layer(kind, sizes)) if index not in taken]
            chosen = rng.choice(len(others), min(len(taken), len(others)), replace=False)
            sites += [Site(layer, kind, others[number], found_on=self.found_on) for number in chosen]
        return Circuit(tuple(sites))

    def share(self, sizes: Sizes) -> float:
        """The share of the model's parameters it owns; keys and values that heads share count whole."""
        group = sizes.heads // sizes.kv_heads
        heads, neurons = (
            {(site.layer, index) for site in self.sites if site.kind in kinds for index in _indices(site, count)}
            for kinds, count in ((("head", "attn_out"), sizes.heads), (("neuron",), sizes.d_mlp))
        )
        shared = {(layer, head // group) for layer, head in heads}
        whole = {site.layer for site in self.sites if site.kind == "mlp_out"}
        count = sum(layer not in whole for layer, _ in neurons) + len(whole) * sizes.d_mlp
        owned = 2 * (len(heads) + len(shared)) * sizes.d_head * sizes.d_model
        return (owned + count * sizes.mlp_matrices * sizes.d_model) / sizes.parameters


@dataclass(frozen=True)
class Direction:
    """A direction, or a subspace of some rank, in the stream that enters a layer: the recipe that finds it."""

    method: Method
    layer: int  # where it is found, and added
    position: int = -1
    harmful: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    rank: int = 1
    seed: int = 0
    circuit: Circuit | None = None
    vectors: tuple[tuple[float, ...], ...] = ()
    # The prompts on which its layer and position were chosen; like a site's, no part of what it is.
    sought_on: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(self, "method", "layer", "position", "rank", "seed")
        _check_layers(self.layer)
        if self.rank < 1 and self.method != "given":  # that has as many rows as were given
            raise AssayError(f"a direction of rank {self.rank} is none; the rank is 1 or more")

    @property
    def fingerprint(self) -> str:
        """Known before anything is computed."""
        named = asdict(self, dict_factory=_without_origin)
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def found_on(self) -> frozenset[str]:
        """Every prompt that had a part in it."""
        heads = frozenset[str]() if self.circuit is None else self.circuit.found_on
        return self.sought_on.union(self.harmful, self.harmless, heads)

    def random(self, seed: int) -> "Direction":
        """One as long and orthogonal to it: by odd seeds isotropic, by even ones with the streams' covariance."""
        return replace(self, method="isotropic" if seed % 2 else "matched", seed=seed)

    @classmethod
    @checked
    def given(cls, vectors: Sequence[Sequence[float]], layer: int = 0) -> "Direction":
        """One brought along, row by row."""
        return cls("given", layer, vectors=tuple(tuple(map(float, row)) for row in vectors), rank=len(vectors))


@dataclass(frozen=True)
class Intervention:
    """Something done to a model; `a + b` does both, a first."""

    def __add__(self, other: "Intervention") -> "Together":
        if not isinstance(other, Intervention):
            raise Misuse(f"+ joins interventions with interventions, and {called(other)} was given")
        return Together(self.parts + other.parts)

    @property
    def parts(self) -> tuple["Intervention", ...]:
        """What it is made of, in order."""
        return (self,)

    @property
    def when_scored(self) -> "Intervention":
        """What it is where nothing is generated: the same, whether or not it would hold in an answer."""
        return self


@dataclass(frozen=True)
class Together(Intervention):
    """Several, one after the other; none changes nothing."""

    all: tuple[Intervention, ...]

    @property
    def parts(self) -> tuple[Intervention, ...]:
        """What it is made of, in order."""
        return self.all

    @property
    def when_scored(self) -> Intervention:
        """Every part so."""
        return Together(tuple(part.when_scored for part in self.all))


@dataclass(frozen=True)
class _Held(Intervention):
    """One that holds while the prompt is read and, as far as it says so, while the answer is generated."""

    during: During | None = field(default=None, kw_only=True, metadata=LATER)  # none: as by default

    def __post_init__(self) -> None:
        check_fields(self, "during")
        if self.during == self._default:
            object.__setattr__(self, "during", None)

    @property
    def answering(self) -> bool:
        """Whether it holds in the answer too."""
        return (self.during or self._default) == "answer"

    @property
    def when_scored(self) -> Intervention:
        """As by default, since nothing is generated."""
        return replace(self, during=None)

    @property
    def _default(self) -> During:
        return "answer"


@dataclass(frozen=True)
class Patch(_Held):
    """Activations of the twin's run at these sites: at a site's own position, or else at `at`.

    In the prompt alone by default: what is said after it has no counterpart in the twin's run. In the answer every
    token has what the twin's prompt has at its end.
    """

    sites: tuple[Site, ...]
    at: At = "all"

    def __post_init__(self) -> None:
        check_fields(self, "sites", "at")
        check_at(self.at)
        for site in self.sites:
            check_fields(site, "layer", "kind", "index", "position")
        super().__post_init__()
        places = (self.at if site.position is None else (site.position,) for site in self.sites)
        if self.answering and not all(map(_reaches_the_end, places)):
            raise AssayError(_NO_END)

    @property
    def _default(self) -> During:
        return "prompt"


@dataclass(frozen=True)
class Ablate(_Held):
    """A circuit replaced by the mean over prompts, position by position from the end, or by zero.

    By default everywhere (`at="all"`) includes the tokens of the answer, to which the mean at the last position
    applies; at any other place the prompt alone is changed.
    """

    circuit: Circuit
    to: Literal["mean", "zero"]
    over: tuple[str, ...] = ()
    at: At = "all"

    def __post_init__(self) -> None:
        check_fields(self, "circuit", "to", "over", "at")
        check_at(self.at)
        super().__post_init__()
        if self.answering and not _reaches_the_end(self.at):
            raise AssayError(_NO_END)

    @property
    def _default(self) -> During:
        return "answer" if self.at == "all" else "prompt"


@dataclass(frozen=True)
class Remove(_Held):
    """A direction projected out of what is written, to zero or to its mean over `over`; by default in answers too."""

    direction: Direction
    where: Where = "everywhere"
    over: tuple[str, ...] = ()  # none: to zero
    layers: tuple[int, ...] | None = None  # none: all

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "direction", "where", "over", "layers")
        _check_layers(*self.layers or ())

    def sites(self, layers: int) -> tuple[Site, ...]:
        """Everything it is taken out of, in a model of so many layers."""
        chosen = range(layers) if self.layers is None else self.layers
        sites = tuple(Site(layer, kind) for layer in chosen for kind in _WRITTEN[self.where])
        if self.where == "stream" and self.layers is None:
            return (*sites, Site(layers - 1, "resid_post"))
        return sites


@dataclass(frozen=True)
class Add(_Held):
    """A direction added to the stream that enters a layer, its length times the scale; in the answer too by default."""

    direction: Direction
    layer: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "direction", "layer", "scale")
        _check_layers(self.layer)


_NO_END = (
    "during='answer' goes on from the prompt's end, and this place does not reach it; give at='all', 'post' or "
    "'later', or sites at position -1"
)


def _reaches_the_end(at: At) -> bool:
    return at in _TO_THE_END if isinstance(at, str) else -1 in at


def _without_origin(named: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in named if name not in ("found_on", "sought_on")}


def _order(site: Site) -> tuple[int, str, int]:
    return site.layer, site.kind, -1 if site.index is None else site.index


def _check_layers(*layers: int) -> None:
    if layers and min(layers) < 0:
        raise AssayError(f"layer {min(layers)} is none: layers count from 0, the first")


def _indices(site: Site, count: int) -> Iterable[int]:
    return range(count) if site.index is None else (site.index,)


@checked
def patch(what: Circuit | Iterable[Site], at: At = "all", *, during: During | None = None) -> Patch:
    """Takes these sites from the twin's run: noise on harmful prompts, denoise on harmless ones.

    In the prompt alone, unless `during="answer"` holds them in the answer too as they are at the twin's prompt's end.
    """
    return Patch(what.sites if isinstance(what, Circuit) else tuple(what), at, during=during)


@checked
def ablate(
    circuit: Circuit,
    to: Literal["resample", "mean", "zero"] = "resample",
    *,
    over: Iterable[str] = (),
    at: At = "all",
    during: During | None = None,
) -> Intervention:
    """Takes away what a circuit says: the twin's instead, the mean over prompts, or nothing.

    Means and zeros everywhere hold in the answer too, all else in the prompt alone, unless `during` says otherwise.
    """
    prompts = tuple(over)
    if (to == "mean") != bool(prompts):
        raise AssayError("ablate(…, 'mean', over=prompts) needs the prompts to take the mean of, the others need none")
    return (
        Patch(circuit.sites, at, during=during) if to == "resample" else Ablate(circuit, to, prompts, at, during=during)
    )


@checked
def remove(
    direction: Direction,
    where: Where = "everywhere",
    *,
    to_mean_of: Iterable[str] = (),
    layers: Iterable[int] | None = None,
    during: During | None = None,
) -> Remove:
    """Projects a direction out; to the mean over prompts if some are given, else to zero.

    In the answer too, unless `during="prompt"`.
    """
    return Remove(direction, where, tuple(to_mean_of), None if layers is None else tuple(layers), during=during)


@checked
def add(direction: Direction, layer: int | None = None, scale: float = 1.0, *, during: During | None = None) -> Add:
    """Adds a direction, at the layer where it was found unless another is named; in the answer too, unless told."""
    return Add(direction, direction.layer if layer is None else layer, scale, during=during)
