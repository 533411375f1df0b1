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
    """Projections of each prompt's stream onto directions, layer by layer, and the norm of the stream."""

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
        """Projections and norms of 1."""
        shape = (len(self.prompts), model.sizes.layers + 1)
        return {}, {"along": np.ones((len(self.directions), *shape)), "length": np.ones(shape)}


@dataclass(frozen=True)
class Lens(Measurement):
    """Log-odds of refusing, read out of the stream that enters each layer and of the one that leaves the last."""

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
    """Each head's attention to the words in which the pairs differ, from the tokens after them."""

    KIND = "attended"
    CONTENT = Content(Asked, NoValues, arrays={"words": "n * *"})
    SCORED = False
    TWINS = True

    pairs: PairSet

    def cost(self, model: Outlook) -> float:
        """The harmful prompts are read once."""
        return model.tokens(self.prompts)

    def placeholder(self, model: Outlook) -> Answer:
        """All attention on these words."""
        return {}, {"words": np.ones((len(self.pairs), model.sizes.layers, model.sizes.heads))}


@dataclass(frozen=True)
class Products(Measurement):
    """Inner products of all prompts' streams that enter a layer, harmful prompts first."""

    KIND = "products"
    CONTENT = Content(_AskedLayer, NoValues, arrays={"products": "2n 2n"})
    SCORED = False

    layer: int
    position: int

    def cost(self, model: Outlook) -> float:
        """Both sides are read once."""
        return model.tokens(self.both)

    def placeholder(self, model: Outlook) -> Answer:
        """Orthogonal streams of norm 1."""
        return {}, {"products": np.eye(len(self.both))}


@dataclass(frozen=True)
class Norms(Measurement):
    """Mean norm of each head's and neuron's activation at the last token of harmful prompts."""

    KIND = "norms"
    CONTENT = Content(Asked, NoValues, arrays=dict.fromkeys(INDEXED, "* *"))
    SCORED = False

    def cost(self, model: Outlook) -> float:
        """The harmful prompts are read once."""
        return model.tokens(self.prompts)

    def placeholder(self, model: Outlook) -> Answer:
        """Norms of 0."""
        return {}, {kind: np.zeros((model.sizes.layers, in_layer(kind, model.sizes))) for kind in INDEXED}
