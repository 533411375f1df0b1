"""A sweep before it runs: which variants, in what groups, at what cost. Never touches a model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from harness.inputs.arguments import check_fields
from harness.inputs.chat_tokens import Encoded, EncodedPair
from harness.inputs.errors import AssayError
from harness.inputs.model_record import Sizes
from harness.inputs.sites import SITE_KINDS, At, Kind, Site, check_at, in_layer, width_at
from harness.measurements.interventions import Circuit

# Variants that share one prefix stand side by side on the query axis, about so many tokens of them: more, and the
# attention of every variant to all others (masked away) costs more than copying the prefix would.
STACKED_TOKENS = 32

# Operations in one part of a sweep, which is what a kill costs at most: about a minute on a processor, seconds
# elsewhere. Fixed, so that parts are the same whenever a sweep goes on.
PART_OPERATIONS = 3e12

Mode = Literal["noise", "denoise"]
"""`noise` breaks the harmful run with the twin's activations, `denoise` brings the harmless one the harmful's."""

Variant = tuple[Site, ...]
"""Sites, each at a position from the end, that are patched together."""


@dataclass(frozen=True)
class Sweep:
    """Patching from the twin's run at many sites, one variant each."""

    kind: Kind
    at: tuple[At, ...] | Literal["each"] = ("post",)  # a variant for each; "each": every position by itself
    layers: tuple[int, ...] | None = None  # none: all
    cumulative: bool = False  # layers 0 to L together, for each L
    direct: bool = False  # on the logits, with all later blocks held at what they say unpatched

    def __post_init__(self) -> None:
        check_fields(self, "kind", "at", "layers")
        check_at(*(() if self.at == "each" else self.at))

    @property
    def named(self) -> tuple[Site, ...]:
        """Where it is told to patch, which a model may not have."""
        return tuple(Site(layer, self.kind) for layer in self.layers or ())

    def axes(self, sizes: Sizes, pairs: Sequence[EncodedPair]) -> dict[str, tuple[str, ...]]:
        """The labels of what is varied, in order."""
        named = {"layer": tuple(map(str, self._layers(sizes)))}
        if SITE_KINDS[self.kind].count is not None:
            named[self.kind] = tuple(map(str, range(in_layer(self.kind, sizes))))
        return named | {"position": tuple(map(_label, self._at(pairs)))}

    def spans(self, pairs: Sequence[EncodedPair], prompt: Encoded) -> tuple[tuple[int, ...], ...]:
        """The positions each variant has in this prompt; empty where the prompt is too short for one."""
        found = tuple((at, prompt.positions(at)) for at in self._at(pairs))
        return tuple(span if isinstance(at, str) or len(span) == len(at) else () for at, span in found)

    def variants(self, sizes: Sizes, spans: Sequence[tuple[int, ...]]) -> tuple[Variant, ...]:
        """One for each combination of labels, in the order of the axes."""
        indices = (None,) if SITE_KINDS[self.kind].count is None else range(in_layer(self.kind, sizes))
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

    def __post_init__(self) -> None:
        check_fields(self, "circuits", "at")
        check_at(self.at)

    @property
    def named(self) -> tuple[Site, ...]:
        """Where it is told to patch, which a model may not have."""
        return tuple(site for circuit in self.circuits for site in circuit.sites)

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
class Chosen:
    """Some of a sweep's variants, by number."""

    whole: Sweep
    numbers: tuple[int, ...]

    @property
    def at(self) -> tuple[At, ...] | Literal["each"]:
        """The whole sweep's positions."""
        return self.whole.at

    @property
    def named(self) -> tuple[Site, ...]:
        """The whole sweep's."""
        return self.whole.named

    @property
    def direct(self) -> bool:
        """As the whole sweep."""
        return self.whole.direct

    def axes(self, sizes: Sizes, pairs: Sequence[EncodedPair]) -> dict[str, tuple[str, ...]]:
        """The variants by their number in the whole sweep."""
        return {"variant": tuple(map(str, self.numbers))}

    def spans(self, pairs: Sequence[EncodedPair], prompt: Encoded) -> tuple[tuple[int, ...], ...]:
        """The whole sweep's."""
        return self.whole.spans(pairs, prompt)

    def variants(self, sizes: Sizes, spans: Sequence[tuple[int, ...]]) -> tuple[Variant, ...]:
        """Those of the whole sweep that were chosen."""
        whole = self.whole.variants(sizes, spans)
        return tuple(whole[number] for number in self.numbers)


AnySweep = Sweep | Joint | Chosen


@dataclass(frozen=True)
class Part:
    """Pairs that are swept together: their variants stand at the same positions from the end."""

    names: tuple[str, ...]
    prompts: tuple[Encoded, ...]
    sources: tuple[Encoded, ...]
    first_differences: tuple[int | None, ...]
    variants: tuple[Variant, ...]

    @property
    def width(self) -> int:
        """Tokens of the longest prompt."""
        return max(map(len, self.prompts))

    @property
    def hooks(self) -> list[str]:
        """Where the variants write."""
        return sorted({site.hook for sites in self.variants for site in sites})

    def rows(self, group: Group) -> list[int]:
        """The pairs in which a group's variants can change anything."""
        return [
            row
            for row, first in enumerate(self.first_differences)
            if any(differs(self.variants[number], first) for number in group.variants)
        ]


@dataclass(frozen=True)
class Machine:
    """What a sweep may use: tokens in one batch, bytes beside the weights, bytes of one number."""

    tokens: int
    memory: int
    item: int

    def batch(self, sizes: Sizes, width: int) -> int:
        """Tokens that fit a batch, prompts being of that width."""
        return max(1, min(self.tokens, self.memory // 2 // token_bytes(sizes, self.item, width)))


@dataclass(frozen=True)
class Plan:
    """A sweep's arithmetic and memory; a token-block is one token through one block."""

    pairs: int
    set_aside: int
    variants: int
    batches: int  # of patched runs
    tokens: int  # token-blocks
    readouts: int  # rows of logits
    peak: int  # bytes beside the weights
    sizes: Sizes

    @property
    def operations(self) -> float:
        """Multiplications and additions in matrix products, those between tokens left out."""
        blocks, head = self.tokens * per_block(self.sizes), self.readouts * self.sizes.d_model * self.sizes.vocabulary
        return 2.0 * (blocks + head)

    def minutes(self, rate: float) -> float:
        """About how long at so many operations a second."""
        return self.operations / rate / 60

    def __str__(self) -> str:
        aside = f" ({self.set_aside} set aside, not aligned)" if self.set_aside else ""
        return (
            f"{self.pairs} pairs{aside} × {self.variants} variants: {self.batches} batches, "
            f"{self.tokens / self.sizes.layers:.0f} tokens through the model, at most {self.peak / 1024**3:.2f} GiB "
            "beside the weights"
        )


def plan(pairs: Mapping[str, EncodedPair], what: AnySweep, sizes: Sizes, machine: Machine) -> Plan:
    """What the sweep will take, from the pairs' tokens and the model's sizes alone."""
    used, aside = set_apart(pairs, what)
    batches = tokens = readouts = peak = variants = 0
    for part in parts({name: pairs[name] for name in used}, what, sizes, machine, "noise"):
        variants = max(variants, len(part.variants))
        rows, item = len(part.names), machine.item
        tokens += 2 * rows * part.width * sizes.layers
        readouts += 2 * rows
        kept = (
            rows
            * part.width
            * item
            * (
                sizes.layers * (sizes.d_model + 2 * sizes.kv_heads * sizes.d_head)
                + sum(width_at(hook, sizes) for hook in part.hooks)
            )
        )
        at_once = rows * part.width
        for group in groups(part.variants, sizes.layers):
            reached, length = len(part.rows(group)), -group.first
            size = max(1, machine.batch(sizes, part.width) // max(1, reached * length))
            batches += -(-len(group.variants) // size) if reached else 0
            begins = [min(site.layer for site in part.variants[number]) for number in group.variants]
            tokens += reached * length * sum(sizes.layers - layer for layer in begins)
            readouts += reached * len(group.variants)
            at_once = max(at_once, reached * length * min(size, len(group.variants)))
        peak = max(peak, kept + at_once * token_bytes(sizes, item, part.width))
    return Plan(len(used), len(aside), variants, batches, tokens, readouts, peak, sizes)


def parts(
    pairs: Mapping[str, EncodedPair], what: AnySweep, sizes: Sizes, machine: Machine, mode: Mode
) -> Iterator[Part]:
    """Pairs in portions that fit the machine, those of like positions together."""
    chosen = list(pairs.values())
    spans: dict[tuple[tuple[int, ...], ...], list[str]] = {}
    for name, pair in pairs.items():
        spans.setdefault(what.spans(chosen, pair.harmful), []).append(name)
    for span, names in spans.items():
        variants = what.variants(sizes, span)
        # Rows that begin to differ at like positions share most of the work.
        names.sort(key=lambda name: (len(pairs[name].harmful), pairs[name].first_difference or 0))
        widest = max(max(len(pairs[name].harmful), len(pairs[name].harmless)) for name in names)
        size = max(1, min(machine.batch(sizes, widest) // widest, int(PART_OPERATIONS // _operations(variants, sizes))))
        for start in range(0, len(names), size):
            some = names[start : start + size]
            sides = [(pairs[name].harmful, pairs[name].harmless) for name in some]
            prompts, sources = zip(*(sides if mode == "noise" else [side[::-1] for side in sides]), strict=True)
            firsts = tuple(pairs[name].first_difference for name in some)
            yield Part(tuple(some), prompts, sources, firsts, variants)


def _operations(variants: Sequence[Variant], sizes: Sizes) -> float:
    """Of one pair's patched runs, at most."""
    found = groups(variants, sizes.layers)
    begins = ((group, min(site.layer for site in variants[number])) for group in found for number in group.variants)
    return max(1.0, 2.0 * per_block(sizes) * sum(-group.first * (sizes.layers - layer) for group, layer in begins))


def per_block(sizes: Sizes) -> int:
    """Multiplications that one token costs in one block."""
    attention = 2 * (sizes.heads + sizes.kv_heads) * sizes.d_head
    return sizes.d_model * (attention + sizes.mlp_matrices * sizes.d_mlp)


def token_bytes(sizes: Sizes, item: int, width: int) -> int:
    """Memory of one token on its way through a block, at the worst moment."""
    keys = width + STACKED_TOKENS
    stream = 12 * sizes.d_model * item
    mlp = (sizes.mlp_matrices + 1) * sizes.d_mlp * item
    # Scores, masked, softened (in float32), and cast back; and each row's keys and values, once for every head.
    looks = sizes.heads * keys * (2 * item + 4) + 4 * sizes.heads * sizes.d_head * keys * item // STACKED_TOKENS
    return stream + max(mlp, looks)


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
    return any(
        site.layer < layers - 1 or SITE_KINDS[site.kind].before_attention or site.position == -1 for site in sites
    )


def differs(sites: Variant, first_difference: int | None) -> bool:
    """Whether prompt and twin can differ there: before the first differing token they are the same."""
    return first_difference is None or any((site.position or 0) >= first_difference for site in sites)


def set_apart(pairs: Mapping[str, EncodedPair], what: AnySweep) -> tuple[list[str], list[str]]:
    """Ids of pairs that can be swept so, and of those that cannot: positions of the two mean different things."""
    used: list[str] = []
    aside: list[str] = []
    for name, pair in pairs.items():
        try_at = (what.at,) if isinstance(what, Joint) else what.at
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
