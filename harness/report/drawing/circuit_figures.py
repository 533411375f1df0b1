"""What circuits carry: jointly, beside others, part by part, and from one category to another."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from harness.inputs.prompts.prompt_lists import twins
from harness.judging import proportions
from harness.judging.proportions import Interval
from harness.report.drawing import charts
from harness.report.drawing.charts import Series
from harness.report.drawing.figure_plan import (
    SHARE,
    TOP,
    Ends,
    Plan,
    bounds_of,
    farthest,
    grouped,
    growing,
    layer_by_layer,
    line_of,
    scale,
    strip_of,
)
from harness.report.drawing.svg import Drawing
from harness.results.verdict_evidence import Material, Swept, layer_of, part_of, place_of

_PARTS = {"attn_out": "attention output", "mlp_out": "MLP output"}


def across_categories(material: Material) -> Iterator[Plan]:
    """What circuits found on one category carry on others."""
    for one in material.swept:
        if names := _found_by_category(material, one):
            yield _across(material, one, names)


def _found_by_category(material: Material, one: Swept) -> list[str]:
    """The categories on whose pairs these circuits were found, one each; none if that is not so."""
    sought = material.pairs.discovery
    found = {name: material.found.get(sought.category(name).fingerprint) for name in sorted(sought.categories)}
    names = [name for name, circuit in found.items() if circuit is not None]
    own = [set(circuit) for circuit in found.values() if circuit is not None]
    return names if len(names) > 1 and list(map(set, one.circuits)) == own else []


def _across(material: Material, one: Swept, names: Sequence[str]) -> Plan:
    category = {pair.id: pair.category for pair in twins(material.pairs)}
    own = np.array([category[name] for name in one.effects.pairs])
    values = np.full((len(names), len(names)), np.nan)
    for column, name in enumerate(names):
        if (whole := one.gap[own == name].sum()) > 0:
            values[:, column] = one.change[own == name].sum(0) / whole

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.heatmap(drawing, values, names, names, ("found on", "judged on"), farthest(ends), numbers=True)

    caption = (
        "The share of the effect that circuits found on one category (rows) carry on held-out pairs of another "
        f"(columns); {one.on}. Rows alike: one circuit serves all."
    )
    return Plan("transfer", "Circuits across categories", caption, draw, scale([1.0, *values.ravel()]))


def circuits_beside(material: Material) -> Iterator[Plan]:
    """Circuits beside each other: the found one, others of its size, its parts."""
    joint = [
        one
        for one in material.swept
        if one.circuits
        and not layer_by_layer(one.circuits)
        and not growing(one.circuits)
        and not _found_by_category(material, one)
    ]
    for _, some in grouped(joint, lambda one: one.same):
        rows: dict[str, list[Interval]] = {}
        for one in sorted(some, key=lambda one: -len(one.circuits)):
            for name, found in _compared(material, one):
                rows.setdefault(name, found)
        caption = (
            f"The share of the effect that each circuit {some[0].does} jointly, on {some[0].on}, with "
            f"{material.intervals}. Dots stand for one circuit each."
        )
        shown = list(rows.items())[:TOP]
        yield strip_of("beside", "The circuit beside others", caption, SHARE, shown)


def _compared(material: Material, one: Swept) -> Iterator[tuple[str, list[Interval]]]:
    """Rows of one sweep: the first circuit, then what the others are to it."""
    first, *others = one.circuits
    yield _words(first, material), [one.share(one.change[:, 0])]
    if not others:
        return
    dots = [Interval(value, value, value, len(one.change), "mean") for value in map(float, one.mean[1:])]
    if all(len(other) == 1 and other[0] in first for other in others):
        yield f"its {len(others)} parts, one by one", dots
        if {other[0] for other in others} == set(first):
            yield "the sum of these", [one.share(one.change[:, 1:].sum(1))]
    elif len(others) > 1 and all(_alike_in_size(first, other) for other in others):
        yield f"{len(others)} others, as many in each layer", dots
    else:
        for at, other in enumerate(others, 1):
            apart = set(other).isdisjoint(first) and Counter(map(part_of, other)) == Counter(map(part_of, first))
            words = "as many others" if apart and len(others) == 1 else _words(other, material)
            if apart and _loudest(material, first, other):
                words += ", those that say most"
            yield words, [one.share(one.change[:, at])]


def _alike_in_size(first: Iterable[str], other: Iterable[str]) -> bool:
    """Whether they share nothing, and have as many parts of each kind in each layer."""
    sizes = (Counter(site.rpartition(".")[0] for site in sites) for sites in (first, other))
    return set(first).isdisjoint(other) and len(set(map(str, map(sorted, map(Counter.items, sizes))))) == 1


def _loudest(material: Material, first: Sequence[str], other: Sequence[str]) -> bool:
    """Whether no part outside of both says more than one of the other's."""
    for one in (one for one in material.evidence if one.recipe.kind == "norms"):
        inside = {kind: [site for site in other if part_of(site) == kind] for kind in ("head", "neuron")}
        rest = {kind: np.array(one.arrays[kind], dtype=float) for kind in inside}
        least = {
            kind: min((rest[kind][place_of(site)] for site in sites), default=np.inf) for kind, sites in inside.items()
        }
        for site in (*first, *other):
            if part_of(site) in rest:
                rest[part_of(site)][place_of(site)] = -np.inf
        return all(rest[kind].max() <= least[kind] for kind in inside)
    return False


def _words(sites: Sequence[str], material: Material) -> str:
    """A circuit in a few words."""
    if any(set(sites) == set(found) for found in material.found.values()):
        return f"the one found ({_parts(sites)})"
    layers = sorted({layer_of(site) for site in sites})
    where = f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(map(str, layers))}"
    return f"{_parts(sites)}, {where}"


def _parts(sites: Sequence[str]) -> str:
    counts = Counter(map(part_of, sites))
    return ", ".join(f"{n} {_PARTS.get(kind, kind)}{'s' if n > 1 else ''}" for kind, n in sorted(counts.items()))


def dose(material: Material) -> Iterator[Plan]:
    """Refusal as components are added one after the other."""
    for one in material.swept:
        if growing(one.circuits):
            yield _refusing(one)


def _refusing(one: Swept) -> Plan:
    places, ticks = _sizes(one)
    hits = np.column_stack([one.effects.clean, one.effects.patched]) > 0
    series = [
        line_of("first token refuses", [proportions.rate(hit, one.material.level, one.clusters) for hit in hits.T])
    ]

    def draw(drawing: Drawing, ends: Ends) -> str:
        axes = ("components taken from the twin", "share of prompts")
        return charts.curves(drawing, places, series, axes, (0, 1), ticks=ticks)

    caption = (
        f"The share of {one.side} prompts, of {one.on}, whose first token is likelier to refuse than not, as more of "
        f"the circuit is taken from the twin, what carries most first, with {one.material.intervals}."
    )
    return Plan(f"dose-{one.side}", "Refusal by number of components", caption, draw)


def cumulative(material: Material) -> Iterator[Plan]:
    """The effect as components are added, beside the sum of what each carries by itself."""
    for one in material.swept:
        if growing(one.circuits):
            yield _grown(material, one)


def _grown(material: Material, one: Swept) -> Plan:
    places, ticks = _sizes(one)
    nothing = Interval(0.0, 0.0, 0.0, len(one.change), "nothing done")
    found = [nothing, *(one.share(column) for column in one.change.T)]
    series, beside = [line_of("jointly", found)], ""
    singles, where = _singles(material, one)
    if set(one.circuits[-1]) <= set(singles):
        sums = [sum(singles[site] for site in sites) for sites in ((), *one.circuits)]
        series.append(Series("one by one, summed", sums))
        beside = f", beside the sum of what each {one.does} by itself on {where}"

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.curves(drawing, places, series, ("components taken from the twin", SHARE), ends, ticks=ticks)

    caption = (
        f"The share of the effect that the circuit {one.does}, what carries most first, on {one.on}, with "
        f"{material.intervals}{beside}."
    )
    every = [*bounds_of(found), *(value for each in series for value in each.values)]
    return Plan(f"cumulative-{one.side}", "Effect by number of components", caption, draw, scale([1.0, *every]))


def _singles(material: Material, one: Swept) -> tuple[dict[str, float], str]:
    """What single components carry on the same pairs; where that was not measured, on those they were found on."""
    here: dict[str, float] = {}
    for other in (other for other in material.swept if other.same == one.same):
        values = map(float, other.mean.ravel())
        here |= {sites[0]: value for sites, value in zip(other.circuits, values, strict=False) if len(sites) == 1}
    if set(one.circuits[-1]) <= set(here):
        return here, "the same pairs"
    own = material.found.get(material.pairs.discovery.fingerprint, {})
    # Those that were found were found by breaking harmful runs.
    kept = {site: value for site, value in own.items() if value is not None} if one.mode == "noise" else {}
    return kept, f"{len(material.pairs.discovery)} discovery pairs"


def _sizes(one: Swept) -> tuple[list[float], list[tuple[float, str]]]:
    """Places by number of components, closer where they are many, with none of them first."""
    sizes = [0, *map(len, one.circuits)]
    places = [float(place) for place in np.log1p(sizes)]
    return places, [(place, str(size)) for place, size in zip(places, sizes, strict=True)]


def found_circuit(material: Material) -> Iterator[Plan]:
    """Heads and neurons of what was found, by depth."""
    found = material.found.get(material.pairs.discovery.fingerprint, {})
    records = (one for one in material.evidence if one.recipe.kind == "model-record")
    if not found or (record := next(records, None)) is None:
        return
    heads: dict[int, list[tuple[int, str]]] = {}
    neurons: dict[int, list[str]] = {}
    for site in sorted(found, key=place_of):
        carried = found[site]
        said = f"{part_of(site)} {layer_of(site)}.{place_of(site)[1]}" + (
            "" if carried is None else f": {carried:+z.3f}"
        )
        if part_of(site) == "head":
            heads.setdefault(layer_of(site), []).append((place_of(site)[1], said))
        else:
            neurons.setdefault(layer_of(site), []).append(said)
    layers = int(record.values["sizes"]["layers"])

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.diagram(drawing, layers, heads, neurons)

    caption = (
        f"What was found on {len(material.pairs.discovery)} discovery pairs: {_parts(tuple(found))}, by layer along "
        "the stream."
    )
    yield Plan("circuit", "The circuit", caption, draw)
