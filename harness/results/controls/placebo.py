"""Claims on placebos: the circuit or direction that a claim finds is replaced by a random one."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Bool

from harness.claims.claim import TABLES_SCHEMA, Claim, placebos_seen
from harness.inputs.files.whole_files import write_whole
from harness.inputs.judges.outcomes import Outcomes
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.places import DATA
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.sites import At
from harness.judging import proportions
from harness.judging.estimate import Outcome
from harness.measurements.effects import Effects
from harness.measurements.evidence import Store
from harness.measurements.interventions import Ablate, Add, Circuit, Direction, Intervention, Patch, Remove
from harness.measurements.questions import PromptSide, Scores
from harness.measurements.sweep_plan import Joint, Mode, Sweep
from harness.subjects.live import Bare, Subject
from harness.subjects.protocol import Measure, Validity
from harness.subjects.sleeper import Sleeper

PATH = DATA / "placebos.json"
Judged = tuple[Claim, Counter[Outcome] | None]
"""A claim and its verdicts on placebos; None where the claim finds no circuit or direction."""

OUTCOMES: tuple[Outcome, ...] = ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
# How many random circuits are swept together: one recording of prompts and twins serves them all.
BLOCK = 50
# Seeds begin here, so that no placebo is one of the random circuits with which claims compare.
_FIRST_SEED = 1000


class Placebo(Bare):
    """A subject that gives a random circuit of the same size and layers, or a random direction of the same norm.

    A prompt counts as refused by the cheapest measure that agrees with generated answers under these placebos.
    """

    def __init__(self, subject: Subject, seed: int) -> None:
        super().__init__(subject.record, subject.all_pairs, subject.store, subject.wake, subject.level)
        self.seed = seed
        self.replaced = False  # whether the claim asked for a circuit or a direction
        self._originals: dict[Circuit, Circuit] = {}  # placebo → the circuit in whose place it is

    def circuit(
        self, pairs: PairSet, *, heads: float = 0, neurons: float = 0, share: float = 0, at: At = "post"
    ) -> Circuit:
        """A random circuit, disjoint from the one that the search finds, with as many parts in each layer."""
        original = super().circuit(pairs, heads=heads, neurons=neurons, share=share, at=at)
        self.replaced, placebo = True, self._placebo(original, self.seed)
        self._originals[placebo] = original
        if (limit := self.limit_of(original)) is not None:
            self._limits[placebo] = limit
        return placebo

    def direction(self, pairs: PromptSet) -> Direction:
        """A random direction with the covariance of the streams, as long as the direction that the search finds."""
        return self._direction(pairs, 1)

    def subspace(self, pairs: PairSet, rank: int) -> Direction:
        """As many random directions."""
        return self._direction(pairs, rank)

    def rivals(self) -> Iterator[tuple[str, "Placebo"]]:
        """None: a random direction was not chosen among others."""
        yield from ()

    def _direction(self, pairs: PromptSet, rank: int) -> Direction:
        original = super().direction(pairs)
        self.replaced = True
        return replace(original, method="matched", rank=rank, seed=_FIRST_SEED + self.seed)

    def judged(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = PHRASES
    ) -> Bool[np.ndarray, "*sample pair"]:
        """Whether each prompt is refused, by the cheapest measure that serves."""

        def first_token() -> Bool[np.ndarray, "arm pair"]:
            if (swept := self._swept(pairs, side, under)) is not None:
                return np.asarray(swept.patched[:, self.seed % BLOCK] > 0)[None]
            return np.array([self.ask(Scores(pairs, side, under)).values["odds"]]) > 0

        return np.asarray(self.scored(pairs, side, [under], first_token).hits[0])

    def validity(self, measure: Measure, side: PromptSide, arms: Sequence[Intervention | None]) -> Validity:
        """How often a measure agrees with generated answers under the placebos of all seeds of a block together."""
        return super().validity(measure, side, [alike for arm in arms for alike in self._alike(arm)])

    def outcomes(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = PHRASES
    ) -> Outcomes:
        """Outcomes of answers; where a score stands for them, whatever does not refuse counts as answered."""
        if not any(self.validity(measure, side, [under]).serves for measure in get_args(Measure)):
            return super().outcomes(pairs, side, under, judge)
        return Outcomes.of_refusals(self.judged(pairs, side, under, judge))

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the intervention changes any prompt's score, or its logits."""
        if self.score_serves and (swept := self._swept(pairs, side, under)) is not None:
            return bool(swept.change[:, self.seed % BLOCK].any())
        return super().changes(pairs, side, under)

    def effects(
        self, pairs: PairSet, sweep: Sweep | Joint, mode: Mode = "noise", *, searching: bool = False
    ) -> Effects:
        """Exact effects; a placebo circuit is swept together with those of other seeds."""
        if not isinstance(sweep, Joint) or sweep.direct or len(sweep.circuits) > 1:
            return super().effects(pairs, sweep, mode, searching=searching)
        if (placebo := sweep.circuits[0]) not in self._originals:
            return super().effects(pairs, sweep, mode, searching=searching)
        whole = super().effects(pairs, self._block(placebo, sweep.at), mode, searching=searching)
        own = [self.seed % BLOCK]
        return replace(whole, axes={"circuit": ("0",)}, patched=whole.patched[:, own], kl=whole.kl[:, own])

    def _swept(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> Effects | None:
        """Effects of patching placebo circuits; None for any other intervention, or where a pair is not aligned."""
        if not isinstance(under, Patch) or under.keep or any(site.position is not None for site in under.sites):
            return None
        if (circuit := Circuit(under.sites)) not in self._originals:
            return None
        mode: Mode = "noise" if side == "harmful" else "denoise"
        effects = super().effects(twins(pairs), self._block(circuit, under.at), mode)
        return None if effects.set_aside else effects

    def _alike(self, arm: Intervention | None) -> Sequence[Intervention | None]:
        """The arm with each placebo of the block in the place of this one; itself, if it holds none."""
        match arm:
            case Remove(direction) | Add(direction) if direction.seed == _FIRST_SEED + self.seed:
                seeds = (_FIRST_SEED + seed for seed in self._seeds)
                return [replace(arm, direction=replace(direction, seed=seed)) for seed in seeds]
            case Ablate(circuit) if circuit in self._originals:
                return [replace(arm, circuit=other) for other in self._block(circuit, "all").circuits]
            case Patch(sites) if all(site.position is None for site in sites) and Circuit(sites) in self._originals:
                return [replace(arm, sites=other.sites) for other in self._block(Circuit(sites), "all").circuits]
        return [arm]

    def _block(self, placebo: Circuit, at: At) -> Joint:
        return Joint(tuple(self._placebo(self._originals[placebo], seed) for seed in self._seeds), at)

    @property
    def _seeds(self) -> range:
        first = self.seed - self.seed % BLOCK
        return range(first, first + BLOCK)

    def _placebo(self, original: Circuit, seed: int) -> Circuit:
        return original.random(self.sizes, _FIRST_SEED + seed)


def placebos(
    claims: Iterable[Claim], model: str, seeds: int, store: Store, done: Callable[[Claim], None] = lambda claim: None
) -> Iterator[Judged]:
    """Each claim's verdicts with placebos of so many seeds; None where it finds no circuit or direction."""
    with closing(Sleeper(model, "nf4", "auto", store)) as sleeper:
        for claim in claims:
            subject = sleeper.subject(level=claim.level)
            verdicts: Counter[Outcome] = Counter()
            for seed in range(seeds):
                placebo = Placebo(subject, seed)
                outcome, _ = claim.judge(placebo, placebo.all_pairs)
                verdicts[outcome] += 1
                done(claim)
                if not placebo.replaced:
                    break
            yield claim, verdicts if placebo.replaced else None


def keep(judged: Iterable[Judged], model: str, path: Path = PATH) -> Iterator[Judged]:
    """Writes each claim's verdicts into the file that reports show as soon as they are known, and passes them on."""
    for claim, verdicts in judged:
        table = dict(placebos_seen(path))
        counts = {} if verdicts is None else {word: verdicts[word] for word in OUTCOMES}
        table[claim.name] = {"claim": claim.fingerprint, "model": model, "verdicts": counts}
        whole = {"schema": TABLES_SCHEMA, "claims": dict(sorted(table.items()))}
        write_whole(path, (json.dumps(whole, indent=1) + "\n").encode())
        yield claim, verdicts


def table(judged: Iterable[Judged]) -> Iterator[str]:
    """A Markdown table of how often placebos did what the claim says; a line for each claim as it is judged."""
    yield "| claim | supported | refuted | inconclusive | supported at most |"
    yield "|---|---|---|---|---|"
    for claim, verdicts in judged:
        if verdicts is None:
            yield f"| {claim.name} | finds no circuit or direction | | | |"
            continue
        total, supported = verdicts.total(), verdicts["SUPPORTED"]
        most = proportions.rate(np.arange(total) < supported, 0.05).high
        cells = (f"{verdicts[word]} of {total}" for word in OUTCOMES)
        yield f"| {claim.name} | {' | '.join(cells)} | {most:.1%} |"
