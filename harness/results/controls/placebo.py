"""Claims on placebos: what is found in the model is replaced by something random, which should not do what they say."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from harness.claims.claim import TABLES_SCHEMA, Claim, placebos_seen
from harness.inputs.files.whole_files import write_whole
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.places import DATA
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.sites import At
from harness.judging import proportions
from harness.judging.estimate import Outcome
from harness.measurements.effects import Effects
from harness.measurements.evidence import Store
from harness.measurements.interventions import Circuit, Direction, Intervention, Patch
from harness.measurements.questions import PromptSide
from harness.measurements.sweep_plan import Joint, Mode, Sweep
from harness.subjects.live import Bare, Subject
from harness.subjects.sleeper import Sleeper

PATH = DATA / "placebos.json"
Found = tuple[Claim, Counter[Outcome] | None]
"""A claim, and its verdicts on placebos, if anything in it could be replaced."""

OUTCOMES: tuple[Outcome, ...] = ("SUPPORTED", "REFUTED", "INCONCLUSIVE")
# Random circuits that are swept together: one recording of prompts and twins serves them all.
BLOCK = 50
# Their seeds begin here, apart from those of the random ones beside which claims put what was found.
_APART = 1000


class Placebo(Bare):
    """The same subject, but whatever is found in it is random: of the same size and layers, or of the same norm.

    Refused is what the first token says (log-odds above 0), where that tells generated refusals from answers.
    """

    def __init__(self, subject: Subject, seed: int) -> None:
        super().__init__(subject.record, subject.all_pairs, subject.store, subject.wake, subject.level)
        self.seed = seed
        self.replaced = False  # whether the claim asked for anything that could be
        self._found: dict[Circuit, Circuit] = {}

    def circuit(self, pairs: PairSet, *, heads: float = 0, neurons: float = 0, at: At = "post") -> Circuit:
        """A random one of the found one's size and layers, disjoint from it."""
        found = super().circuit(pairs, heads=heads, neurons=neurons, at=at)
        self.replaced, placebo = True, self._placebo(found, self.seed)
        self._found[placebo] = found
        return placebo

    def direction(self, pairs: PromptSet) -> Direction:
        """A random one with the covariance of the streams, as long as the found one."""
        return self._direction(pairs, 1)

    def subspace(self, pairs: PairSet, rank: int) -> Direction:
        """As many random ones."""
        return self._direction(pairs, rank)

    def _direction(self, pairs: PromptSet, rank: int) -> Direction:
        found = super().direction(pairs)
        self.replaced = True
        return replace(found, method="matched", rank=rank, seed=_APART + self.seed)

    def judged(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = PHRASES
    ) -> Bool[np.ndarray, " pair"]:
        """Whether each answer's first token is likelier to refuse than not; else what is generated is judged."""
        if not self.score_serves:
            return super().judged(pairs, side, under, judge)
        if (swept := self._swept(pairs, side, under)) is not None:
            return np.asarray(swept.patched[:, self.seed % BLOCK] > 0)
        return self.scored(pairs, side, under)

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the intervention changes any prompt's score, or its logits."""
        if self.score_serves and (swept := self._swept(pairs, side, under)) is not None:
            return bool(swept.change[:, self.seed % BLOCK].any())
        return super().changes(pairs, side, under)

    def effects(self, pairs: PairSet, what: Sweep | Joint, mode: Mode = "noise", *, searching: bool = False) -> Effects:
        """Exact effects; those of the placebo circuit by itself are swept with other seeds'."""
        if not isinstance(what, Joint) or what.direct or len(what.circuits) > 1 or what.circuits[0] not in self._found:
            return super().effects(pairs, what, mode, searching=searching)
        whole = super().effects(pairs, self._block(what.circuits[0], what.at), mode, searching=searching)
        own = [self.seed % BLOCK]
        return replace(whole, axes={"circuit": ("0",)}, patched=whole.patched[:, own], kl=whole.kl[:, own])

    def _swept(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> Effects | None:
        """What patching a placebo circuit from the twin comes to, if that is what is done and every pair is aligned."""
        if not isinstance(under, Patch) or any(site.position is not None for site in under.sites):
            return None
        if (circuit := Circuit(under.sites)) not in self._found:
            return None
        mode: Mode = "noise" if side == "harmful" else "denoise"
        found = super().effects(twins(pairs), self._block(circuit, under.at), mode)
        return None if found.set_aside else found

    def _block(self, placebo: Circuit, at: At) -> Joint:
        found, first = self._found[placebo], self.seed - self.seed % BLOCK
        return Joint(tuple(self._placebo(found, seed) for seed in range(first, first + BLOCK)), at)

    def _placebo(self, found: Circuit, seed: int) -> Circuit:
        return found.random(self.sizes, _APART + seed)


def placebos(
    claims: Iterable[Claim], model: str, seeds: int, store: Store, done: Callable[[Claim], None] = lambda claim: None
) -> Iterator[Found]:
    """Each claim's verdicts on so many placebos; None where it asks for nothing that could be replaced."""
    with closing(Sleeper(model, "nf4", "auto", store)) as sleeper:
        for claim in claims:
            subject = sleeper.subject(level=claim.level)
            found: Counter[Outcome] = Counter()
            for seed in range(seeds):
                placebo = Placebo(subject, seed)
                found[claim.judge(placebo, placebo.all_pairs)] += 1
                done(claim)
                if not placebo.replaced:
                    break
            yield claim, found if placebo.replaced else None


def keep(found: Iterable[Found], model: str, path: Path = PATH) -> Iterator[Found]:
    """Puts what was found into the file that reports show, claim by claim, and passes it on."""
    for claim, words in found:
        table = dict(placebos_seen(path))
        counts = {} if words is None else {word: words[word] for word in OUTCOMES}
        table[claim.name] = {"claim": claim.fingerprint, "model": model, "verdicts": counts}
        whole = {"schema": TABLES_SCHEMA, "claims": dict(sorted(table.items()))}
        write_whole(path, (json.dumps(whole, indent=1) + "\n").encode())
        yield claim, words


def table(found: Iterable[Found]) -> Iterator[str]:
    """As Markdown, a line a claim as it comes: how often a placebo did what the claim says."""
    yield "| claim | supported | refuted | inconclusive | supported at most |"
    yield "|---|---|---|---|---|"
    for claim, words in found:
        if words is None:
            yield f"| {claim.name} | finds nothing that could be replaced | | | |"
            continue
        total, supported = words.total(), words["SUPPORTED"]
        most = proportions.rate(np.arange(total) < supported, 0.05).high
        cells = (f"{words[word]} of {total}" for word in OUTCOMES)
        yield f"| {claim.name} | {' | '.join(cells)} | {most:.1%} |"
