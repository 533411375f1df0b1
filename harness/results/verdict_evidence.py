"""What a verdict read, as figures want it: effects as shares of the gap, circuits and directions by what they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.inputs.prompts.pairs import SIDES
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet, twins
from harness.inputs.sites import INDEXED, SITE_KINDS, Kind
from harness.judging import means
from harness.judging.proportions import Interval
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import unpacked
from harness.measurements.evidence import Evidence
from harness.measurements.interventions import Direction
from harness.subjects.quantities.refusals import RANDOM

# Subspaces of up to so many directions are known when they are seen.
RANKS = 10
_WHERE = {"stream": " from the stream", "attention": " from attention", "mlp": " from MLPs"}


@dataclass(frozen=True)
class Known:
    """A direction, or so many, that was found; or random ones in its place."""

    rank: int = 1
    random: bool = False

    def __str__(self) -> str:
        many = "" if self.rank == 1 else f"{self.rank} "
        return f"{many}{'random ' if self.random else ''}direction{'s' if many else ''}"


@lru_cache(maxsize=16)
def _judged(pairs: PromptSet) -> dict[str, tuple[str, PromptSet]]:
    """Kept, for every claim on a model asks for it anew, and fingerprints of thousands of pairs take their time."""
    found: dict[str, tuple[str, PromptSet]] = {}
    for words, whole in ((f"held-out {pairs.unit}", pairs.heldout), (pairs.unit, pairs)):
        found.setdefault(whole.fingerprint, (words, whole))
        for name in whole.categories:
            part = whole.category(name)
            found.setdefault(part.fingerprint, (f"{words} of “{name}”", part))
    return found


@dataclass(frozen=True)
class Material:
    """What one claim's verdict on one model read."""

    evidence: Sequence[Evidence]
    pairs: PromptSet
    level: float

    @cached_property
    def judged(self) -> dict[str, tuple[str, PromptSet]]:
        """Fingerprint → words and pairs of every set that may judge, the held-out one first."""
        return _judged(self.pairs)

    def kind(self, kind: str) -> list[Evidence]:
        """Evidence of a kind on the sets that judge."""
        order = list(self.judged)
        found = [one for one in self.evidence if one.recipe.kind == kind and asked_of(one) in self.judged]
        return sorted(found, key=lambda one: order.index(asked_of(one)))

    def of(self, one: Evidence) -> PromptSet:
        """The pairs on which it was measured."""
        return self.judged[asked_of(one)][1]

    def on(self, *some: Evidence) -> str:
        """The same in words, of one measurement, or of the same one of each side."""
        said = []
        for one in some:
            words, prompts = self.judged[asked_of(one)]
            if isinstance(prompts, PromptLists) and (side := one.recipe.of.get("side")) in SIDES:
                said.append(f"{len(getattr(prompts, side))} {side} {words}")
            else:
                said.append(f"{len(one.values.get('pairs', prompts))} {words}")
        return " and ".join(dict.fromkeys(said))

    @property
    def intervals(self) -> str:
        """How sure they are, in words."""
        return f"{100 * (1 - 2 * self.level):g}% intervals"

    @cached_property
    def swept(self) -> list["Swept"]:
        """Measured effects, where there is any gap to take shares of."""
        return [one for found in self.kind("swept") if (one := Swept(self, found)).there]

    @cached_property
    def found(self) -> dict[str, dict[str, float | None]]:
        """Pairs' fingerprint → the parts of the circuit found on them, and what each carries where that was kept."""
        found: dict[str, dict[str, float | None]] = {}
        for one in self.evidence:
            if one.recipe.kind != "circuit":
                continue
            into = found.setdefault(asked_of(one), {})
            for kind in INDEXED:
                places = one.values[SITE_KINDS[kind].plural]
                carried = one.values.get("effects", {}).get(SITE_KINDS[kind].plural) or [None] * len(places)
                into |= {f"{at}.{kind}.{no}": each for (at, no), each in zip(places, carried, strict=True)}
        return found

    @cached_property
    def directions(self) -> dict[str, Known]:
        """Fingerprint → what that is, of the directions found here and the random ones beside them."""
        known: dict[str, Known] = {}
        named = {fingerprint for one in self.evidence for fingerprint in _named_in(one.recipe.of.get("under"))}
        sets = {one.fingerprint: one for one in (self.pairs, self.pairs.discovery)}
        for one in self.evidence:
            if one.recipe.kind != "direction" or one.values["layer"] is None:
                continue
            layer, position = one.values["layer"], one.values["position"]
            some = [
                Direction("difference", layer, position, tuple(one.values["harmful"]), tuple(one.values["harmless"]))
            ]
            if (pairs := sets.get(asked_of(one))) is not None:
                ranks, sides = range(1, RANKS + 1), (pairs.harmful, pairs.harmless)
                some += [Direction("principal", layer, position, *sides, rank=rank) for rank in ranks]
            # Fingerprints take their time, so that none is made in vain.
            for direction in (direction for direction in some if not named <= known.keys()):
                if direction.fingerprint in named:
                    known[direction.fingerprint] = Known(direction.rank)
                    random = (direction.random(seed) for seed in range(RANDOM))
                    known |= {other.fingerprint: Known(direction.rank, random=True) for other in random}
        return known

    def direction(self, under: Mapping[str, Any] | None) -> Known | None:
        """The direction that an intervention is about, if it is known."""
        return self.directions.get((under or {}).get("direction", {}).get("direction", ""))

    def done(self, under: Mapping[str, Any] | None) -> str:
        """What was done, in a few words."""
        return named(under, self.direction(under))


@dataclass(frozen=True)
class Swept:
    """Effects with what was asked: all as shares of the gap between prompts and twins."""

    material: Material
    evidence: Evidence

    @cached_property
    def effects(self) -> Effects:
        """As they were measured."""
        return unpacked(self.evidence)

    @property
    def there(self) -> bool:
        """Whether there is anything to take shares of, and any number at all."""
        own = self.effects
        return bool(own.pairs) and not own.no_gap and bool(np.isfinite(own.patched).any())

    @property
    def what(self) -> Mapping[str, Any]:
        """The sweep, as its recipe describes it."""
        return dict(self.evidence.recipe.of["what"])

    @property
    def mode(self) -> str:
        """Whether it breaks harmful runs, or makes harmless ones refuse."""
        return str(self.evidence.recipe.of["mode"])

    @property
    def side(self) -> str:
        """The prompts that were patched."""
        return "harmful" if self.mode == "noise" else "harmless"

    @property
    def does(self) -> str:
        """What a component does when it comes from the twin."""
        return "takes away" if self.mode == "noise" else "brings"

    @property
    def same(self) -> tuple[str, ...]:
        """Sweeps that are alike in this can be put side by side."""
        return asked_of(self.evidence), self.mode, str(self.what.get("at")), str(self.what.get("direct"))

    @property
    def on(self) -> str:
        """The pairs, in words."""
        return self.material.on(self.evidence)

    @property
    def circuits(self) -> list[tuple[str, ...]]:
        """The sites of each circuit that was patched jointly."""
        return [tuple(one["circuit"]) for one in self.what.get("circuits", ())]

    @property
    def along(self) -> list[str] | None:
        """The axes along which it has more than one place; none of circuits, which have no axis in the model."""
        return None if self.circuits else [name for name, labels in self.effects.axes.items() if len(labels) > 1]

    @property
    def names(self) -> list[str]:
        """Its variants in words, in the order of `change`."""
        axes = [(name, labels) for name, labels in self.effects.axes.items() if len(labels) > 1]
        places = np.ndindex(*(len(labels) for _, labels in axes))
        if [name for name, _ in axes] in (["layer", kind] for kind in INDEXED):
            return [f"{axes[1][0]} {axes[0][1][a]}.{axes[1][1][b]}" for a, b in places]
        return [
            ", ".join(f"{name} {labels[at]}" for (name, labels), at in zip(axes, place, strict=True))
            for place in places
        ]

    @cached_property
    def clusters(self) -> np.ndarray:
        """The cluster of each pair."""
        cluster_of = twins(self.material.pairs).cluster_of
        return np.array([cluster_of[name] for name in self.effects.pairs])

    @cached_property
    def gap(self) -> Float[np.ndarray, " pair"]:
        """From prompt to twin, positive on the whole."""
        return self.effects.gap

    @cached_property
    def change(self) -> Float[np.ndarray, "pair variant"]:
        """Towards the twin, variant by variant."""
        return self.effects.towards_twin.reshape(len(self.effects.pairs), -1).astype(float)

    @cached_property
    def mean(self) -> Float[np.ndarray, "..."]:
        """The share of each variant; NaN where no pair has it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.effects.mean

    def share(self, change: Float[np.ndarray, " pair"]) -> Interval:
        """A change as a share of the gap, with its interval."""
        there = np.isfinite(change)
        if not there.any() or self.gap[there].sum() <= 0:
            return Interval(np.nan, np.nan, np.nan, 0, "nothing to take a share of")
        return means.ratio_of_means(change[there], self.gap[there], self.material.level, self.clusters[there])


def named(under: Mapping[str, Any] | None, direction: Known | None = None) -> str:
    """What was done, in a few words; of a direction that is not known, just that it was one."""
    if under is None:
        return "as it is"
    during = {"prompt": ", in the prompt alone", "answer": ", in the answer too"}.get(under.get("during", ""), "")
    match under["a"]:
        case "Remove":
            return f"{direction or 'direction'} removed{_WHERE.get(str(under.get('where')), '')}{during}"
        case "Add":
            done = {1: "added", -1: "subtracted"}.get(under["scale"], f"added {under['scale']:g} times")
            return f"{direction or 'direction'} {done}{during}"
        case "Patch":
            return f"{_components(len(under['sites']))} from the twin{during}"
        case "Ablate":
            to = "their mean" if under["to"] == "mean" else "0"
            return f"{_components(len(under['circuit']['circuit']))} to {to}{during}"
        case "Together":
            return " and ".join(map(named, under["all"])) or "nothing done"
    return str(under["a"]).lower()


def _components(many: int) -> str:
    return f"{many} component{'' if many == 1 else 's'}"


def _named_in(under: Mapping[str, Any] | None) -> list[str]:
    """The directions that an intervention is about."""
    found = (under or {}).get("direction")
    return [] if found is None else [found["direction"]]


def asked_of(one: Evidence) -> str:
    """The fingerprint of the pairs it was measured on."""
    pairs = one.recipe.of.get("pairs")
    return str(pairs.get("pairs", "")) if isinstance(pairs, Mapping) else ""


def layer_of(site: str) -> int:
    """Of a site as circuits are described by."""
    return int(site.partition(".")[0])


def kind_of(site: str) -> Kind:
    """The kind of a site in a circuit's description: head, neuron, attn_out or mlp_out."""
    kind = site.split(".")[1]
    return next(known for known in SITE_KINDS if known == kind)


def place_of(site: str) -> tuple[int, int]:
    """Layer and number of a head or neuron."""
    return layer_of(site), int(site.rpartition(".")[2])
