"""Checks that evidence of each kind holds what it must, so that whoever reads it may rely on it. Reads no file."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from harness.inputs.files.json_files import Malformed, fitting
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.judges.registry import judges_in
from harness.inputs.model_record import ModelRecord, Sizes
from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import INDEXED, SITE_KINDS, in_layer
from harness.measurements.questions import KINDS
from harness.measurements.questions.contents import Asked, Content, EffectsHold, Flag, Patched, Shape

# Every neuron of a model of 70 B parameters at three positions; more are labels that no array answers to.
_MOST_VARIANTS = 10_000_000
_NUMBER = re.compile(r"\d{1,9}")


class _AskedRecord(Struct):
    quant: str
    device: str


class _AskedPart(Struct):
    pairs: list[str]
    what: Patched


class _PairsKept(Struct):
    pairs: list[Pair]
    split: Annotated[int, Meta(ge=1)] = 1  # missing in older evidence


class _ListsKept(Struct):
    harmful: list[str]
    harmless: list[str]
    kinds: tuple[list[str], list[str]]
    taken: str
    split: Annotated[int, Meta(ge=1)]


# Kinds of evidence that answer no question: a model's record, the prompts of a run, the parts of a long sweep.
_KEPT: Mapping[str, Content] = {
    "model-record": Content(_AskedRecord, ModelRecord),
    "pairs": Content(Asked, _PairsKept, ("pairs",)),
    "part": Content(_AskedPart, EffectsHold, effects=True),
    "prompt-lists": Content(Asked, _ListsKept),
}


def content(kind: str) -> Content | None:
    """The content of evidence of a kind; None for kinds that are not known here."""
    return KINDS[kind].CONTENT if kind in KINDS else _KEPT.get(kind)


def holds_effects(kind: str) -> bool:
    """Whether evidence of a kind is a table of effects, with a row for each pair."""
    holding = content(kind)
    return holding is not None and holding.effects


def known() -> frozenset[str]:
    """Every kind of evidence there is."""
    return frozenset({*KINDS, *_KEPT})


def check(kind: str, of: Mapping[str, Any], values: Mapping[str, Any], arrays: Mapping[str, Shape]) -> None:
    """Raises Malformed where a measurement of this kind does not hold what it must; other kinds hold anything."""
    if any(not lengths for _, lengths in arrays.values()):
        raise Malformed("an array without axes")
    if (known := content(kind)) is None:
        return
    fitting(of, known.asked, "$.body.recipe.of")
    fitting(values, known.values, "$.body.values")
    n, both = _counts(of)
    rows = [*known.rows, *(_flags(values) if kind == "answers" else ())]
    if wrong := next((name for name in rows if len(values[name]) != n), None):
        raise Malformed(f"$.body.values.{wrong}: {len(values[wrong])} values for {n} pairs")
    axes = _axes_of_effects(values) if known.effects else dict(known.arrays)
    for name, expected in axes.items():
        _check_array(name, expected.replace("2n", str(both)).replace("n", str(n)).split(), arrays.get(name))
    if kind == "prompt-lists":
        _check_lists(of["pairs"], values)
    if kind == "circuit" and (carried := values.get("effects")) is not None:
        for name in (SITE_KINDS[kind].plural for kind in INDEXED):
            if len(carried[name]) != len(values[name]):
                raise Malformed(f"$.body.values.effects.{name}: as many as there are {name}, please")


def out_of(values: Mapping[str, Any], sizes: Sizes) -> str:
    """Which part of a circuit that was found no model of these sizes has, in words; empty where there is none."""
    for kind in INDEXED:
        parts, count = SITE_KINDS[kind].plural, in_layer(kind, sizes)
        for layer, index in values[parts]:
            if layer >= sizes.layers or index >= count:
                return f"{parts}: {layer}.{index}, of {sizes.layers} layers with {count} each"
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
    """The names of the judges of answers, whose judgements are checked to be 0 or 1."""
    names = judges_in(values)
    if PHRASES not in names:
        raise Malformed(f"$.body.values: object missing required field {PHRASES}")
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
