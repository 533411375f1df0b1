"""Controls beside every intervention: the same quantity under random circuits or directions, and a dose curve."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.sites import At, Kind, Site
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
    """Of one arm; where it holds nothing that was found, there are none."""

    subject: MeasuredSubject
    pairs: PromptSet
    side: PromptSide
    under: Intervention

    def random(self) -> tuple[Estimate, ...]:
        """Mean fall of refusal, or rise where prompts are harmless, under random circuits or directions instead."""
        match self.under:
            case Remove() | Add():
                return (self._directions(self.under),)
            case _ if (found := _circuit_of(self.under)) is not None:
                return (self._circuits(*found),)
        return ()

    def dose(self) -> Iterator[Measurement]:
        """Growing parts of the circuit, for figures."""
        if (found := _circuit_of(self.under)) is not None and self.subject.score_serves and self._comparable(found[1]):
            yield from dose(self.subject, *found, twins(self.pairs), self._mode)

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
        if not circuit.parted:
            return unmeasured(name, "not measured: a layer has no other attention or MLP to put in its place")
        if not self.subject.score_serves:
            return unmeasured(name, _NO_SCORE)
        if not self._comparable(at):
            return unmeasured(name, "not measured: no pair is aligned, so nothing there has a counterpart in its twin")
        found = self.subject.effects(twins(self.pairs), beside_random(circuit, self.subject, at), self._mode)
        before, after = found.clean > 0, (found.patched[:, 1:] > 0).mean(1)
        # Taken from the twin, for an ablation too: one sweep holds them all.
        by = f"by the first token, mean of {RANDOM} random circuits taken from the twin"
        values, clusters = moved(self.side, before, after), self.subject.clusters(found.pairs)
        return self._estimated(name, values, clusters, by, found.evidence)

    def _estimated(
        self, name: str, values: np.ndarray, clusters: Sequence[str] | np.ndarray, by: str, evidence: Iterable[str]
    ) -> Estimate:
        interval = means.mean(values, self.subject.level, clusters, BOTH_WAYS)
        found = estimated(name, interval, evidence, unit=self.pairs.unit, reach=BOTH_WAYS)
        return replace(found, method=f"{by}, {found.method}")

    def _comparable(self, at: At) -> bool:
        return at == "post" or any(self.subject.ask(Encoding(twins(self.pairs))).values["aligned"])

    @property
    def _word(self) -> str:
        return "fall" if self.side == "harmful" else "rise"

    @property
    def _mode(self) -> Mode:
        return "noise" if self.side == "harmful" else "denoise"


def beside_random(circuit: Circuit, subject: MeasuredSubject, at: At) -> Joint:
    """A circuit, and random ones that share nothing with it, each by itself."""
    return Joint((circuit, *(circuit.random(subject.sizes, seed) for seed in range(RANDOM))), at)


def loudest(circuit: Circuit, norms: Mapping[str, np.ndarray], found_on: frozenset[str]) -> Circuit:
    """As many heads and neurons as a circuit has, all others than its own: those of the largest norms."""
    sites: list[Site] = []
    kinds: tuple[Kind, ...] = ("head", "neuron")
    for kind in kinds:
        wanted = sum(site.kind == kind for site in circuit.sites)
        ranked = (np.unravel_index(at, norms[kind].shape) for at in np.argsort(-norms[kind].ravel(), kind="stable"))
        others = (Site(int(layer), kind, int(index), found_on=found_on) for layer, index in ranked)
        sites += islice((site for site in others if site not in circuit.sites), wanted)
    return Circuit(tuple(sites))


def dose(subject: MeasuredSubject, circuit: Circuit, at: At, pairs: PairSet, mode: Mode) -> Iterator[Measurement]:
    """Parts of a circuit that was found, growing by what each carries by itself; the last one is the whole."""
    if ranked := subject.ranked(circuit):
        yield Swept(pairs, Joint(tuple(Circuit(ranked[:size]) for size in sizes(len(ranked))), at), mode)


def sizes(whole: int) -> Iterator[int]:
    """1, 2, 3, 5, 8, 13 and so on, up to the whole."""
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
    return site.position is None and not site.kind.startswith("resid")


_NO_SCORE = "not measured: the first token's score does not tell generated refusals from answers"
