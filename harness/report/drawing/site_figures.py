"""Figures of single patched sites: heads, layers, positions, and gradients compared with patches."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from harness.inputs.sites import SITE_KINDS, Kind
from harness.judging import permutations
from harness.measurements.questions import Estimated
from harness.report.drawing import charts, row_charts
from harness.report.drawing.figure_plan import (
    LEAST_LIMIT,
    SHARE,
    TOP,
    Limits,
    Plan,
    bounds_of,
    farthest,
    grouped,
    layer_by_layer,
    line_of,
    scale,
    strip_of,
)
from harness.report.drawing.svg import Drawing
from harness.results.verdict_evidence import Material, Swept, layer_of, prompts_fingerprint

# Where single layers are patched, in the order of the lines, with the name of each line.
_STAGES = {
    "slot": ("at the words", "at the differing words"),
    "later": ("after them", "at all tokens after the differing words"),
    "direct": ("direct", "directly into the last token's logits"),
}
_AT = {
    "post": "after the instruction",
    "before": "before the instruction's end",
    "slot": "at the differing words",
    "later": "after the differing words",
    "all": "at every position",
}


def gradients(material: Material) -> Iterator[Plan]:
    """Scatter plots of the effects that gradients estimate against those that patches measure."""
    measured = {(sweep.comparison_key, str(sweep.description)): sweep for sweep in material.swept}
    for estimated in (Swept(material, evidence) for evidence in material.kind(Estimated.KIND)):
        exact = measured.get((estimated.comparison_key, str(estimated.description)))
        if exact is not None and estimated.has_shares:
            yield _scatter(exact, estimated)


def _scatter(exact: Swept, estimated: Swept) -> Plan:
    points = np.stack([exact.mean.ravel(), estimated.mean.ravel()], 1)
    finite = np.isfinite(points).all(1)
    points, names = points[finite], [name for name, drawn in zip(exact.variant_names, finite, strict=True) if drawn]
    kind = str(exact.description.get("kind", "circuit"))
    kind = f"group of {kind}s" if exact.description.get("groups") else kind
    limit = float(np.abs(points).max(initial=LEAST_LIMIT)) * 1.08

    def draw(drawing: Drawing, limits: Limits) -> str:
        hovers = [
            f"{name}: measured {x:+z.3f}, estimated {y:+z.3f}" for name, (x, y) in zip(names, points, strict=True)
        ]
        axes = ("measured by patching", "estimated by gradients")
        return charts.scatter(drawing, {kind: points}, {kind: hovers}, axes, (limits, limits), diagonal=True)

    caption = (
        f"Each point is one {kind}: its share of the effect as patching measures it, and as gradients estimate it, "
        f"on {exact.pairs_in_words}. On the dashed line the two agree."
    )
    if len(points) > charts.MOST_POINTS:
        caption += f" {charts.MOST_POINTS} of {len(points)} are drawn, chosen at random."
    return Plan("gradients", "Gradients against patches", caption, draw, (-limit, limit))


def ranking(material: Material) -> Iterator[Plan]:
    """The heads with the largest effects, with intervals and the band that chance alone would reach."""
    for sweep in _sweeps_of_heads(material):
        yield _ranked(sweep)


def _ranked(sweep: Swept) -> Plan:
    means = sweep.mean.ravel()
    by_size = np.argsort(-np.abs(np.nan_to_num(means)), kind="stable")
    largest = [int(head) for head in by_size if np.isfinite(means[head])][:TOP]
    _, cluster = np.unique(sweep.clusters, return_inverse=True)
    cluster_sums = np.zeros((int(cluster.max()) + 1, len(means)))
    np.add.at(cluster_sums, cluster, np.nan_to_num(sweep.change))
    reach = permutations.max_t_reach(cluster_sums) * len(cluster_sums) / sweep.gap.sum()
    shares = [sweep.share(sweep.change[:, head]) for head in largest]
    band, names = [float(reach[head]) for head in largest], [sweep.variant_names[head] for head in largest]

    def draw(drawing: Drawing, limits: Limits) -> str:
        return row_charts.ranking(drawing, names, shares, SHARE, limits, band)

    caption = (
        f"The {len(largest)} heads with the largest effects: the share that each {sweep.verb} alone, on "
        f"{sweep.pairs_in_words}, with {sweep.material.intervals}. Grey: if patching only changed signs at random, "
        "every head would stay within it in 95% of draws."
    )
    limits = scale([*bounds_of(shares), *band, *(-reached for reached in band)])
    return Plan(f"ranking-{sweep.mode}", "Heads by effect", caption, draw, limits, once=True)


def heads(material: Material) -> Iterator[Plan]:
    """Heat maps of the effect of every head, by layer and head."""
    for sweep in _sweeps_of_heads(material):
        yield _head_map(sweep)


def _head_map(sweep: Swept) -> Plan:
    shares, axes = sweep.mean[:, :, 0], sweep.effects.axes

    def draw(drawing: Drawing, limits: Limits) -> str:
        return charts.heatmap(drawing, shares, axes["layer"], axes["head"], ("layer", "head"), farthest(limits))

    caption = (
        f"The share of the effect that each head {sweep.verb} alone, on {sweep.pairs_in_words}: 1 is all of it, "
        f"vermillion is towards the twin's behaviour and blue away from it.{_cells_left_out(shares)}"
    )
    return Plan(f"heads-{sweep.mode}", "Effect by layer and head", caption, draw, scale(shares.ravel()))


def head_sums(material: Material) -> Iterator[Plan]:
    """Curves of the effects of single heads, summed layer by layer."""
    for sweep in _sweeps_of_heads(material):
        sums = sweep.change.reshape(len(sweep.change), *sweep.mean.shape).sum((2, 3))
        caption = (
            f"The share of the effect that each head {sweep.verb} alone, summed over the heads of a layer, on "
            f"{sweep.pairs_in_words}, with {material.intervals}. Heads that pass on the same signal can sum to "
            "more than 1."
        )
        yield _by_layer(f"layers-{sweep.mode}", "Heads by layer", caption, sweep, {"sum over heads": sums})


def _sweeps_of_heads(material: Material) -> list[Swept]:
    return [
        sweep
        for sweep in material.swept
        if sweep.axis_names == ["layer", "head"] and sweep.description.get("kind") == "head"
    ]


def positions(material: Material) -> Iterator[Plan]:
    """Heat maps of the effect of one site of every layer at every position."""
    for sweep in material.swept:
        if sweep.axis_names == ["layer", "position"]:
            yield _position_map(sweep)


def _position_map(sweep: Swept) -> Plan:
    shares, axes, kind = sweep.mean, sweep.effects.axes, sweep.description["kind"]

    def draw(drawing: Drawing, limits: Limits) -> str:
        columns = [label.replace("-", "−") for label in axes["position"]]
        limit, names = farthest(limits), ("layer", "position")
        return charts.heatmap(drawing, shares, axes["layer"], columns, names, limit, numbers=True)

    caption = (
        f"The share of the effect that {SITE_KINDS[kind].phrase} {sweep.verb} at one position, on "
        f"{sweep.pairs_in_words}. “slot” are the words in which prompt and twin differ; −1 is the "
        f"prompt's last token.{_cells_left_out(shares)}"
    )
    title = "Effect by layer and position"
    return Plan(f"positions-{kind}-{sweep.mode}", title, caption, draw, scale([1.0, *shares.ravel()]))


def single_sites(material: Material) -> Iterator[Plan]:
    """Sweeps of one kind of site: curves over the layers, or a strip of the single places that were patched."""
    places: dict[tuple[Kind, str], list[tuple[str, Swept]]] = {}
    for sweep in material.swept:
        kind = sweep.description.get("kind")
        if kind is None:
            continue
        if sweep.axis_names == ["layer"]:
            name, caption = f"layers-{kind}-{sweep.mode}", _kind_caption(kind, sweep)
            yield _by_layer(name, "Effect by layer", caption, sweep, {kind: sweep.change})
        elif not sweep.axis_names:
            layer, position = (sweep.effects.axes[name][0] for name in ("layer", "position"))
            place = f"layer {layer}, {_AT.get(position, f'position {position}')}"
            places.setdefault((kind, sweep.mode), []).append((place, sweep))
    for (kind, mode), patched in places.items():
        rows = [(place, [sweep.share(sweep.change[:, 0])]) for place, sweep in patched]
        caption = _kind_caption(kind, patched[-1][1])
        yield strip_of(f"places-{kind}-{mode}", "Effect at single places", caption, SHARE, rows)


def _kind_caption(kind: Kind, sweep: Swept) -> str:
    effect = f"The share of the effect that {SITE_KINDS[kind].phrase} {sweep.verb}"
    return f"{effect}, on {sweep.pairs_in_words}, with {sweep.material.intervals}."


def stages(material: Material) -> Iterator[Plan]:
    """Curves of the effect of each layer's block alone, with one line for each place (words, later, logits)."""
    staged = [sweep for sweep in material.swept if layer_by_layer(sweep.circuits)]
    staged.sort(key=lambda sweep: [*_STAGES, _stage(sweep)].index(_stage(sweep)))
    for (_, _, layers), alike in grouped(
        staged,
        lambda sweep: (
            prompts_fingerprint(sweep.evidence),
            sweep.mode,
            tuple(layer_of(sites[0]) for sites in sweep.circuits),
        ),
    ):
        changes = {_STAGES.get(_stage(sweep), (_stage(sweep),))[0]: sweep.change for sweep in alike}
        named = (_STAGES[stage] for stage in dict.fromkeys(map(_stage, alike)) if stage in _STAGES)
        caption = (
            f"The share of the effect that the output of one layer {alike[0].verb} alone, on "
            f"{alike[0].pairs_in_words}, with {material.intervals}."
        )
        if places := "; ".join(f"{name}, {place}" for name, place in named):
            caption += f" Places that are patched: {places}."
        yield _by_layer("stages", "Effect by layer", caption, alike[0], changes, layers)


def _stage(sweep: Swept) -> str:
    return "direct" if sweep.description.get("direct") else str(sweep.description.get("at"))


def _by_layer(
    name: str,
    title: str,
    caption: str,
    sweep: Swept,
    changes: Mapping[str, Float[np.ndarray, "pair layer"]],
    layers: Sequence[int] | None = None,
) -> Plan:
    places = [int(label) for label in sweep.effects.axes["layer"]] if layers is None else list(layers)
    shares = {name: [sweep.share(column) for column in change.T] for name, change in changes.items()}
    series = [line_of(name, line) for name, line in shares.items()]

    def draw(drawing: Drawing, limits: Limits) -> str:
        return charts.curves(drawing, places, series, ("layer", SHARE), limits)

    return Plan(name, title, caption, draw, scale(end for line in shares.values() for end in bounds_of(line)))


def _cells_left_out(values: np.ndarray) -> str:
    """A sentence on the cells of a large heat map that are not drawn or show no number; empty for a small one."""
    if values.size <= charts.MOST_CELLS:
        return ""
    drawn = f" Only the {charts.MOST_SMALL:,} largest are drawn." if values.size > charts.MOST_SMALL else ""
    return f"{drawn} The {charts.MOST_HOVERS} largest show their number when pointed at."
