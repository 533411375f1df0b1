"""Where in depth a model reads, weighs up and acts: interchanges with the twin, layer by layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from harness.claims import gate
from harness.inputs.arguments import all_checked
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.sites import At, Site
from harness.judging import means
from harness.judging.estimate import Estimate
from harness.judging.ranges import RANGES, Range
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import unpacked
from harness.measurements.interventions import Circuit
from harness.measurements.origins import Found, prompts_of
from harness.measurements.questions import Attended, Contrasted, Encoding, Measurement, Swept
from harness.measurements.sweep_plan import Joint, Sweep
from harness.subjects.protocol import MeasuredSubject
from harness.subjects.quantities.refusals import estimated, unmeasured

Stage = Literal["detect", "assess", "execute"]

# What each block writes: at the words in which prompt and twin differ; at all later ones; straight into the logits.
_STAGES: dict[Stage, tuple[At, bool]] = {
    "detect": ("slot", False),
    "assess": ("later", False),
    "execute": ((-1,), True),
}

# Of the tokens after the instruction, so many are shown one by one.
POSITIONS = 8


@all_checked
@dataclass(frozen=True)
class Depths:
    """Depths from 0, the first layer, to 1, the last, on one set of pairs; each layer counts by its effect."""

    subject: MeasuredSubject
    pairs: PairSet

    def of(self, stage: Stage) -> Estimate:
        """The mean depth of one stage."""
        found = self._effects(stage)
        return self._mean(f"depth of {stage}", found.pairs, _depths(found), found.evidence, RANGES["depths.of"])

    def gap(self, first: Stage, second: Stage) -> Estimate:
        """How much deeper the second stage lies, pair by pair, on the pairs that both have: some need aligned ones."""
        stages = [self._effects(stage) for stage in (first, second)]
        ours, theirs = (dict(zip(found.pairs, _depths(found), strict=True)) for found in stages)
        self.subject.also(self._harmless(stage) for stage in (first, second))
        names = tuple(name for name in ours if name in theirs)
        deeper = np.array([theirs[name] - ours[name] for name in names])
        evidence = tuple(key for found in stages for key in found.evidence)
        return self._mean(f"{second} below {first}", names, deeper, evidence, RANGES["depths.gap"])

    def keywords(self, by: PairSet) -> Estimate:
        """The depth at which heads look at the differing words from later ones, each head by its effect on others."""
        gate.judges(self.pairs, [Found("the heads that carry most", "were", prompts_of(by))])
        found = self.subject.effects(by, Sweep("head", ("all",)), searching=True)
        effect = np.maximum(found.towards_twin[..., 0].mean(0), 0)
        attended = self.subject.ask(Attended(self.pairs))
        weights = (attended.arrays["words"] * effect).sum(-1).astype(float)
        interval = means.ratio_of_means(
            weights @ _layers(weights), weights.sum(1), self.subject.level, self.pairs.clusters, (0.0, 1.0)
        )
        evidence = (*found.evidence, attended.fingerprint)
        return estimated("depth of looking at the words", interval, evidence, reach=RANGES["depths.keywords"])

    def middle_over_outer(self) -> Estimate:
        """E of the middle third's MLP outputs, jointly, less E of those of both outer thirds."""
        layers = self.subject.sizes.layers
        middle = [layer for layer in range(layers) if layers / 3 <= layer + 0.5 < 2 * layers / 3]
        outer = [layer for layer in range(layers) if layer not in middle]
        found = self.subject.effects(self.pairs, Joint((Circuit.of(mlps=middle), Circuit.of(mlps=outer))))
        return self.subject.share_of("middle over outer", found, found.change[:, 0] - found.change[:, 1])

    def restored(self, at: At) -> Estimate:
        """What the harmful run's stream, half way up at these positions, brings to the harmless run: 1 is all of it."""
        half = Sweep("resid_pre", (at,), layers=(self.subject.sizes.layers // 2,))
        found = self.subject.effects(self.pairs, half, "denoise")
        self.subject.show(self._streams())
        return self.subject.share_of(f"restored {at}", found, found.change[:, 0, 0])

    def _streams(self) -> Iterator[Measurement]:
        """Every layer's stream at the differing words and at the last positions, one by one, for figures."""
        encoded = self.subject.ask(Encoding(self.pairs)).values
        if any(encoded["aligned"]):
            late = tuple((position,) for position in range(-min(encoded["post"], POSITIONS), 0))
            yield Swept(self.pairs, Sweep("resid_pre", ("slot", *late)), "denoise")

    def _effects(self, stage: Stage) -> Effects:
        return self.subject.effects(self.pairs, self._blocks(stage))

    def _blocks(self, stage: Stage) -> Joint:
        at, direct = _STAGES[stage]
        layers = range(self.subject.sizes.layers)
        return Joint(tuple(Circuit((Site(layer, "attn_out"), Site(layer, "mlp_out"))) for layer in layers), at, direct)

    def _harmless(self, stage: Stage) -> Estimate:
        """The same of how two harmless prompts of one template come to their different answers."""
        name, pairs = f"depth of {stage}, harmless behaviour", self.pairs.harmless_alike
        if not pairs:
            return unmeasured(name, "not measurable: no two harmless prompts are of one template")
        found = unpacked(self.subject.ask(Contrasted(pairs, self._blocks(stage))))
        depth = _depths(found) if found.pairs else np.zeros(0)
        there = np.isfinite(depth)
        if not there.any():
            return unmeasured(
                name, f"not measurable: of {len(pairs)} pairs of harmless prompts none are answered apart"
            )
        template = {pair.id: pair.template for pair in pairs}
        clusters = np.array([template[one] for one in found.pairs])[there]
        interval = means.mean(depth[there], self.subject.level, clusters)
        return estimated(name, interval, found.evidence, reach=RANGES["depths.of"])

    def _mean(
        self,
        name: str,
        pairs: tuple[str, ...],
        values: Float[np.ndarray, " pair"],
        evidence: tuple[str, ...],
        reach: Range | None,
    ) -> Estimate:
        there = np.isfinite(values)
        clusters = self.subject.clusters(pairs)[there]
        return estimated(name, means.mean(values[there], self.subject.level, clusters), evidence, reach=reach)


def _depths(found: Effects) -> Float[np.ndarray, " pair"]:
    """Each pair's mean depth; NaN where no layer has any effect."""
    weights = np.maximum(found.towards_twin, 0)
    total = weights.sum(1).astype(float)
    return np.where(total > 0, weights @ _layers(weights) / np.where(total > 0, total, 1), np.nan)


def _layers(weights: Float[np.ndarray, "pair layer"]) -> Float[np.ndarray, " layer"]:
    return np.linspace(0, 1, weights.shape[1])
