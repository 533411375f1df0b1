"""Controls beside every intervention: the same quantity under random circuits or directions, and a dose curve."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.sites import INDEXED, SITE_KINDS, At, Site
from harness.judging import means
from harness.judging.estimate import Estimate
from harness.judging.ranges import BOTH_WAYS
from harness.measurements.interventions import Ablate, Add, Circuit, Intervention, Patch, Remove
from harness.measurements.questions import Encoding, Measurement, PromptSide, Swept
from harness.measurements.sweep_plan import Joint, Mode
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.refusals import RANDOM, estimated, moved, random_arms, unmeasured


@dataclass(frozen=True)
class Controls:
    """Controls of one intervention; there are none if it holds neither a circuit nor a direction."""

    subject: MeasuredSubject
    pairs: PromptSet
    side: PromptSide
    under: Intervention

    def random(self) -> tuple[Estimate, ...]:
        """The mean fall of refusal (rise on harmless prompts) under random circuits or directions instead."""
        match self.under:
            case Remove() | Add():
                return (self._directions(self.under),)
            case _ if (circuit_at := _circuit_of(self.under)) is not None:
                return (self._circuits(*circuit_at),)
        return ()

    def dose(self) -> Iterator[Measurement]:
        """Sweeps of growing parts of the circuit, for figures."""
        if (circuit_at := _circuit_of(self.under)) is None or not self.subject.score_serves:
            return
        circuit, at = circuit_at
        if self._comparable(at):
            yield from dose(self.subject, circuit, at, twins(self.pairs), self._mode)

    def _directions(self, under: Remove | Add) -> Estimate:
        rank = under.direction.rank
        name = f"{self._word}, random directions" + (f" of rank {rank}" if rank > 1 else "")
        if not under.direction.harmful:
            return unmeasured(name, "not measured: the prompts on which the direction was found are not known")
        if not self.subject.score_serves:
            return unmeasured(name, _NO_SCORE)
        arms = (None, *random_arms(under))
        with self.subject.reading() as read:
            hits = [self.subject.scored(self.pairs, self.side, arm) for arm in arms]
        before, after = np.array(hits[0], dtype=float), np.array(hits[1:], dtype=float).mean(0)
        return self._estimated(
            name,
            moved(self.side, before, after),
            self.pairs.clusters_of(self.side),
            f"by the first token, mean of {RANDOM} random directions",
            read,
        )

    def _circuits(self, circuit: Circuit, at: At) -> Estimate:
        name = f"{self._word}, random circuits"
        if not circuit.indexed:
            return unmeasured(name, "not measured: a layer has no other attention or MLP to put in its place")
        if not self.subject.score_serves:
            return unmeasured(name, _NO_SCORE)
        if not self._comparable(at):
            return unmeasured(name, "not measured: no pair is aligned, so nothing there has a counterpart in its twin")
        effects = self.subject.effects(twins(self.pairs), beside_random(circuit, self.subject, at), self._mode)
        before, after = effects.clean > 0, (effects.patched[:, 1:] > 0).mean(1)
        # Random circuits are patched from the twin for ablations too: one sweep then covers them all.
        by = f"by the first token, mean of {RANDOM} random circuits taken from the twin"
        values, clusters = moved(self.side, before, after), self.subject.clusters(effects.pairs)
        return self._estimated(name, values, clusters, by, effects.evidence)

    def _estimated(
        self, name: str, values: np.ndarray, clusters: Sequence[str] | np.ndarray, by: str, evidence: Iterable[str]
    ) -> Estimate:
        interval = means.mean(values, self.subject.level, clusters, BOTH_WAYS)
        estimate = estimated(name, interval, evidence, unit=self.pairs.unit, reach=BOTH_WAYS)
        return replace(estimate, method=f"{by}, {estimate.method}")

    def _comparable(self, at: At) -> bool:
        return at == "post" or any(self.subject.ask(Encoding(twins(self.pairs))).values["aligned"])

    @property
    def _word(self) -> str:
        return "fall" if self.side == "harmful" else "rise"

    @property
    def _mode(self) -> Mode:
        return "noise" if self.side == "harmful" else "denoise"


def beside_random(circuit: Circuit, subject: MeasuredSubject, at: At) -> Joint:
    """A sweep of a circuit and of disjoint random ones, each patched separately."""
    return Joint((circuit, *(circuit.random(subject.sizes, seed) for seed in range(RANDOM))), at)


def loudest(circuit: Circuit, norms: Mapping[str, np.ndarray], found_on: frozenset[str]) -> Circuit:
    """The heads and neurons with the largest output norms outside a circuit, as many of each as it has."""
    sites: list[Site] = []
    for kind in INDEXED:
        wanted = sum(site.kind == kind for site in circuit.sites)
        ranked = (
            np.unravel_index(place, norms[kind].shape) for place in np.argsort(-norms[kind].ravel(), kind="stable")
        )
        candidates = (Site(int(layer), kind, int(index), found_on=found_on) for layer, index in ranked)
        sites += islice((site for site in candidates if site not in circuit.sites), wanted)
    return Circuit(tuple(sites))


def dose(subject: MeasuredSubject, circuit: Circuit, at: At, pairs: PairSet, mode: Mode) -> Iterator[Measurement]:
    """Sweeps of a found circuit's growing parts, sites with the largest effect first; the last is the whole."""
    if ranked := subject.ranked(circuit):
        yield Swept(pairs, Joint(tuple(Circuit(ranked[:size]) for size in sizes(len(ranked))), at), mode)


def sizes(whole: int) -> Iterator[int]:
    """Fibonacci numbers 1, 2, 3, 5, 8 … below `whole`, then `whole`."""
    size, following = 1, 2
    while size < whole:
        yield size
        size, following = following, size + following
    yield whole


def _circuit_of(under: Intervention) -> tuple[Circuit, At] | None:
    match under:
        case Patch(sites, at) if all(_is_part(site) for site in sites):
            return Circuit(sites), at
        case Ablate(circuit, _, _, at):
            return circuit, at
    return None


def _is_part(site: Site) -> bool:
    return site.position is None and SITE_KINDS[site.kind].in_circuits


_NO_SCORE = "not measured: the first token's score does not tell generated refusals from answers"
