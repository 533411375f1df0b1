"""What a measurement of each kind holds, so that whoever reads one may rely on it. Nothing here reads a file."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from harness.inputs.files.json_files import Count, Finite, Malformed, fitting
from harness.inputs.model_record import ModelRecord, Sizes
from harness.inputs.prompts.pairs import Pair

Flag = Annotated[float, Meta(ge=0, le=1)]
Layer = Annotated[int, Meta(ge=0, lt=100_000)]
SiteName = Annotated[str, Meta(pattern=r"^\d{1,5}\.((head|neuron)\.\d{1,9}|attn_out|mlp_out)$")]
Side = Literal["harmful", "harmless"]
# Every neuron of a model of 70 B parameters at three positions; more are labels that no array answers to.
_MOST_VARIANTS = 10_000_000
_NUMBER = re.compile(r"\d{1,9}")

Shape = tuple[str, tuple[int, ...]]
"""Of an array: `f` where it holds floating-point numbers, and its lengths."""


class _Named(Struct):
    direction: str


class _Circuit(Struct):
    circuit: list[SiteName]


class _Site(Struct):
    layer: Layer
    kind: str
    index: int | None
    position: int | None


class _Held(Struct, kw_only=True):
    during: Literal["prompt", "answer"] | None = None


class _Patch(_Held, tag_field="a", tag="Patch"):
    sites: list[_Site]


class _Ablate(_Held, tag_field="a", tag="Ablate"):
    circuit: _Circuit
    to: Literal["mean", "zero"]


class _Remove(_Held, tag_field="a", tag="Remove"):
    direction: _Named
    where: Literal["everywhere", "stream", "attention", "mlp"]


class _Add(_Held, tag_field="a", tag="Add"):
    direction: _Named
    layer: Layer
    scale: Finite


class _Together(Struct, tag_field="a", tag="Together"):
    all: list["Done"]


Done = _Patch | _Ablate | _Remove | _Add | _Together
"""An intervention, as recipes describe it."""


class _Sweep(Struct, tag_field="a", tag="Sweep"):
    kind: str
    at: Any
    layers: list[Layer] | None
    cumulative: bool
    direct: bool


class _Joint(Struct, tag_field="a", tag="Joint"):
    circuits: list[_Circuit]
    at: Any
    direct: bool


class _Chosen(Struct, tag_field="a", tag="Chosen"):
    whole: _Sweep
    numbers: list[Count]


Patched = _Sweep | _Joint | _Chosen
"""What is patched from the twin, as recipes describe it."""


class _Pairs(Struct):
    pairs: str
    n: Count
    harmful: Count | None = None  # of prompts without twins, beside their sum
    harmless: Count | None = None


class _Asked(Struct):
    pairs: _Pairs


class _AskedSide(_Asked):
    side: Side


class _AskedUnder(_AskedSide):
    under: Done | None


class _AskedPlainText(_Asked):
    under: Done | None


class _AskedEffects(_Asked):
    what: Patched


class _AskedMode(_AskedEffects):
    mode: Literal["noise", "denoise"]


class _AskedPart(Struct):
    pairs: list[str]
    what: Patched


class _AskedDirections(_AskedSide):
    directions: list[_Named]


class _AskedProducts(_Asked):
    layer: Layer
    position: int


class _AskedRecord(Struct):
    quant: str
    device: str


class _Nothing(Struct):
    pass


class _Answers(Struct):
    prefixes: list[str]
    repetition: list[float]
    cross_entropy: list[float | None]


class _Scores(Struct):
    odds: list[float]
    kl: list[float]
    same_as_clean: bool


class _Effects(Struct):
    pairs: list[str]
    set_aside: list[str]
    axes: dict[str, list[str]]


class _Carried(Struct):
    heads: list[float]
    neurons: list[float]


class _CircuitFound(Struct):
    heads: list[tuple[Layer, Count]]
    neurons: list[tuple[Layer, Count]]
    effects: _Carried | None = None  # older ones have none


class _DirectionFound(Struct):
    layer: Layer | None
    position: int | None
    valid: bool
    reason: str
    harmful: list[str]
    harmless: list[str]


class _Encoding(Struct):
    aligned: list[bool]
    harmful: list[Count]
    harmless: list[Count]
    post: Count


class _Tokens(Struct):
    tokens: list[Count]


class _PlainText(Struct):
    nats: list[float]


class _PairsKept(Struct):
    pairs: list[Pair]
    split: Annotated[int, Meta(ge=1)] = 1  # older ones have none


class _ListsKept(Struct):
    harmful: list[str]
    harmless: list[str]
    kinds: tuple[list[str], list[str]]
    taken: str
    split: Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class _Kind:
    """What is asked, what answers it, which lists hold one value a pair, and the axes of the arrays."""

    asked: type
    values: type
    rows: tuple[str, ...] = ()
    arrays: Mapping[str, str] = field(default_factory=dict)


EFFECTS = ("swept", "contrasted", "estimated", "part")
_KINDS = {
    "answers": _Kind(_AskedUnder, _Answers, ("prefixes", "repetition", "cross_entropy")),
    "attended": _Kind(_Asked, _Nothing, arrays={"words": "n * *"}),
    "circuit": _Kind(_Asked, _CircuitFound),
    "contrasted": _Kind(_AskedEffects, _Effects),
    "direction": _Kind(_Asked, _DirectionFound),
    "encoding": _Kind(_Asked, _Encoding, ("aligned", "harmful", "harmless")),
    "estimated": _Kind(_AskedMode, _Effects),
    "lens": _Kind(_AskedSide, _Nothing, arrays={"odds": "n *"}),
    "model-record": _Kind(_AskedRecord, ModelRecord),
    "norms": _Kind(_Asked, _Nothing, arrays={"head": "* *", "neuron": "* *"}),
    "pairs": _Kind(_Asked, _PairsKept, ("pairs",)),
    "part": _Kind(_AskedPart, _Effects),
    "plain-text": _Kind(_AskedPlainText, _PlainText),
    "products": _Kind(_AskedProducts, _Nothing, arrays={"products": "2n 2n"}),
    "projected": _Kind(_AskedDirections, _Nothing, arrays={"along": "* n *", "length": "n *"}),
    "prompt-lists": _Kind(_Asked, _ListsKept),
    "refusal-tokens": _Kind(_Asked, _Tokens),
    "scores": _Kind(_AskedUnder, _Scores, ("odds", "kl")),
    "swept": _Kind(_AskedMode, _Effects),
}
KNOWN = frozenset(_KINDS)


def check(kind: str, of: Mapping[str, Any], values: Mapping[str, Any], arrays: Mapping[str, Shape]) -> None:
    """Raises Malformed where a measurement of this kind does not hold what it must; other kinds hold anything."""
    if any(not lengths for _, lengths in arrays.values()):
        raise Malformed("an array without axes")
    if (known := _KINDS.get(kind)) is None:
        return
    fitting(of, known.asked, "$.body.recipe.of")
    fitting(values, known.values, "$.body.values")
    n, both = _counts(of)
    rows = [*known.rows, *(_flags(values) if kind == "answers" else ())]
    if wrong := next((name for name in rows if len(values[name]) != n), None):
        raise Malformed(f"$.body.values.{wrong}: {len(values[wrong])} values for {n} pairs")
    axes = _axes_of_effects(values) if kind in EFFECTS else dict(known.arrays)
    for name, expected in axes.items():
        _check_array(name, expected.replace("2n", str(both)).replace("n", str(n)).split(), arrays.get(name))
    if kind == "prompt-lists":
        _check_lists(of["pairs"], values)
    if kind == "circuit" and (carried := values.get("effects")) is not None:
        for name in ("heads", "neurons"):
            if len(carried[name]) != len(values[name]):
                raise Malformed(f"$.body.values.effects.{name}: as many as there are {name}, please")


def out_of(values: Mapping[str, Any], sizes: Sizes) -> str:
    """Which part of a circuit that was found no model of these sizes has, in words; empty where there is none."""
    for kind, count in (("heads", sizes.heads), ("neurons", sizes.d_mlp)):
        for layer, index in values[kind]:
            if layer >= sizes.layers or index >= count:
                return f"{kind}: {layer}.{index}, of {sizes.layers} layers with {count} each"
    return ""


def _check_lists(pairs: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for side, kinds in zip(("harmful", "harmless"), values["kinds"], strict=True):
        if len(values[side]) != pairs.get(side) or len(kinds) not in (0, len(values[side])):
            raise Malformed(f"$.body.values.{side}: as many as were asked, and a category for each or for none, please")


def _counts(of: Mapping[str, Any]) -> tuple[int, int]:
    """How many prompts were asked, and how many of both sides there are."""
    if not isinstance(pairs := of.get("pairs"), dict):
        return 0, 0
    n: int = pairs["n"]
    if pairs.get("harmful") is None or pairs.get("harmless") is None:
        return n, 2 * n
    return (pairs[of["side"]] if "side" in of else n), n


def _flags(values: Mapping[str, Any]) -> Sequence[str]:
    """The names of the rules by which answers were judged."""
    names = [name for name in values if name.startswith("phrases-")]
    if "phrases-anywhere" not in names:
        raise Malformed("$.body.values: object missing required field phrases-anywhere")
    for name in names:
        if not set(fitting(values[name], list[Flag], f"$.body.values.{name}")) <= {0.0, 1.0}:
            raise Malformed(f"$.body.values.{name}: neither 0 nor 1")
    return names


def _axes_of_effects(values: Mapping[str, Any]) -> dict[str, str]:
    for name, labels in values["axes"].items():
        if name != "position" and (wrong := next((label for label in labels if not _NUMBER.fullmatch(label)), None)):
            raise Malformed(f"$.body.values.axes.{name}: {wrong!r} is no number of a {name}")
    if math.prod(len(labels) for labels in values["axes"].values()) > _MOST_VARIANTS:
        raise Malformed(f"$.body.values.axes: more than {_MOST_VARIANTS:,} variants")
    pairs = str(len(values["pairs"]))
    whole = " ".join([pairs, *(str(len(labels)) for labels in values["axes"].values())])
    return {"patched": whole, "kl": whole, "clean": pairs, "source": pairs}


def _check_array(name: str, expected: Sequence[str], shape: Shape | None) -> None:
    if shape is None:
        raise Malformed(f"has no array {name}")
    kind, lengths = shape
    alike = len(lengths) == len(expected) and all(
        wanted in ("*", str(length)) for wanted, length in zip(expected, lengths, strict=True)
    )
    if kind != "f" or not alike:
        raise Malformed(f"the array {name} is {' × '.join(map(str, lengths))}, and should be {' × '.join(expected)}")
