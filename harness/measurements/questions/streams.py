"""Questions about what a model's stream, heads and neurons hold while it reads."""

from dataclasses import dataclass

import numpy as np

from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.inputs.sites import INDEXED, in_layer
from harness.measurements.interventions import Direction
from harness.measurements.questions.contents import Asked, AskedSide, Content, Layer, NamedDirection, NoValues
from harness.measurements.questions.measurement import Answer, Measurement, Outlook


class _AskedDirections(AskedSide):
    directions: list[NamedDirection]


class _AskedLayer(Asked):
    layer: Layer
    position: int


@dataclass(frozen=True)
class Projected(Measurement):
    """How far each prompt's stream goes along directions, layer by layer, and how long the stream is."""

    KIND = "projected"
    CONTENT = Content(_AskedDirections, NoValues, arrays={"along": "* n *", "length": "n *"})
    REVISION = 2
    SCORED = False

    side: PromptSide
    directions: tuple[Direction, ...]
    position: int = -1

    def cost(self, model: Outlook) -> float:
        """The prompts are read once, and those that the directions are taken from."""
        read = [prompt for each in self.directions for prompt in (*each.harmful, *each.harmless)]
        return model.tokens(self.prompts) + model.tokens(read)

    def placeholder(self, model: Outlook) -> Answer:
        """As far along every direction as the stream is long."""
        shape = (len(self.prompts), model.sizes.layers + 1)
        return {}, {"along": np.ones((len(self.directions), *shape)), "length": np.ones(shape)}


@dataclass(frozen=True)
class Lens(Measurement):
    """Log-odds of refusing if the stream that enters each layer, or leaves the last, were read out at once."""

    KIND = "lens"
    CONTENT = Content(AskedSide, NoValues, arrays={"odds": "n *"})

    side: PromptSide
    position: int = -1

    def cost(self, model: Outlook) -> float:
        """The prompts are read once."""
        return model.tokens(self.prompts)

    def placeholder(self, model: Outlook) -> Answer:
        """Even odds in every layer."""
        return {}, {"odds": np.zeros((len(self.prompts), model.sizes.layers + 1))}


@dataclass(frozen=True)
class Attended(Measurement):
    """How much every head looks at the words in which the pairs differ, from the tokens after them."""

    KIND = "attended"
    CONTENT = Content(Asked, NoValues, arrays={"words": "n * *"})
    SCORED = False
    TWINS = True

    pairs: PairSet

    def cost(self, model: Outlook) -> float:
        """The harmful prompts are read once."""
        return model.tokens(self.prompts)

    def placeholder(self, model: Outlook) -> Answer:
        """Every head looks there alone."""
        return {}, {"words": np.ones((len(self.pairs), model.sizes.layers, model.sizes.heads))}


@dataclass(frozen=True)
class Products(Measurement):
    """Inner products of all prompts' streams, harmful ones first, where they enter a layer."""

    KIND = "products"
    CONTENT = Content(_AskedLayer, NoValues, arrays={"products": "2n 2n"})
    SCORED = False

    layer: int
    position: int

    def cost(self, model: Outlook) -> float:
        """Both sides are read once."""
        return model.tokens(self.both)

    def placeholder(self, model: Outlook) -> Answer:
        """Streams of length 1 at right angles."""
        return {}, {"products": np.eye(len(self.both))}


@dataclass(frozen=True)
class Norms(Measurement):
    """Mean length of what every head and neuron says at the end of harmful prompts."""

    KIND = "norms"
    CONTENT = Content(Asked, NoValues, arrays=dict.fromkeys(INDEXED, "* *"))
    SCORED = False

    def cost(self, model: Outlook) -> float:
        """The harmful prompts are read once."""
        return model.tokens(self.prompts)

    def placeholder(self, model: Outlook) -> Answer:
        """Nobody says anything."""
        return {}, {kind: np.zeros((model.sizes.layers, in_layer(kind, model.sizes))) for kind in INDEXED}
