"""What a claim receives as `model`: turns questions into recipes, asks the evidence, and wakes the model on a miss."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Bool

from harness.claims import gate
from harness.inputs.arguments import all_checked
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.judges.registry import judged_by, require
from harness.inputs.model_record import ModelRecord, Sizes
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.sites import SITE_KINDS, At, Indexed, Site, number_of
from harness.judging import means, proportions
from harness.judging.estimate import Estimate, Inconclusive, beside
from harness.judging.ranges import SHARE
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import Parts, unpacked
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, Direction, Intervention
from harness.measurements.origins import Origin, prompts_of
from harness.measurements.questions import (
    Answers,
    FoundCircuit,
    FoundDirection,
    Measurement,
    PromptSide,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.measurements.recipe import Recipe
from harness.measurements.sweep_plan import Joint, Mode, Sweep
from harness.subjects.circuits import CircuitQuestions
from harness.subjects.quantities.arm_controls import Controls
from harness.subjects.quantities.depths import Depths
from harness.subjects.quantities.geometry import Geometry
from harness.subjects.quantities.refusals import Refusals, estimated, no_share
from harness.subjects.quantities.side_effects import SideEffects

if TYPE_CHECKING:  # importing it loads torch
    from harness.model.chat_model import ChatModel

# Below this AUC the first token's score does not stand for what a model then says.
LEAST_AREA = 0.95


class Waking(Protocol):
    """Wakes the model, once, when evidence is missing; or says that it may not be woken."""

    def __call__(self) -> "ChatModel":
        """The live model."""
        ...


@all_checked
class Subject(CircuitQuestions):
    """One model as claims see it, at the error level of the claim that asks."""

    controls: bool = True  # whether controls are measured beside a verdict, and figures drawn

    def __init__(self, record: ModelRecord, pairs: PromptSet, store: Store, wake: Waking, level: float) -> None:
        self.record, self.all_pairs, self.store, self.wake, self.level = record, pairs, store, wake, level
        self._carried: dict[Site, float] = {}  # by what was found, each by itself
        self._reading: list[list[str]] = []  # fingerprints of what was asked for, by open block
        self._area_read: tuple[str, ...] = ()  # fingerprints of what `area` was computed from

    @property
    def name(self) -> str:
        """As asked for on the command line."""
        return self.record.name

    @property
    def sizes(self) -> Sizes:
        """What the model is made of."""
        return self.record.sizes

    def ask(self, what: Measurement) -> Evidence:
        """The evidence by which something is judged; refused on pairs on which anything in the question was found."""
        gate.require_judgeable(what.pairs, [*what.origins, *([self._tokens_origin] if what.SCORED else [])])
        evidence = self.seek(what)
        if self._reading:
            self._reading[-1].append(evidence.fingerprint)
        return evidence

    @contextmanager
    def reading(self) -> Iterator[list[str]]:
        """Collects the fingerprints of the evidence asked for while the block runs; a block inside it has its own.

        An estimate is made of what one such block asked: whatever is asked in it cannot be left out.
        """
        asked: list[str] = []
        self._reading.append(asked)
        try:
            yield asked
        finally:
            self._reading.pop()

    @property
    def _tokens_origin(self) -> Origin:
        return Origin("the tokens that refuse", "were", prompts_of(self.all_pairs.discovery))

    def seek(self, what: Measurement) -> Evidence:
        """The evidence, as it is kept or measured now, for a search: by it nothing is judged."""
        if what.SCORED and not self.tokens:
            raise Inconclusive("nothing to go by: on discovery prompts no first token tells refusals from answers")
        tokens = self.tokens if what.SCORED else ()
        recipe = what.recipe(self.record.fingerprint, tokens)
        if (kept := self.store.get(recipe)) is not None:
            return kept
        return self._measured(what, recipe, tokens)

    def _measured(self, what: Measurement, recipe: Recipe, tokens: Sequence[int]) -> Evidence:
        """Measured now, whatever is kept."""
        model = self.wake()
        from harness.instruments.answer import observed  # torch is loaded on a miss alone

        held: set[str] = set()
        asked = observed(what, model, tokens, lambda swept: Parts(self.store, recipe, swept, held))
        computed_from = (RefusalTokens(self.all_pairs).recipe(self.record.fingerprint, ()).fingerprint,)
        found = self.store.put(Evidence(recipe, *asked, computed_from if what.SCORED else ()))
        for part in held:
            self.store.remove(part)
        return found

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """The tokens with which this model's refusals begin, found on discovery prompts."""
        return tuple(self.seek(RefusalTokens(self.all_pairs)).values["tokens"])

    def refuses(self, pairs: PromptSet, *, judge: str = PHRASES) -> "Refusals":
        """How these pairs are answered, and what interventions make of it; refusals are told by the judge named."""
        require(judge)
        return Refusals(self, pairs, judge)

    def depths(self, pairs: PairSet) -> Depths:
        """Where in depth these pairs' words are read, weighed up and acted upon."""
        return Depths(self, pairs)

    def geometry(self, pairs: PromptSet) -> Geometry:
        """How directions lie in these pairs' streams."""
        return Geometry(self, pairs)

    def side_effects(self, pairs: PromptSet, under: Intervention) -> SideEffects:
        """What an intervention does to these pairs' harmless twins, and to plain text."""
        return SideEffects(self, pairs, under)

    def answers(self, pairs: PromptSet, side: PromptSide = "harmful", under: Intervention | None = None) -> list[str]:
        """How each answer begins."""
        return list(self.ask(Answers(pairs, side, under)).values["prefixes"])

    def judged(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = PHRASES
    ) -> Bool[np.ndarray, " pair"]:
        """Whether each answer is a refusal, by the judge of that name."""
        asked = Answers(pairs, side, under)
        hits = judged_by(judge, self.ask(asked).values)
        if hits is None:  # measured before there was this judge, and what is kept of the answers does not decide
            recipe = asked.recipe(self.record.fingerprint, ())
            hits = judged_by(judge, self._measured(asked, recipe, ()).values)
        return np.array(hits, dtype=bool)

    def scored(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> Bool[np.ndarray, " pair"]:
        """Whether each answer's first token is likelier to refuse than not; where that does not serve, the answer."""
        if not self.score_serves:
            return self.judged(pairs, side, under)
        return np.array(self.ask(Scores(pairs, side, under)).values["odds"]) > 0

    @property
    def score_serves(self) -> bool:
        """Whether the first token's score tells generated refusals from answers well enough to stand for them."""
        return bool(self.tokens) and self.area >= LEAST_AREA

    @cached_property
    def area(self) -> float:
        """How well the first token's score tells generated refusals from answers, on discovery prompts: AUC."""
        pairs, odds, hits = self.all_pairs.discovery, [], []
        sides: tuple[PromptSide, ...] = ("harmful", "harmless")
        with self.reading() as read:
            for side in sides:
                scores = self.seek(Scores(pairs, side))
                read.append(scores.fingerprint)
                odds += scores.values["odds"]
                hits += Subject.judged(self, pairs, side, None).tolist()
        self._area_read = tuple(read)
        return proportions.area(odds, hits)

    def asides(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """Side effects of an arm, and the same quantity under random circuits or directions, where controls are had."""
        if not self.controls:
            return ()
        controls = Controls(self, pairs, side, under)
        self.show(controls.dose())
        return *self.side_effects(pairs, under).of_arm(side), *controls.random()

    def show(self, asked: Iterable[Measurement]) -> None:
        """Has this measured for figures, where controls are measured at all; it decides nothing."""
        if self.controls and self.tokens:
            for question in asked:
                self.ask(question)

    def also(self, estimates: Iterable[Estimate]) -> None:
        """Evaluates these estimates and reports them, where controls are measured at all; they decide nothing."""
        if self.controls:
            beside(*estimates)

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the intervention changes any prompt's next-token logits, to the bit."""
        return not self.ask(Scores(pairs, side, under)).values["same_as_clean"]

    def circuit(self, pairs: PairSet, *, heads: float = 0, neurons: float = 0, at: At = "post") -> Circuit:
        """So many heads and neurons that carry most of the effect on these pairs; below 1, that share of all."""
        # Each kind by itself, so that what one claim found serves the next.
        asked: dict[Indexed, FoundCircuit] = {
            "head": FoundCircuit(pairs, heads=number_of("head", heads, self.sizes), at=at),
            "neuron": FoundCircuit(pairs, neurons=number_of("neuron", neurons, self.sizes), at=at),
        }
        found: dict[Site, float] = {}
        on = prompts_of(pairs)
        for kind, one in asked.items():
            if one.heads or one.neurons:
                values, parts = self.seek(one).values, SITE_KINDS[kind].plural
                sites = (Site(layer, kind, index, found_on=on) for layer, index in values[parts])
                found.update(zip(sites, values["effects"][parts], strict=True))
        self._carried |= found
        return Circuit(tuple(found))

    def ranked(self, circuit: Circuit) -> tuple[Site, ...]:
        """The parts of a circuit that was found here, by what each carries by itself; none of any other."""
        if not set(circuit.sites) <= self._carried.keys():
            return ()
        return tuple(sorted(circuit.sites, key=lambda site: -self._carried[site]))

    def direction(self, pairs: PromptSet) -> Direction:
        """The direction that the published procedure chooses on these pairs; where none is valid, the nearest."""
        found = self.seek(FoundDirection(pairs))
        values = found.values
        if values["layer"] is None:
            raise Inconclusive(f"nothing to explain: {values['reason']}")
        valid = float(values["valid"])
        beside(
            Estimate(
                "direction passes the published filters",
                valid,
                valid,
                valid,
                len(pairs),
                "1 if it passes, 0 if not",
                "pairs",
                evidence=(found.fingerprint,),
            )
        )
        prompts = tuple(values["harmful"]), tuple(values["harmless"])
        return Direction("difference", values["layer"], values["position"], *prompts, sought_on=prompts_of(pairs))

    def subspace(self, pairs: PairSet, rank: int) -> Direction:
        """Where the direction is found, the directions that hold most of the paired differences."""
        one = self.direction(pairs)
        return replace(one, method="principal", harmful=pairs.harmful, harmless=pairs.harmless, rank=rank)

    def effects(self, pairs: PairSet, what: Sweep | Joint, mode: Mode = "noise", *, searching: bool = False) -> Effects:
        """Exact effects of patching from the twin's run, in the first token's score; or to search by."""
        area, n = self.area, 2 * len(self.all_pairs.discovery)
        name, read = "AUC of the score", self._area_read
        beside(Estimate(name, area, area, area, n, "counted", "prompts", range=SHARE, evidence=read))
        if not self.score_serves:
            raise Inconclusive(
                f"nothing to go by: the first token's score tells generated refusals from answers with an AUC of "
                f"{area:.2f} only, and effects are in that score"
            )
        # What is looked at beyond discovery pairs is judged, whatever it is called.
        within = prompts_of(pairs) <= prompts_of(self.all_pairs.discovery)
        return unpacked((self.seek if searching and within else self.ask)(Swept(pairs, what, mode)))

    def share_of(self, name: str, found: Effects, change: np.ndarray) -> Estimate:
        """A change in log-odds as a share of the whole gap between prompts and twins."""
        there = set(found.pairs)
        judged = PairSet("judged", tuple(pair for pair in twins(self.all_pairs) if pair.id in there))
        gate.require_judgeable(judged, [self._tokens_origin])
        gap, clusters = found.gap, self.clusters(found.pairs)
        if nothing := found.no_gap:
            return no_share(name, found, nothing)
        part = change.astype(float) * found.sign
        return estimated(name, means.ratio_of_means(part, gap, self.level, clusters=clusters), found.evidence)

    def clusters(self, names: Sequence[str]) -> np.ndarray:
        """The cluster of each of these pairs: those of one template, or that share a prompt, are one."""
        cluster_of = twins(self.all_pairs).cluster_of
        return np.array([cluster_of[name] for name in names])


class Bare(Subject):
    """The same subject where a verdict is all that is wanted: no controls are measured, and no figure is drawn."""

    controls = False
