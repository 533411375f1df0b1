"""A sweep before it runs: which variants, in what groups, at what cost. Never touches a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from harness.errors import AssayError
from harness.interventions import Circuit
from harness.record import Sizes
from harness.sites import At, Kind, Site
from harness.tokens import Encoded, EncodedPair

Variant = tuple[Site, ...]
"""Sites, each at a position from the end, that are patched together."""

_INDEXED: Mapping[str, str] = {"head": "heads", "neuron": "d_mlp"}


@dataclass(frozen=True)
class Sweep:
    """Patching from the twin's run at many sites, one variant each."""

    kind: Kind
    at: tuple[At, ...] | Literal["each"] = ("post",)  # a variant for each; "each": every position by itself
    layers: tuple[int, ...] | None = None  # none: all
    cumulative: bool = False  # layers 0 to L together, for each L
    direct: bool = False  # on the logits, with all later blocks held at what they say unpatched

    def axes(self, sizes: Sizes, pairs: Sequence[EncodedPair]) -> dict[str, tuple[str, ...]]:
        """The labels of what is varied, in order."""
        named = {"layer": tuple(map(str, self._layers(sizes)))}
        if self.kind in _INDEXED:
            named[self.kind] = tuple(map(str, range(getattr(sizes, _INDEXED[self.kind]))))
        return named | {"position": tuple(map(_label, self._at(pairs)))}

    def spans(self, pairs: Sequence[EncodedPair], prompt: Encoded) -> tuple[tuple[int, ...], ...]:
        """The positions each variant has in this prompt; empty where the prompt is too short for one."""
        found = tuple((at, prompt.positions(at)) for at in self._at(pairs))
        return tuple(span if isinstance(at, str) or len(span) == len(at) else () for at, span in found)

    def variants(self, sizes: Sizes, spans: Sequence[tuple[int, ...]]) -> tuple[Variant, ...]:
        """One for each combination of labels, in the order of the axes."""
        indices = range(getattr(sizes, _INDEXED[self.kind])) if self.kind in _INDEXED else (None,)
        return tuple(
            tuple(
                Site(one, self.kind, index, position)
                for one in (range(layer + 1) if self.cumulative else (layer,))
                for position in span
            )
            for layer, index, span in product(self._layers(sizes), indices, spans)
        )

    def _layers(self, sizes: Sizes) -> Sequence[int]:
        return range(sizes.layers) if self.layers is None else self.layers

    def _at(self, pairs: Sequence[EncodedPair]) -> tuple[At, ...]:
        if self.at != "each":
            return self.at
        longest = max((len(pair.harmful) for pair in pairs), default=0)
        return tuple((position,) for position in range(-longest, 0))


@dataclass(frozen=True)
class Joint:
    """Whole circuits patched from the twin's run, one variant for each circuit."""

    circuits: tuple[Circuit, ...]
    at: At = "post"
    direct: bool = False

    def axes(self, sizes: Sizes, pairs: Sequence[EncodedPair]) -> dict[str, tuple[str, ...]]:
        """The circuits by number."""
        return {"circuit": tuple(map(str, range(len(self.circuits))))}

    def spans(self, pairs: Sequence[EncodedPair], prompt: Encoded) -> tuple[tuple[int, ...], ...]:
        """The positions of all circuits in this prompt."""
        return (prompt.positions(self.at),)

    def variants(self, sizes: Sizes, spans: Sequence[tuple[int, ...]]) -> tuple[Variant, ...]:
        """One for each circuit: all of its sites at all of those positions."""
        return tuple(
            tuple(Site(site.layer, site.kind, site.index, position) for site in circuit.sites for position in spans[0])
            for circuit in self.circuits
        )


@dataclass(frozen=True)
class Group:
    """Variants that begin at one position: they can share blocks."""

    first: int  # from the end
    variants: tuple[int, ...]  # in order of the layers at which they begin


@dataclass(frozen=True)
class Cost:
    """Arithmetic and memory of a sweep; a token-block is one token through one block."""

    forwards: int  # calls of a block
    tokens: int  # token-blocks
    readouts: int  # rows of logits
    bytes: int  # at the worst moment, beside the weights

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.forwards + other.forwards,
            self.tokens + other.tokens,
            self.readouts + other.readouts,
            max(self.bytes, other.bytes),
        )

    def operations(self, sizes: Sizes) -> float:
        """Multiplications and additions in matrix products, attention's own left out."""
        return 2.0 * (self.tokens * per_block(sizes) + self.readouts * sizes.d_model * sizes.vocabulary)


def per_block(sizes: Sizes) -> int:
    """Multiplications that one token costs in one block."""
    attention = 2 * (sizes.heads + sizes.kv_heads) * sizes.d_head
    return sizes.d_model * (attention + sizes.mlp_matrices * sizes.d_mlp)


def groups(variants: Sequence[Variant], layers: int) -> list[Group]:
    """Variants by where they begin; those that can change nothing, and empty ones, are left out."""
    found: dict[int, list[int]] = {}
    for number, sites in enumerate(variants):
        if sites and reaches(sites, layers):
            found.setdefault(min(site.position or 0 for site in sites), []).append(number)

    def begins(number: int) -> int:
        return min(site.layer for site in variants[number])

    return [Group(first, tuple(sorted(numbers, key=begins))) for first, numbers in sorted(found.items())]


def reaches(sites: Variant, layers: int) -> bool:
    """Whether the last logits can notice: after its attention, the last block moves nothing between tokens."""
    return any(site.layer < layers - 1 or site.kind == "resid_pre" or site.position == -1 for site in sites)


def differs(sites: Variant, first_difference: int | None) -> bool:
    """Whether prompt and twin can differ there: before the first differing token they are the same."""
    return first_difference is None or any((site.position or 0) >= first_difference for site in sites)


def set_apart(pairs: Mapping[str, EncodedPair], what: Sweep | Joint) -> tuple[list[str], list[str]]:
    """Ids of pairs that can be swept so, and of those that cannot: positions of the two mean different things."""
    used, aside = [], []
    for name, pair in pairs.items():
        try_at = what.at if isinstance(what, Sweep) else (what.at,)
        usable = pair.aligned or (try_at != "each" and all(after_instruction(at, pair) for at in try_at))
        (used if usable else aside).append(name)
    if not used:
        raise AssayError(
            f"none of the {len(aside)} pairs is aligned (equal length, one differing slot), so no position before the "
            "end of the instruction can be compared; sweep at 'post', or give pairs that align for this tokenizer"
        )
    return used, aside


def after_instruction(at: At, pair: EncodedPair) -> bool:
    """Whether these positions mean the same in both prompts, be they aligned or not."""
    if isinstance(at, str):
        return at == "post"
    post = min(len(prompt) - prompt.end for prompt in (pair.harmful, pair.harmless))
    return all(-post <= position < 0 for position in at)


def _label(at: At) -> str:
    if isinstance(at, str):
        return at
    return str(at[0]) if len(at) == 1 else f"{at[0]}…{at[-1]}"
