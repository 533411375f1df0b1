"""The content of recipes and answers, as types that files of evidence are checked against."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from harness.inputs.files.json_files import Count, Finite
from harness.inputs.sites import SITE_KINDS

Flag = Annotated[float, Meta(ge=0, le=1)]
Layer = Annotated[int, Meta(ge=0, lt=100_000)]
_PARTS = "|".join(
    kind if row.count is None else rf"{kind}\.\d{{1,9}}" for kind, row in SITE_KINDS.items() if row.in_circuits
)
SiteName = Annotated[str, Meta(pattern=rf"^\d{{1,5}}\.({_PARTS})$")]
Side = Literal["harmful", "harmless"]

Shape = tuple[str, tuple[int, ...]]
"""Of an array: `f` where it holds floating-point numbers, and its lengths."""


class NamedDirection(Struct):
    """A direction, as recipes describe it."""

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
    keep: NamedDirection | None = None


class _Ablate(_Held, tag_field="a", tag="Ablate"):
    circuit: _Circuit
    to: Literal["mean", "zero"]


class _Remove(_Held, tag_field="a", tag="Remove"):
    direction: NamedDirection
    where: Literal["everywhere", "stream", "attention", "mlp"]


class _Add(_Held, tag_field="a", tag="Add"):
    direction: NamedDirection
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
    groups: Count = 0


class _Joint(Struct, tag_field="a", tag="Joint"):
    circuits: list[_Circuit]
    at: Any
    direct: bool
    outside: bool = False


class _Chosen(Struct, tag_field="a", tag="Chosen"):
    whole: _Sweep
    numbers: list[Count]


Patched = _Sweep | _Joint | _Chosen
"""What is patched from the twin, as recipes describe it."""


class OpeningsByKind(Struct):
    """The openings of refusals and of other answers."""

    refusing: list[list[Count]]
    answering: list[list[Count]]


class NamedOpenings(OpeningsByKind):
    """Openings, as recipes describe them."""

    a: Literal["Openings"]


class AskedPairs(Struct):
    """The prompts of a recipe."""

    pairs: str
    n: Count
    harmful: Count | None = None  # of prompts without twins, beside their sum
    harmless: Count | None = None


class Asked(Struct):
    """A recipe that names prompts."""

    pairs: AskedPairs


class AskedScore(Asked):
    """A recipe that names the openings by which refusals are told, where it is not the first token."""

    openings: NamedOpenings | None = None


class AskedSide(Asked):
    """A recipe on a side of the prompts."""

    side: Side


class AskedUnder(AskedSide):
    """A recipe on a side, under an intervention or none."""

    under: Done | None


class AskedEffects(Asked):
    """A recipe of effects."""

    what: Patched


class AskedMode(AskedEffects):
    """A recipe of effects in either mode."""

    mode: Literal["noise", "denoise"]
    openings: NamedOpenings | None = None


class NoValues(Struct):
    """Values of a measurement that is arrays alone."""


class EffectsHold(Struct):
    """Values beside the arrays of effects."""

    pairs: list[str]
    set_aside: list[str]
    axes: dict[str, list[str]]


@dataclass(frozen=True)
class Content:
    """What evidence of a kind holds: its recipe, its values, the lists with a value a prompt, the axes of its arrays.

    An axis is `n` (prompts of the side asked for, or pairs), `2n` (prompts of both sides) or `*` (any length).
    """

    asked: type
    values: type
    rows: tuple[str, ...] = ()
    arrays: Mapping[str, str] = field(default_factory=dict)
    effects: bool = False  # arrays of effects, whose axes the values name
    before: "Content | None" = None  # what evidence of earlier revisions holds, if it is something else
