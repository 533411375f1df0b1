"""Where in a model something is read or written: the table of kinds of sites, and sites. Never touches a model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, get_args

from harness.inputs.errors import AssayError
from harness.inputs.model_record import Sizes

Indexed = Literal["head", "neuron"]
"""The kinds of which a layer holds several, by number."""

Kind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", Indexed]
"""The kinds of sites by name: the keys of `SITE_KINDS`."""


@dataclass(frozen=True)
class SiteKind:
    """A row of the table of kinds: all that the rest of the code knows about a kind of site."""

    hook: str  # the name under which TransformerLens offers its activations, on every architecture alike
    noun: str  # what a circuit's list of parts calls it; an s makes it several
    phrase: str  # what a sentence about a layer calls it
    width: Callable[[Sizes], int] = lambda sizes: sizes.d_model  # how many numbers pass the hook for each token
    count: Callable[[Sizes], int] | None = None  # how many of them a layer holds, by number; none: a single one
    scalar: bool = False  # an activation is a single number, and the hook has no axis for more
    writes_stream: bool = False  # all that attention, or the MLP, adds to the stream
    in_circuits: bool = False  # a circuit may hold it
    before_attention: bool = False  # attention of the same layer reads it
    # The kind whose output is shifted to set this one, where this one's own hook would not reach all that reads it.
    set_through: Kind | None = None

    @property
    def plural(self) -> str:
        """What several are called, in sentences and as a key in evidence."""
        return f"{self.noun}s"


SITE_KINDS: Mapping[Kind, SiteKind] = {
    "resid_pre": SiteKind(
        hook="hook_resid_pre",
        noun="layer input",
        phrase="the residual stream that enters a layer",
        before_attention=True,
    ),
    "resid_mid": SiteKind(
        hook="hook_resid_mid",
        noun="mid-layer stream",
        phrase="the residual stream within a layer",
        set_through="attn_out",
    ),
    "resid_post": SiteKind(
        hook="hook_resid_post",
        noun="layer output",
        phrase="the residual stream that leaves a layer",
    ),
    "attn_out": SiteKind(
        hook="hook_attn_out",
        noun="attention output",
        phrase="a layer's attention output",
        writes_stream=True,
        in_circuits=True,
    ),
    "mlp_out": SiteKind(
        hook="hook_mlp_out",
        noun="MLP output",
        phrase="a layer's MLP output",
        writes_stream=True,
        in_circuits=True,
    ),
    "head": SiteKind(
        hook="attn.hook_z",
        noun="head",
        phrase="a head",
        width=lambda sizes: sizes.heads * sizes.d_head,
        count=lambda sizes: sizes.heads,
        in_circuits=True,
    ),
    "neuron": SiteKind(
        hook="mlp.hook_post",
        noun="neuron",
        phrase="a neuron",
        width=lambda sizes: sizes.d_mlp,
        count=lambda sizes: sizes.d_mlp,
        scalar=True,
        in_circuits=True,
    ),
}

INDEXED: tuple[Indexed, ...] = get_args(Indexed)

OUTPUTS: tuple[Kind, ...] = tuple(kind for kind, row in SITE_KINDS.items() if row.writes_stream)
"""The kinds that together are all that a layer adds to the stream."""

_BY_HOOK = {row.hook: row for row in SITE_KINDS.values()}


def in_layer(kind: Kind, sizes: Sizes) -> int:
    """How many sites of a kind a layer holds by number; 0 for kinds that have no numbers."""
    count = SITE_KINDS[kind].count
    return 0 if count is None else count(sizes)


def in_model(kind: Indexed, sizes: Sizes) -> int:
    """How many heads, or neurons, all layers hold together."""
    return sizes.layers * in_layer(kind, sizes)


def number_of(kind: Indexed, asked: float, sizes: Sizes) -> int:
    """How many heads, or neurons, are asked for: a number below 1 is a share of all, and at least three."""
    whole = in_model(kind, sizes)
    if not 0 <= asked <= whole or (asked > 1 and asked != int(asked)):
        raise AssayError(
            f"{asked:g} {SITE_KINDS[kind].plural} were asked for, of {whole}: "
            "give a whole number up to that, or a share below 1"
        )
    return int(asked) if asked >= 1 or not asked else max(3, int(asked * whole))


def width_at(hook: str, sizes: Sizes) -> int:
    """How many numbers pass a hook of a block for each token; the stream's width where no kind of site has it."""
    row = _BY_HOOK.get(hook.split(".", 2)[2])
    return sizes.d_model if row is None else row.width(sizes)


At = Literal["all", "post", "slot", "later", "before"] | tuple[int, ...]
"""Positions of a prompt: all; those after the instruction; the words that differ from the twin's; those after
these words; those before the instruction's end; or given ones, counted from the end."""


def check_at(*places: At) -> None:
    """Refuses positions that are not counted from the end."""
    for at in places:
        if not isinstance(at, str) and any(position >= 0 for position in at):
            raise AssayError(f"position {max(at)} is none: positions count from the end, and -1 is the last token")


@dataclass(frozen=True, order=True)
class Site:
    """A layer, a kind, one head or neuron (or all of them), and a position from the end (or all)."""

    layer: int
    kind: Kind
    index: int | None = None  # which head or neuron; None is all of them
    position: int | None = None  # −1 is the last token of the prompt; None is every position
    # The prompts on which a search found it; ignored by equality and in recipes, but copied with the site.
    found_on: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __post_init__(self) -> None:
        """While a claim runs, a site that its search has found gets its `found_on` back if it is made anew by hand."""
        if (known := _found_sites.get()) is None:
            return
        place = self.layer, self.kind, self.index
        if self.found_on:
            known[place] = known.get(place, self.found_on) | self.found_on
        elif place in known:
            object.__setattr__(self, "found_on", known[place])

    @property
    def hook(self) -> str:
        """The hook at which TransformerLens shows this site's activations."""
        return f"blocks.{self.layer}.{SITE_KINDS[self.kind].hook}"

    def __str__(self) -> str:
        index = "" if self.index is None else f".{self.index}"
        position = "" if self.position is None else f"@{self.position}"
        return f"{self.layer}.{self.kind}{index}{position}"


@contextmanager
def origins_kept() -> Iterator[None]:
    """While the block runs, keeps the `found_on` of every site that a search finds, by layer, kind and index."""
    token = _found_sites.set({})
    try:
        yield
    finally:
        _found_sites.reset(token)


_found_sites: ContextVar[dict[tuple[int, Kind, int | None], frozenset[str]] | None] = ContextVar("sites", default=None)


def label_of(at: At) -> str:
    """Positions as an axis names them."""
    if isinstance(at, str):
        return at
    return str(at[0]) if len(at) == 1 else f"{at[0]}…{at[-1]}"


def label_of_group(numbers: Sequence[int | None]) -> str:
    """Heads or neurons of a layer as an axis names them."""
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}"
