"""Sweeps as values, and their plans: which variants there are, how they are grouped, what they cost. Loads no model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

from harness.inputs.arguments import check_fields
from harness.inputs.chat_tokens import Encoded, EncodedPair
from harness.inputs.errors import AssayError
from harness.inputs.model_record import Sizes
from harness.inputs.sites import (
    INDEXED,
    SITE_KINDS,
    At,
    Kind,
    Site,
    check_at,
    in_layer,
    label_of,
    label_of_group,
    width_at,
)
from harness.measurements.interventions import LATER, Circuit
from harness.measurements.openings import FIRST_TOKEN, Opening

# Variants that share a prefix are stacked on the query axis, about so many tokens at once. With more, attention between
# variants (computed and masked away) costs more than copying the prefix would.
STACKED_TOKENS = 32

# Operations in one part of a sweep, the most that is lost when a run is killed: about a minute on a processor, seconds
# on a GPU. A constant, so that a resumed sweep has the same parts.
PART_OPERATIONS = 3e12

Mode = Literal["noise", "denoise"]
"""`noise` patches the harmless twin's activations into the harmful run, `denoise` the other way round."""

Variant = tuple[Site, ...]
"""Sites that are patched together, each at a position from the end of the prompt: 0 is the first given token."""


@dataclass(frozen=True)
class Sweep:
    """Patching from the twin's run at many sites, one variant each."""

    kind: Kind
    at: tuple[At, ...] | Literal["each"] = ("post",)  # a variant for each; "each": one for every position
    layers: tuple[int, ...] | None = None  # None: all
    cumulative: bool = False  # for each layer L, patch layers 0 to L together
    direct: bool = False  # only the direct effect on the logits: later blocks keep their unpatched outputs
    groups: int = field(default=0, metadata=LATER)  # a layer's heads or neurons in so many groups; 0: each by itself

    def __post_init__(self) -> None:
        check_fields(self, "kind", "at", "layers", "groups")
        check_at(*(() if self.at == "each" else self.at))

    @property
    def named_sites(self) -> tuple[Site, ...]:
        """The sites whose layers are given by number, so that a model can check that it has them."""
        return tuple(Site(layer, self.kind) for layer in self.layers or ())

    def axes(self, sizes: Sizes, pairs: Sequence[EncodedPair]) -> dict[str, tuple[str, ...]]:
        """Name → labels of each axis of the effects, in the order of the variants."""
        axes = {"layer": tuple(map(str, self._layers(sizes)))}
        if SITE_KINDS[self.kind].count is not None:
            axes[self.kind] = tuple(map(label_of_group, self._numbers(sizes)))
        return axes | {"position": tuple(map(label_of, self._at(pairs)))}

    def spans(self, pairs: Sequence[EncodedPair], prompt: Encoded, given: int = 0) -> tuple[tuple[int, ...], ...]:
        """The positions in this prompt for each element of `at`; empty where the prompt is too short for it."""
        spans = tuple((at, prompt.positions(at, given)) for at in self._at(pairs))
        return tuple(span if isinstance(at, str) or len(span) == len(at) else () for at, span in spans)

    def variants(self, sizes: Sizes, spans: Sequence[tuple[int, ...]]) -> tuple[Variant, ...]:
        """A variant for each combination of labels, in the order of the axes."""
        return tuple(
            tuple(
                Site(patched, self.kind, index, position)
                for patched in (range(last + 1) if self.cumulative else (last,))
                for index in numbers
                for position in span
            )
            for last, numbers, span in product(self._layers(sizes), self._numbers(sizes), spans)
        )

    def _numbers(self, sizes: Sizes) -> Sequence[Sequence[int | None]]:
        """The heads or neurons of a layer that each variant patches; None stands for all that is there."""
        if SITE_KINDS[self.kind].count is None:
            return ((None,),)
        count = in_layer(self.kind, sizes)
        groups = min(self.groups or count, count)
        return tuple(range(number * count // groups, (number + 1) * count // groups) for number in range(groups))

    def _layers(self, sizes: Sizes) -> Sequence[int]:
        return range(sizes.layers) if self.layers is None else self.layers

    def _at(self, pairs: Sequence[EncodedPair]) -> tuple[At, ...]:
        if self.at != "each":
            return self.at
        longest = max((len(pair.harmful) for pair in pairs), default=0)
        return tuple((position,) for position in range(-longest, 0))


@dataclass(frozen=True)
class Joint:
    """Patching from the twin's run of whole circuits, one variant each."""

    circuits: tuple[Circuit, ...]
    at: At = "post"
    direct: bool = False
    outside: bool = field(default=False, metadata=LATER)  # patch all heads and neurons outside each circuit instead

    def __post_init__(self) -> None:
        check_fields(self, "circuits", "at")
        check_at(self.at)

    @property
    def named_sites(self) -> tuple[Site, ...]:
        """The sites of all circuits, so that a model can check that it has them."""
        return tuple(site for circuit in self.circuits for site in circuit.sites)

    def axes(self, sizes: Sizes, pairs: Sequence[EncodedPair]) -> dict[str, tuple[str, ...]]:
        """One axis, the circuits by number."""
        return {"circuit": tuple(map(str, range(len(self.circuits))))}

    def spans(self, pairs: Sequence[EncodedPair], prompt: Encoded, given: int = 0) -> tuple[tuple[int, ...], ...]:
        """The positions of `at` in this prompt, the same for all circuits."""
        return (prompt.positions(self.at, given),)

    def variants(self, sizes: Sizes, spans: Sequence[tuple[int, ...]]) -> tuple[Variant, ...]:
        """A variant for each circuit: all of its sites at all positions of the span."""
        circuits = tuple(outside(circuit, sizes) for circuit in self.circuits) if self.outside else self.circuits
        return tuple(
            tuple(Site(site.layer, site.kind, site.index, position) for site in circuit.sites for position in spans[0])
            for circuit in circuits
        )


def outside(circuit: Circuit, sizes: Sizes) -> Circuit:
    """All heads and neurons of the model that are not in a circuit."""
    every = (
        Site(layer, kind, index, found_on=circuit.found_on)
        for kind in INDEXED
        for layer in range(sizes.layers)
        for index in range(in_layer(kind, sizes))
    )
    inside = set(circuit.sites)
    return Circuit(tuple(site for site in every if site not in inside))


@dataclass(frozen=True)
class Group:
    """Variants with the same first patched position: their suffix runs can be batched."""

    first: int  # the first patched position, from the end
    variants: tuple[int, ...]  # numbers of variants, by their first patched layer


@dataclass(frozen=True)
class Chosen:
    """A choice of a sweep's variants, by number."""

    whole: Sweep
    numbers: tuple[int, ...]

    @property
    def at(self) -> tuple[At, ...] | Literal["each"]:
        """The whole sweep's positions."""
        return self.whole.at

    @property
    def named_sites(self) -> tuple[Site, ...]:
        """The whole sweep's named sites."""
        return self.whole.named_sites

    @property
    def direct(self) -> bool:
        """Whether the whole sweep measures direct effects."""
        return self.whole.direct

    def axes(self, sizes: Sizes, pairs: Sequence[EncodedPair]) -> dict[str, tuple[str, ...]]:
        """One axis, the variants by their number in the whole sweep."""
        return {"variant": tuple(map(str, self.numbers))}

    def spans(self, pairs: Sequence[EncodedPair], prompt: Encoded, given: int = 0) -> tuple[tuple[int, ...], ...]:
        """The whole sweep's spans."""
        return self.whole.spans(pairs, prompt, given)

    def variants(self, sizes: Sizes, spans: Sequence[tuple[int, ...]]) -> tuple[Variant, ...]:
        """The chosen variants, in the order of `numbers`."""
        variants = self.whole.variants(sizes, spans)
        return tuple(variants[number] for number in self.numbers)


AnySweep = Sweep | Joint | Chosen


@dataclass(frozen=True)
class Part:
    """Pairs that are swept together, because their variants have the same positions from the end."""

    names: tuple[str, ...]
    prompts: tuple[Encoded, ...]  # patched
    sources: tuple[Encoded, ...]  # patched from
    first_differences: tuple[int | None, ...]  # first position, from the end, at which they differ; None: not aligned
    by_run: tuple[tuple[Variant, ...], ...]  # the variants in each run, which differ in the tokens given
    run: int = 0

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants of this run."""
        return self.by_run[self.run]

    @property
    def width(self) -> int:
        """Tokens of the longest prompt."""
        return max(map(len, self.prompts))

    @property
    def hooks(self) -> list[str]:
        """The hooks that the variants patch."""
        return sorted({site.hook for sites in self.variants for site in sites})

    def rows(self, group: Group) -> list[int]:
        """The numbers of the pairs in which a group's variants can change anything."""
        return [
            row
            for row, first in enumerate(self.first_differences)
            if any(differs(self.variants[number], first) for number in group.variants)
        ]


@dataclass(frozen=True)
class Budget:
    """The limits of a sweep on a machine."""

    tokens: int  # in one batch
    memory: int  # bytes besides the weights
    item: int  # bytes of one number

    def batch(self, sizes: Sizes, width: int) -> int:
        """How many tokens fit into a batch of prompts of that width."""
        return max(1, min(self.tokens, self.memory // 2 // token_bytes(sizes, self.item, width)))


@dataclass(frozen=True)
class Plan:
    """The arithmetic and memory of a sweep."""

    pairs: int
    set_aside: int
    variants: int
    batches: int  # of patched runs
    tokens: int  # counted once for each block that a token passes through
    readouts: int  # rows of logits
    peak: int  # bytes besides the weights
    sizes: Sizes

    @property
    def operations(self) -> float:
        """Multiplications and additions in matrix products with weights; attention between tokens is not counted."""
        blocks, head = self.tokens * self.sizes.per_block, self.readouts * self.sizes.d_model * self.sizes.vocabulary
        return 2.0 * (blocks + head)

    def minutes(self, rate: float) -> float:
        """The minutes it takes at so many operations per second."""
        return self.operations / rate / 60

    def __str__(self) -> str:
        aside = f" ({self.set_aside} set aside, not aligned)" if self.set_aside else ""
        return (
            f"{self.pairs} pairs{aside} × {self.variants} variants: {self.batches} batches, "
            f"{self.tokens / self.sizes.layers:.0f} tokens through the model, at most {self.peak / 1024**3:.2f} GiB "
            "besides the weights"
        )


def plan(
    pairs: Mapping[str, EncodedPair],
    sweep: AnySweep,
    sizes: Sizes,
    budget: Budget,
    runs: Sequence[Opening] = FIRST_TOKEN,
) -> Plan:
    """The cost of a sweep, computed from the pairs' tokens, the runs' given tokens and the model's sizes alone."""
    used, aside = set_apart(pairs, sweep)
    batches = tokens = readouts = peak = variants = 0
    swept = parts({name: pairs[name] for name in used}, sweep, sizes, budget, "noise", runs)
    for part in (replace(part, run=run) for part in swept for run in range(len(runs))):
        given = len(runs[part.run])
        variants = max(variants, len(part.variants))
        rows, item, width = len(part.names), budget.item, part.width + given
        tokens += 2 * rows * width * sizes.layers
        readouts += 2 * rows * (1 + given)
        recorded = sizes.layers * (sizes.d_model + 2 * sizes.kv_heads * sizes.d_head)
        kept = rows * width * item * (recorded + sum(width_at(hook, sizes) for hook in part.hooks))
        at_once = rows * width
        for group in groups(part.variants, sizes.layers):
            reached, length = len(part.rows(group)), given - group.first
            size = max(1, budget.batch(sizes, width) // max(1, reached * length))
            batches += -(-len(group.variants) // size) if reached else 0
            begins = [min(site.layer for site in part.variants[number]) for number in group.variants]
            tokens += reached * length * sum(sizes.layers - layer for layer in begins)
            readouts += reached * len(group.variants) * (1 + given)
            at_once = max(at_once, reached * length * min(size, len(group.variants)))
        peak = max(peak, kept + at_once * token_bytes(sizes, item, width))
    return Plan(len(used), len(aside), variants, batches, tokens, readouts, peak, sizes)


def parts(
    pairs: Mapping[str, EncodedPair], sweep: AnySweep, sizes: Sizes, budget: Budget, mode: Mode, runs: Sequence[Opening]
) -> Iterator[Part]:
    """The parts in which pairs are swept: each has the same positions throughout, and fits the budget."""
    encoded = list(pairs.values())
    by_spans: dict[tuple[tuple[int, ...], ...], list[str]] = {}
    for name, pair in pairs.items():
        by_spans.setdefault(sweep.spans(encoded, pair.harmful), []).append(name)
    for names in by_spans.values():
        by_run = tuple(sweep.variants(sizes, sweep.spans(encoded, pairs[names[0]].harmful, len(run))) for run in runs)
        # Neighbours with the same first difference share most of the work.
        names.sort(key=lambda name: (len(pairs[name].harmful), pairs[name].first_difference or 0))
        widest = max(max(len(pairs[name].harmful), len(pairs[name].harmless)) for name in names)
        widest += max(map(len, runs))
        operations = sum(_operations(variants, sizes, len(run)) for variants, run in zip(by_run, runs, strict=True))
        size = max(1, min(budget.batch(sizes, widest) // widest, int(PART_OPERATIONS // operations)))
        for start in range(0, len(names), size):
            chosen = names[start : start + size]
            sides = [(pairs[name].harmful, pairs[name].harmless) for name in chosen]
            prompts, sources = zip(*(sides if mode == "noise" else [side[::-1] for side in sides]), strict=True)
            firsts = tuple(pairs[name].first_difference for name in chosen)
            yield Part(tuple(chosen), prompts, sources, firsts, by_run)


def _operations(variants: Sequence[Variant], sizes: Sizes, given: int) -> float:
    """At most how many operations one pair's patched runs take, with so many tokens given after the prompt."""
    begins = (
        (group, min(site.layer for site in variants[number]))
        for group in groups(variants, sizes.layers)
        for number in group.variants
    )
    tokens = sum((given - group.first) * (sizes.layers - layer) for group, layer in begins)
    return max(1.0, 2.0 * sizes.per_block * tokens)


def token_bytes(sizes: Sizes, item: int, width: int) -> int:
    """Peak memory of one token in a block, in bytes."""
    keys = width + STACKED_TOKENS
    stream = 12 * sizes.d_model * item
    mlp = (sizes.mlp_matrices + 1) * sizes.d_mlp * item
    # Attention scores: masked, softmax in float32, cast back; and each row's keys and values, repeated for every head.
    attention = sizes.heads * keys * (2 * item + 4) + 4 * sizes.heads * sizes.d_head * keys * item // STACKED_TOKENS
    return stream + max(mlp, attention)


def groups(variants: Sequence[Variant], layers: int) -> list[Group]:
    """The variants by their first patched position, without those that are empty or can change nothing."""
    by_first: dict[int, list[int]] = {}
    for number, sites in enumerate(variants):
        if sites and reaches(sites, layers):
            by_first.setdefault(min(site.position or 0 for site in sites), []).append(number)

    def begins(number: int) -> int:
        return min(site.layer for site in variants[number])

    return [Group(first, tuple(sorted(numbers, key=begins))) for first, numbers in sorted(by_first.items())]


def reaches(sites: Variant, layers: int) -> bool:
    """Whether patching these sites can change the last logits.

    A site after the last block's attention can do so at the last position and given tokens only: nothing moves there.
    """
    return any(
        site.layer < layers - 1
        or SITE_KINDS[site.kind].before_attention
        or (site.position is not None and site.position >= -1)
        for site in sites
    )


def differs(sites: Variant, first_difference: int | None) -> bool:
    """Whether prompt and twin can differ at any of these sites: before the first differing token they are equal."""
    return first_difference is None or any((site.position or 0) >= first_difference for site in sites)


def set_apart(pairs: Mapping[str, EncodedPair], sweep: AnySweep) -> tuple[list[str], list[str]]:
    """Ids of pairs that can be swept, and of those that cannot, because equal positions do not correspond."""
    used: list[str] = []
    aside: list[str] = []
    for name, pair in pairs.items():
        places = (sweep.at,) if isinstance(sweep, Joint) else sweep.at
        usable = pair.aligned or (places != "each" and all(map(pair.after_instruction, places)))
        (used if usable else aside).append(name)
    if not used:
        raise AssayError(
            f"none of the {len(aside)} pairs is aligned (equal length, one differing slot), so no position before the "
            "end of the instruction can be compared; sweep at 'post', or give pairs that align for this tokenizer"
        )
    return used, aside
