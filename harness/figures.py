"""Figures: from the evidence that a verdict read to SVG. What is drawn follows from what was measured."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from harness import charts, resampling, stats
from harness.charts import Series
from harness.effects import LEAST_GAP, Effects
from harness.evidence import Evidence
from harness.pairs import PairSet
from harness.parts import unpacked
from harness.recorded import Recording
from harness.svg import Drawing

# Of one verdict; the first are nearest to what is asserted.
MOST = 4
# Of a ranking, so many are drawn.
TOP = 15
# Heat maps of small effects are not blown up beyond this.
LEAST_LIMIT = 0.1
PHRASES = "phrases-anywhere"
SHARE = "share of the effect (1: as its twin)"


@dataclass(frozen=True)
class Figure:
    """A picture, and what it shows; `name` is unique among those of a verdict."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Plan:
    """A figure before its scale is known: what it needs of it, so that models can share the largest."""

    name: str
    title: str
    caption: str
    draw: Callable[[Drawing, float], str]
    extent: float = 0.0


@dataclass(frozen=True)
class Material:
    """What one claim's verdict on one model read."""

    evidence: Sequence[Evidence]
    pairs: PairSet
    level: float

    @cached_property
    def heldout(self) -> list[Evidence]:
        """What was measured on the pairs that judge."""
        own = self.pairs.heldout.fingerprint
        return [one for one in self.evidence if _asked(one) == own]

    def kind(self, kind: str) -> list[Evidence]:
        """Held-out evidence of a kind."""
        return [one for one in self.heldout if one.recipe.kind == kind]

    def clusters(self, names: Sequence[str]) -> np.ndarray:
        """Pairs of one template are one cluster."""
        template = {pair.id: pair.template or pair.id for pair in self.pairs}
        return np.array([template[name] for name in names])


def figures(claim: str, by_model: Mapping[str, Material]) -> dict[str, list[Figure]]:
    """The figures of each model, on scales that they share."""
    planned = {
        model: [plan for maker in MAKERS for plan in maker(material)][:MOST] for model, material in by_model.items()
    }
    extents: dict[str, float] = {}
    for plans in planned.values():
        for plan in plans:
            extents[plan.name] = max(extents.get(plan.name, 0.0), plan.extent)
    return {
        model: [_figure(f"{claim}-{model}", plan, extents[plan.name]) for plan in plans]
        for model, plans in planned.items()
    }


def recorded(claim: str, recording: Recording, level: float, *, by_category: bool) -> list[Figure]:
    """Published judgements: every arm, and by category where that is what is claimed."""
    plans = [_arms(recording, level)]
    before, after = (recording.refused.get(f"harmful, {arm}") for arm in ("baseline", "ablation"))
    if by_category and before is not None and after is not None:
        plans.insert(0, _by_category(recording.categories, before, {"direction removed": after}, level))
    return [_figure(f"{claim}-recorded:{recording.name}", plan, 1.0) for plan in plans]


def _arms(recording: Recording, level: float) -> Plan:
    names, found = [], []
    for key, hits in recording.refused.items():
        side, _, arm = key.partition(", ")
        names.append(f"{side}, {_ARMS[arm]}")
        found.append(stats.rate(hits, level))
    series = [Series("refused", *([getattr(one, end) for one in found] for end in ("value", "low", "high")))]

    def draw(drawing: Drawing, limit: float) -> str:
        return charts.bars(drawing, names, series, ("arm", "share refused"), (0, 1))

    n = len(recording.categories)
    caption = f"The share of {n} prompts a side that is refused, with exact intervals at the claim's level."
    return Plan("arms", "Refused, arm by arm", caption, draw, 1.0)


def _figure(of: str, plan: Plan, extent: float) -> Figure:
    drawing = Drawing(f"{of}-{plan.name}", plan.title, plan.caption, 560, 300)
    return Figure(plan.name, plan.title, plan.caption, plan.draw(drawing, extent))


def _gradients(material: Material) -> Iterator[Plan]:
    """What gradients estimate against what patches measure."""
    measured = {str(one.recipe.of["what"]): one for one in material.kind("swept")}
    for one in material.kind("estimated"):
        other = measured.get(str(one.recipe.of["what"]))
        if other is None or (guess := _mean(unpacked(one))) is None or (exact := _mean(unpacked(other))) is None:
            continue
        rows = np.stack([exact.ravel(), guess.ravel()], 1)
        names = _names(unpacked(other))
        extent = float(np.nanmax(np.abs(rows), initial=LEAST_LIMIT)) * 1.08

        def draw(drawing: Drawing, limit: float, rows: np.ndarray = rows, names: list[str] = names) -> str:
            hovers = [
                f"{name}: measured {x:+.3f}, estimated {y:+.3f}" for name, (x, y) in zip(names, rows, strict=True)
            ]
            ends = ((-limit, limit), (-limit, limit))
            axes = ("measured by patching", "estimated by gradients")
            return charts.scatter(drawing, {"heads": rows}, {"heads": hovers}, axes, ends, diagonal=True)

        caption = (
            f"Each point is one {_kind(other)}: its share of the effect as patches measure it on {_n(other)} pairs, "
            "and as one gradient estimates it. On the dashed line they agree."
        )
        yield Plan("gradients", "Gradients against patches", caption, draw, extent)


def _ranking(material: Material) -> Iterator[Plan]:
    """The heads that carry most, with intervals and what chance would reach."""
    for one in _swept(material, "head"):
        effects = unpacked(one)
        if (mean := _mean(effects)) is None:
            continue
        gap, change = _gap(effects), _change(effects)
        clusters = material.clusters(effects.pairs)
        order = np.argsort(-np.abs(np.nan_to_num(mean.ravel())), kind="stable")[:TOP]
        _, place = np.unique(clusters, return_inverse=True)
        sums = np.zeros((place.max() + 1, change.shape[1]))
        np.add.at(sums, place, np.nan_to_num(change))
        reach = resampling.max_t_reach(sums) * len(sums) / gap.sum()
        found = [_share(effects, int(at), material) for at in order]
        names = [_names(effects)[at] for at in order]
        band = [float(reach[at]) for at in order]
        extent = max([abs(end) for f in found for end in (f.low, f.high) if np.isfinite(end)] + band + [LEAST_LIMIT])

        def draw(drawing: Drawing, limit: float, names: list[str] = names, found: Any = found, band: Any = band) -> str:
            return charts.ranking(drawing, names, found, SHARE, (-min(limit, 0.5), limit), band)

        caption = (
            f"The {len(order)} heads that {_does(one)} most by themselves, on {_n(one)} pairs, with intervals at the "
            "claim's level. Within the grey any head would lie if patching did nothing but flip signs."
        )
        yield Plan(f"ranking-{one.recipe.of['mode']}", "Heads by effect", caption, draw, extent)


def _heads(material: Material) -> Iterator[Plan]:
    """Every head's effect, layer by layer."""
    for one in _swept(material, "head"):
        effects = unpacked(one)
        if (mean := _mean(effects)) is None or mean.ndim != 3:
            continue
        values = mean[:, :, 0]

        def draw(drawing: Drawing, limit: float, values: np.ndarray = values, axes: Any = effects.axes) -> str:
            return charts.heatmap(drawing, values, axes["layer"], axes["head"], ("layer", "head"), limit)

        caption = (
            f"The share of the effect that each head {_does(one)}s by itself, on {_n(one)} pairs: 1 is all of it, "
            "vermillion is towards the twin's behaviour and blue away from it."
        )
        extent = max(float(np.nanmax(np.abs(values), initial=0)), LEAST_LIMIT)
        yield Plan(f"heads-{one.recipe.of['mode']}", "Effect by layer and head", caption, draw, extent)
        series = [Series("sum over heads", values.sum(1).tolist())]
        names = [f"layer {layer}" for layer in effects.axes["layer"]]

        def sums(drawing: Drawing, limit: float, names: list[str] = names, series: Any = series) -> str:
            return charts.bars(drawing, names, series, ("layer", SHARE), (-min(limit, 0.5), limit))

        most = max(float(np.nanmax(np.abs(values.sum(1)), initial=0)), LEAST_LIMIT)
        yield Plan(
            f"layers-{one.recipe.of['mode']}",
            "Heads by layer",
            f"The same, summed over each layer's heads; parts in one chain sum to more than 1. {_n(one)} pairs.",
            sums,
            most,
        )


def _positions(material: Material) -> Iterator[Plan]:
    """The stream, layer by layer and position by position."""
    for one in material.kind("swept"):
        effects = unpacked(one)
        if list(effects.axes) != ["layer", "position"] or min(effects.patched.shape[1:]) < 2:
            continue
        if (mean := _mean(effects)) is None:
            continue

        def draw(drawing: Drawing, limit: float, mean: np.ndarray = mean, axes: Any = effects.axes) -> str:
            return charts.heatmap(
                drawing, mean, axes["layer"], axes["position"], ("layer", "position"), limit, numbers=True
            )

        caption = (
            f"The share of the effect that the stream of one layer at one position {_does(one)}s, on {_n(one)} pairs. "
            "“slot” are the words in which prompt and twin differ; −1 is the prompt's last token."
        )
        yield Plan(f"positions-{one.recipe.of['mode']}", "Effect by layer and position", caption, draw, 1.0)


def _stages(material: Material) -> Iterator[Plan]:
    """What each layer's block carries, by itself: one line a stage."""
    series, count = [], ""
    for one in sorted(material.kind("swept"), key=lambda one: _STAGES.get(_stage(one), ("", 9))[1]):
        circuits = _circuits(one)
        if len(circuits) < 3 or any(len({site.split(".")[0] for site in sites}) != 1 for sites in circuits):
            continue
        if [sites[0].split(".")[0] for sites in circuits] != list(map(str, range(len(circuits)))):
            continue
        if (mean := _mean(unpacked(one))) is None:
            continue
        series.append(Series(_STAGES.get(_stage(one), (_stage(one), 9))[0], mean.tolist()))
        count = _n(one)
    if not series:
        return
    layers = range(len(series[0].values))

    def draw(drawing: Drawing, limit: float) -> str:
        return charts.curves(drawing, list(layers), series, ("layer", SHARE), (min(0.0, -0.1 * limit), limit))

    caption = (
        f"The share of the effect that goes when what one layer writes is taken from the twin, on {count} pairs: at "
        "the differing words (detect), at later ones (assess), and straight into the last logits (execute)."
    )
    most = max(max(map(float, one.values)) for one in series)
    yield Plan("stages", "Effect by layer", caption, draw, max(most, LEAST_LIMIT))


def _projected(material: Material) -> Iterator[Plan]:
    """How far streams go along the direction, layer by layer."""
    sides = {one.recipe.of["side"]: one for one in material.kind("projected")}
    if set(sides) != {"harmful", "harmless"}:
        return
    shares = {side: one.arrays["along"].astype(float) / one.arrays["length"] for side, one in sides.items()}
    series = [_banded(side, shares[side][0].T, material) for side in ("harmful", "harmless")]
    gaps = (shares["harmful"] - shares["harmless"])[1:].mean(1)
    layers = list(range(gaps.shape[1]))
    middle = (shares["harmful"][0].mean(0) + shares["harmless"][0].mean(0)) / 2
    beside = [(middle + sign * gap / 2).tolist() for gap in gaps for sign in (1, -1)]
    every = [
        value
        for one in series
        for ends in (one.low, one.high)
        if ends is not None
        for value in ends
        if np.isfinite(value)
    ]
    extent = max(map(abs, every), default=1.0)
    low = min([0.0, *every])

    def draw(drawing: Drawing, limit: float) -> str:
        axes = ("layer that the stream enters", "along the direction, of its length")
        return charts.curves(drawing, layers, series, axes, (low, limit), beside=beside)

    caption = (
        f"Mean share of the stream's length that lies along the direction, of {_n(sides['harmful'])} pairs, with the "
        f"intervals of the means at the claim's level. Grey: how far the two part along {len(gaps)} random directions."
    )
    yield Plan("projection", "Projection on the direction, by layer", caption, draw, extent)


def _lens(material: Material) -> Iterator[Plan]:
    """What refusing would be as probable as, were each layer the last."""
    sides = {one.recipe.of["side"]: one for one in material.kind("lens")}
    if set(sides) != {"harmful", "harmless"}:
        return
    series = [
        _banded(side, 1 / (1 + np.exp(-sides[side].arrays["odds"].astype(float).T)), material, (0.0, 1.0))
        for side in ("harmful", "harmless")
    ]

    def draw(drawing: Drawing, limit: float) -> str:
        axes = ("layer that the stream enters", "probability of refusing")
        return charts.curves(drawing, list(range(len(series[0].values))), series, axes, (0, 1))

    caption = (
        f"Mean probability that the first token refuses, were the stream read out before each layer (logit lens), "
        f"of {_n(sides['harmful'])} pairs, with intervals of the means. The last one is the model's own."
    )
    yield Plan("lens", "Refusing, read out layer by layer", caption, draw, 1.0)


def _transfer(material: Material) -> Iterator[Plan]:
    """What circuits found on one category carry on others."""
    asked = {_asked(one) for one in material.evidence if one.recipe.kind == "circuit"} - {
        material.pairs.discovery.fingerprint
    }
    if len(asked) < 2:
        return
    discovery = material.pairs.discovery
    names = sorted(name for name in discovery.categories if discovery.category(name).fingerprint in asked)
    for one in material.kind("swept"):
        effects = unpacked(one)
        if len(names) < 2 or effects.patched.shape[1:] != (len(names),):
            continue
        category = {pair.id: pair.category for pair in material.pairs}
        own = np.array([category[name] for name in effects.pairs])
        gap, change = _gap(effects), _change(effects)
        if any(gap[own == name].sum() < LEAST_GAP for name in names):
            continue
        values = np.array(
            [[change[own == name, at].sum() / gap[own == name].sum() for name in names] for at in range(len(names))]
        )

        def draw(drawing: Drawing, limit: float, values: np.ndarray = values) -> str:
            return charts.heatmap(drawing, values, names, names, ("found on", "judged on"), limit, numbers=True)

        caption = (
            f"The share of the effect that circuits found on one category (rows) carry on held-out pairs of another "
            f"(columns); {len(effects.pairs)} pairs. Rows alike: one circuit serves all."
        )
        yield Plan("transfer", "Circuits across categories", caption, draw, 1.0)


def _strip(material: Material) -> Iterator[Plan]:
    """One circuit beside others: the found one and random ones."""
    for one in sorted(material.kind("swept"), key=lambda one: -len(_circuits(one))):
        circuits, effects = _circuits(one), unpacked(one)
        alike = len({len(sites) for sites in circuits}) == 1
        if len(circuits) < 2 or not alike or _nested(circuits) or any(_layer_by_layer(circuits)):
            continue
        if len(circuits) == len(material.pairs.categories) or (mean := _mean(effects)) is None:
            continue
        order = [0, *(1 + np.argsort(-mean[1:]))][: TOP + 1]
        found = [_share(effects, 0, material)]
        found += [stats.Interval(value, value, value, len(effects.pairs), "") for value in map(float, mean[order[1:]])]
        other = "random" if len(circuits) > 2 else "the loudest"
        names = ["found", *(f"{other} {rank}" if len(circuits) > 2 else other for rank in range(1, len(order)))]
        extent = max([abs(end) for each in found for end in (each.low, each.high) if np.isfinite(end)], default=1.0)

        def draw(drawing: Drawing, limit: float, names: list[str] = names, found: Any = found) -> str:
            return charts.ranking(drawing, names, found, SHARE, (-min(limit, 0.3), limit))

        shown = " (the largest are shown)" if len(circuits) > TOP + 1 else ""
        caption = (
            f"The share of the effect that the circuit {_does(one)}s jointly, on {_n(one)} pairs, and what "
            f"{len(circuits) - 1} others of its size do{shown}; its interval is at the claim's level."
        )
        yield Plan("beside", "The circuit beside others", caption, draw, extent)
        return


def _dose(material: Material) -> Iterator[Plan]:
    """Refusal, and the effect, as components are added one after the other."""
    for one in material.kind("swept"):
        circuits, effects = _circuits(one), unpacked(one)
        if not _nested(circuits):
            continue
        sizes = [0, *map(len, circuits)]
        clusters = material.clusters(effects.pairs)
        hits = np.column_stack([effects.clean, effects.patched]) > 0
        rates = [stats.rate(column, material.level, clusters) for column in hits.T]
        series = [
            Series("first token refuses", *([getattr(one, end) for one in rates] for end in ("value", "low", "high")))
        ]
        places = np.log1p(sizes).tolist()
        ticks = [(place, str(size)) for place, size in zip(places, sizes, strict=True)]

        def refusal(
            drawing: Drawing, limit: float, series: Any = series, places: Any = places, ticks: Any = ticks
        ) -> str:
            axes = ("components taken from the twin", "share of prompts")
            return charts.curves(drawing, places, series, axes, (0, 1), ticks=ticks)

        side = "harmful" if one.recipe.of["mode"] == "noise" else "harmless"
        caption = (
            f"Of {_n(one)} {side} prompts, those whose first token is likelier to refuse than not, as more of the "
            "circuit is taken from the twin, what carries most first; intervals at the claim's level."
        )
        yield Plan(f"dose-{side}", "Refusal by number of components", caption, refusal, 1.0)
        if _mean(effects) is None:
            continue
        found = [_share(effects, at, material) for at in range(len(circuits))]
        ends = [[0.0, *(float(getattr(each, end)) for each in found)] for end in ("value", "low", "high")]
        grown = [Series("jointly", *ends)]
        most = max([value for end in ends for value in end if np.isfinite(value)])

        def effect(drawing: Drawing, limit: float, grown: Any = grown, places: Any = places, ticks: Any = ticks) -> str:
            axes = ("components taken from the twin", SHARE)
            return charts.curves(drawing, places, grown, axes, (min(0.0, -0.1 * limit), limit), ticks=ticks)

        yield Plan(
            f"cumulative-{side}",
            "Effect by number of components",
            f"The share of the effect that they carry jointly, on {_n(one)} pairs; intervals at the claim's level.",
            effect,
            max(most, 1.0),
        )


def _map(material: Material) -> Iterator[Plan]:
    """Streams of prompts on the plane on which they differ most."""
    for one in material.kind("products"):
        table = one.arrays["products"].astype(float)
        n = len(table)
        centred = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
        sizes, vectors = np.linalg.eigh(centred)
        if sizes[-2] <= 0:
            continue
        plane = vectors[:, [-1, -2]] * np.sqrt(sizes[[-1, -2]])
        parts = sizes[[-1, -2]] / sizes.sum()
        rows = {"harmful": plane[: n // 2], "harmless": plane[n // 2 :]}
        pairs = material.pairs.heldout.pairs
        hovers = {side: [f"{side}, {pair.id}" for pair in pairs] for side in rows}
        ends = tuple((float(plane[:, k].min()) * 1.05, float(plane[:, k].max()) * 1.05) for k in (0, 1))

        def draw(
            drawing: Drawing, limit: float, rows: Any = rows, hovers: Any = hovers, ends: Any = ends, parts: Any = parts
        ) -> str:
            axes = (f"first component ({parts[0]:.0%} of the variance)", f"second ({parts[1]:.0%})")
            return charts.scatter(drawing, rows, hovers, axes, ends)

        some = f", {charts.MOST_POINTS} of them drawn" if n > charts.MOST_POINTS else ""
        of = one.recipe.of
        caption = (
            f"Streams of {n} prompts where they enter layer {of['layer']}, at position {of['position']}, on the plane "
            f"on which they differ most (principal components){some}."
        )
        yield Plan("map", "Streams on a plane", caption, draw)


def _circuit(material: Material) -> Iterator[Plan]:
    """Heads and neurons of what was found, by depth."""
    found = [
        one
        for one in material.evidence
        if one.recipe.kind == "circuit" and _asked(one) == material.pairs.discovery.fingerprint
    ]
    record = next((one for one in material.evidence if one.recipe.kind == "model-record"), None)
    if not found or record is None:
        return
    heads: dict[int, set[int]] = {}
    neurons: dict[int, set[int]] = {}
    for one in found:
        for into, key in ((heads, "heads"), (neurons, "neurons")):
            for layer, index in one.values[key]:
                into.setdefault(layer, set()).add(index)
    layers = int(record.values["sizes"]["layers"])

    def draw(drawing: Drawing, limit: float) -> str:
        counts = {layer: len(some) for layer, some in neurons.items()}
        return charts.diagram(drawing, layers, {layer: sorted(some) for layer, some in heads.items()}, counts)

    caption = (
        f"What was found on {_n(found[0])} discovery pairs: {sum(map(len, heads.values()))} heads and "
        f"{sum(map(len, neurons.values()))} neurons, by layer along the stream."
    )
    yield Plan("circuit", "The circuit", caption, draw)


def _categories(material: Material) -> Iterator[Plan]:
    """Refused before and after, category by category."""
    answers = [one for one in material.kind("answers") if one.recipe.of["side"] == "harmful"]
    before = next((one for one in answers if one.recipe.of["under"] is None), None)
    after = [one for one in answers if one.recipe.of["under"] is not None]
    if before is None:
        return
    names = [named(one.recipe.of["under"]) for one in after]
    named_apart = [name if names.count(name) == 1 else f"{name} ({at})" for at, name in enumerate(names, 1)]
    hits = {name: np.array(one.values[PHRASES]) > 0 for name, one in zip(named_apart, after, strict=True)}
    categories = [pair.category for pair in material.pairs.heldout]
    yield _by_category(
        categories,
        (np.array(before.values[PHRASES]) > 0).tolist(),
        {name: one.tolist() for name, one in hits.items()},
        material.level,
    )


def _by_category(
    categories: Sequence[str], before: Sequence[bool], after: Mapping[str, Sequence[bool]], level: float
) -> Plan:
    names = sorted(set(categories))
    own = np.array(categories)

    def series(name: str, hits: Sequence[bool]) -> Series:
        found = [stats.rate(np.array(hits)[own == category], level) for category in names]
        return Series(name, *([getattr(one, end) for one in found] for end in ("value", "low", "high")))

    every = [series("as it is", before), *(series(name, hits) for name, hits in after.items())]

    def draw(drawing: Drawing, limit: float) -> str:
        return charts.bars(drawing, names, every, ("category", "share refused"), (0, 1))

    n = len(own)
    caption = f"The share of {n} harmful prompts that is refused, by category; exact intervals at the claim's level."
    return Plan("categories", "Refused, by category", caption, draw, 1.0)


# In the order in which they speak for what is asserted.
MAKERS: tuple[Callable[[Material], Iterator[Plan]], ...] = (
    _gradients,
    _ranking,
    _heads,
    _positions,
    _stages,
    _projected,
    _lens,
    _transfer,
    _strip,
    _map,
    _dose,
    _circuit,
    _categories,
)
_DONE = {
    "Patch": "patched",
    "Ablate": "ablated",
    "Remove": "direction removed",
    "Add": "direction added",
    "Together": "all done",
}
_ARMS = {"baseline": "as it is", "ablation": "direction removed", "actadd": "direction added"}
_STAGES = {"slot": ("detect", 0), "later": ("assess", 1), "direct": ("execute", 2)}


def named(under: Mapping[str, Any] | None) -> str:
    """What was done, in a word or two."""
    return "as it is" if under is None else _DONE.get(under["a"], str(under["a"]).lower())


def _banded(
    name: str,
    rows: Float[np.ndarray, "layer pair"],
    material: Material,
    bounds: tuple[float, float] = resampling.UNBOUNDED,
) -> Series:
    clusters = material.pairs.heldout.clusters
    found = [resampling.mean(np.clip(row, *bounds), material.level, clusters, bounds) for row in rows]
    return Series(name, *([float(getattr(one, end)) for one in found] for end in ("value", "low", "high")))


def _swept(material: Material, kind: str) -> list[Evidence]:
    return [
        one
        for one in material.kind("swept")
        if one.recipe.of["what"].get("kind") == kind and len(unpacked(one).axes["position"]) == 1
    ]


def _circuits(one: Evidence) -> list[list[str]]:
    return [circuit["circuit"] for circuit in one.recipe.of["what"].get("circuits", ())]


def _nested(circuits: Sequence[Sequence[str]]) -> bool:
    return len(circuits) > 1 and all(set(a) < set(b) for a, b in pairwise(circuits))


def _layer_by_layer(circuits: Sequence[Sequence[str]]) -> Iterator[bool]:
    return (site.endswith(("attn_out", "mlp_out")) for sites in circuits for site in sites)


def _stage(one: Evidence) -> str:
    what = one.recipe.of["what"]
    return "direct" if what.get("direct") else str(what.get("at"))


def _gap(effects: Effects) -> np.ndarray:
    gap = (effects.source - effects.clean).astype(float)
    return np.asarray(gap * np.sign(gap.mean()))


def _change(effects: Effects) -> Float[np.ndarray, "pair variant"]:
    rows = effects.change.reshape(len(effects.pairs), -1).astype(float)
    return np.asarray(rows * np.sign((effects.source - effects.clean).mean()))


def _share(effects: Effects, at: int, material: Material) -> stats.Interval:
    """One variant's share of the whole gap, over the pairs that have it."""
    change, gap = _change(effects)[:, at], _gap(effects)
    there = np.isfinite(change)
    if gap[there].sum() <= 0:
        return stats.Interval(math.nan, math.nan, math.nan, int(there.sum()), "")
    clusters = material.clusters(effects.pairs)[there]
    return resampling.ratio_of_means(change[there], gap[there], material.level, clusters)


def _mean(effects: Effects) -> np.ndarray | None:
    """Shares of the whole gap; nothing where there is none."""
    if not len(effects.pairs) or abs(float((effects.source - effects.clean).mean())) < LEAST_GAP:
        return None
    return effects.mean


def _names(effects: Effects) -> list[str]:
    """Variants in words."""
    axes = [(name, labels) for name, labels in effects.axes.items() if len(labels) > 1]
    shape = [len(labels) for _, labels in axes]
    places = [np.unravel_index(at, shape) for at in range(int(np.prod(shape)))]
    if [name for name, _ in axes] == ["layer", "head"]:
        return [f"head {axes[0][1][a]}.{axes[1][1][b]}" for a, b in places]
    return [
        ", ".join(f"{name} {labels[at]}" for (name, labels), at in zip(axes, place, strict=True)) for place in places
    ]


def _asked(one: Evidence) -> str:
    pairs = one.recipe.of.get("pairs")
    return str(pairs["pairs"]) if isinstance(pairs, Mapping) else ""


def _kind(one: Evidence) -> str:
    return str(one.recipe.of["what"].get("kind", "circuit"))


def _does(one: Evidence) -> str:
    return "take" if one.recipe.of["mode"] == "noise" else "bring"


def _n(one: Evidence) -> str:
    return str(len(one.values["pairs"]) if "pairs" in one.values else one.recipe.of["pairs"]["n"])
