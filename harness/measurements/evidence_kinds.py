"""Checks the content of evidence by its kind, so that code which reads it need not check again. Reads no files."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from harness.inputs.files.json_files import Malformed, fitting
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.judges.registry import judges_in
from harness.inputs.judges.thoughts import THOUGHT, UNFINISHED
from harness.inputs.model_record import ModelRecord, Sizes
from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import INDEXED, SITE_KINDS, in_layer
from harness.measurements.questions import KINDS
from harness.measurements.questions.contents import Asked, Content, EffectsHold, Flag, Patched, Shape
from harness.measurements.recipe import Recipe

# More than all neurons of a model of 70 B parameters at three positions; refused before memory is spent on them.
_MOST_VARIANTS = 10_000_000
# Groups of neurons are labelled by the first and the last of them.
_NUMBER = re.compile(r"\d{1,9}(–\d{1,9})?")


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


# Kinds of evidence that are no measurements: a model's record, the prompts of a run, the parts of a long sweep.
MODEL_RECORD, PAIRS, LISTS, PART = "model-record", "pairs", "prompt-lists", "part"
_KEPT: Mapping[str, Content] = {
    MODEL_RECORD: Content(_AskedRecord, ModelRecord),
    PAIRS: Content(Asked, _PairsKept, ("pairs",)),
    PART: Content(_AskedPart, EffectsHold, effects=True),
    LISTS: Content(Asked, _ListsKept),
}


def content(kind: str, revision: int | None = None) -> Content | None:
    """The content of evidence of a kind, by default of its newest revision; None for kinds that are not known here."""
    if kind not in KINDS:
        return _KEPT.get(kind)
    newest = KINDS[kind].CONTENT
    old = revision is not None and revision < KINDS[kind].REVISION
    return newest.before if old and newest.before is not None else newest


def holds_effects(kind: str) -> bool:
    """Whether evidence of a kind is a table of effects, with a row for each pair."""
    holding = content(kind)
    return holding is not None and holding.effects


def known() -> frozenset[str]:
    """All kinds of evidence."""
    return frozenset({*KINDS, *_KEPT})


def check(recipe: Recipe, values: Mapping[str, Any], arrays: Mapping[str, Shape]) -> None:
    """Raises Malformed if evidence of this kind lacks anything or has the wrong lengths; unknown kinds pass."""
    kind, of = recipe.kind, recipe.of
    if any(not lengths for _, lengths in arrays.values()):
        raise Malformed("an array without axes")
    if (expected_content := content(kind, recipe.revision)) is None:
        return
    fitting(of, expected_content.asked, "$.body.recipe.of")
    fitting(values, expected_content.values, "$.body.values")
    n, both = _counts(of)
    rows = [*expected_content.rows, *(_flags(values) if kind == "answers" else ())]
    rows += [name for name in (THOUGHT, UNFINISHED) if kind == "answers" and name in values]
    if wrong := next((name for name in rows if len(values[name]) != n), None):
        raise Malformed(f"$.body.values.{wrong}: {len(values[wrong])} values for {n} pairs")
    axes = _axes_of_effects(values) if expected_content.effects else dict(expected_content.arrays)
    for name, expected in axes.items():
        _check_array(name, expected.replace("2n", str(both)).replace("n", str(n)).split(), arrays.get(name))
    if kind == "prompt-lists":
        _check_lists(of["pairs"], values)
    if kind == "circuit" and (effects := values.get("effects")) is not None:
        for name in (SITE_KINDS[kind].plural for kind in INDEXED):
            if len(effects[name]) != len(values[name]):
                raise Malformed(f"$.body.values.effects.{name}: {len(effects[name])} for {len(values[name])} {name}")


def missing_part(values: Mapping[str, Any], sizes: Sizes) -> str:
    """The first part of a found circuit that a model of these sizes does not have, in words; empty if it has all."""
    for kind in INDEXED:
        parts, count = SITE_KINDS[kind].plural, in_layer(kind, sizes)
        for layer, index in values[parts]:
            if layer >= sizes.layers or index >= count:
                return f"{parts}: {layer}.{index}, of {sizes.layers} layers with {count} each"
    return ""


def _check_lists(pairs: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for side, kinds in zip(("harmful", "harmless"), values["kinds"], strict=True):
        if len(values[side]) != pairs.get(side) or len(kinds) not in (0, len(values[side])):
            raise Malformed(
                f"$.body.values.{side}: {len(values[side])} prompts with {len(kinds)} categories, where the recipe has "
                f"{pairs.get(side)} prompts; each or none has a category"
            )


def _counts(of: Mapping[str, Any]) -> tuple[int, int]:
    """How many prompts (or pairs) the question is about, and how many prompts both sides have together."""
    if not isinstance(pairs := of.get("pairs"), dict):
        return 0, 0
    n: int = pairs["n"]
    if pairs.get("harmful") is None or pairs.get("harmless") is None:
        return n, 2 * n
    return (pairs[of["side"]] if "side" in of else n), n


def _flags(values: Mapping[str, Any]) -> Sequence[str]:
    """The names of the judges in evidence of answers; Malformed if a judgement is neither 0 nor 1."""
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
            raise Malformed(f"$.body.values.axes.{name}: {wrong!r} is not the number of a {name}")
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
