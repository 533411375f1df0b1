"""Figures: from the evidence that a verdict read to SVG. What is drawn follows from what was measured."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from harness import charts, resampling, stats
from harness.charts import Series
from harness.evidence import Evidence
from harness.material import PHRASES, Material, Swept, asked_of, layer_of, part_of, place_of
from harness.pairs import PairSet
from harness.recorded import Recording
from harness.stats import Interval
from harness.svg import Drawing

# Of one verdict; the first are nearest to what is asserted.
MOST = 4
# Of a ranking, so many are drawn.
TOP = 15
# Scales of small effects are not blown up beyond this.
LEAST_LIMIT = 0.1
SHARE = "share of the effect (1: as its twin)"

Ends = tuple[float, float]
"""The least and the largest value that a scale holds."""


@dataclass(frozen=True)
class Figure:
    """A picture, and what it shows; `name` is unique among those of a verdict."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Plan:
    """A figure before its scale is known: what it needs of it, so that models can share the widest."""

    name: str
    title: str
    caption: str
    draw: Callable[[Drawing, Ends], str]
    ends: Ends = (0.0, 0.0)


def figures(claim: str, by_model: Mapping[str, Material]) -> dict[str, list[Figure]]:
    """The figures of each model, on scales that they share."""
    planned = {model: _planned(material) for model, material in by_model.items()}
    ends: dict[str, Ends] = {}
    for plans in planned.values():
        for name, plan in plans.items():
            low, high = ends.get(name, plan.ends)
            ends[name] = min(low, plan.ends[0]), max(high, plan.ends[1])
    return {
        model: [_figure(f"{claim}-{model}", name, plan, ends[name]) for name, plan in plans.items()]
        for model, plans in planned.items()
    }


def recorded(claim: str, recording: Recording, level: float, *, by_category: bool) -> list[Figure]:
    """Published judgements: every arm, and by category where that is what is claimed."""
    plans = [_arms(recording, level)]
    before, after = (recording.refused.get(f"harmful, {arm}") for arm in ("baseline", "ablation"))
    if by_category and before is not None and after is not None:
        hits = {"as it is": np.array(before), "direction removed": np.array(after)}
        plans.insert(0, _by_category(Material((), recording.pairs, level), recording.pairs, hits, "harmful"))
    return [_figure(f"{claim}-recorded:{recording.name}", plan.name, plan, plan.ends) for plan in plans]


_ARMS = {"baseline": "as it is", "ablation": "direction removed", "actadd": "direction added"}


def _planned(material: Material) -> dict[str, Plan]:
    """Those nearest to what is asserted, under names of their own."""
    found: dict[str, Plan] = {}
    for plan in (plan for maker in MAKERS for plan in maker(material)):
        if len(found) == MOST:
            break
        again = sum(name.partition("~")[0] == plan.name for name in found)
        found[f"{plan.name}~{again + 1}" if again else plan.name] = plan
    return found


def _figure(of: str, name: str, plan: Plan, ends: Ends) -> Figure:
    drawing = Drawing(f"{of}-{name}", plan.title, plan.caption, 560, 300)
    return Figure(name, plan.title, plan.caption, plan.draw(drawing, ends))


def _answers(material: Material) -> Iterator[Plan]:
    """Refused before and after, category by category."""
    for (own, side), some in _grouped(material.kind("answers"), lambda one: (asked_of(one), one.recipe.of["side"])):
        arms = sorted(some, key=lambda one: one.recipe.of["under"] is not None)
        if arms[-1].recipe.of["under"] is None:
            continue
        names = [material.done(one.recipe.of["under"]) for one in arms]
        apart = [name if names.count(name) == 1 else f"{name} ({at})" for at, name in enumerate(names)]
        hits = {name: np.array(one.values[PHRASES]) > 0 for name, one in zip(apart, arms, strict=True)}
        yield _by_category(material, material.judged[own][1], hits, side)


def _unchanged(material: Material) -> Iterator[Plan]:
    """Refused as the model is, where nothing was done to it."""
    shown = material.kind("answers")
    if any(one.recipe.of["under"] is not None for one in shown):
        return
    for own, some in _grouped(shown, asked_of):
        hits = {one.recipe.of["side"]: np.array(one.values[PHRASES]) > 0 for one in some}
        sides = {side: hits[side] for side in ("harmful", "harmless") if side in hits}
        yield _by_category(material, material.judged[own][1], sides, " and ".join(sides))


def _by_category(material: Material, pairs: PairSet, hits: Mapping[str, Bool[np.ndarray, " pair"]], side: str) -> Plan:
    names = sorted(pairs.categories)
    own, clusters = np.array([pair.category for pair in pairs]), np.array(pairs.clusters)

    def series(name: str, refused: Bool[np.ndarray, " pair"]) -> Series:
        rows = [own == category for category in names]
        return _series(name, [stats.rate(refused[row], material.level, clusters[row]) for row in rows])

    every = [series(name, refused) for name, refused in hits.items()]

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.bars(drawing, names, every, ("category", "share refused"), (0, 1))

    caption = f"The share of {len(pairs)} {side} prompts that is refused, by category; exact {material.intervals}."
    return Plan("categories" if side != "harmless" else "categories-harmless", "Refused, by category", caption, draw)


def _arms(recording: Recording, level: float) -> Plan:
    names = [f"{side}, {_ARMS[arm]}" for side, _, arm in (key.partition(", ") for key in recording.refused)]
    series = [_series("refused", [stats.rate(hits, level) for hits in recording.refused.values()])]

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.bars(drawing, names, series, ("arm", "share refused"), (0, 1))

    n, intervals = len(recording.categories), Material((), recording.pairs, level).intervals
    caption = f"The share of {n} prompts a side that is refused; exact {intervals}."
    return Plan("arms", "Refused, arm by arm", caption, draw)


def _random_directions(material: Material) -> Iterator[Plan]:
    """What the first token says with the direction that was found, and with random ones in its place."""
    scores = material.kind("scores")

    def arm(one: Evidence) -> tuple[Any, ...]:
        under = one.recipe.of["under"] or {}
        rest = sorted((key, str(value)) for key, value in under.items() if key != "direction")
        known = material.direction(under)
        return asked_of(one), one.recipe.of["side"], known.rank if known else 0, str(rest)

    for (own, side, rank, _), some in _grouped(scores, arm):
        known = [(one, material.direction(one.recipe.of["under"])) for one in some]
        found = [one for one, direction in known if direction is not None and not direction.random]
        random = [one for one, direction in known if direction is not None and direction.random]
        if not (rank and found and random):
            continue
        clean = [one for one in scores if arm(one)[:2] == (own, side) and one.recipe.of["under"] is None]
        clusters = material.judged[own][1].clusters
        words = f"{len(random)} random ones" if rank == 1 else f"{len(random)} times {rank} random ones"
        named = (("as it is", clean), (material.done(found[0].recipe.of["under"]), found), (words, random))
        rows = [
            (name, [stats.rate(np.array(one.values["odds"]) > 0, material.level, clusters) for one in arms])
            for name, arms in named
            if arms
        ]
        caption = (
            f"The share of {len(clusters)} {side} prompts whose first token is likelier to refuse than not, with what "
            f"was found and with random directions in its place (dots); exact {material.intervals}."
        )
        yield _strip("random-directions", "Beside random directions", caption, "share of prompts", rows, holds=1.0)


def _gradients(material: Material) -> Iterator[Plan]:
    """What gradients estimate against what patches measure."""
    measured = {(one.same, str(one.what)): one for one in material.swept}
    for guess in (Swept(material, one) for one in material.kind("estimated")):
        exact = measured.get((guess.same, str(guess.what)))
        if exact is not None and guess.there:
            yield _scatter(exact, guess)


def _scatter(exact: Swept, guess: Swept) -> Plan:
    rows = np.stack([exact.mean.ravel(), guess.mean.ravel()], 1)
    there, names = np.isfinite(rows).all(1), exact.names
    rows, names = rows[there], [name for name, one in zip(names, there, strict=True) if one]
    kind = str(exact.what.get("kind", "circuit"))
    limit = float(np.abs(rows).max(initial=LEAST_LIMIT)) * 1.08

    def draw(drawing: Drawing, ends: Ends) -> str:
        hovers = [f"{name}: measured {x:+.3f}, estimated {y:+.3f}" for name, (x, y) in zip(names, rows, strict=True)]
        axes = ("measured by patching", "estimated by gradients")
        return charts.scatter(drawing, {kind: rows}, {kind: hovers}, axes, (ends, ends), diagonal=True)

    some = f" Of {len(rows)}, {charts.MOST_POINTS} are drawn." if len(rows) > charts.MOST_POINTS else ""
    caption = (
        f"Each point is one {kind}: its share of the effect as patches measure it on {exact.on}, and as one gradient "
        f"estimates it. On the dashed line they agree.{some}"
    )
    return Plan("gradients", "Gradients against patches", caption, draw, (-limit, limit))


def _ranking(material: Material) -> Iterator[Plan]:
    """The heads that carry most, with intervals and what chance would reach."""
    for one in _of_heads(material):
        yield _ranked(one)


def _ranked(one: Swept) -> Plan:
    values = one.mean.ravel()
    order = [int(at) for at in np.argsort(-np.abs(np.nan_to_num(values)), kind="stable") if np.isfinite(values[at])][
        :TOP
    ]
    _, place = np.unique(one.clusters, return_inverse=True)
    sums = np.zeros((int(place.max()) + 1, len(values)))
    np.add.at(sums, place, np.nan_to_num(one.change))
    reach = resampling.max_t_reach(sums) * len(sums) / one.gap.sum()
    found, band = [one.share(one.change[:, at]) for at in order], [float(reach[at]) for at in order]
    names = [one.names[at] for at in order]

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.ranking(drawing, names, found, SHARE, ends, band)

    caption = (
        f"The {len(order)} heads whose own effect is largest, on {one.on}: what each {one.does}, with "
        f"{one.material.intervals}. Within the grey any head would lie if patching did nothing but flip signs."
    )
    ends = _ends([*_bounds(found), *band, *(-each for each in band)])
    return Plan(f"ranking-{one.mode}", "Heads by effect", caption, draw, ends)


def _heads(material: Material) -> Iterator[Plan]:
    """Every head's effect, layer by layer."""
    for one in _of_heads(material):
        yield _head_map(one)


def _head_map(one: Swept) -> Plan:
    values, axes = one.mean[:, :, 0], one.effects.axes

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.heatmap(drawing, values, axes["layer"], axes["head"], ("layer", "head"), _limit(ends))

    caption = (
        f"The share of the effect that each head {one.does} by itself, on {one.on}: 1 is all of it, vermillion is "
        f"towards the twin's behaviour and blue away from it.{_small(values)}"
    )
    return Plan(f"heads-{one.mode}", "Effect by layer and head", caption, draw, _ends(values.ravel()))


def _head_sums(material: Material) -> Iterator[Plan]:
    """What the heads of each layer carry, summed."""
    for one in _of_heads(material):
        sums = one.change.reshape(len(one.change), *one.mean.shape).sum((2, 3))
        caption = (
            f"What each head {one.does} by itself, summed over the heads of a layer, on {one.on}, with "
            f"{material.intervals}; parts in one chain sum to more than 1."
        )
        yield _by_layer(f"layers-{one.mode}", "Heads by layer", caption, one, {"sum over heads": sums})


def _of_heads(material: Material) -> list[Swept]:
    return [one for one in material.swept if one.along == ["layer", "head"] and one.what.get("kind") == "head"]


def _positions(material: Material) -> Iterator[Plan]:
    """The stream, layer by layer and position by position."""
    for one in material.swept:
        if one.along == ["layer", "position"]:
            yield _position_map(one)


def _position_map(one: Swept) -> Plan:
    values, axes = one.mean, one.effects.axes

    def draw(drawing: Drawing, ends: Ends) -> str:
        columns = [label.replace("-", "−") for label in axes["position"]]
        limit, names = _limit(ends), ("layer", "position")
        return charts.heatmap(drawing, values, axes["layer"], columns, names, limit, numbers=True)

    caption = (
        f"The share of the effect that {_KINDS[one.what['kind']]} {one.does} at one position, on "
        f"{one.on}. “slot” are the words in which prompt and twin differ; −1 is the prompt's last token."
        f"{_small(values)}"
    )
    title = "Effect by layer and position"
    return Plan(f"positions-{one.what['kind']}-{one.mode}", title, caption, draw, _ends([1.0, *values.ravel()]))


def _single(material: Material) -> Iterator[Plan]:
    """Sweeps of one kind along the layers, or at single places."""
    rows: dict[tuple[str, str], list[tuple[str, list[Interval]]]] = {}
    words = {}
    for one in material.swept:
        kind, shape = one.what.get("kind"), one.along
        if kind is None or kind == "neuron":
            continue
        if shape == ["layer"]:
            caption = f"The share of the effect that {_KINDS[kind]} {one.does}, on {one.on}, with {material.intervals}."
            yield _by_layer(f"layers-{kind}-{one.mode}", "Effect by layer", caption, one, {kind: one.change})
        elif not shape:
            layer, at = (one.effects.axes[name][0] for name in ("layer", "position"))
            place = f"layer {layer}, {_AT.get(at, f'position {at}')}"
            rows.setdefault((kind, one.mode), []).append((place, [one.share(one.change[:, 0])]))
            words[kind, one.mode] = one
    for (kind, mode), some in rows.items():
        one = words[kind, mode]
        caption = f"The share of the effect that {_KINDS[kind]} {one.does}, on {one.on}, with {material.intervals}."
        yield _strip(f"places-{kind}-{mode}", "Effect at single places", caption, SHARE, some)


def _stages(material: Material) -> Iterator[Plan]:
    """What each layer's block carries, by itself: one line a stage."""
    staged = [one for one in material.swept if _along(one.circuits)]
    staged.sort(key=lambda one: _STAGES.get(_stage(one), (_stage(one), 9))[1])
    for (_, _, layers), some in _grouped(
        staged, lambda one: (asked_of(one.evidence), one.mode, tuple(layer_of(sites[0]) for sites in one.circuits))
    ):
        changes = {_STAGES.get(_stage(one), (_stage(one), 9))[0]: one.change for one in some}
        caption = (
            f"The share of the effect that what one layer writes {some[0].does}, on {some[0].on}, with "
            f"{material.intervals}: {', '.join(changes)}."
        )
        yield _by_layer("stages", "Effect by layer", caption, some[0], changes, layers)


def _by_layer(
    name: str,
    title: str,
    caption: str,
    one: Swept,
    changes: Mapping[str, Float[np.ndarray, "pair layer"]],
    layers: Sequence[int] | None = None,
) -> Plan:
    places = [int(label) for label in one.effects.axes["layer"]] if layers is None else list(layers)
    found = {word: [one.share(column) for column in change.T] for word, change in changes.items()}
    series = [_series(word.partition(":")[0], each) for word, each in found.items()]

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.curves(drawing, places, series, ("layer", SHARE), ends)

    return Plan(name, title, caption, draw, _ends(end for each in found.values() for end in _bounds(each)))


def _projected(material: Material) -> Iterator[Plan]:
    """How far streams go along the direction, layer by layer."""
    for sides in _both(material, "projected"):
        shares = {side: one.arrays["along"].astype(float) / one.arrays["length"] for side, one in sides.items()}
        yield _projection(material, sides["harmful"], shares)


def _projection(material: Material, one: Evidence, shares: Mapping[str, np.ndarray]) -> Plan:
    found = {side: _means(material, one, shares[side][0].T) for side in shares}
    series = [_series(side, each) for side, each in found.items()]
    gaps = (shares["harmful"] - shares["harmless"])[1:].mean(1)
    middle = (shares["harmful"][0].mean(0) + shares["harmless"][0].mean(0)) / 2
    beside = [(middle + sign * gap / 2).tolist() for gap in gaps for sign in (1, -1)]

    def draw(drawing: Drawing, ends: Ends) -> str:
        axes = ("layer that the stream enters", "along the direction, of its length")
        return charts.curves(drawing, list(range(len(middle))), series, axes, ends, beside=beside)

    random = f" Grey: how far the two part along {len(gaps)} random directions." if len(gaps) else ""
    caption = (
        f"Mean share of the stream's length that lies along the direction, of {material.on(one)}, with "
        f"{material.intervals} of the means.{random}"
    )
    every = [*(end for each in found.values() for end in _bounds(each)), *(value for line in beside for value in line)]
    return Plan("projection", "Projection on the direction, by layer", caption, draw, _ends(every))


def _lens(material: Material) -> Iterator[Plan]:
    """How probable refusing would be, were each layer the last."""
    for sides in _both(material, "lens"):
        yield _read_out(material, sides)


def _read_out(material: Material, sides: Mapping[str, Evidence]) -> Plan:
    rows = {side: 1 / (1 + np.exp(-one.arrays["odds"].astype(float).T)) for side, one in sides.items()}
    series = [_series(side, _means(material, sides[side], each, (0.0, 1.0))) for side, each in rows.items()]

    def draw(drawing: Drawing, ends: Ends) -> str:
        axes = ("layer that the stream enters", "probability of refusing")
        return charts.curves(drawing, list(range(len(series[0].values))), series, axes, (0, 1))

    caption = (
        "Mean probability that the first token refuses, were the stream read out before each layer (logit lens), of "
        f"{material.on(sides['harmful'])}, with {material.intervals} of the means. The last one is the model's own."
    )
    return Plan("lens", "Refusing, read out layer by layer", caption, draw)


def _both(material: Material, kind: str) -> Iterator[dict[str, Evidence]]:
    """Harmful and harmless of the same question."""

    def question(one: Evidence) -> str:
        return str(sorted((key, str(value)) for key, value in one.recipe.of.items() if key != "side"))

    for _, some in _grouped(material.kind(kind), question):
        sides = {one.recipe.of["side"]: one for one in some}
        if len(sides) == 2:
            yield {side: sides[side] for side in ("harmful", "harmless")}


def _means(
    material: Material,
    one: Evidence,
    rows: Float[np.ndarray, "layer pair"],
    bounds: Ends = resampling.UNBOUNDED,
) -> list[Interval]:
    clusters = material.of(one).clusters
    return [resampling.mean(np.clip(row, *bounds), material.level, clusters, bounds) for row in rows]


def _transfer(material: Material) -> Iterator[Plan]:
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
    category = {pair.id: pair.category for pair in material.pairs}
    own = np.array([category[name] for name in one.effects.pairs])
    values = np.full((len(names), len(names)), np.nan)
    for column, name in enumerate(names):
        if (whole := one.gap[own == name].sum()) > 0:
            values[:, column] = one.change[own == name].sum(0) / whole

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.heatmap(drawing, values, names, names, ("found on", "judged on"), _limit(ends), numbers=True)

    caption = (
        "The share of the effect that circuits found on one category (rows) carry on held-out pairs of another "
        f"(columns); {one.on}. Rows alike: one circuit serves all."
    )
    return Plan("transfer", "Circuits across categories", caption, draw, _ends([1.0, *values.ravel()]))


def _beside(material: Material) -> Iterator[Plan]:
    """Circuits beside each other: the found one, others of its size, its parts."""
    joint = [
        one
        for one in material.swept
        if one.circuits
        and not _along(one.circuits)
        and not _nested(one.circuits)
        and not _found_by_category(material, one)
    ]
    for _, some in _grouped(joint, lambda one: one.same):
        rows: dict[str, list[Interval]] = {}
        for one in sorted(some, key=lambda one: -len(one.circuits)):
            for name, found in _compared(material, one):
                rows.setdefault(name, found)
        caption = (
            f"The share of the effect that each circuit {some[0].does} jointly, on {some[0].on}, with "
            f"{material.intervals}. Dots stand for one circuit each."
        )
        shown = list(rows.items())[:TOP]
        yield _strip("beside", "The circuit beside others", caption, SHARE, shown)


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


def _dose(material: Material) -> Iterator[Plan]:
    """Refusal as components are added one after the other."""
    for one in material.swept:
        if _nested(one.circuits):
            yield _refusing(one)


def _refusing(one: Swept) -> Plan:
    places, ticks = _sizes(one)
    hits = np.column_stack([one.effects.clean, one.effects.patched]) > 0
    series = [_series("first token refuses", [stats.rate(hit, one.material.level, one.clusters) for hit in hits.T])]

    def draw(drawing: Drawing, ends: Ends) -> str:
        axes = ("components taken from the twin", "share of prompts")
        return charts.curves(drawing, places, series, axes, (0, 1), ticks=ticks)

    caption = (
        f"The share of {one.side} prompts, of {one.on}, whose first token is likelier to refuse than not, as more of "
        f"the circuit is taken from the twin, what carries most first; exact {one.material.intervals}."
    )
    return Plan(f"dose-{one.side}", "Refusal by number of components", caption, draw)


def _cumulative(material: Material) -> Iterator[Plan]:
    """The effect as components are added, beside the sum of what each carries by itself."""
    for one in material.swept:
        if _nested(one.circuits):
            yield _growing(material, one)


def _growing(material: Material, one: Swept) -> Plan:
    places, ticks = _sizes(one)
    nothing = Interval(0.0, 0.0, 0.0, len(one.change), "nothing done")
    found = [nothing, *(one.share(column) for column in one.change.T)]
    series, beside = [_series("jointly", found)], ""
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
    every = [*_bounds(found), *(value for each in series for value in each.values)]
    return Plan(f"cumulative-{one.side}", "Effect by number of components", caption, draw, _ends([1.0, *every]))


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


def _map(material: Material) -> Iterator[Plan]:
    """Streams of prompts on the plane on which they differ most."""
    for one in material.kind("products"):
        plane, parts = principal(one.arrays["products"].astype(float))
        if parts[1] > 0:
            yield _on_plane(material, one, plane, parts)


def principal(products: Float[np.ndarray, "one one"]) -> tuple[Float[np.ndarray, "one 2"], Float[np.ndarray, " 2"]]:
    """Places on the first two principal components, and their shares of the variance, from inner products alone.

    Classical scaling: the eigenvectors of the doubly centred products (Torgerson 1952, Psychometrika 17:401).
    """
    centred = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    sizes, vectors = np.linalg.eigh(centred)
    sizes = np.maximum(sizes[::-1], 0)
    plane = vectors[:, ::-1][:, :2] * np.sqrt(sizes[:2])
    # Of the two ways round, the one in which the farthest lies on the positive side.
    plane = plane * np.sign(plane[np.abs(plane).argmax(0), [0, 1]])
    return plane, sizes[:2] / max(float(sizes.sum()), 1e-300)


def _on_plane(material: Material, one: Evidence, plane: np.ndarray, parts: np.ndarray) -> Plan:
    pairs = material.of(one).pairs
    rows = {"harmful": plane[: len(pairs)], "harmless": plane[len(pairs) :]}
    hovers = {side: [f"{pair.category}, {pair.id}"[:40] for pair in pairs] for side in rows}
    across, up = ((float(plane[:, k].min()) * 1.05, float(plane[:, k].max()) * 1.05) for k in (0, 1))

    def draw(drawing: Drawing, ends: Ends) -> str:
        axes = (f"first component ({parts[0]:.0%} of the variance)", f"second ({parts[1]:.0%})")
        return charts.scatter(drawing, rows, hovers, axes, (across, up))

    some = f"; {charts.MOST_POINTS} are drawn" if len(plane) > charts.MOST_POINTS else ""
    of = one.recipe.of
    caption = (
        f"The streams of both prompts of {material.on(one)} where they enter layer {of['layer']}, at position "
        f"{of['position']}, on the plane on which they differ most (principal components){some}."
    )
    return Plan("map", "Streams on a plane", caption.replace("position -", "position −"), draw)


def _circuit(material: Material) -> Iterator[Plan]:
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
            "" if carried is None else f": {carried:+.3f}"
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


# In the order in which they speak for what is asserted.
MAKERS: tuple[Callable[[Material], Iterator[Plan]], ...] = (
    _answers,
    _random_directions,
    _gradients,
    _ranking,
    _heads,
    _single,
    _positions,
    _stages,
    _projected,
    _lens,
    _transfer,
    _beside,
    _dose,
    _circuit,
    _cumulative,
    _map,
    _head_sums,
    _unchanged,
)
_STAGES = {
    "slot": ("detect: at the differing words", 0),
    "later": ("assess: at later ones", 1),
    "direct": ("execute: straight into the last logits", 2),
}
_KINDS = {
    "resid_pre": "the stream that enters a layer",
    "resid_mid": "the stream within a layer",
    "resid_post": "the stream that leaves a layer",
    "attn_out": "a layer's attention output",
    "mlp_out": "a layer's MLP output",
    "head": "a head",
}
_AT = {
    "post": "after the instruction",
    "before": "before the instruction's end",
    "slot": "at the differing words",
    "later": "after the differing words",
    "all": "everywhere",
}
_PARTS = {"attn_out": "attention output", "mlp_out": "MLP output"}


def _strip(
    name: str,
    title: str,
    caption: str,
    axis: str,
    rows: Sequence[tuple[str, Sequence[Interval]]],
    holds: float = LEAST_LIMIT,
) -> Plan:
    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.strip(drawing, rows, axis, ends)

    return Plan(name, title, caption, draw, _ends([holds, *(end for _, found in rows for end in _bounds(found))]))


def _grouped(some: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """By key, in the order of first appearance."""
    found: dict[Any, list[Any]] = {}
    for one in some:
        found.setdefault(key(one), []).append(one)
    return list(found.items())


def _series(name: str, found: Sequence[Interval]) -> Series:
    return Series(name, *([float(getattr(one, end)) for one in found] for end in ("value", "low", "high")))


def _bounds(found: Iterable[Interval]) -> list[float]:
    return [end for one in found for end in (one.value, one.low, one.high)]


def _ends(values: Iterable[float]) -> Ends:
    """Of a scale that holds zero and all of these, as far as they are finite."""
    there = [float(value) for value in values if np.isfinite(value)]
    return min([0.0, *there]), max([LEAST_LIMIT, *there])


def _limit(ends: Ends) -> float:
    return max(-ends[0], ends[1])


def _small(values: np.ndarray) -> str:
    """What a heat map of very many cells leaves out."""
    if values.size <= charts.MOST_CELLS:
        return ""
    drawn = f" The {charts.MOST_SMALL:,} largest are drawn." if values.size > charts.MOST_SMALL else ""
    return f"{drawn} The {charts.MOST_HOVERS} largest say what they are."


def _nested(circuits: Sequence[Sequence[str]]) -> bool:
    return len(circuits) > 1 and all(set(a) < set(b) for a, b in pairwise(circuits))


def _along(circuits: Sequence[Sequence[str]]) -> bool:
    """Whether each lies in one layer, all of them one below the other."""
    layers = [{layer_of(site) for site in sites} for sites in circuits]
    return len(circuits) > 2 and all(len(a) == 1 for a in layers) and all(max(a) < min(b) for a, b in pairwise(layers))


def _stage(one: Swept) -> str:
    return "direct" if one.what.get("direct") else str(one.what.get("at"))
