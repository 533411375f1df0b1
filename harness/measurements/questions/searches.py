"""Questions that search: for the circuit, and for the direction, that carry refusal."""

from dataclasses import dataclass

from msgspec import Struct

from harness.inputs.files.json_files import Count
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.sites import SITE_KINDS, At, Indexed, in_layer
from harness.measurements.questions.contents import Asked, Content, Layer
from harness.measurements.questions.measurement import WITH_GRADIENTS, Answer, Measurement, Outlook
from harness.measurements.sweep_plan import Chosen, Sweep

# For each part asked for, so many are proposed by gradients and measured exactly. Gradients at both ends put the exact
# top ten of `organism:reference` among the first 27; at the prompt's end alone, some of them beyond the hundredth.
PROPOSED = 5
# Candidates for a direction from the last fifth of the layers are too near the output.
LAYERS = 0.8
# Of the pairs on which a direction is searched for, one in so many chooses among the candidates.
VALIDATION = 4
# The share of candidates that is taken to induce refusal, and so is removed as well; it differs between models.
APT = 0.5


class _Carried(Struct):
    heads: list[float]
    neurons: list[float]


class _Circuit(Struct):
    heads: list[tuple[Layer, Count]]
    neurons: list[tuple[Layer, Count]]
    effects: _Carried | None = None  # missing in older evidence


class _Direction(Struct):
    layer: Layer | None
    position: int | None
    valid: bool
    reason: str
    harmful: list[str]
    harmless: list[str]


@dataclass(frozen=True)
class FoundCircuit(Measurement):
    """The heads and neurons that carry most, and what each carries by itself, largest first."""

    KIND = "circuit"
    CONTENT = Content(Asked, _Circuit)
    REVISION = 2
    TWINS = True

    pairs: PairSet
    heads: int = 0
    neurons: int = 0
    at: At = "post"

    @property
    def numbers(self) -> dict[Indexed, int]:
        """How many of each kind are asked for."""
        return {"head": self.heads, "neuron": self.neurons}

    def cost(self, model: Outlook) -> float:
        """Gradients in both modes propose; the best are patched exactly."""
        total = 2.0 * WITH_GRADIENTS * model.tokens(self.both)
        for kind, k in self.numbers.items():
            if k:
                total += model.swept(self.pairs, Chosen(Sweep(kind, (self.at,)), tuple(range(PROPOSED * k))))
        return total

    def placeholder(self, model: Outlook) -> Answer:
        """The first parts of the model."""
        parts = {SITE_KINDS[kind].plural: _first(k, in_layer(kind, model.sizes)) for kind, k in self.numbers.items()}
        return parts | {"effects": {kind: [0.0] * len(numbers) for kind, numbers in parts.items()}}, {}


@dataclass(frozen=True)
class FoundDirection(Measurement):
    """The layer and position chosen by the published procedure: three parts of the pairs to train, one to choose.

    Where no candidate passes its filters, those of the one that leaves least refusal when it is removed.
    """

    KIND = "direction"
    CONTENT = Content(Asked, _Direction)
    REVISION = 2

    def cost(self, model: Outlook) -> float:
        """Both sides are read. Candidates are added on prompts that validate, from their layer on; the apt are removed.

        What enters the first layer after the instruction is the same for all prompts, so no candidate is there.
        """
        both, layers = model.tokens(self.both), model.sizes.layers
        validated = both / VALIDATION / 2  # of a side
        above = [1 - layer / layers for layer in range(1, int(layers * LAYERS))]
        return both + model.after_instruction * validated * (sum(above) + APT * len(above))

    def placeholder(self, model: Outlook) -> Answer:
        """The last token of the middle layer."""
        prompts = {"harmful": list(self.pairs.harmful), "harmless": list(self.pairs.harmless)}
        return {"layer": model.sizes.layers // 2, "position": -1, "valid": True, "reason": "", **prompts}, {}


def _first(k: int, width: int) -> list[list[int]]:
    return [[number // width, number % width] for number in range(k)]
