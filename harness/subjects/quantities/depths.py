"""At which depth a model reads harmful words, weighs them up and refuses, measured by patching from the twin.

Each stage is also measured where two harmless prompts, asked in the same way, are answered differently: any transformer
reads, processes and writes, so a stage of refusal says something only by what it has beyond that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from harness.claims import gate
from harness.inputs.arguments import all_checked
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.sites import OUTPUTS, At, Kind, Site
from harness.judging import means
from harness.judging.estimate import Estimate
from harness.judging.ranges import RANGES, SHARE, Range
from harness.measurements.effects import LEAST_GAP, Effects
from harness.measurements.effects_evidence import unpacked
from harness.measurements.interventions import Circuit
from harness.measurements.origins import Origin, prompts_of
from harness.measurements.questions import Attended, Contrasted, Encoding, Measurement, Swept
from harness.measurements.sweep_plan import Joint, Sweep
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.refusals import estimated, no_share, unmeasured

Stage = Literal["reading", "accumulation", "execution"]

Shares = Float[np.ndarray, " variant"]
"""The share of a gap that each variant of a patch closes."""

_Patch = Sweep | Joint
_Thirds = tuple[list[int], list[int], list[int]]
# The value in each cluster, how many pairs each has, and the evidence.
_Values = tuple[dict[str, float], dict[str, int], tuple[str, ...]]


@dataclass(frozen=True)
class _Measure:
    """How a stage is measured: what is patched, and its value from the shares that the patches close."""

    reach: Range
    patches: Callable[[_Thirds], tuple[_Patch, ...]]
    value: Callable[..., float]


def _mlps(thirds: _Thirds) -> tuple[Circuit, Circuit]:
    first, middle, last = thirds
    return Circuit.of(mlps=middle), Circuit.of(mlps=[*first, *last])


_STAGES: Mapping[Stage, _Measure] = {
    # The words' own stream, patched after the first third: what later layers still read there.
    "reading": _Measure(
        SHARE,
        lambda thirds: (Sweep("resid_pre", ("slot",), layers=(len(thirds[0]),)),),
        lambda still: 1 - still[0],
    ),
    # All that the MLPs of the middle third, and the others, do after the words, less what they write into the logits.
    # Such a difference has no bounds of its own; with (-1, 1) no 108 frames could tell 0 from 0.05 at a claim's level.
    "accumulation": _Measure(
        means.UNBOUNDED,
        lambda thirds: (Joint(_mlps(thirds), "later"), Joint(_mlps(thirds), (-1,), direct=True)),
        lambda all_of_it, direct: (all_of_it[0] - direct[0]) - (all_of_it[1] - direct[1]),
    ),
    # What the last third writes into the logits.
    "execution": _Measure(
        SHARE,
        lambda thirds: (
            Joint((Circuit(tuple(Site(layer, kind) for layer in thirds[2] for kind in OUTPUTS)),), (-1,), direct=True),
        ),
        lambda written: written[0],
    ),
}

# Figures show at most so many tokens after the instruction.
POSITIONS = 8


@all_checked
@dataclass(frozen=True)
class Depths:
    """The stages of refusal on one set of pairs; thirds are of the layers."""

    subject: MeasuredSubject
    pairs: PairSet

    def of(self, stage: Stage) -> Estimate:
        """How far a stage of refusal lies where the hypothesis has it, as a mean over clusters of pairs.

        reading: the share of the differing words' effect that has left these words when the first third has run.
        accumulation: the effect that MLPs of the middle third have through later blocks, minus that of all others.
        execution: the share of the effect that blocks of the last third write into the logits directly.
        """
        if nothing := (effects := self._of_refusal(self._patches(stage)[0])).no_gap:
            return no_share(stage, effects, nothing)
        self.subject.show(self._streams() if stage == "reading" else self._layer_by_layer(stage))
        return self._mean(stage, *self._refusal(stage), _STAGES[stage].reach, RANGES["depths.of"])

    def beyond_harmless(self, stage: Stage) -> Estimate:
        """`of` minus the same for a harmless behaviour, over the clusters in which both can be measured.

        The behaviour: to answer one of two harmless prompts, asked in the same way, as it is and not as the other.
        """
        name, (low, high) = f"{stage} beyond harmless", _STAGES[stage].reach
        if nothing := (effects := self._of_refusal(self._patches(stage)[0])).no_gap:
            return no_share(name, effects, nothing)
        if why := self._no_behaviour:
            return unmeasured(name, why)
        (ours, sizes, evidence), (theirs, others, behaviour) = self._refusal(stage), self._behaviour(stage)
        alone = self._mean(f"{stage}, harmless behaviour", theirs, others, behaviour, (low, high), RANGES["depths.of"])
        self.subject.also([alone])
        differences = {cluster: value - theirs[cluster] for cluster, value in ours.items() if cluster in theirs}
        bounds, reach = (low - high, high - low), RANGES["depths.beyond_harmless"]
        return self._mean(name, differences, sizes, (*evidence, *behaviour), bounds, reach)

    def keywords(self, by: PairSet) -> Estimate:
        """The mean depth of heads' attention to the differing words, each head weighted by its effect on pairs `by`."""
        gate.require_judgeable(self.pairs, [Origin("the heads that carry most", "were", prompts_of(by))])
        effects = self.subject.effects(by, Sweep("head", ("all",)), searching=True)
        head_effects = np.maximum(effects.towards_twin[..., 0].mean(0), 0)
        attended = self.subject.ask(Attended(self.pairs))
        weights = (attended.arrays["words"] * head_effects).sum(-1).astype(float)
        depths = np.linspace(0, 1, weights.shape[1])
        interval = means.ratio_of_means(
            weights @ depths, weights.sum(1), self.subject.level, self.pairs.clusters, (0.0, 1.0)
        )
        evidence = (*effects.evidence, attended.fingerprint)
        return estimated("depth of looking at the words", interval, evidence, reach=RANGES["depths.keywords"])

    def restored(self, at: At) -> Estimate:
        """The share of the gap that the harmful stream restores in the harmless run: middle layer, these positions."""
        half = Sweep("resid_pre", (at,), layers=(self.subject.sizes.layers // 2,))
        effects = self.subject.effects(self.pairs, half, "denoise")
        self.subject.show(self._streams())
        return self.subject.share_of(f"restored {at}", effects, effects.change[:, 0, 0])

    def _streams(self) -> Iterator[Measurement]:
        """For figures: patches of every layer's stream at the differing words and at each of the last positions."""
        encoded = self.subject.ask(Encoding(self.pairs)).values
        if any(encoded["aligned"]):
            late = tuple((position,) for position in range(-min(encoded["post"], POSITIONS), 0))
            yield Swept(self.pairs, Sweep("resid_pre", ("slot", *late)), "denoise")

    def _layer_by_layer(self, stage: Stage) -> Iterator[Measurement]:
        """For figures: the patches of a stage, in every layer by itself."""
        kinds: tuple[Kind, ...] = ("mlp_out",) if stage == "accumulation" else OUTPUTS
        layers = tuple(
            Circuit(tuple(Site(layer, kind) for kind in kinds)) for layer in range(self.subject.sizes.layers)
        )
        for patch in self._patches(stage):
            if isinstance(patch, Joint):
                yield Swept(self.pairs, replace(patch, circuits=layers))

    def _patches(self, stage: Stage) -> tuple[_Patch, ...]:
        """What is patched to measure a stage; a layer belongs to the third in which its middle lies."""
        layers = self.subject.sizes.layers
        thirds: _Thirds = ([], [], [])
        for layer in range(layers):
            thirds[int(3 * (layer + 0.5) / layers)].append(layer)
        return _STAGES[stage].patches(thirds)

    def _of_refusal(self, patch: _Patch) -> Effects:
        return self.subject.effects(self.pairs, patch)

    def _of_behaviour(self, patch: _Patch) -> Effects:
        return unpacked(self.subject.ask(Contrasted(self.pairs.harmless_alike, patch)))

    def _refusal(self, stage: Stage) -> _Values:
        measured = [self._of_refusal(patch) for patch in self._patches(stage)]
        used = {pair for effects in measured for pair in effects.pairs}
        gate.require_judgeable(PairSet("judged", tuple(pair for pair in self.pairs if pair.id in used)), [])
        return _by_cluster(stage, measured, self.pairs.cluster_of)

    def _behaviour(self, stage: Stage) -> _Values:
        prompts, clusters_of_pairs = self.pairs.harmful + self.pairs.harmless, self.pairs.clusters * 2
        cluster_of = dict(zip(prompts, clusters_of_pairs, strict=True))
        clusters = {pair.id: cluster_of[pair.harmful] for pair in self.pairs.harmless_alike}
        return _by_cluster(stage, [self._of_behaviour(patch) for patch in self._patches(stage)], clusters)

    @property
    def _no_behaviour(self) -> str:
        """Why there is no harmless behaviour to compare with; empty if there is one."""
        alike = self.pairs.harmless_alike
        if not alike:
            return "not measurable: no two harmless prompts are of one frame"
        if not self._of_behaviour(self._patches("execution")[0]).pairs:
            return f"not measurable: none of {len(alike)} pairs of harmless prompts are answered differently"
        return ""

    def _mean(
        self,
        name: str,
        values: Mapping[str, float],
        sizes: Mapping[str, int],
        evidence: tuple[str, ...],
        bounds: Range,
        reach: Range | None,
    ) -> Estimate:
        """The mean over clusters, each of which counts once."""
        if not values:
            return unmeasured(name, "not measurable: no cluster of pairs has what is to be compared")
        interval = means.mean(list(values.values()), self.subject.level, bounds=bounds)
        method = f"{interval.method}, in {len(values)} clusters"
        n = sum(sizes[cluster] for cluster in values)
        return estimated(name, replace(interval, n=n, method=method), evidence, reach=reach)


def _by_cluster(stage: Stage, measured: Sequence[Effects], clusters: Mapping[str, str]) -> _Values:
    """A stage's value in each cluster of pairs that all patches measured and that has a gap."""
    common = [pair for pair in measured[0].pairs if all(pair in effects.pairs for effects in measured)]
    members: dict[str, list[str]] = {}
    for pair in common:
        members.setdefault(clusters[pair], []).append(pair)
    values, (low, high) = {}, _STAGES[stage].reach
    for cluster, pairs in members.items():
        shares = [_shares(effects, pairs) for effects in measured]
        if all(share is not None for share in shares):
            values[cluster] = float(np.clip(_STAGES[stage].value(*shares), low, high))
    evidence = tuple(key for effects in measured for key in effects.evidence)
    return values, {cluster: len(pairs) for cluster, pairs in members.items()}, evidence


def _shares(effects: Effects, pairs: Sequence[str]) -> Shares | None:
    """The share of these pairs' gap that each variant closes; None where they have almost no gap."""
    rows = [effects.pairs.index(pair) for pair in pairs]
    if (gap := effects.gap[rows].mean()) < LEAST_GAP:
        return None
    return np.asarray(effects.towards_twin[rows].reshape(len(rows), -1).astype(float).mean(0) / gap)
