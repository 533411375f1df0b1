"""The subject a claim receives as `model`: answers questions from the store, and loads the model only on a miss."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Bool

from harness.claims import gate
from harness.inputs.arguments import all_checked
from harness.inputs.errors import AssayError
from harness.inputs.judges.outcomes import Outcomes, outcomes, together
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.judges.registry import judged_by, require
from harness.inputs.model_record import ModelRecord, Sizes
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.sites import SITE_KINDS, At, Indexed, Site, number_of
from harness.judging import means
from harness.judging.estimate import Estimate, Inconclusive, beside, exclude
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import Parts, unpacked
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, Direction, Intervention
from harness.measurements.origins import Origin, prompts_of
from harness.measurements.questions import (
    Answers,
    FoundCircuit,
    FoundDirection,
    GrownCircuit,
    Measurement,
    PromptSide,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.measurements.recipe import Recipe
from harness.measurements.sweep_plan import Joint, Mode, Sweep
from harness.subjects.arm_refusals import ArmRefusals
from harness.subjects.circuits import CircuitQuestions, sites_in
from harness.subjects.other_directions import OtherDirections, Preference, place_of
from harness.subjects.protocol import Measure
from harness.subjects.quantities.arm_controls import Controls
from harness.subjects.quantities.depths import Depths
from harness.subjects.quantities.geometry import Geometry
from harness.subjects.quantities.refusals import Refusals, estimated, no_share
from harness.subjects.quantities.side_effects import SideEffects
from harness.subjects.quantities.thoughts import thoughts
from harness.subjects.score import ScoreChoice

if TYPE_CHECKING:  # importing it loads torch
    from harness.model.chat_model import ChatModel


class Wake(Protocol):
    """Loads the model, once, when evidence is missing; raises AssayError where it may not be loaded."""

    def __call__(self) -> "ChatModel":
        """The loaded model."""
        ...


@all_checked
class Subject(ScoreChoice, ArmRefusals, CircuitQuestions, OtherDirections):
    """One model as claims see it, at the error level of the claim that asks."""

    asking_is_free: bool = False  # a question may have to be measured
    controls: bool = True  # whether controls are measured and figures drawn, besides the verdict

    def __init__(self, record: ModelRecord, pairs: PromptSet, store: Store, wake: Wake, level: float) -> None:
        self.record, self.all_pairs, self.store, self.wake, self.level = record, pairs, store, wake, level
        self._prefers: Preference | None = None  # which direction stands in the place of the chosen one
        self._sought: list[Evidence] = []  # what the searches for directions came to so far
        self._site_ranks: dict[Site, float] = {}  # the rank of each site found by a search, least first
        self._limits: dict[Circuit, float] = {}  # circuits found by the joint search, with the share they had to fit
        self._reading: list[list[str]] = []  # fingerprints of the evidence asked for in each open `reading` block
        self.areas_read: dict[Measure, tuple[str, ...]] = {}  # fingerprints of the evidence behind each score's AUC

    @property
    def name(self) -> str:
        """The model's name, as given on the command line."""
        return self.record.name

    @property
    def sizes(self) -> Sizes:
        """Layers, heads, widths and parameters."""
        return self.record.sizes

    def ask(self, question: Measurement) -> Evidence:
        """The evidence for a judgement; refused on pairs on which anything in the question was found."""
        origins = [*question.origins, *([self._tokens_origin] if question.by_tokens else [])]
        gate.require_judgeable(question.pairs, origins)
        return self.seek_and_cite(question)

    def seek_and_cite(self, question: Measurement) -> Evidence:
        """Evidence on discovery prompts that shows how far an estimate can be trusted, and is cited by it."""
        evidence = self.seek(question)
        if self._reading:
            self._reading[-1].append(evidence.fingerprint)
        return evidence

    @contextmanager
    def reading(self) -> Iterator[list[str]]:
        """Collects the fingerprints of the evidence asked for while the block runs; a block inside it has its own.

        An estimate cites all evidence asked for in its block, so none that it rests on can be left out.
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

    def seek(self, question: Measurement) -> Evidence:
        """The evidence for a search, from the store or measured now; no verdict rests on it."""
        tokens = self.scored_tokens if question.by_tokens else ()
        if question.by_tokens and not tokens:
            raise Inconclusive("nothing to go by: on discovery prompts no first token tells refusals from answers")
        recipe = question.recipe(self.record.fingerprint, tokens)
        if (kept := self.store.get(recipe)) is not None:
            return kept
        return self._measured(question, recipe, tokens)

    def _measured(self, question: Measurement, recipe: Recipe, tokens: Sequence[int]) -> Evidence:
        """Measures now, even if the store has this evidence, and keeps the result."""
        model = self.wake()
        from harness.instruments.answer import observed  # imports torch, so only on a miss

        parts: set[str] = set()
        answer = observed(question, model, tokens, lambda sweep: Parts(self.store, recipe, sweep, parts))
        computed_from = (RefusalTokens(self.all_pairs).recipe(self.record.fingerprint, ()).fingerprint,)
        evidence = self.store.put(Evidence(recipe, *answer, computed_from if question.by_tokens else ()))
        for part in parts:
            self.store.remove(part)
        return evidence

    def refuses(self, pairs: PromptSet, *, judge: str = PHRASES) -> "Refusals":
        """Refusals among the answers to these pairs, told by the judge of that name."""
        require(judge)
        return Refusals(self, pairs, judge)

    def depths(self, pairs: PairSet) -> Depths:
        """The depths at which the model detects harm in these pairs, assesses it and acts on it."""
        return Depths(self, pairs)

    def geometry(self, pairs: PromptSet) -> Geometry:
        """Directions in the residual stream of these pairs' prompts."""
        return Geometry(self, pairs)

    def side_effects(self, pairs: PromptSet, under: Intervention) -> SideEffects:
        """Side effects of an intervention: on these pairs' harmless prompts, on answers' language, on plain text."""
        return SideEffects(self, pairs, under)

    def to_answer(self, pairs: PromptSet, side: PromptSide, under: Intervention | None = None) -> tuple[Answers, ...]:
        """The questions for these answers as the run asked for them: one or, if they are drawn, one for each sample."""
        drawn = self.record.sampling
        samples = (None,) if drawn is None else drawn.samples
        return tuple(Answers(pairs, side, under, self.record.answer_tokens, sample) for sample in samples)

    def answers(self, pairs: PromptSet, side: PromptSide = "harmful", under: Intervention | None = None) -> list[str]:
        """The beginning of each answer, or of the first to each prompt."""
        return list(self.ask(self.to_answer(pairs, side, under)[0]).values["prefixes"])

    def judged(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = PHRASES
    ) -> Bool[np.ndarray, "*sample pair"]:
        """Whether each answer is a refusal, by the judge of that name."""
        return together([self._judged_once(question, judge) for question in self.to_answer(pairs, side, under)])

    def _judged_once(self, question: Answers, judge: str) -> Bool[np.ndarray, " pair"]:
        hits = judged_by(judge, self.ask(question).values)
        if hits is None:  # measured before there was this judge, and the answers' beginnings do not tell
            recipe = question.recipe(self.record.fingerprint, ())
            hits = judged_by(judge, self._measured(question, recipe, ()).values)
        return np.array(hits, dtype=bool)

    def outcomes(
        self, pairs: PromptSet, side: PromptSide, under: Intervention | None, judge: str = PHRASES
    ) -> Outcomes:
        """Which answers refuse, by the judge of that name, which answer, and which are broken."""
        refused = np.atleast_2d(self.judged(pairs, side, under, judge))
        readings = [self.ask(question).values for question in self.to_answer(pairs, side, under)]
        return Outcomes.together([outcomes(own, read) for own, read in zip(refused, readings, strict=True)])

    def asides(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """Side effects of an intervention, and its random controls (`arm_controls.py`), if controls are on."""
        if not self.controls:
            return ()
        controls = Controls(self, pairs, side, under)
        self.show(controls.dose())
        return *self.side_effects(pairs, under).of_arm(side), *controls.random()

    def thoughts(self, pairs: PromptSet, side: PromptSide, under: Intervention | None) -> tuple[Estimate, ...]:
        """How many answers have a thought, and unfinished ones; empty for models that know no thoughts."""
        known = self.controls and self.record.thoughts is not None
        return tuple(thoughts(self, pairs, side, under)) if known else ()

    def show(self, questions: Iterable[Measurement]) -> None:
        """Measures these questions for figures, if controls are on; they decide no verdict."""
        if self.controls and self.tokens:
            for question in questions:
                self.ask(self.told(question))

    def also(self, estimates: Iterable[Estimate]) -> None:
        """Evaluates and reports these estimates, if controls are on; they decide no verdict."""
        if self.controls:
            beside(*estimates)

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the intervention changes any prompt's next-token logits, to the bit."""
        return not self.ask(Scores(pairs, side, under)).values["same_as_clean"]

    def circuit(
        self, pairs: PairSet, *, heads: float = 0, neurons: float = 0, share: float = 0, at: At = "post"
    ) -> Circuit:
        """The heads and neurons that carry most of the effect on these pairs: so many, or below 1 that share of all.

        These are the parts with the largest effects alone. With `share`, the circuit under this share of the parameters
        that carries most as a whole.
        """
        self.require_score("the search goes")
        if share:
            if heads or neurons:
                raise AssayError("circuit: give `share`, or numbers of heads and neurons, not both")
            if not 0 < share < 1:
                raise AssayError(f"circuit: `share` is a share of the parameters, such as 0.05, and not {share:g}")
            return self._found_jointly(self.told(GrownCircuit(pairs, share, at)))
        # A question for each kind, so that other claims can use its evidence.
        questions: dict[Indexed, FoundCircuit] = {
            "head": FoundCircuit(pairs, heads=number_of("head", heads, self.sizes), at=at),
            "neuron": FoundCircuit(pairs, neurons=number_of("neuron", neurons, self.sizes), at=at),
        }
        effects: dict[Site, float] = {}
        searched_on = prompts_of(pairs)
        for kind, question in questions.items():
            if question.heads or question.neurons:
                values, parts = self.seek(self.told(question)).values, SITE_KINDS[kind].plural
                sites = (Site(layer, kind, index, found_on=searched_on) for layer, index in values[parts])
                effects.update(zip(sites, values["effects"][parts], strict=True))
        self._site_ranks |= {site: -effect for site, effect in effects.items()}
        return Circuit(tuple(effects))

    def _found_jointly(self, question: GrownCircuit) -> Circuit:
        evidence = self.seek(question)
        sites = sites_in(evidence.values["blocks"], prompts_of(question.pairs))
        if not sites:
            raise Inconclusive(
                f"nothing to judge: no circuit under {question.share:.0%} of the parameters carries anything"
            )
        self._site_ranks |= {site: float(rank) for rank, site in enumerate(sites)}
        circuit = Circuit(sites)
        self._limits[circuit] = question.share
        numbers = {
            "E, discovery pairs": evidence.values["effect"],
            "its weakest part adds": min(evidence.values["adds"]),
        }
        for name, value in numbers.items():
            n, keys = len(question.searched), (evidence.fingerprint,)
            beside(Estimate(name, value, value, value, n, "no interval", "pairs", evidence=keys))
        return circuit

    def limit_of(self, circuit: Circuit) -> float | None:
        """The share of the parameters under which the joint search found this circuit; None for any other circuit."""
        return self._limits.get(circuit)

    def ranked(self, circuit: Circuit) -> tuple[Site, ...]:
        """The sites of a circuit found by this subject, largest effect first; empty for any other circuit."""
        if not set(circuit.sites) <= self._site_ranks.keys():
            return ()
        return tuple(sorted(circuit.sites, key=lambda site: self._site_ranks[site]))

    def direction(self, pairs: PromptSet) -> Direction:
        """The direction that the published procedure chooses here.

        If none passes its filters, the nearest: the claim can then be refuted but not supported. And it is refuted only
        if it is with the other directions of `rivals` too.
        """
        self.require_score("its choice among directions goes")
        evidence = self.seek(self.told(FoundDirection(pairs)))
        values = evidence.values
        if values["layer"] is None:
            raise Inconclusive(f"nothing to explain: {values['reason']}")
        self._sought.append(evidence)
        valid = float(values["valid"])
        if not valid:
            exclude(f"the published filters exclude it: {values['reason']}")
        beside(
            Estimate(
                "direction passes the published filters",
                valid,
                valid,
                valid,
                len(pairs),
                "1 if it passes, 0 if not",
                "pairs",
                evidence=(evidence.fingerprint,),
            )
        )
        prompts = tuple(values["harmful"]), tuple(values["harmless"])
        layer, position = place_of(values, self._prefers)
        return Direction("difference", layer, position, *prompts, sought_on=prompts_of(pairs))

    def subspace(self, pairs: PairSet, rank: int) -> Direction:
        """The directions that hold most of the paired differences, at the layer and position of `direction`."""
        direction = self.direction(pairs)
        return replace(direction, method="principal", harmful=pairs.harmful, harmless=pairs.harmless, rank=rank)

    def joint_vector(self, heads: Circuit, pairs: PairSet) -> Direction:
        """What these heads write together at the last token, harmful less harmless, in the layer after the last one."""
        if not heads or any(site.kind != "head" for site in heads.sites):
            raise AssayError(
                "joint_vector: a joint vector is what heads write, and this circuit holds other parts too, or none; "
                "give model.circuit(pairs.discovery, heads=…)"
            )
        layer = min(max(site.layer for site in heads.sites) + 1, self.sizes.layers - 1)
        sides = pairs.harmful, pairs.harmless
        return Direction("heads", layer, -1, *sides, circuit=heads, sought_on=heads.found_on)

    def effects(
        self, pairs: PairSet, sweep: Sweep | Joint, mode: Mode = "noise", *, searching: bool = False
    ) -> Effects:
        """Exact effects of patching from the twin's run, in log-odds of refusing by the score that serves."""
        self.quote_areas()
        self.require_score("effects go")
        # A search beyond the discovery pairs must pass the gate like a judgement.
        within = prompts_of(pairs) <= prompts_of(self.all_pairs.discovery)
        return unpacked((self.seek if searching and within else self.ask)(self.told(Swept(pairs, sweep, mode))))

    def share_of(self, name: str, effects: Effects, change: np.ndarray) -> Estimate:
        """A change in log-odds, as a share of the gap between prompts and their twins."""
        measured = set(effects.pairs)
        judged = PairSet("judged", tuple(pair for pair in twins(self.all_pairs) if pair.id in measured))
        gate.require_judgeable(judged, [self._tokens_origin])
        gap, clusters = effects.gap, self.clusters(effects.pairs)
        if nothing := effects.no_gap:
            return no_share(name, effects, nothing)
        part = change.astype(float) * effects.sign
        return estimated(name, means.ratio_of_means(part, gap, self.level, clusters=clusters), effects.evidence)

    def clusters(self, names: Sequence[str]) -> np.ndarray:
        """The cluster of each pair: pairs of one frame, or with a prompt in common, are not independent."""
        cluster_of = twins(self.all_pairs).cluster_of
        return np.array([cluster_of[name] for name in names])


class Bare(Subject):
    """A subject for verdicts alone: it measures no controls and draws no figures."""

    controls = False
