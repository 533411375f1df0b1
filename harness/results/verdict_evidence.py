"""The evidence that one verdict read, prepared for figures: effects as shares, circuits by part, directions by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from harness.inputs.judges.outcomes import READINGS, Outcomes, outcomes, together
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.prompts.pairs import SIDES
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet, twins
from harness.inputs.sites import INDEXED, SITE_KINDS, Kind
from harness.judging import means
from harness.judging.proportions import Interval
from harness.measurements import questions
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import unpacked
from harness.measurements.evidence import Evidence
from harness.measurements.interventions import Direction
from harness.subjects.circuits import sites_in
from harness.subjects.quantities.refusals import RANDOM

# The largest subspace, in directions, that is recognised by its fingerprint.
RANKS = 10
_WHERE = {"stream": " from the stream", "attention": " from attention", "mlp": " from MLPs"}


@dataclass(frozen=True)
class KnownDirection:
    """A found direction or subspace, or a random one of the same rank; as text: `direction`, `3 random directions`."""

    rank: int = 1
    random: bool = False

    def __str__(self) -> str:
        number = "" if self.rank == 1 else f"{self.rank} "
        return f"{number}{'random ' if self.random else ''}direction{'s' if number else ''}"


# Cached, since every claim on a model asks for the same sets, and fingerprints of thousands of pairs are slow.
@lru_cache(maxsize=16)
def _judged_sets(pairs: PromptSet) -> dict[str, tuple[str, PromptSet]]:
    sets: dict[str, tuple[str, PromptSet]] = {}
    for words, whole in ((f"held-out {pairs.unit}", pairs.heldout), (pairs.unit, pairs)):
        sets.setdefault(whole.fingerprint, (words, whole))
        for name in whole.categories:
            part = whole.category(name)
            sets.setdefault(part.fingerprint, (f"{words} of “{name}”", part))
    return sets


@dataclass(frozen=True)
class Material:
    """The evidence that one claim's verdict on one model read, with the model's prompts and the claim's error level."""

    evidence: Sequence[Evidence]
    pairs: PromptSet
    level: float

    @cached_property
    def judged_sets(self) -> dict[str, tuple[str, PromptSet]]:
        """Fingerprint → name and prompts of every set that can be judged on: held-out first, then all, by category."""
        return _judged_sets(self.pairs)

    def kind(self, kind: str) -> list[Evidence]:
        """The evidence of a kind of measurement on `judged_sets`, in their order."""
        order = list(self.judged_sets)
        on_judged_sets = [
            evidence
            for evidence in self.evidence
            if evidence.recipe.kind == kind and prompts_fingerprint(evidence) in self.judged_sets
        ]
        return sorted(on_judged_sets, key=lambda evidence: order.index(prompts_fingerprint(evidence)))

    def prompts_of(self, evidence: Evidence) -> PromptSet:
        """The prompts that evidence was measured on."""
        return self.judged_sets[prompts_fingerprint(evidence)][1]

    def prompts_in_words(self, *measured: Evidence) -> str:
        """The number and name of the prompts that evidence was measured on; give both sides of a measurement."""
        phrases = []
        for evidence in measured:
            name, prompts = self.judged_sets[prompts_fingerprint(evidence)]
            if isinstance(prompts, PromptLists) and (side := evidence.recipe.of.get("side")) in SIDES:
                phrases.append(f"{len(getattr(prompts, side))} {side} {name}")
            else:
                phrases.append(f"{len(evidence.values.get('pairs', prompts))} {name}")
        return " and ".join(dict.fromkeys(phrases))

    @property
    def intervals(self) -> str:
        """The intervals in words, such as `99% intervals`."""
        return f"{100 * (1 - 2 * self.level):g}% intervals"

    @cached_property
    def swept(self) -> list["Swept"]:
        """The sweeps on `judged_sets` whose effects can be shown as shares."""
        sweeps = (Swept(self, evidence) for evidence in self.kind(questions.Swept.KIND))
        return [sweep for sweep in sweeps if sweep.has_shares and not sweep.description.get("outside")]

    @cached_property
    def circuits(self) -> dict[str, dict[str, float | None]]:
        """Fingerprint of prompts → parts of the circuit found on them, with their own effects (None: not recorded)."""
        circuits: dict[str, dict[str, float | None]] = {}
        for evidence in self.evidence:
            if evidence.recipe.kind == questions.GrownCircuit.KIND:
                grown = sites_in(evidence.values["blocks"], frozenset())
                circuits.setdefault(prompts_fingerprint(evidence), {}).update({str(site): None for site in grown})
            if evidence.recipe.kind != questions.FoundCircuit.KIND:
                continue
            parts = circuits.setdefault(prompts_fingerprint(evidence), {})
            for kind in INDEXED:
                places = evidence.values[SITE_KINDS[kind].plural]
                effects = evidence.values.get("effects", {}).get(SITE_KINDS[kind].plural) or [None] * len(places)
                parts |= {
                    f"{layer}.{kind}.{number}": effect for (layer, number), effect in zip(places, effects, strict=True)
                }
        return circuits

    @cached_property
    def directions(self) -> dict[str, KnownDirection]:
        """Fingerprint → direction, for the found directions that interventions used and random ones in their place."""
        known: dict[str, KnownDirection] = {}
        used = {key for evidence in self.evidence for key in _directions_in(evidence.recipe.of.get("under"))}
        sets = {prompts.fingerprint: prompts for prompts in (self.pairs, self.pairs.discovery)}
        for evidence in self.evidence:
            if evidence.recipe.kind != questions.FoundDirection.KIND or evidence.values["layer"] is None:
                continue
            layer, position = evidence.values["layer"], evidence.values["position"]
            prompts = tuple(evidence.values["harmful"]), tuple(evidence.values["harmless"])
            candidates = [Direction("difference", layer, position, *prompts)]
            if (pairs := sets.get(prompts_fingerprint(evidence))) is not None:
                ranks, sides = range(1, RANKS + 1), (pairs.harmful, pairs.harmless)
                candidates += [Direction("principal", layer, position, *sides, rank=rank) for rank in ranks]
            # Fingerprints of directions are slow: stop once every used one is known.
            for direction in (candidate for candidate in candidates if not used <= known.keys()):
                if direction.fingerprint in used:
                    known[direction.fingerprint] = KnownDirection(direction.rank)
                    random = (direction.random(seed) for seed in range(RANDOM))
                    known |= {other.fingerprint: KnownDirection(direction.rank, random=True) for other in random}
        return known

    def direction(self, under: Mapping[str, Any] | None) -> KnownDirection | None:
        """The direction that an intervention removes or adds; None if it uses none or one of unknown origin."""
        return self.directions.get((under or {}).get("direction", {}).get("direction", ""))

    def intervention_in_words(self, under: Mapping[str, Any] | None) -> str:
        """An intervention in a few words, with its direction."""
        return intervention_in_words(under, self.direction(under))


@dataclass(frozen=True)
class Swept:
    """The effects of one sweep, as shares of the gap between prompts and twins."""

    material: Material
    evidence: Evidence

    @cached_property
    def effects(self) -> Effects:
        """The effects as measured, in log-odds."""
        return unpacked(self.evidence)

    @property
    def has_shares(self) -> bool:
        """Whether shares can be shown: there are pairs, a gap between prompts and twins, and a finite number."""
        effects = self.effects
        return bool(effects.pairs) and not effects.no_gap and bool(np.isfinite(effects.patched).any())

    @property
    def description(self) -> Mapping[str, Any]:
        """What was patched, as the recipe describes it."""
        return dict(self.evidence.recipe.of["what"])

    @property
    def mode(self) -> str:
        """`noise`: harmful prompts patched from harmless twins; `denoise`: the reverse."""
        return str(self.evidence.recipe.of["mode"])

    @property
    def side(self) -> str:
        """The side of the prompts that were patched."""
        return "harmful" if self.mode == "noise" else "harmless"

    @property
    def by_openings(self) -> bool:
        """Whether refusals are told by openings of several tokens, and not by the first token."""
        return by_openings(self.evidence)

    @property
    def verb(self) -> str:
        """How captions call a component's effect: it `takes away` refusal, or `brings` it."""
        return "takes away" if self.mode == "noise" else "brings"

    @property
    def comparison_key(self) -> tuple[str, ...]:
        """Equal for sweeps whose shares can be compared: the same prompts, mode, positions and path."""
        described = self.description
        return prompts_fingerprint(self.evidence), self.mode, str(described.get("at")), str(described.get("direct"))

    @property
    def pairs_in_words(self) -> str:
        """The number and name of the pairs."""
        return self.material.prompts_in_words(self.evidence)

    @property
    def circuits(self) -> list[tuple[str, ...]]:
        """The sites of each circuit that was patched as a whole; empty for a sweep of single sites."""
        return [tuple(circuit["circuit"]) for circuit in self.description.get("circuits", ())]

    @property
    def axis_names(self) -> list[str] | None:
        """The axes with more than one place, such as layer and head; None for circuits, which have no axis."""
        return None if self.circuits else [name for name, labels in self.effects.axes.items() if len(labels) > 1]

    @property
    def variant_names(self) -> list[str]:
        """A name for each variant, in the order of `change`."""
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
        """Each twin's log-odds minus its prompt's, with the sign that makes the mean positive."""
        return self.effects.gap

    @cached_property
    def change(self) -> Float[np.ndarray, "pair variant"]:
        """The change by patching, in log-odds, positive towards the twin."""
        return self.effects.towards_twin.reshape(len(self.effects.pairs), -1).astype(float)

    @cached_property
    def mean(self) -> Float[np.ndarray, "..."]:
        """The share of each variant over all pairs; NaN where no pair has the variant."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.effects.mean

    def share(self, change: Float[np.ndarray, " pair"]) -> Interval:
        """A change as a share of the gap, with its interval; NaN where the gap is not positive."""
        finite = np.isfinite(change)
        if not finite.any() or self.gap[finite].sum() <= 0:
            return Interval(np.nan, np.nan, np.nan, 0, "nothing to take a share of")
        return means.ratio_of_means(change[finite], self.gap[finite], self.material.level, self.clusters[finite])


@dataclass(frozen=True)
class Arm:
    """The answers of one arm to the prompts of one side: one to each, or several, each sample in its own evidence."""

    samples: tuple[Evidence, ...]

    @property
    def of(self) -> Mapping[str, Any]:
        """What was asked, the same in all samples but for their number."""
        return self.samples[0].recipe.of

    @property
    def refused(self) -> Bool[np.ndarray, "*sample prompt"]:
        """Which answers refuse, by the phrases."""
        return together([np.array(sample.values[PHRASES]) > 0 for sample in self.samples])

    @property
    def outcomes(self) -> Outcomes | None:
        """Which answers refuse, answer, or are broken; None where too little of them was kept."""
        if not all(set(READINGS) <= set(sample.values) for sample in self.samples):
            return None
        rows = zip(np.atleast_2d(self.refused), self.samples, strict=True)
        return Outcomes.together([outcomes(refused, sample.values) for refused, sample in rows])


def by_openings(evidence: Evidence) -> bool:
    """Whether this evidence tells refusals by openings of several tokens, and not by the first token."""
    return evidence.recipe.of.get("openings") is not None


def arms_of(answers: Iterable[Evidence]) -> list[Arm]:
    """Evidence of answers, with all samples of an arm together; arms in the order of their first evidence."""
    samples: dict[str, list[Evidence]] = {}
    for answered in answers:
        drawn = answered.recipe.of.get("sample")
        of = answered.recipe.of if drawn is None else {**answered.recipe.of, "sample": drawn["temperature"]}
        samples.setdefault(str(of), []).append(answered)
    return [Arm(tuple(sorted(own, key=_number_of_sample))) for own in samples.values()]


def _number_of_sample(answered: Evidence) -> int:
    return int((answered.recipe.of.get("sample") or {"number": 0})["number"])


def intervention_in_words(under: Mapping[str, Any] | None, direction: KnownDirection | None = None) -> str:
    """An intervention in a few words; a direction that is not given is called `direction`."""
    if under is None:
        return "as it is"
    during = {"prompt": ", in the prompt alone", "answer": ", in the answer too"}.get(under.get("during", ""), "")
    match under["a"]:
        case "Remove":
            return f"{direction or 'direction'} removed{_WHERE.get(str(under.get('where')), '')}{during}"
        case "Add":
            added = {1: "added", -1: "subtracted"}.get(under["scale"], f"added {under['scale']:g} times")
            return f"{direction or 'direction'} {added}{during}"
        case "Patch":
            patched = f"all but {direction or 'direction'}" if under.get("keep") else _components(len(under["sites"]))
            return f"{patched} from the twin{during}"
        case "Ablate":
            to = "their mean" if under["to"] == "mean" else "0"
            return f"{_components(len(under['circuit']['circuit']))} to {to}{during}"
        case "Together":
            return " and ".join(map(intervention_in_words, under["all"])) or "nothing done"
    return str(under["a"]).lower()


def _components(number: int) -> str:
    return f"{number} component{'' if number == 1 else 's'}"


def _directions_in(under: Mapping[str, Any] | None) -> list[str]:
    """The fingerprint of the direction that an intervention uses, if it uses one."""
    described = (under or {}).get("direction") or (under or {}).get("keep")
    return [] if described is None else [described["direction"]]


def prompts_fingerprint(evidence: Evidence) -> str:
    """The fingerprint of the prompts that evidence was measured on; empty if it names none."""
    pairs = evidence.recipe.of.get("pairs")
    return str(pairs.get("pairs", "")) if isinstance(pairs, Mapping) else ""


def layer_of(site: str) -> int:
    """The layer of a site in a circuit's description, such as `3.head.1`."""
    return int(site.partition(".")[0])


def kind_of(site: str) -> Kind:
    """The kind of a site in a circuit's description: head, neuron, attn_out or mlp_out."""
    kind = site.split(".")[1]
    return next(known for known in SITE_KINDS if known == kind)


def place_of(site: str) -> tuple[int, int]:
    """The layer of a head or neuron, and its number there."""
    return layer_of(site), int(site.rpartition(".")[2])
