"""Questions that search: for the circuit, and for the direction, that carry refusal."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec import Struct

from harness.inputs.files.json_files import Count, Finite
from harness.inputs.model_record import SHORT_ANSWER
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.sites import INDEXED, SITE_KINDS, At, Indexed, Site, in_layer
from harness.measurements.interventions import LATER, Circuit
from harness.measurements.openings import Openings, runs_of
from harness.measurements.questions.contents import AskedScore, Content, Flag, Layer
from harness.measurements.questions.measurement import Answer, Measurement, Outlook, with_gradients
from harness.measurements.sweep_plan import Chosen, Joint, Sweep

# For each site asked for, gradients propose so many, which are then patched exactly. By gradients at both prompt and
# twin, the exact top ten of `organism:reference` are among the first 27; at the prompt alone, some are past the 100th.
PROPOSED = 5
# The joint search (`instruments/joint_search.py`) takes so many rounds, in each of which a circuit may double by about
# PIECES pieces, chosen from POOL runs of heads and as many of neurons. It then leaves out about PRUNED parts of each
# kind in turn. All on at most PAIRS pairs. So about 250 circuits are patched, whatever the size of the model.
ROUNDS, PIECES, POOL, PRUNED, PAIRS = 6, 4, 12, 24, 64
# The share of layers, from the first, that have candidates for a direction; later ones are too near the output.
LAYERS = 0.8
# One in so many of the pairs is used to choose among candidate directions, the others to compute them.
VALIDATION = 4
# For the estimate of cost: the share of candidates that induce refusal, and are then removed too. It varies by model.
APT = 0.5


class _Carried(Struct):
    heads: list[float]
    neurons: list[float]


class _Circuit(Struct):
    heads: list[tuple[Layer, Count]]
    neurons: list[tuple[Layer, Count]]
    effects: _Carried | None = None  # missing in older evidence


class _Block(Struct):
    heads: list[tuple[Layer, Count]]
    neurons: list[tuple[Layer, Count]]


class _AskedShare(AskedScore, kw_only=True):
    share: Flag
    contrast: bool


class _Grown(Struct):
    blocks: list[_Block]
    curve: list[tuple[Finite, Finite]]
    effect: Finite
    adds: list[Finite]
    patched: Count


class _Direction(Struct):
    layer: Layer | None
    position: int | None
    valid: bool
    reason: str
    harmful: list[str]
    harmless: list[str]


@dataclass(frozen=True)
class FoundCircuit(Measurement):
    """The heads and neurons with the largest effects, and the effect of each, largest first."""

    KIND = "circuit"
    CONTENT = Content(AskedScore, _Circuit)
    REVISION = 2
    TWINS = True

    pairs: PairSet
    heads: int = 0
    neurons: int = 0
    at: At = "post"
    openings: Openings | None = field(default=None, metadata=LATER)  # None: refusals are told by their first tokens

    @property
    def numbers(self) -> dict[Indexed, int]:
        """How many of each kind are asked for."""
        return {"head": self.heads, "neuron": self.neurons}

    def cost(self, model: Outlook) -> float:
        """Gradients at prompts and twins, then exact patches of the proposed sites."""
        total = 2.0 * with_gradients(self.both, model, self.openings)
        for kind, k in self.numbers.items():
            if k:
                proposed = Chosen(Sweep(kind, (self.at,)), tuple(range(PROPOSED * k)))
                total += model.swept(self.pairs, proposed, self.openings)
        return total

    def placeholder(self, model: Outlook) -> Answer:
        """The first heads and neurons of the model."""
        parts = {SITE_KINDS[kind].plural: _first(k, in_layer(kind, model.sizes)) for kind, k in self.numbers.items()}
        return parts | {"effects": {kind: [0.0] * len(numbers) for kind, numbers in parts.items()}}, {}


@dataclass(frozen=True)
class GrownCircuit(Measurement):
    """The circuit under a share of the parameters that carries most as a whole, in the blocks in which it grew.

    `curve` holds the share of the parameters and the joint E after each step; `effect` is the joint E of what is left
    after pruning, and `adds` by how much it falls without each part. With `contrast`, of the choice between the two
    prompts' answers, whatever they say; else of refusing.
    """

    KIND = "grown-circuit"
    CONTENT = Content(_AskedShare, _Grown)
    TWINS = True

    pairs: PairSet
    share: float
    at: At = "post"
    contrast: bool = False
    openings: Openings | None = field(default=None, metadata=LATER)  # None: refusals are told by their first tokens

    @property
    def searched(self) -> PairSet:
        """At most PAIRS of the pairs, evenly spread."""
        return PairSet(self.pairs.name, self.pairs.pairs[:: -(-len(self.pairs) // PAIRS) or 1])

    def cost(self, model: Outlook) -> float:
        """Gradients at prompts and twins for each kind, then two sweeps a round, and three for pruning."""
        pairs, answering, openings = self.searched, 0.0, self.openings
        both = (*pairs.harmful, *pairs.harmless)
        if self.contrast:
            answering, openings = 2.0 * model.tokens(both) + SHORT_ANSWER * len(both), None
        swept = sum(model.swept(pairs, Joint(circuits, self.at), openings) for circuits in self._patched(model))
        return answering + len(INDEXED) * with_gradients(both, model, openings) + swept

    def placeholder(self, model: Outlook) -> Answer:
        """The first heads of the model."""
        each = Circuit((Site(0, "head", 0),)).share(model.sizes)
        heads = _first(max(1, int(self.share / each)), in_layer("head", model.sizes))
        return {
            "blocks": [{"heads": heads, "neurons": []}],
            "curve": [],
            "effect": 0.0,
            "adds": [0.0],
            "patched": 0,
        }, {}

    def _patched(self, model: Outlook) -> Iterator[tuple[Circuit, ...]]:
        """As many circuits as each sweep patches, each from a layer on: a cost depends on nothing else."""
        layers = model.sizes.layers
        proposed = tuple(Circuit((Site(number % layers, "head", 0),)) for number in range(2 * POOL))
        whole = Circuit((Site(layers // 2, "head", 0),))
        for _ in range(ROUNDS):
            yield proposed
            yield (whole,) * 2 * PIECES
        yield from ((whole,) * PRUNED,) * 3


@dataclass(frozen=True)
class FoundDirection(Measurement):
    """The layer and position of the direction that the published procedure (Arditi et al.) chooses.

    It computes candidates on three quarters of the pairs and chooses on the others. If no candidate passes its filters,
    the one whose removal leaves least refusal is taken, and `reason` says how near it came.
    """

    KIND = "direction"
    CONTENT = Content(AskedScore, _Direction)
    REVISION = 3

    openings: Openings | None = field(default=None, metadata=LATER)  # None: refusals are told by their first tokens

    def cost(self, model: Outlook) -> float:
        """All prompts are read; candidates are added to validation prompts, and those that induce refusal are removed.

        After the instruction, the first layer's input is the same for all prompts, so it has no candidate.
        """
        both, layers = model.tokens(self.both), model.sizes.layers
        runs = runs_of(self.openings)
        # Openings are scored before the streams of the prompts that are treated as labelled are read.
        read = both if self.openings is None else 2 * both + len(self.both) * sum(map(len, runs))
        # Tokens of one side, in all runs.
        validated = sum(both + len(self.both) * len(given) for given in runs) / VALIDATION / 2
        above = [1 - layer / layers for layer in range(1, int(layers * LAYERS))]
        return read + model.after_instruction * validated * (sum(above) + APT * len(above))

    def placeholder(self, model: Outlook) -> Answer:
        """The last token of the middle layer."""
        prompts = {"harmful": list(self.pairs.harmful), "harmless": list(self.pairs.harmless)}
        return {"layer": model.sizes.layers // 2, "position": -1, "valid": True, "reason": "", **prompts}, {}


def _first(k: int, width: int) -> list[list[int]]:
    return [[number // width, number % width] for number in range(k)]
