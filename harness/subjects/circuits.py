"""What a claim can ask of circuits: what they carry, whether others carry as much, and how many parts it takes."""

import math

import numpy as np

from harness.inputs.arguments import all_checked
from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.sites import At, Indexed, Kind
from harness.judging import correlations, means
from harness.judging.estimate import Estimate, Inconclusive, beside
from harness.judging.ranges import RANGES
from harness.measurements.effects_evidence import unpacked
from harness.measurements.interventions import Circuit
from harness.measurements.origins import prompts_of
from harness.measurements.questions import Estimated, Norms
from harness.measurements.sweep_plan import Joint, Mode, Sweep
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.arm_controls import beside_random, dose, loudest
from harness.subjects.quantities.refusals import estimated, no_share

# Circuits that carry less than this of their own category's gap are no measure for others.
LEAST_OWN = 0.3
# A model with fewer heads than this is asked for a share of them.
FEW = 200


@all_checked
class CircuitQuestions:
    """The questions about circuits that every measured subject answers; a part of `Subject`."""

    def share(self: MeasuredSubject, circuit: Circuit) -> Estimate:
        """The share of the model's parameters that a circuit owns, counted."""
        value = circuit.share(self.sizes)
        n, reach = self.sizes.parameters, RANGES["model.share"]
        return Estimate("parameters", value, value, value, n, "counted", "parameters", range=reach)

    def effect(
        self: MeasuredSubject, circuit: Circuit, pairs: PairSet, *, at: At = "post", mode: Mode = "noise"
    ) -> Estimate:
        """E: the share of the whole effect that goes when the circuit is taken from the twin's run."""
        found = self.effects(pairs, _beside_controls(self, circuit, at), mode)
        self.show(dose(self, circuit, at, pairs, mode))
        if len(found.change.T) > 1:
            beside(self.share_of("E, random circuits", found, found.change[:, 1:].mean(1)))
        return self.share_of("E", found, found.change[:, 0])

    def lead(self: MeasuredSubject, circuit: Circuit, pairs: PairSet, *, at: At = "post") -> Estimate:
        """E less the mean E of random circuits of its size and layers that share nothing with it."""
        found = self.effects(pairs, beside_random(circuit, self, at))
        return self.share_of("lead over random", found, found.change[:, 0] - found.change[:, 1:].mean(1))

    def lead_over_loudest(self: MeasuredSubject, circuit: Circuit, pairs: PairSet, *, at: At = "post") -> Estimate:
        """E less the E of as many other heads and neurons: those that say most, whatever they say."""
        on = self.all_pairs.discovery
        others = loudest(circuit, self.seek(Norms(on)).arrays, prompts_of(on))
        found = self.effects(pairs, Joint((circuit, others), at))
        return self.share_of("lead over the loudest", found, found.change[:, 0] - found.change[:, 1])

    def agreement(self: MeasuredSubject, pairs: PairSet, kind: Kind) -> Estimate:
        """Pearson correlation of effects as gradients estimate them with effects as patches measure them."""
        what = Sweep(kind, ("post",))
        exact, guess = self.effects(pairs, what), unpacked(self.ask(Estimated(pairs, what)))
        rows = [value.change.reshape(len(value.pairs), -1).astype(float) for value in (guess, exact)]
        interval = correlations.correlation(rows[0], rows[1], self.level, self.clusters(exact.pairs))
        return estimated("r", interval, (*exact.evidence, *guess.evidence), reach=RANGES["model.agreement"])

    def parts_and_whole(self: MeasuredSubject, circuit: Circuit, pairs: PairSet) -> None:
        """Puts beside the verdict what the circuit brings jointly, and the sum of what its parts bring one by one."""
        each = tuple(Circuit((site,)) for site in circuit.sites)
        found = self.effects(pairs, Joint((circuit, *each)), "denoise")
        beside(self.share_of("jointly", found, found.change[:, 0]))
        beside(self.share_of("one by one, summed", found, found.change[:, 1:].sum(1)))

    def counted(
        self: MeasuredSubject, pairs: PairSet, kind: Indexed, share: float, of: int, mode: Mode = "noise"
    ) -> Estimate:
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
            return no_share(name, found, nothing)
        # Bonferroni: one claim on all of them.
        level = self.level / change.shape[1]
        each = [means.ratio_of_means(one, gap, level, clusters=clusters) for one in change.T]
        counts = [sum(getattr(one, end) > share for one in each) for end in ("value", "low", "high")]
        value, low, high = (count / asked for count in counts)
        said = f"{counts[0]} {kind}s, where {asked} are asked for; Bonferroni over all {change.shape[1]}"
        n, reach = len(found.pairs), RANGES["model.counted"]
        return Estimate(name, value, low, high, n, said, range=reach, evidence=found.evidence)

    def shared(
        self: MeasuredSubject, pairs: PairSet, found_on: PairSet, *, heads: float = 0, neurons: float = 0
    ) -> Estimate:
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
        interval = means.transfer(change, own, self.level, self.clusters(found.pairs)[kept])
        return estimated("shared", interval, found.evidence)


def _beside_controls(subject: MeasuredSubject, circuit: Circuit, at: At) -> Joint:
    """The circuit by itself; with random ones of its size where controls are measured and there are any."""
    return beside_random(circuit, subject, at) if subject.controls and circuit.parted else Joint((circuit,), at)
