"""Interventions, circuits and directions as values, the same for scoring, generating and sweeping. Loads no model."""

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
"""How long an intervention holds: while the prompt is read, or also for each token of the answer."""

# Marks fields added after evidence had been kept: recipes leave them out at their default.
LATER = {"later": True}
# Positions that include the prompt's last token, from which an intervention can continue in the answer.
_TO_THE_END = ("all", "post", "later")

# The sites of a block from which a direction is removed; "stream" also includes the end of the last block.
_WRITTEN: dict[Where, tuple[Kind, ...]] = {
    "everywhere": ("resid_pre", "attn_out", "mlp_out"),
    "stream": ("resid_pre",),
    "attention": ("attn_out",),
    "mlp": ("mlp_out",),
}


@dataclass(frozen=True)
class Circuit:
    """A set of heads, neurons, and whole outputs of attention or MLPs, without positions."""

    sites: tuple[Site, ...]

    def __post_init__(self) -> None:
        check_fields(self, "sites")
        for site in self.sites:
            if not SITE_KINDS[site.kind].in_circuits or site.position is not None:
                parts = ", ".join(kind for kind, row in SITE_KINDS.items() if row.in_circuits)
                raise AssayError(f"{site} is no part of a circuit; a circuit holds sites of the kinds {parts}")
        distinct: dict[Site, Site] = {}
        for site in self.sites:
            found_on = site.found_on | distinct.get(site, site).found_on
            distinct[site] = site if found_on == site.found_on else replace(site, found_on=found_on)
        object.__setattr__(self, "sites", tuple(sorted(distinct.values(), key=_order)))

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def found_on(self) -> frozenset[str]:
        """The prompts on which any of its sites was found; empty for sites given by hand."""
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
        """The circuit of these (layer, head), (layer, neuron), and layers of whole MLPs."""
        return cls(
            (
                *(Site(layer, "head", head) for layer, head in heads),
                *(Site(layer, "neuron", neuron) for layer, neuron in neurons),
                *(Site(layer, "mlp_out") for layer in mlps),
            )
        )

    @property
    def indexed(self) -> bool:
        """Whether it holds heads and neurons only, for which a layer has others to draw at random."""
        return all(site.index is not None for site in self.sites)

    def random(self, sizes: Sizes, seed: int) -> "Circuit":
        """As many random heads and neurons in each layer, none of them in this circuit; fewer if a layer runs out."""
        if not self.indexed:
            raise AssayError(
                "a random circuit needs heads and neurons: a layer has no other attention or MLP to draw in place of a "
                "whole output"
            )
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
        """The share of the model's parameters in this circuit; keys and values shared by heads count whole."""
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
    """The recipe of a direction, or of a subspace, in the stream that enters a layer."""

    method: Method
    layer: int  # the layer at which it is computed, and at which `add` adds it by default
    position: int = -1
    harmful: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    rank: int = 1
    seed: int = 0
    circuit: Circuit | None = None
    vectors: tuple[tuple[float, ...], ...] = ()
    # The prompts on which its layer and position were chosen; ignored by equality and fingerprint, like a site's.
    sought_on: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(self, "method", "layer", "position", "rank", "seed")
        _check_layers(self.layer)
        if self.rank < 1 and self.method != "given":  # the rank of given vectors is their number
            raise AssayError(f"a direction cannot have rank {self.rank}; give a rank of 1 or more")

    @property
    def fingerprint(self) -> str:
        """A hash of the recipe, known before the direction is computed."""
        members = asdict(self, dict_factory=_without_origin)
        return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def found_on(self) -> frozenset[str]:
        """All prompts it was computed from or chosen on, and those its circuit was found on."""
        heads = frozenset[str]() if self.circuit is None else self.circuit.found_on
        return self.sought_on.union(self.harmful, self.harmless, heads)

    def random(self, seed: int) -> "Direction":
        """A random orthogonal direction of its norm: isotropic for odd seeds, else with the streams' covariance."""
        return replace(self, method="isotropic" if seed % 2 else "matched", seed=seed)

    @classmethod
    @checked
    def given(cls, vectors: Sequence[Sequence[float]], layer: int = 0) -> "Direction":
        """The direction, or subspace, of these vectors, one row each."""
        return cls("given", layer, vectors=tuple(tuple(map(float, row)) for row in vectors), rank=len(vectors))


@dataclass(frozen=True)
class Intervention:
    """A change to a model's activations; `a + b` makes both changes, `a` first."""

    def __add__(self, other: "Intervention") -> "Together":
        if not isinstance(other, Intervention):
            raise Misuse(f"+ joins interventions with interventions, and {called(other)} was given")
        return Together(self.parts + other.parts)

    @property
    def parts(self) -> tuple["Intervention", ...]:
        """The interventions it consists of, in order: itself, if it is not a sum."""
        return (self,)

    @property
    def when_scored(self) -> "Intervention":
        """The intervention without `during`, which makes no difference where nothing is generated."""
        return self


@dataclass(frozen=True)
class Together(Intervention):
    """Several interventions, one after the other; an empty one changes nothing."""

    all: tuple[Intervention, ...]

    @property
    def parts(self) -> tuple[Intervention, ...]:
        """The interventions it consists of, in order."""
        return self.all

    @property
    def when_scored(self) -> Intervention:
        """Its parts, each without `during`."""
        return Together(tuple(part.when_scored for part in self.all))


@dataclass(frozen=True)
class _Held(Intervention):
    """An intervention that holds while the prompt is read and, depending on `during`, while the answer is generated."""

    during: During | None = field(default=None, kw_only=True, metadata=LATER)  # None: the class's default

    def __post_init__(self) -> None:
        check_fields(self, "during")
        if self.during == self._default:
            object.__setattr__(self, "during", None)

    @property
    def answering(self) -> bool:
        """Whether it also holds in the answer."""
        return (self.during or self._default) == "answer"

    @property
    def when_scored(self) -> Intervention:
        """The intervention without `during`, which makes no difference where nothing is generated."""
        return replace(self, during=None)

    @property
    def _default(self) -> During:
        return "answer"


@dataclass(frozen=True)
class Patch(_Held):
    """Replaces activations at these sites with those of the twin's run: at a site's own position, or else at `at`.

    By default in the prompt only, since the answer has no counterpart in the twin's run. In the answer, every token
    gets the activation at the last position of the twin's prompt.
    """

    sites: tuple[Site, ...]
    at: At = "all"
    keep: Direction | None = field(default=None, kw_only=True, metadata=LATER)  # along it, activations stay as they are

    def __post_init__(self) -> None:
        check_fields(self, "sites", "at", "keep")
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
    """Replaces a circuit's activations with their mean over prompts, position by position from the end, or with zero.

    At all positions (`at="all"`) it holds in the answer too by default, with the mean at the last position; elsewhere
    in the prompt only.
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
    """Projects a direction out of activations, to zero or to its mean over prompts; by default in answers too."""

    direction: Direction
    where: Where = "everywhere"
    over: tuple[str, ...] = ()  # the prompts of the mean; empty: to zero
    layers: tuple[int, ...] | None = None  # None: all

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "direction", "where", "over", "layers")
        _check_layers(*self.layers or ())

    def sites(self, layers: int) -> tuple[Site, ...]:
        """The sites it is projected out of, in a model with so many layers."""
        chosen = range(layers) if self.layers is None else self.layers
        sites = tuple(Site(layer, kind) for layer in chosen for kind in _WRITTEN[self.where])
        if self.where == "stream" and self.layers is None:
            return (*sites, Site(layers - 1, "resid_post"))
        return sites


@dataclass(frozen=True)
class Add(_Held):
    """Adds a direction, times a scale, to the stream that enters a layer; by default in answers too."""

    direction: Direction
    layer: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "direction", "layer", "scale")
        _check_layers(self.layer)


_NO_END = (
    "during='answer' continues from the prompt's last token, and these positions do not include it; give at='all', "
    "'post' or 'later', or sites at position -1"
)


def _reaches_the_end(at: At) -> bool:
    return at in _TO_THE_END if isinstance(at, str) else -1 in at


def _without_origin(members: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in members if name not in ("found_on", "sought_on")}


def _order(site: Site) -> tuple[int, str, int]:
    return site.layer, site.kind, -1 if site.index is None else site.index


def _check_layers(*layers: int) -> None:
    if layers and min(layers) < 0:
        raise AssayError(f"there is no layer {min(layers)}: layers count from 0, the first")


def _indices(site: Site, count: int) -> Iterable[int]:
    return range(count) if site.index is None else (site.index,)


@checked
def patch(
    what: Circuit | Iterable[Site] = (), at: At = "all", *, keep: Direction | None = None, during: During | None = None
) -> Patch:
    """Patches a circuit, or sites, from the twin's run: noise on harmful prompts, denoise on harmless ones.

    `patch(keep=direction)` patches the whole stream that enters the direction's layer, except along the direction. In
    the prompt only, unless `during="answer"`: the answer's tokens then get the twin's last activations.
    """
    sites = what.sites if isinstance(what, Circuit) else tuple(what)
    if keep and sites:
        raise AssayError("patch: give what is patched, or `keep` for all but a direction, and not both")
    return Patch((Site(keep.layer, "resid_pre"),) if keep else sites, at, keep=keep, during=during)


@checked
def ablate(
    circuit: Circuit,
    to: Literal["resample", "mean", "zero"] = "resample",
    *,
    over: Iterable[str] = (),
    at: At = "all",
    during: During | None = None,
) -> Intervention:
    """Replaces a circuit's activations: with the twin's (`"resample"`), their mean over prompts, or zero.

    By default in the prompt only; means and zeros at all positions hold in the answer too. `during` overrides this.
    """
    prompts = tuple(over)
    if (to == "mean") != bool(prompts):
        raise AssayError("ablate: give `over`, the prompts to take the mean of, with 'mean' and only with 'mean'")
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
    """Projects a direction out: to its mean over the prompts `to_mean_of` if they are given, else to zero.

    In the answer too, unless `during="prompt"`.
    """
    return Remove(direction, where, tuple(to_mean_of), None if layers is None else tuple(layers), during=during)


@checked
def add(direction: Direction, layer: int | None = None, scale: float = 1.0, *, during: During | None = None) -> Add:
    """Adds a direction, by default at the layer where it was found; in the answer too, unless `during="prompt"`."""
    return Add(direction, direction.layer if layer is None else layer, scale, during=during)
