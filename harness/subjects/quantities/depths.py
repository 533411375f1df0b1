"""The depth at which a model detects harm, assesses it and acts, measured by patching from the twin layer by layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from harness.claims import gate
from harness.inputs.arguments import all_checked
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.sites import OUTPUTS, At, Site
from harness.judging import means
from harness.judging.estimate import Estimate
from harness.judging.ranges import RANGES, Range
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import unpacked
from harness.measurements.interventions import Circuit
from harness.measurements.origins import Origin, prompts_of
from harness.measurements.questions import Attended, Contrasted, Encoding, Measurement, Swept
from harness.measurements.sweep_plan import Joint, Sweep
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.refusals import estimated, unmeasured

Stage = Literal["detect", "assess", "execute"]

# Where each stage patches a block's outputs, and whether only their direct effect on the logits counts: at the words in
# which prompt and twin differ; at all later tokens; at the last token.
_STAGES: dict[Stage, tuple[At, bool]] = {
    "detect": ("slot", False),
    "assess": ("later", False),
    "execute": ((-1,), True),
}

# Figures show at most so many tokens after the instruction.
POSITIONS = 8


@all_checked
@dataclass(frozen=True)
class Depths:
    """Mean depths on one set of pairs, each layer weighted by its effect: 0 is the first layer, 1 the last."""

    subject: MeasuredSubject
    pairs: PairSet

    def of(self, stage: Stage) -> Estimate:
        """The mean depth of one stage."""
        effects = self._effects(stage)
        return self._mean(f"depth of {stage}", effects.pairs, _depths(effects), effects.evidence, RANGES["depths.of"])

    def gap(self, first: Stage, second: Stage) -> Estimate:
        """The mean depth of the second stage minus that of the first, over pairs on which both can be measured."""
        both = [self._effects(stage) for stage in (first, second)]
        first_depths, second_depths = (dict(zip(effects.pairs, _depths(effects), strict=True)) for effects in both)
        self.subject.also(self._harmless(stage) for stage in (first, second))
        names = tuple(name for name in first_depths if name in second_depths)
        deeper = np.array([second_depths[name] - first_depths[name] for name in names])
        evidence = tuple(key for effects in both for key in effects.evidence)
        return self._mean(f"{second} below {first}", names, deeper, evidence, RANGES["depths.gap"])

    def keywords(self, by: PairSet) -> Estimate:
        """The mean depth of heads' attention to the differing words, each head weighted by its effect on pairs `by`."""
        gate.require_judgeable(self.pairs, [Origin("the heads that carry most", "were", prompts_of(by))])
        effects = self.subject.effects(by, Sweep("head", ("all",)), searching=True)
        head_effects = np.maximum(effects.towards_twin[..., 0].mean(0), 0)
        attended = self.subject.ask(Attended(self.pairs))
        weights = (attended.arrays["words"] * head_effects).sum(-1).astype(float)
        interval = means.ratio_of_means(
            weights @ _layers(weights), weights.sum(1), self.subject.level, self.pairs.clusters, (0.0, 1.0)
        )
        evidence = (*effects.evidence, attended.fingerprint)
        return estimated("depth of looking at the words", interval, evidence, reach=RANGES["depths.keywords"])

    def middle_over_outer(self) -> Estimate:
        """E of the middle third's MLP outputs, patched jointly, minus E of both outer thirds'."""
        layers = self.subject.sizes.layers
        middle = [layer for layer in range(layers) if layers / 3 <= layer + 0.5 < 2 * layers / 3]
        outer = [layer for layer in range(layers) if layer not in middle]
        effects = self.subject.effects(self.pairs, Joint((Circuit.of(mlps=middle), Circuit.of(mlps=outer))))
        return self.subject.share_of("middle over outer", effects, effects.change[:, 0] - effects.change[:, 1])

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

    def _effects(self, stage: Stage) -> Effects:
        return self.subject.effects(self.pairs, self._blocks(stage))

    def _blocks(self, stage: Stage) -> Joint:
        at, direct = _STAGES[stage]
        layers = range(self.subject.sizes.layers)
        return Joint(tuple(Circuit(tuple(Site(layer, kind) for kind in OUTPUTS)) for layer in layers), at, direct)

    def _harmless(self, stage: Stage) -> Estimate:
        """Control: the depth of the same stage where two harmless prompts of one frame are answered differently."""
        name, pairs = f"depth of {stage}, harmless behaviour", self.pairs.harmless_alike
        if not pairs:
            return unmeasured(name, "not measurable: no two harmless prompts are of one frame")
        effects = unpacked(self.subject.ask(Contrasted(pairs, self._blocks(stage))))
        depth = _depths(effects) if effects.pairs else np.zeros(0)
        finite = np.isfinite(depth)
        if not finite.any():
            return unmeasured(
                name, f"not measurable: none of {len(pairs)} pairs of harmless prompts are answered differently"
            )
        clusters = np.array([pairs.cluster_of[pair_id] for pair_id in effects.pairs])[finite]
        interval = means.mean(depth[finite], self.subject.level, clusters)
        return estimated(name, interval, effects.evidence, reach=RANGES["depths.of"])

    def _mean(
        self,
        name: str,
        pairs: tuple[str, ...],
        values: Float[np.ndarray, " pair"],
        evidence: tuple[str, ...],
        reach: Range | None,
    ) -> Estimate:
        finite = np.isfinite(values)
        clusters = self.subject.clusters(pairs)[finite]
        return estimated(name, means.mean(values[finite], self.subject.level, clusters), evidence, reach=reach)


def _depths(effects: Effects) -> Float[np.ndarray, " pair"]:
    """Each pair's mean depth, weighted by effect; NaN if no layer has an effect."""
    weights = np.maximum(effects.towards_twin, 0)
    total = weights.sum(1).astype(float)
    return np.where(total > 0, weights @ _layers(weights) / np.where(total > 0, total, 1), np.nan)


def _layers(weights: Float[np.ndarray, "pair layer"]) -> Float[np.ndarray, " layer"]:
    return np.linspace(0, 1, weights.shape[1])
