"""A claim's questions about circuits: their effect, that of other circuits, and how many parts it takes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress, groupby
from typing import Any

import numpy as np

from harness.inputs.arguments import all_checked
from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import twins
from harness.inputs.sites import INDEXED, SITE_KINDS, At, Indexed, Site, in_model
from harness.judging import correlations, means
from harness.judging.estimate import Estimate, Inconclusive, beside
from harness.judging.proportions import Interval, least
from harness.judging.ranges import BOTH_WAYS, RANGES
from harness.measurements.effects_evidence import unpacked
from harness.measurements.interventions import Circuit
from harness.measurements.origins import prompts_of
from harness.measurements.questions import Contrasted, Encoding, Estimated, GrownCircuit, Norms
from harness.measurements.sweep_plan import Joint, Mode, Sweep
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.arm_controls import beside_random, dose, loudest
from harness.subjects.quantities.refusals import estimated, no_share, unmeasured
from harness.subjects.search_regret import regret

# Transfer to other categories is measured if circuits carry more than this of their own one's gap.
LEAST_OWN = 0.3
# With fewer heads (or neurons) than this, `counted` asks for 5% of them.
FEW = 200
# Gradients are compared with patches on single heads, and on the neurons of a layer in so many groups.
GROUPS: Mapping[Indexed, int] = {"head": 0, "neuron": 8}


@all_checked
class CircuitQuestions:
    """The questions about circuits that every measured subject answers; a base class of `Subject`."""

    def aligned(self: MeasuredSubject, pairs: PairSet) -> PairSet:
        """The pairs in which equal positions of both prompts correspond, so that every position can be patched."""
        aligned = self.ask(Encoding(pairs)).values["aligned"]
        if not any(aligned):
            raise Inconclusive("nothing to compare: no pair is aligned, so nothing has a counterpart in its twin")
        return pairs if all(aligned) else PairSet(f"{pairs.name}, aligned", tuple(compress(pairs, aligned)))

    def share(self: MeasuredSubject, circuit: Circuit) -> Estimate:
        """The share of the model's parameters that belong to a circuit, counted."""
        value = circuit.share(self.sizes)
        n, reach = self.sizes.parameters, RANGES["model.share"]
        return Estimate("parameters", value, value, value, n, "counted", "parameters", range=reach)

    def effect(
        self: MeasuredSubject, circuit: Circuit, pairs: PairSet, *, at: At = "post", mode: Mode = "noise"
    ) -> Estimate:
        """E: the share of the gap between prompts and twins that closes when the circuit is patched from the twin."""
        effects = self.effects(pairs, _beside_controls(self, circuit, at), mode)
        self.show(dose(self, circuit, at, pairs, mode))
        if len(effects.change.T) > 1:
            beside(self.share_of("E, random circuits", effects, effects.change[:, 1:].mean(1)))
        if self.controls and self.limit_of(circuit):
            rest = self.effects(pairs, Joint((circuit,), at, outside=True), mode)
            beside(self.share_of("E, all outside the circuit", rest, rest.change[:, 0]))
            beside(_over_loudest(self, circuit, pairs, at))
        return _at_best(self, circuit, self.share_of("E", effects, effects.change[:, 0]))

    def lead(self: MeasuredSubject, circuit: Circuit, pairs: PairSet, *, at: At = "post") -> Estimate:
        """E minus the mean E of disjoint random circuits of the same size and layers."""
        effects = self.effects(pairs, beside_random(circuit, self, at))
        lead = effects.change[:, 0] - effects.change[:, 1:].mean(1)
        return _at_best(self, circuit, self.share_of("lead over random", effects, lead))

    def lead_over_loudest(self: MeasuredSubject, circuit: Circuit, pairs: PairSet, *, at: At = "post") -> Estimate:
        """E minus the E of as many other heads and neurons, those with the largest output norms."""
        return _over_loudest(self, circuit, pairs, at)

    def lead_over_harmless(self: MeasuredSubject, circuit: Circuit, pairs: PairSet, *, at: At = "post") -> Estimate:
        """E minus the E of the circuit of a harmless behaviour: of the choice between answers to two harmless prompts.

        It is searched for jointly, under the circuit's own share of the parameters, on discovery prompts of one
        template: with ten times its room it could contain the circuit.
        """
        name, alike = "lead over a harmless behaviour", twins(self.all_pairs).discovery.harmless_alike
        if not alike:
            return unmeasured(name, "not measurable: no two harmless prompts are of one template")
        searched = self.seek(self.told(GrownCircuit(alike, circuit.share(self.sizes), at, contrast=True)))
        other = Circuit(sites_in(searched.values["blocks"], prompts_of(alike)))
        if not other:
            return unmeasured(name, f"not measurable: none of {len(alike)} pairs of harmless prompts gave a circuit")
        effects = self.effects(pairs, Joint((circuit, other), at))
        beside(self.share_of("E, a harmless behaviour's circuit", effects, effects.change[:, 1]))
        lead = effects.change[:, 0] - effects.change[:, 1]
        return _at_best(self, circuit, self.share_of(name, effects, lead))

    def token_difference(self: MeasuredSubject, circuit: Circuit, pairs: PairSet, *, at: At = "post") -> Estimate:
        """E on the first tokens in which the answers to prompt and twin differ, such as logit[Sorry] − logit[Sure]."""
        effects = unpacked(self.ask(Contrasted(pairs, Joint((circuit,), at))))
        if not effects.pairs:
            raise Inconclusive("nothing to compare: prompts and their twins are answered alike, or no pair is aligned")
        estimate = self.share_of("E, the answers' own tokens", effects, effects.change[:, 0])
        return _at_best(self, circuit, estimate)

    def token_probability(
        self: MeasuredSubject, circuit: Circuit, pairs: PairSet, *, at: At = "post", mode: Mode = "denoise"
    ) -> Estimate:
        """By how much the probability that the first token refuses moves towards the twin's under the patch.

        Beside it stands the same for random circuits of its size.
        """
        if self.measure == "openings":
            raise Inconclusive("nothing to compare: no first token tells refusals, which openings of several tokens do")
        effects = self.effects(pairs, _beside_controls(self, circuit, at), mode)
        beside(self.share_of("E", effects, effects.change[:, 0]))  # which requires enough pairs
        name, random = "probability of refusing", "probability of refusing, random circuits"
        if nothing := effects.no_gap:
            return no_share(name, effects, nothing)
        moved = (_probability(effects.patched) - _probability(effects.clean)[:, None]) * effects.sign
        clusters, reach = self.clusters(effects.pairs), RANGES["model.token_probability"]

        def mean(name: str, values: np.ndarray) -> Estimate:
            interval = means.mean(values, self.level, clusters, BOTH_WAYS)
            return estimated(name, interval, effects.evidence, reach=reach)

        if len(moved.T) > 1:
            beside(mean(random, moved[:, 1:].mean(1)))
        return mean(name, moved[:, 0])

    def agreement(self: MeasuredSubject, pairs: PairSet, kind: Indexed) -> Estimate:
        """Pearson's r of the effects that gradients estimate, as searches do, with those that patches measure.

        Over all heads, or over all neurons in GROUPS of a layer: single neurons are too many to patch. Beside it stand
        the rank correlation, and the overlap of the 5% with the largest effects; they decide nothing, since most parts
        do nothing and their ranks are noise.
        """
        sweep, plural = Sweep(kind, ("post",), groups=GROUPS[kind]), SITE_KINDS[kind].plural
        exact, estimates = self.effects(pairs, sweep), unpacked(self.ask(self.told(Estimated(pairs, sweep))))
        measured, guessed = (
            effects.towards_twin.reshape(len(effects.pairs), -1).astype(float) for effects in (exact, estimates)
        )
        clusters, read = self.clusters(exact.pairs), (*exact.evidence, *estimates.evidence)

        def named(name: str, interval: Interval) -> Estimate:
            return estimated(f"{name}, {plural}", interval, read, reach=RANGES["model.agreement"])

        ranks = correlations.resampled(correlations.spearman, guessed, measured, self.level, clusters)
        common = correlations.resampled(correlations.overlap, guessed, measured, self.level, clusters)
        self.also([named("rank correlation", ranks), named("overlap of the top 5%", common)])
        return named("r", correlations.correlation(guessed, measured, self.level, clusters))

    def parts_and_whole(self: MeasuredSubject, circuit: Circuit, pairs: PairSet) -> None:
        """Reports the effect of the circuit as a whole and the sum of its parts' single effects; decides nothing."""
        # Each head, and the neurons of each layer: a circuit can have thousands of them.
        by_part = groupby(circuit.sites, lambda site: (site.layer, site.kind, site.kind == "head" and site.index))
        each = tuple(Circuit(tuple(sites)) for _, sites in by_part)
        effects = self.effects(pairs, Joint((circuit, *each)), "denoise")
        beside(self.share_of("jointly", effects, effects.change[:, 0]))
        beside(self.share_of("part by part, summed", effects, effects.change[:, 1:].sum(1)))

    def counted(
        self: MeasuredSubject, pairs: PairSet, kind: Indexed, share: float, of: int, mode: Mode = "noise"
    ) -> Estimate:
        """How many heads (or neurons) each carry more than `share`, divided by how many are asked for.

        `of` are asked for, or 5% of all where the model has fewer than 200. All are tested at once (Bonferroni).
        """
        whole = in_model(kind, self.sizes)
        if of < 1:
            raise AssayError(f"counted: `of` is how many {SITE_KINDS[kind].plural} are asked, 1 or more, and not {of}")
        asked = of if whole >= FEW else math.ceil(whole / 20)
        effects = self.effects(pairs, Sweep(kind, ("post",)), mode)
        change = effects.towards_twin.reshape(len(effects.pairs), -1).astype(float)
        gap, clusters = effects.gap, self.clusters(effects.pairs)
        name = f"{SITE_KINDS[kind].plural} that carry more than {share:.0%}"
        if nothing := effects.no_gap:
            return no_share(name, effects, nothing)
        # Bonferroni: the claim is about all of them at once.
        level = self.level / change.shape[1]
        intervals = [means.ratio_of_means(column, gap, level, clusters=clusters) for column in change.T]
        counts = [sum(getattr(interval, end) > share for interval in intervals) for end in ("value", "low", "high")]
        value, low, high = (count / asked for count in counts)
        method = (
            f"{counts[0]} {SITE_KINDS[kind].plural}, where {asked} are asked for; Bonferroni over all {change.shape[1]}"
        )
        n, reach = len(effects.pairs), RANGES["model.counted"]
        return Estimate(name, value, low, high, n, method, range=reach, evidence=effects.evidence)

    def shared(
        self: MeasuredSubject, pairs: PairSet, found_on: PairSet, *, heads: float = 0, neurons: float = 0
    ) -> Estimate:
        """In the least category: the effect of circuits found on the others, divided by that of the one found on it.

        Each circuit is found on one category's discovery pairs and patched on held-out pairs of all categories. The
        own category's circuit is a fair ceiling: it too is found on few pairs and judged on new ones. A category whose
        own circuit carries too little to compare with can neither hold nor fail; so long as there is one, not all hold.
        """
        names = sorted({pair.category for pair in pairs} & {pair.category for pair in found_on})
        if len(names) < 2:
            raise Inconclusive("nothing to compare: the pairs are of one category")
        circuits = tuple(self.circuit(found_on.category(name), heads=heads, neurons=neurons) for name in names)
        effects = self.effects(pairs, Joint(circuits))
        category = {pair.id: pair.category for pair in pairs}
        of_pair, gap = np.array([category[name] for name in effects.pairs]), effects.gap
        changes, clusters = effects.towards_twin, self.clusters(effects.pairs)
        if nothing := effects.no_gap:
            return no_share("shared", effects, nothing)
        compared: dict[str, Callable[[float], Interval]] = {}
        for number, name in enumerate(names):
            rows = of_pair == name
            if gap[rows].sum() > 0:  # no pair of a category may be aligned
                own = means.ratio_of_means(changes[rows, number], gap[rows], self.level, clusters[rows])
                if own.low > LEAST_OWN:
                    compared[name] = partial(_transfer, changes[rows], number, clusters[rows])
        if not compared:
            raise Inconclusive(
                f"nothing to compare: in no category is the share of the gap that its own circuit carries above "
                f"{LEAST_OWN:.2f} for certain"
            )
        interval = least(compared, self.level)
        if left := len(names) - len(compared):
            said = f"{interval.method}; {left} more cannot be compared: their own circuits carry too little"
            interval = replace(interval, low=-math.inf, method=said)
        return estimated("shared", interval, effects.evidence)


def _transfer(falls: np.ndarray, own: int, clusters: np.ndarray, level: float) -> Interval:
    return means.transfer(falls, own, level, clusters)


def sites_in(blocks: Sequence[Any], found_on: frozenset[str]) -> tuple[Site, ...]:
    """The sites of a grown circuit's blocks, as evidence keeps them."""
    return tuple(
        Site(layer, kind, index, found_on=found_on)
        for block in blocks
        for kind in INDEXED
        for layer, index in block[SITE_KINDS[kind].plural]
    )


def _probability(odds: np.ndarray) -> np.ndarray:
    """The probability with these log-odds."""
    return np.asarray((1 + np.tanh(odds.astype(float) / 2)) / 2)


def _over_loudest(subject: MeasuredSubject, circuit: Circuit, pairs: PairSet, at: At) -> Estimate:
    searched = subject.all_pairs.discovery
    others = loudest(circuit, subject.seek(Norms(searched)).arrays, prompts_of(searched))
    effects = subject.effects(pairs, Joint((circuit, others), at))
    lead = effects.change[:, 0] - effects.change[:, 1]
    return _at_best(subject, circuit, subject.share_of("lead over the loudest", effects, lead))


def _at_best(subject: MeasuredSubject, circuit: Circuit, estimate: Estimate) -> Estimate:
    """An estimate whose upper end allows for a better circuit than the joint search found; others as they are.

    Its refutation then says that no circuit under that share does it, and not that the search missed one.
    """
    if subject.limit_of(circuit) is None:
        return estimate
    most = regret()
    method = f"{estimate.method}; the upper end raised by {most:.2f}, by which the search can fall short"
    return replace(estimate, high=estimate.high + most, method=method)


def _beside_controls(subject: MeasuredSubject, circuit: Circuit, at: At) -> Joint:
    """The circuit, with random ones of its size if controls are on and there are any."""
    return beside_random(circuit, subject, at) if subject.controls and circuit.indexed else Joint((circuit,), at)
