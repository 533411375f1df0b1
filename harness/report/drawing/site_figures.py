"""What single heads, layers and positions carry."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from harness.judging import permutations
from harness.judging.proportions import Interval
from harness.report.drawing import charts, row_charts
from harness.report.drawing.figure_plan import (
    LEAST_LIMIT,
    SHARE,
    TOP,
    Ends,
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
from harness.results.verdict_evidence import Material, Swept, asked_of, layer_of

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


def gradients(material: Material) -> Iterator[Plan]:
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
        hovers = [f"{name}: measured {x:+z.3f}, estimated {y:+z.3f}" for name, (x, y) in zip(names, rows, strict=True)]
        axes = ("measured by patching", "estimated by gradients")
        return charts.scatter(drawing, {kind: rows}, {kind: hovers}, axes, (ends, ends), diagonal=True)

    some = f" Of {len(rows)}, {charts.MOST_POINTS} are drawn." if len(rows) > charts.MOST_POINTS else ""
    caption = (
        f"Each point is one {kind}: its share of the effect as patches measure it on {exact.on}, and as one gradient "
        f"estimates it. On the dashed line they agree.{some}"
    )
    return Plan("gradients", "Gradients against patches", caption, draw, (-limit, limit))


def ranking(material: Material) -> Iterator[Plan]:
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
    reach = permutations.max_t_reach(sums) * len(sums) / one.gap.sum()
    found, band = [one.share(one.change[:, at]) for at in order], [float(reach[at]) for at in order]
    names = [one.names[at] for at in order]

    def draw(drawing: Drawing, ends: Ends) -> str:
        return row_charts.ranking(drawing, names, found, SHARE, ends, band)

    caption = (
        f"The {len(order)} heads whose own effect is largest, on {one.on}: what each {one.does}, with "
        f"{one.material.intervals}. Within the grey any head would lie if patching did nothing but flip signs."
    )
    ends = scale([*bounds_of(found), *band, *(-each for each in band)])
    return Plan(f"ranking-{one.mode}", "Heads by effect", caption, draw, ends)


def heads(material: Material) -> Iterator[Plan]:
    """Every head's effect, layer by layer."""
    for one in _of_heads(material):
        yield _head_map(one)


def _head_map(one: Swept) -> Plan:
    values, axes = one.mean[:, :, 0], one.effects.axes

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.heatmap(drawing, values, axes["layer"], axes["head"], ("layer", "head"), farthest(ends))

    caption = (
        f"The share of the effect that each head {one.does} by itself, on {one.on}: 1 is all of it, vermillion is "
        f"towards the twin's behaviour and blue away from it.{_small(values)}"
    )
    return Plan(f"heads-{one.mode}", "Effect by layer and head", caption, draw, scale(values.ravel()))


def head_sums(material: Material) -> Iterator[Plan]:
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


def positions(material: Material) -> Iterator[Plan]:
    """The stream, layer by layer and position by position."""
    for one in material.swept:
        if one.along == ["layer", "position"]:
            yield _position_map(one)


def _position_map(one: Swept) -> Plan:
    values, axes = one.mean, one.effects.axes

    def draw(drawing: Drawing, ends: Ends) -> str:
        columns = [label.replace("-", "−") for label in axes["position"]]
        limit, names = farthest(ends), ("layer", "position")
        return charts.heatmap(drawing, values, axes["layer"], columns, names, limit, numbers=True)

    caption = (
        f"The share of the effect that {_KINDS[one.what['kind']]} {one.does} at one position, on "
        f"{one.on}. “slot” are the words in which prompt and twin differ; −1 is the prompt's last token."
        f"{_small(values)}"
    )
    title = "Effect by layer and position"
    return Plan(f"positions-{one.what['kind']}-{one.mode}", title, caption, draw, scale([1.0, *values.ravel()]))


def single(material: Material) -> Iterator[Plan]:
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
        yield strip_of(f"places-{kind}-{mode}", "Effect at single places", caption, SHARE, some)


def stages(material: Material) -> Iterator[Plan]:
    """What each layer's block carries, by itself: one line a stage."""
    staged = [one for one in material.swept if layer_by_layer(one.circuits)]
    staged.sort(key=lambda one: _STAGES.get(_stage(one), (_stage(one), 9))[1])
    for (_, _, layers), some in grouped(
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
    series = [line_of(word.partition(":")[0], each) for word, each in found.items()]

    def draw(drawing: Drawing, ends: Ends) -> str:
        return charts.curves(drawing, places, series, ("layer", SHARE), ends)

    return Plan(name, title, caption, draw, scale(end for each in found.values() for end in bounds_of(each)))


def _stage(one: Swept) -> str:
    return "direct" if one.what.get("direct") else str(one.what.get("at"))


def _small(values: np.ndarray) -> str:
    """What a heat map of very many cells leaves out."""
    if values.size <= charts.MOST_CELLS:
        return ""
    drawn = f" The {charts.MOST_SMALL:,} largest are drawn." if values.size > charts.MOST_SMALL else ""
    return f"{drawn} The {charts.MOST_HOVERS} largest say what they are."
