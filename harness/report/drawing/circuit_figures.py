"""Figures of patched circuits: compared with others, growing part by part, and judged on other categories."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from harness.inputs.prompts.prompt_lists import twins
from harness.inputs.sites import INDEXED, SITE_KINDS
from harness.judging import proportions
from harness.judging.proportions import Interval
from harness.measurements.evidence_kinds import MODEL_RECORD
from harness.measurements.questions import Norms
from harness.report.drawing import charts
from harness.report.drawing.charts import Series
from harness.report.drawing.figure_plan import (
    SHARE,
    TOP,
    Limits,
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
from harness.results.verdict_evidence import Material, Swept, kind_of, layer_of, place_of


def across_categories(material: Material) -> Iterator[Plan]:
    """Heat maps of what circuits found on one category carry on the pairs of every other."""
    for sweep in material.swept:
        if categories := _categories_found_on(material, sweep):
            yield _transfer_map(material, sweep, categories)


def _categories_found_on(material: Material, sweep: Swept) -> list[str]:
    """The categories whose discovery pairs gave the sweep's circuits, one each; empty if any came from elsewhere."""
    discovery = material.pairs.discovery
    circuits = {
        name: material.circuits.get(discovery.category(name).fingerprint) for name in sorted(discovery.categories)
    }
    names = [name for name, circuit in circuits.items() if circuit is not None]
    by_category = [set(circuit) for circuit in circuits.values() if circuit is not None]
    return names if len(names) > 1 and list(map(set, sweep.circuits)) == by_category else []


def _transfer_map(material: Material, sweep: Swept, categories: Sequence[str]) -> Plan:
    category_of = {pair.id: pair.category for pair in twins(material.pairs)}
    row_categories = np.array([category_of[name] for name in sweep.effects.pairs])
    shares = np.full((len(categories), len(categories)), np.nan)
    for column, name in enumerate(categories):
        if (gap := sweep.gap[row_categories == name].sum()) > 0:
            shares[:, column] = sweep.change[row_categories == name].sum(0) / gap

    def draw(drawing: Drawing, limits: Limits) -> str:
        axes = ("found on", "judged on")
        return charts.heatmap(drawing, shares, categories, categories, axes, farthest(limits), numbers=True)

    caption = (
        "The share of the effect that a circuit found on one category (row) carries on held-out pairs of another "
        f"(column); {sweep.pairs_in_words}. Where rows look alike, one circuit serves all categories."
    )
    return Plan("transfer", "Circuits across categories", caption, draw, scale([1.0, *shares.ravel()]))


def compared_circuits(material: Material) -> Iterator[Plan]:
    """The found circuit compared with others of its size and with its own parts."""
    joint = [
        sweep
        for sweep in material.swept
        if sweep.circuits
        and not layer_by_layer(sweep.circuits)
        and not growing(sweep.circuits)
        and not _categories_found_on(material, sweep)
    ]
    for _, alike in grouped(joint, lambda sweep: sweep.comparison_key):
        rows: dict[str, list[Interval]] = {}
        for sweep in sorted(alike, key=lambda sweep: -len(sweep.circuits)):
            for name, shares in _compared(material, sweep):
                rows.setdefault(name, shares)
        caption = (
            f"The share of the effect that each circuit {alike[0].verb} as a whole, on {alike[0].pairs_in_words}, with "
            f"{material.intervals}. Each dot is one circuit."
        )
        shown = list(rows.items())[:TOP]
        yield strip_of("beside", "The circuit compared with others", caption, SHARE, shown)


def _compared(material: Material, sweep: Swept) -> Iterator[tuple[str, list[Interval]]]:
    """Rows for one sweep: its first circuit, then the others, named by how they relate to the first."""
    first, *others = sweep.circuits
    yield _circuit_name(first, material), [sweep.share(sweep.change[:, 0])]
    if not others:
        return
    dots = [Interval(value, value, value, len(sweep.change), "mean") for value in map(float, sweep.mean[1:])]
    if all(len(other) == 1 and other[0] in first for other in others):
        yield f"its {len(others)} parts, each alone", dots
        if {other[0] for other in others} == set(first):
            yield "the sum over its parts", [sweep.share(sweep.change[:, 1:].sum(1))]
    elif len(others) > 1 and all(_alike_in_size(first, other) for other in others):
        yield f"{len(others)} other circuits, as large in each layer", dots
    else:
        for column, other in enumerate(others, 1):
            apart = set(other).isdisjoint(first) and Counter(map(kind_of, other)) == Counter(map(kind_of, first))
            name = "as many other parts" if apart and len(others) == 1 else _circuit_name(other, material)
            if apart and _largest_norms(material, first, other):
                name += ", with the largest outputs"
            yield name, [sweep.share(sweep.change[:, column])]


def _alike_in_size(first: Iterable[str], other: Iterable[str]) -> bool:
    """Whether two circuits share no part and have equally many parts of each kind in each layer."""
    sizes = (Counter(site.rpartition(".")[0] for site in sites) for sites in (first, other))
    return set(first).isdisjoint(other) and len(set(map(str, map(sorted, map(Counter.items, sizes))))) == 1


def _largest_norms(material: Material, first: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the outputs of `other` are the longest there are, apart from those of `first`; False if unmeasured."""
    measured = next((evidence for evidence in material.evidence if evidence.recipe.kind == Norms.KIND), None)
    if measured is None:
        return False
    chosen = {kind: [site for site in other if kind_of(site) == kind] for kind in INDEXED}
    norms = {kind: np.array(measured.arrays[kind], dtype=float) for kind in chosen}
    least = {
        kind: min((norms[kind][place_of(site)] for site in sites), default=np.inf) for kind, sites in chosen.items()
    }
    for site in (*first, *other):
        if (kind := kind_of(site)) in INDEXED:
            norms[kind][place_of(site)] = -np.inf
    return all(norms[kind].max() <= least[kind] for kind in chosen)


def _circuit_name(sites: Sequence[str], material: Material) -> str:
    """A circuit as the label of a row: the found one by that name, any other by its parts and layers."""
    if any(set(sites) == set(circuit) for circuit in material.circuits.values()):
        return f"the found circuit ({_parts(sites)})"
    layers = sorted({layer_of(site) for site in sites})
    where = f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(map(str, layers))}"
    return f"{_parts(sites)}, {where}"


def _parts(sites: Sequence[str]) -> str:
    counts = Counter(map(kind_of, sites))
    return ", ".join(
        f"{n} {SITE_KINDS[kind].plural if n > 1 else SITE_KINDS[kind].noun}" for kind, n in sorted(counts.items())
    )


def refusal_by_size(material: Material) -> Iterator[Plan]:
    """Curves of how many prompts are refused as a circuit grows part by part."""
    for sweep in material.swept:
        if growing(sweep.circuits):
            yield _refusal_curve(sweep)


def _refusal_curve(sweep: Swept) -> Plan:
    places, ticks = _size_axis(sweep)
    refusing = np.column_stack([sweep.effects.clean, sweep.effects.patched]) > 0
    rates = [proportions.rate(column, sweep.material.level, sweep.clusters) for column in refusing.T]
    name, told = ("first token refuses", "first token is more likely to refuse than not")
    if sweep.by_openings:
        name, told = ("opening refuses", "answer is more likely to begin with a refusing opening than an answering one")
    series = [line_of(name, rates)]

    def draw(drawing: Drawing, limits: Limits) -> str:
        axes = ("components taken from the twin", "share of prompts")
        return charts.curves(drawing, places, series, axes, (0, 1), ticks=ticks)

    caption = (
        f"The share of {sweep.side} prompts ({sweep.pairs_in_words}) whose {told}, "
        "as more and more components of the circuit get their values from the twin, in the order of their own "
        f"effects; with {sweep.material.intervals}."
    )
    return Plan(f"dose-{sweep.side}", "Refusal by number of components", caption, draw)


def effect_by_size(material: Material) -> Iterator[Plan]:
    """Curves of the effect as a circuit grows, compared with the sum of what its parts carry alone."""
    for sweep in material.swept:
        if growing(sweep.circuits):
            yield _effect_curve(material, sweep)


def _effect_curve(material: Material, sweep: Swept) -> Plan:
    places, ticks = _size_axis(sweep)
    unpatched = Interval(0.0, 0.0, 0.0, len(sweep.change), "nothing patched")
    shares = [unpatched, *(sweep.share(column) for column in sweep.change.T)]
    series, compared = [line_of("together", shares)], ""
    alone, measured_on = _effects_alone(material, sweep)
    if set(sweep.circuits[-1]) <= set(alone):
        sums = [sum(alone[site] for site in sites) for sites in ((), *sweep.circuits)]
        series.append(Series("sum of each alone", sums))
        compared = f"; compared with the sum of what each component {sweep.verb} alone, on {measured_on}"

    def draw(drawing: Drawing, limits: Limits) -> str:
        return charts.curves(drawing, places, series, ("components taken from the twin", SHARE), limits, ticks=ticks)

    caption = (
        f"The share of the effect that the circuit {sweep.verb} if only its first components are patched, in the order "
        f"of their own effects, on {sweep.pairs_in_words}, with {material.intervals}{compared}."
    )
    every = [*bounds_of(shares), *(value for line in series for value in line.values)]
    return Plan(f"cumulative-{sweep.side}", "Effect by number of components", caption, draw, scale([1.0, *every]))


def _effects_alone(material: Material, sweep: Swept) -> tuple[dict[str, float], str]:
    """What each component carries alone, and the pairs it was measured on: the sweep's own, or the discovery pairs."""
    measured: dict[str, float] = {}
    for other in (other for other in material.swept if other.comparison_key == sweep.comparison_key):
        shares = map(float, other.mean.ravel())
        measured |= {sites[0]: share for sites, share in zip(other.circuits, shares, strict=False) if len(sites) == 1}
    if set(sweep.circuits[-1]) <= set(measured):
        return measured, "the same pairs"
    circuit = material.circuits.get(material.pairs.discovery.fingerprint, {})
    # The search for circuits patches harmful runs, so its effects can only be compared with those.
    searched = {site: share for site, share in circuit.items() if share is not None} if sweep.mode == "noise" else {}
    return searched, f"{len(material.pairs.discovery)} discovery pairs"


def _size_axis(sweep: Swept) -> tuple[list[float], list[tuple[float, str]]]:
    """Places and ticks of a logarithmic axis of circuit sizes, with 0 components first."""
    sizes = [0, *map(len, sweep.circuits)]
    places = [float(place) for place in np.log1p(sizes)]
    return places, [(place, str(size)) for place, size in zip(places, sizes, strict=True)]


def found_circuit(material: Material) -> Iterator[Plan]:
    """A diagram of the heads and neurons of the circuit found on the discovery pairs, by layer."""
    circuit = material.circuits.get(material.pairs.discovery.fingerprint, {})
    records = (evidence for evidence in material.evidence if evidence.recipe.kind == MODEL_RECORD)
    if not circuit or (record := next(records, None)) is None:
        return
    heads: dict[int, list[tuple[int, str]]] = {}
    neurons: dict[int, list[str]] = {}
    for site in sorted(circuit, key=place_of):
        layer, number = place_of(site)
        share = circuit[site]
        hover = f"{kind_of(site)} {layer}.{number}" + ("" if share is None else f": {share:+z.3f}")
        if kind_of(site) == "head":
            heads.setdefault(layer, []).append((number, hover))
        else:
            neurons.setdefault(layer, []).append(hover)
    layers = int(record.values["sizes"]["layers"])

    def draw(drawing: Drawing, limits: Limits) -> str:
        return charts.diagram(drawing, layers, heads, neurons)

    caption = (
        f"The circuit found on {len(material.pairs.discovery)} discovery pairs: {_parts(tuple(circuit))}, by layer "
        "along the residual stream."
    )
    yield Plan("circuit", "The circuit", caption, draw, once=True)
