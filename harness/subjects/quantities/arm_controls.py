"""Controls beside every intervention: the same quantity under random circuits or directions, and a dose curve."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from harness.inputs.judges.phrases import PHRASES
from harness.inputs.judges.registry import judged_by
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.sites import INDEXED, SITE_KINDS, At, Site
from harness.judging import answer_shares
from harness.judging.estimate import Estimate
from harness.judging.ranges import BOTH_WAYS
from harness.measurements.interventions import Ablate, Add, Circuit, Intervention, Patch, Remove
from harness.measurements.questions import Encoding, Measurement, PromptSide, Swept
from harness.measurements.sweep_plan import Joint, Mode
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.refusals import RANDOM, estimated, random_arms, unmeasured


@dataclass(frozen=True)
class Controls:
    """Controls of one intervention; there are none if it holds neither a circuit nor a direction."""

    subject: MeasuredSubject
    pairs: PromptSet
    side: PromptSide
    under: Intervention

    def random(self) -> tuple[Estimate, ...]:
        """The fall of refusals (rise on harmless prompts) under random circuits or directions in their place."""
        match self.under:
            case Remove() | Add():
                return (self._directions(self.under),)
            case _ if (circuit_at := _circuit_of(self.under)) is not None:
                return (self._circuits(*circuit_at),)
        return ()

    def dose(self) -> Iterator[Measurement]:
        """Sweeps of growing parts of the circuit, for figures."""
        if (circuit_at := _circuit_of(self.under)) is not None and self._comparable(circuit_at[1]):
            yield from dose(self.subject, *circuit_at, twins(self.pairs), self._mode)

    def _directions(self, under: Remove | Add) -> Estimate:
        rank = under.direction.rank
        name = f"{self._word}, random directions" + (f" of rank {rank}" if rank > 1 else "")
        if not under.direction.harmful:
            return unmeasured(name, "not measured: the prompts on which the direction was found are not known")
        return self._estimated(name, self.pairs, random_arms(under), f"{RANDOM} random directions")

    def _circuits(self, circuit: Circuit, at: At) -> Estimate:
        name = f"{self._word}, random circuits"
        if not circuit.indexed:
            return unmeasured(name, "not measured: a layer has no other attention or MLP to put in its place")
        if not (pairs := self._comparable(at)):
            return unmeasured(name, "not measured: no pair is aligned, so nothing there has a counterpart in its twin")
        arms = [Patch(other.sites, at) for other in beside_random(circuit, self.subject, at).circuits[1:]]
        return self._estimated(name, pairs, arms, f"{RANDOM} random circuits taken from the twin")

    def _estimated(self, name: str, pairs: PromptSet, arms: Sequence[Intervention], of: str) -> Estimate:
        """The net change of refusals when each prompt is answered under one of the arms."""
        with self.subject.reading() as read:
            usual = self.subject.to_answer(self.pairs, self.side)[0]
            refused = np.array(judged_by(PHRASES, self.subject.ask(usual).values)) > 0
            after = self.subject.dealt(pairs, self.side, arms)
        known = dict(zip(getattr(self.pairs, self.side), refused, strict=True))
        before = np.array([known[prompt] for prompt in getattr(pairs, self.side)])
        ways = [before & ~after, after & ~before]
        there, back = ways if self.side == "harmful" else ways[::-1]
        interval = answer_shares.net_share(there, back, self.subject.level, pairs.clusters_of(self.side))
        estimate = estimated(name, interval, read, unit=self.pairs.unit, reach=BOTH_WAYS)
        return replace(estimate, method=f"each prompt under one of {of}; {estimate.method}")

    def _comparable(self, at: At) -> PairSet:
        """The pairs in which these positions of a prompt have a counterpart in its twin."""
        pairs = twins(self.pairs)
        if at == "post":
            return pairs
        aligned = self.subject.ask(Encoding(pairs)).values["aligned"]
        return replace(pairs, pairs=tuple(pair for pair, usable in zip(pairs, aligned, strict=True) if usable))

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
    """Sweeps of a found circuit's growing parts, sites with the largest effect first; the last is the whole.

    None where the first token, by which they are shown, does not agree with the answers that these parts lead to.
    """
    if not (ranked := subject.ranked(circuit)) or not subject.score_serves:
        return
    parts = tuple(Circuit(ranked[:size]) for size in sizes(len(ranked)))
    side: PromptSide = "harmful" if mode == "noise" else "harmless"
    if subject.validity("first token", side, [Patch(part.sites, at) for part in parts]).serves:
        yield Swept(pairs, Joint(parts, at), mode)


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
