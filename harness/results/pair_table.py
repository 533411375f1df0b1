"""Tables of pairs: what one verdict's evidence says of each pair, for whoever wants to look."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np

from harness.inputs.judges.phrases import PHRASES
from harness.inputs.prompts.pairs import SIDES, PairSet, side_of
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import unpacked
from harness.measurements.evidence import Evidence
from harness.results.verdict_evidence import named
from harness.subjects.published.recordings import Recording


@dataclass(frozen=True)
class Column:
    """One column: of words, of numbers, of whether it was refused, or of what became of that (−1 gone, +1 come)."""

    title: str
    kind: Literal["text", "number", "flag", "flip"]
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """Rows are pairs, by their place in the model's set of pairs."""

    places: tuple[int, ...]
    columns: tuple[Column, ...]
    whole: int  # how many there were before it was cut

    def cut(self, most: int) -> "Table":
        """At most so many rows, spread evenly over the order of the last column of numbers or flips."""
        if len(self.places) <= most:
            return self
        ruling = next(column for column in reversed(self.columns) if column.kind != "text")
        order = np.argsort([math.inf if value is None else value for value in ruling.values], kind="stable")
        kept = np.sort(order[np.linspace(0, len(order) - 1, most).astype(int)])
        columns = (Column(one.title, one.kind, tuple(one.values[at] for at in kept)) for one in self.columns)
        return Table(tuple(self.places[at] for at in kept), tuple(columns), self.whole)


def table(found: Sequence[Evidence], pairs: PromptSet) -> Table | None:
    """What the evidence says of held-out pairs; answers if there are any that something was done to, else effects."""
    own = on_heldout(found, pairs)
    answers = [one for one in own if one.recipe.kind == "answers"]
    edited = [one for one in answers if one.recipe.of["under"] is not None]
    sides = {one.recipe.of["side"] for one in edited} or {"harmful", "harmless"}
    shown = [one for one in answers if one.recipe.of["side"] in sides]
    if isinstance(pairs, PromptLists):
        return _listed(pairs, shown) if shown else None
    places = {pair.id: place for place, pair in enumerate(pairs)}
    if not edited and (swept := [one for one in own if one.recipe.kind == "swept"]):
        effects = min(map(unpacked, swept), key=lambda one: one.patched.size)
        # Where no pair could be compared with its twin there is none to show.
        return _table([places[name] for name in effects.pairs], _effects(effects)) if effects.pairs else None
    if not shown:
        return None
    return _table([places[pair.id] for pair in pairs.heldout], [column for _, column in _answers(shown)])


def row_of(prompts: PromptSet, place: int) -> tuple[str, str, str, str]:
    """Name, category, harmful prompt and harmless one of a row; of lists it has one of the two."""
    if isinstance(prompts, PairSet):
        pair = prompts.pairs[place]
        return pair.id, pair.category, pair.harmful, pair.harmless
    side, at = ("harmful", place) if place < len(prompts.harmful) else ("harmless", place - len(prompts.harmful))
    texts = (prompts.harmful[at], "") if side == "harmful" else ("", prompts.harmless[at])
    return f"{side} {at + 1}", prompts.categories_of("harmful" if side == "harmful" else "harmless")[at], *texts


def on_heldout(found: Sequence[Evidence], pairs: PromptSet) -> list[Evidence]:
    """What was measured on the pairs that judge."""
    return [one for one in found if _of(one) == pairs.heldout.fingerprint]


def kinds_asked(found: Sequence[Evidence], pairs: PromptSet) -> list[str]:
    """Kinds of the evidence by which a claim judged; answers as they are, which the gate asks for, if nothing else."""
    own = [(one.recipe.kind, one.recipe.of) for one in on_heldout(found, pairs)]
    asked = [kind for kind, of in own if kind != "answers" or of["under"] is not None or of["side"] == "harmless"]
    return asked or [kind for kind, _ in own]


def recorded_table(recording: Recording) -> Table:
    """Every published judgement, item by item."""
    columns = [_flags(arm.label, arm.refused) for arm in recording.arms]
    return _table(range(len(recording.categories)), columns)


def _table(places: Sequence[int], columns: Iterator[Column] | Sequence[Column]) -> Table:
    return Table(tuple(places), tuple(columns), len(places))


def _listed(lists: PromptLists, shown: Sequence[Evidence]) -> Table:
    """Harmful prompts first, then harmless ones; each has what was measured on its own side."""
    places = {
        side: [at + before for at, prompt in enumerate(getattr(lists, side)) if side_of(prompt) == "heldout"]
        for side, before in (("harmful", 0), ("harmless", len(lists.harmful)))
    }
    sides = [side for side in SIDES if any(one.recipe.of["side"] == side for one in shown)]
    columns = []
    for own, column in _answers(shown):
        nothing = "" if column.kind == "text" else None
        parts = (column.values if side == own else [nothing] * len(places[side]) for side in sides)
        columns.append(Column(column.title, column.kind, tuple(chain.from_iterable(parts))))
    return _table([place for side in sides for place in places[side]], columns)


def _answers(shown: Sequence[Evidence]) -> Iterator[tuple[str, Column]]:
    """Before and after side by side, of each side; then what became of each refusal."""
    for side in ("harmful", "harmless"):
        own = sorted((one for one in shown if one.recipe.of["side"] == side), key=lambda one: _when(one.recipe.of))
        before = next((one for one in own if one.recipe.of["under"] is None), None)
        for arm in own:
            what = named(arm.recipe.of["under"])
            yield side, Column(f"{side}, {what}: answer", "text", tuple(arm.values["prefixes"]))
            if before is None:
                continue
            hits, was = (np.array(one.values[PHRASES]) > 0 for one in (arm, before))
            if arm is before:
                yield side, _flags(f"{side}: refused", was.tolist())
            else:
                yield side, Column(f"{side}, {what}: change", "flip", tuple((hits.astype(int) - was).tolist()))


def _effects(effects: Effects) -> Iterator[Column]:
    """Of the variant that changes most."""
    change = effects.change.reshape(len(effects.pairs), -1)
    most = int(np.abs(np.nan_to_num(change).mean(0)).argmax())
    at = np.unravel_index(most, effects.patched.shape[1:])
    where = ", ".join(f"{name} {labels[place]}" for (name, labels), place in zip(effects.axes.items(), at, strict=True))
    for title, values in (
        ("log-odds of refusing", effects.clean),
        ("of the twin", effects.source),
        (f"patched ({where})", effects.patched.reshape(len(effects.pairs), -1)[:, most]),
        ("share of the gap", effects.normalised.reshape(len(effects.pairs), -1)[:, most]),
    ):
        yield Column(title, "number", tuple(_short(value) for value in values.tolist()))


def _flags(title: str, hits: Sequence[bool]) -> Column:
    return Column(title, "flag", tuple(map(int, hits)))


def _of(evidence: Evidence) -> str | None:
    pairs = evidence.recipe.of.get("pairs")
    return pairs["pairs"] if isinstance(pairs, Mapping) else None


def _when(of: Mapping[str, Any]) -> bool:
    return of["under"] is not None


def _short(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
