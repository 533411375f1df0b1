"""What a claim receives as `model`: turns questions into recipes, asks the evidence, and wakes the model on a miss."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Bool

from harness.claims import gate
from harness.inputs.arguments import all_checked
from harness.inputs.errors import AssayError
from harness.inputs.model_record import ModelRecord, Sizes
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet, twins
from harness.inputs.refusal_phrases import PHRASES, RULES, judged_by
from harness.inputs.sites import At, Indexed, Kind, Site
from harness.judging import correlations, means, proportions
from harness.judging.estimate import Estimate, Inconclusive, beside
from harness.judging.ranges import RANGES, SHARE
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import Parts, unpacked
from harness.measurements.evidence import Evidence, Recipe, Store
from harness.measurements.interventions import Circuit, Direction, Intervention
from harness.measurements.origins import Found, prompts_of
from harness.measurements.questions import (
    Answers,
    Estimated,
    FoundCircuit,
    FoundDirection,
    Measurement,
    Norms,
    PromptSide,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.measurements.sweep_plan import Joint, Mode, Sweep
from harness.subjects.quantities.arm_controls import Controls, beside_random, dose, loudest
from harness.subjects.quantities.depths import Depths
from harness.subjects.quantities.geometry import Geometry
from harness.subjects.quantities.refusals import Refusals, estimated
from harness.subjects.quantities.side_effects import SideEffects

if TYPE_CHECKING:  # importing it loads torch
    from harness.model.chat_model import ChatModel

# Below this AUC the first token's score does not stand for what a model then says.
LEAST_AREA = 0.95
# Circuits that carry less than this of their own category's gap are no measure for others.
LEAST_OWN = 0.3
# A model with fewer heads than this is asked for a share of them.
FEW = 200


class Waking(Protocol):
    """Wakes the model, once, when evidence is missing; or says that it may not be woken."""

    def __call__(self) -> "ChatModel":
        """The live model."""
        ...


@all_checked
class Subject:
    """One model as claims see it, at the error level of the claim that asks."""

    def __init__(self, record: ModelRecord, pairs: PromptSet, store: Store, wake: Waking, level: float) -> None:
        self.record, self.all_pairs, self.store, self.wake, self.level = record, pairs, store, wake, level
        self._carried: dict[Site, float] = {}  # by what was found, each by itself

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
        gate.judges(what.pairs, [*what.found, *([self._tokens_found] if what.SCORED else [])])
        return self.seek(what)

    @property
    def _tokens_found(self) -> Found:
        return Found("the tokens that refuse", "were", prompts_of(self.all_pairs.discovery))

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
        if judge not in (names := [rule.name for rule in RULES]):
            raise AssayError(f"no judge is called {judge!r}; there are {', '.join(names)}")
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
        """Whether each answer is a refusal, by its phrases."""
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
        for side in sides:
            odds += self.seek(Scores(pairs, side)).values["odds"]
            hits += Subject.judged(self, pairs, side, None).tolist()
        return proportions.area(odds, hits)

    def asides(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """What goes beside an arm, on the way: its side effects, and what random ones do in its place."""
        controls = Controls(self, pairs, side, under)
        self.show(controls.dose())
        return *self.side_effects(pairs, under).of_arm(side), *controls.random()

    def show(self, asked: Iterable[Measurement]) -> None:
        """Has this measured for figures; it decides nothing."""
        if self.tokens:
            for one in asked:
                self.ask(one)

    def also(self, estimates: Iterable[Estimate]) -> None:
        """Comes to these as well and puts them beside the verdict; they decide nothing."""
        beside(*estimates)

    def changes(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the intervention changes any prompt's next-token logits, to the bit."""
        return not self.ask(Scores(pairs, side, under)).values["same_as_clean"]

    def circuit(self, pairs: PairSet, *, heads: float = 0, neurons: float = 0, at: At = "post") -> Circuit:
        """So many heads and neurons that carry most of the effect on these pairs; below 1, that share of all."""
        # Each kind by itself, so that what one claim found serves the next.
        asked: dict[Kind, FoundCircuit] = {
            "head": FoundCircuit(pairs, self.sizes.asked(heads, "head"), 0, at),
            "neuron": FoundCircuit(pairs, 0, self.sizes.asked(neurons, "neuron"), at),
        }
        found: dict[Site, float] = {}
        on = prompts_of(pairs)
        for kind, one in asked.items():
            if one.heads or one.neurons:
                values = self.seek(one).values
                sites = (Site(layer, kind, index, found_on=on) for layer, index in values[f"{kind}s"])
                found.update(zip(sites, values["effects"][f"{kind}s"], strict=True))
        self._carried |= found
        return Circuit(tuple(found))

    def ranked(self, circuit: Circuit) -> tuple[Site, ...]:
        """The parts of a circuit that was found here, by what each carries by itself; none of any other."""
        if not set(circuit.sites) <= self._carried.keys():
            return ()
        return tuple(sorted(circuit.sites, key=lambda site: -self._carried[site]))

    def direction(self, pairs: PromptSet) -> Direction:
        """The direction that the published procedure chooses on these pairs; where none is valid, the nearest."""
        values = self.seek(FoundDirection(pairs)).values
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
        area = self.area
        n = 2 * len(self.all_pairs.discovery)
        beside(Estimate("AUC of the score", area, area, area, n, "counted", "prompts", range=SHARE))
        if not self.score_serves:
            raise Inconclusive(
                f"nothing to go by: the first token's score tells generated refusals from answers with an AUC of "
                f"{area:.2f} only, and effects are in that score"
            )
        # What is looked at beyond discovery pairs is judged, whatever it is called.
        within = prompts_of(pairs) <= prompts_of(self.all_pairs.discovery)
        return unpacked((self.seek if searching and within else self.ask)(Swept(pairs, what, mode)))

    def share(self, circuit: Circuit) -> Estimate:
        """The share of the model's parameters that a circuit owns, counted."""
        value = circuit.share(self.sizes)
        n, reach = self.sizes.parameters, RANGES["model.share"]
        return Estimate("parameters", value, value, value, n, "counted", "parameters", range=reach)

    def effect(self, circuit: Circuit, pairs: PairSet, *, at: At = "post", mode: Mode = "noise") -> Estimate:
        """E: the share of the whole effect that goes when the circuit is taken from the twin's run."""
        found = self.effects(pairs, self._judged_with(circuit, at), mode)
        self.show(dose(self, circuit, at, pairs, mode))
        if len(found.change.T) > 1:
            beside(self.share_of("E, random circuits", found, found.change[:, 1:].mean(1)))
        return self.share_of("E", found, found.change[:, 0])

    def lead(self, circuit: Circuit, pairs: PairSet, *, at: At = "post") -> Estimate:
        """E less the mean E of random circuits of its size and layers that share nothing with it."""
        found = self.effects(pairs, beside_random(circuit, self, at))
        return self.share_of("lead over random", found, found.change[:, 0] - found.change[:, 1:].mean(1))

    def lead_over_loudest(self, circuit: Circuit, pairs: PairSet, *, at: At = "post") -> Estimate:
        """E less the E of as many other heads and neurons: those that say most, whatever they say."""
        on = self.all_pairs.discovery
        others = loudest(circuit, self.seek(Norms(on)).arrays, prompts_of(on))
        found = self.effects(pairs, Joint((circuit, others), at))
        return self.share_of("lead over the loudest", found, found.change[:, 0] - found.change[:, 1])

    def agreement(self, pairs: PairSet, kind: Kind) -> Estimate:
        """Pearson correlation of effects as gradients estimate them with effects as patches measure them."""
        what = Sweep(kind, ("post",))
        exact, guess = self.effects(pairs, what), unpacked(self.ask(Estimated(pairs, what)))
        rows = [value.change.reshape(len(value.pairs), -1).astype(float) for value in (guess, exact)]
        interval = correlations.correlation(rows[0], rows[1], self.level, self.clusters(exact.pairs))
        return estimated("r", interval, reach=RANGES["model.agreement"])

    def parts_and_whole(self, circuit: Circuit, pairs: PairSet) -> None:
        """Puts beside the verdict what the circuit brings jointly, and the sum of what its parts bring one by one."""
        each = tuple(Circuit((site,)) for site in circuit.sites)
        found = self.effects(pairs, Joint((circuit, *each)), "denoise")
        beside(self.share_of("jointly", found, found.change[:, 0]))
        beside(self.share_of("one by one, summed", found, found.change[:, 1:].sum(1)))

    def counted(self, pairs: PairSet, kind: Indexed, share: float, of: int, mode: Mode = "noise") -> Estimate:
        """How many heads (or neurons) carry more than this share each, all held to it at once; 1 is as many as asked.

        So many are asked, or 5% of all where there are fewer than 200.
        """
        whole = self.sizes.whole(kind)
        if of < 1:
            raise AssayError(f"counted: `of` is how many {kind}s are asked, 1 or more, and not {of}")
        asked = of if whole >= FEW else math.ceil(whole / 20)
        found = self.effects(pairs, Sweep(kind, ("post",)), mode)
        change = found.towards_twin.reshape(len(found.pairs), -1).astype(float)
        gap, clusters = found.gap, self.clusters(found.pairs)
        name = f"{kind}s that carry more than {share:.0%}"
        if nothing := found.no_gap:
            return Estimate(name, math.nan, math.nan, math.nan, len(gap), "nothing to take a share of", nothing=nothing)
        # Bonferroni: one claim on all of them.
        level = self.level / change.shape[1]
        each = [means.ratio_of_means(one, gap, level, clusters=clusters) for one in change.T]
        counts = [sum(getattr(one, end) > share for one in each) for end in ("value", "low", "high")]
        value, low, high = (count / asked for count in counts)
        said = f"{counts[0]} {kind}s, where {asked} are asked for; Bonferroni over all {change.shape[1]}"
        return Estimate(name, value, low, high, len(found.pairs), said, range=RANGES["model.counted"])

    def shared(self, pairs: PairSet, found_on: PairSet, *, heads: float = 0, neurons: float = 0) -> Estimate:
        """The effect of circuits found on other categories over that of the one found on a pair's own.

        Each is found on one category's pairs and taken from the twin on held-out pairs of all: the own one's effect is
        the ceiling, being found on as few pairs, and judged on others too.
        """
        names = sorted({pair.category for pair in pairs} & {pair.category for pair in found_on})
        if len(names) < 2:
            raise Inconclusive("nothing to compare: the pairs are of one category")
        circuits = tuple(self.circuit(found_on.category(name), heads=heads, neurons=neurons) for name in names)
        found = self.effects(pairs, Joint(circuits))
        category = {pair.id: pair.category for pair in pairs}
        kept = np.array([category[name] in names for name in found.pairs])
        own = np.array([names.index(category[name]) for name in np.array(found.pairs)[kept]])
        change = found.towards_twin[kept]
        carried = float(change[np.arange(len(own)), own].mean() / found.gap[kept].mean())
        if not carried > LEAST_OWN:
            raise Inconclusive(
                f"nothing to compare: on their own categories the circuits carry {carried:.2f} of the gap"
            )
        return estimated("shared", means.transfer(change, own, self.level, self.clusters(found.pairs)[kept]))

    def share_of(self, name: str, found: Effects, change: np.ndarray) -> Estimate:
        """A change in log-odds as a share of the whole gap between prompts and twins."""
        there = set(found.pairs)
        judged = PairSet("judged", tuple(pair for pair in twins(self.all_pairs) if pair.id in there))
        gate.judges(judged, [self._tokens_found])
        gap, clusters = found.gap, self.clusters(found.pairs)
        if nothing := found.no_gap:
            return Estimate(name, math.nan, math.nan, math.nan, len(gap), "nothing to take a share of", nothing=nothing)
        part = change.astype(float) * found.sign
        return estimated(name, means.ratio_of_means(part, gap, self.level, clusters=clusters))

    def clusters(self, names: Sequence[str]) -> np.ndarray:
        """The cluster of each of these pairs: those of one template, or that share a prompt, are one."""
        cluster_of = twins(self.all_pairs).cluster_of
        return np.array([cluster_of[name] for name in names])

    def _judged_with(self, circuit: Circuit, at: At) -> Joint:
        return beside_random(circuit, self, at) if circuit.parted else Joint((circuit,), at)


class Bare(Subject):
    """The same subject where a verdict is all that is wanted: nothing goes beside it, and no figure is drawn."""

    def asides(self, pairs: PromptSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """Nothing."""
        return ()

    def show(self, asked: Iterable[Measurement]) -> None:
        """Nothing."""

    def also(self, estimates: Iterable[Estimate]) -> None:
        """Nothing."""

    def _judged_with(self, circuit: Circuit, at: At) -> Joint:
        return Joint((circuit,), at)
