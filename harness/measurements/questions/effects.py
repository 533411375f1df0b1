"""Questions about the effects of patching, exact or estimated from gradients."""

from dataclasses import dataclass, field

import numpy as np

from harness.inputs.model_record import SHORT_ANSWER
from harness.inputs.prompts.pairs import PairSet
from harness.measurements.interventions import LATER
from harness.measurements.openings import Openings
from harness.measurements.questions.contents import AskedEffects, AskedMode, Content, EffectsHold
from harness.measurements.questions.measurement import Answer, Measurement, Outlook, with_gradients
from harness.measurements.sweep_plan import Joint, Mode, Sweep


@dataclass(frozen=True)
class Swept(Measurement):
    """Exact effects of patching from the twin's run."""

    KIND = "swept"
    CONTENT = Content(AskedMode, EffectsHold, effects=True)
    TWINS = True

    pairs: PairSet
    what: Sweep | Joint
    mode: Mode = "noise"
    openings: Openings | None = field(default=None, metadata=LATER)  # None: refusals are told by their first tokens

    def cost(self, model: Outlook) -> float:
        """The tokens of the planned sweep."""
        return model.swept(self.pairs, self.what, self.openings)

    def placeholder(self, model: Outlook) -> Answer:
        """Patches that change nothing."""
        return _no_effects(model, self.pairs, self.what)


@dataclass(frozen=True)
class Contrasted(Measurement):
    """Exact effects on the log-odds between the first tokens in which the answers to prompt and twin differ."""

    KIND = "contrasted"
    CONTENT = Content(AskedEffects, EffectsHold, effects=True)
    SCORED = False
    TWINS = True

    pairs: PairSet
    what: Sweep | Joint

    def cost(self, model: Outlook) -> float:
        """Both prompts are answered, and read again up to where the answers part; then the sweep."""
        return 2 * model.tokens(self.both) + SHORT_ANSWER * len(self.both) + model.swept(self.pairs, self.what)

    def placeholder(self, model: Outlook) -> Answer:
        """Patches that change nothing."""
        return _no_effects(model, self.pairs, self.what)


@dataclass(frozen=True)
class Estimated(Measurement):
    """The effects of `Swept`, as gradients at prompt and twin estimate them: searches go by the same estimate."""

    KIND = "estimated"
    CONTENT = Content(AskedMode, EffectsHold, effects=True)
    REVISION = 2
    TWINS = True

    pairs: PairSet
    what: Sweep | Joint
    mode: Mode = "noise"
    openings: Openings | None = field(default=None, metadata=LATER)  # None: refusals are told by their first tokens

    def cost(self, model: Outlook) -> float:
        """Both prompts are read with gradients."""
        return with_gradients(self.both, model, self.openings)

    def placeholder(self, model: Outlook) -> Answer:
        """Patches that change nothing."""
        return _no_effects(model, self.pairs, self.what)


def _no_effects(model: Outlook, pairs: PairSet, sweep: Sweep | Joint) -> Answer:
    axes = sweep.axes(model.sizes, model.encoded(pairs))
    patched = np.zeros((len(pairs), *map(len, axes.values())), dtype=np.float32)
    ones = np.ones(len(pairs), dtype=np.float32)
    values = {
        "pairs": [pair.id for pair in pairs],
        "set_aside": [],
        "axes": {name: list(labels) for name, labels in axes.items()},
    }
    return values, {"patched": patched, "kl": patched, "clean": ones, "source": -ones}
