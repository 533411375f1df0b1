"""Tables of what one verdict's evidence holds for each pair: answers before and after, or effects of patching."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from harness.inputs.prompts.pairs import SIDES, PairSet, side_of
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet
from harness.judging.answer_shares import per_prompt
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import unpacked
from harness.measurements.evidence import Evidence
from harness.measurements.questions import Answers, Swept
from harness.results.verdict_evidence import Arm, arms_of, intervention_in_words, prompts_fingerprint
from harness.subjects.published.recordings import Recording

# Stands in a column of flips for an answer that neither refuses nor answers.
BROKEN = 2


@dataclass(frozen=True)
class Column:
    """One column: texts, numbers, flags (1: refused), or flips (−1: no longer refused, +1: newly, 2: broken)."""

    title: str
    kind: Literal["text", "number", "flag", "flip"]
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """Columns with a value for each row; a row is a pair, or a prompt of a list."""

    places: tuple[int, ...]  # of each row in the model's prompts, see `row_of`
    columns: tuple[Column, ...]
    whole: int  # the number of rows before `cut`

    def cut(self, most: int) -> "Table":
        """At most `most` rows, taken at even steps of their order by the last column that is not text."""
        if len(self.places) <= most:
            return self
        ruling = next(column for column in reversed(self.columns) if column.kind != "text")
        order = np.argsort([math.inf if value is None else value for value in ruling.values], kind="stable")
        kept = np.sort(order[np.linspace(0, len(order) - 1, most).astype(int)])
        columns = (
            Column(column.title, column.kind, tuple(column.values[row] for row in kept)) for column in self.columns
        )
        return Table(tuple(self.places[row] for row in kept), tuple(columns), self.whole)


def table(evidence: Sequence[Evidence], pairs: PromptSet) -> Table | None:
    """Answers to held-out prompts, before and after an intervention; without one, a sweep's effects if there is one."""
    heldout = on_heldout(evidence, pairs)
    answers = [arm for arm in heldout if arm.recipe.kind == Answers.KIND]
    edited = [arm for arm in answers if arm.recipe.of["under"] is not None]
    sides = {arm.recipe.of["side"] for arm in edited} or {"harmful", "harmless"}
    shown = [arm for arm in answers if arm.recipe.of["side"] in sides]
    if isinstance(pairs, PromptLists):
        return _listed(pairs, shown) if shown else None
    places = {pair.id: place for place, pair in enumerate(pairs)}
    if not edited and (swept := [sweep for sweep in heldout if sweep.recipe.kind == Swept.KIND]):
        effects = min(map(unpacked, swept), key=lambda effects: effects.patched.size)
        # A sweep that set every pair aside has no rows.
        return _table([places[name] for name in effects.pairs], _effects(effects)) if effects.pairs else None
    if not shown:
        return None
    return _table([places[pair.id] for pair in pairs.heldout], [column for _, column in _answers(shown)])


def row_of(prompts: PromptSet, place: int) -> tuple[str, str, str, str]:
    """A row's name, category, harmful and harmless prompt; one of the two is empty in rows of prompt lists."""
    if isinstance(prompts, PairSet):
        pair = prompts.pairs[place]
        return pair.id, pair.category, pair.harmful, pair.harmless
    side, at = ("harmful", place) if place < len(prompts.harmful) else ("harmless", place - len(prompts.harmful))
    texts = (prompts.harmful[at], "") if side == "harmful" else ("", prompts.harmless[at])
    return f"{side} {at + 1}", prompts.categories_of("harmful" if side == "harmful" else "harmless")[at], *texts


def on_heldout(evidence: Sequence[Evidence], pairs: PromptSet) -> list[Evidence]:
    """The evidence that was measured on the held-out prompts."""
    return [measured for measured in evidence if prompts_fingerprint(measured) == pairs.heldout.fingerprint]


def kinds_asked(evidence: Sequence[Evidence], pairs: PromptSet) -> list[str]:
    """Kinds of held-out evidence that a claim asked for; without any, the kinds that the gate asked for."""
    heldout = [(measured.recipe.kind, measured.recipe.of) for measured in on_heldout(evidence, pairs)]
    asked = [
        kind for kind, of in heldout if kind != Answers.KIND or of["under"] is not None or of["side"] == "harmless"
    ]
    return asked or [kind for kind, _ in heldout]


def recorded_table(recording: Recording) -> Table:
    """Every published judgement, one column for each arm."""
    columns = [_flags(arm.label, arm.refused) for arm in recording.arms]
    return _table(range(len(recording.categories)), columns)


def _table(places: Sequence[int], columns: Iterator[Column] | Sequence[Column]) -> Table:
    return Table(tuple(places), tuple(columns), len(places))


def _listed(lists: PromptLists, shown: Sequence[Evidence]) -> Table:
    """Rows for harmful prompts, then for harmless ones; a column is empty for prompts of the other side."""
    places = {
        side: [at + before for at, prompt in enumerate(getattr(lists, side)) if side_of(prompt) == "heldout"]
        for side, before in (("harmful", 0), ("harmless", len(lists.harmful)))
    }
    sides = [side for side in SIDES if any(arm.recipe.of["side"] == side for arm in shown)]
    columns = []
    for measured_side, column in _answers(shown):
        empty = "" if column.kind == "text" else None
        parts = (column.values if side == measured_side else [empty] * len(places[side]) for side in sides)
        columns.append(Column(column.title, column.kind, tuple(chain.from_iterable(parts))))
    return _table([place for side in sides for place in places[side]], columns)


def _answers(shown: Sequence[Evidence]) -> Iterator[tuple[str, Column]]:
    """(side, column) of every arm's answers, the unchanged model first, and of whether its refusals changed."""
    for side in ("harmful", "harmless"):
        arms = arms_of(answered for answered in shown if answered.recipe.of["side"] == side)
        unchanged = next((arm for arm in arms if arm.of["under"] is None), None)
        for arm in sorted(arms, key=lambda arm: arm.of["under"] is not None):
            name, several = intervention_in_words(arm.of["under"]), len(arm.samples)
            first = "answer" if several == 1 else f"the first of {several} answers"
            yield side, Column(f"{side}, {name}: {first}", "text", tuple(arm.samples[0].values["prefixes"]))
            if several > 1:
                shares = per_prompt(arm.refused).tolist()
                yield side, Column(f"{side}, {name}: share refused", "number", tuple(map(_short, shares)))
            elif unchanged is not None and arm is unchanged:
                yield side, _flags(f"{side}: refused", unchanged.refused.tolist())
            elif unchanged is not None:
                yield side, Column(f"{side}, {name}: change", "flip", tuple(_changes(arm, unchanged.refused)))


def _changes(arm: Arm, before: Bool[np.ndarray, " prompt"]) -> list[int]:
    """Whether each answer refuses anew, no longer, or as before; or is broken, where its readings were kept."""
    changes = arm.refused.astype(int) - before
    if (told := arm.outcomes) is not None:
        changes[told.broken] = BROKEN
    return [int(change) for change in changes]


def _effects(effects: Effects) -> Iterator[Column]:
    """Columns for the variant with the largest mean change."""
    change = effects.change.reshape(len(effects.pairs), -1)
    largest = int(np.abs(np.nan_to_num(change).mean(0)).argmax())
    places = np.unravel_index(largest, effects.patched.shape[1:])
    where = ", ".join(
        f"{name} {labels[place]}" for (name, labels), place in zip(effects.axes.items(), places, strict=True)
    )
    for title, values in (
        ("log-odds of refusing", effects.clean),
        ("of the twin", effects.source),
        (f"patched ({where})", effects.patched.reshape(len(effects.pairs), -1)[:, largest]),
        ("share of the gap", effects.normalised.reshape(len(effects.pairs), -1)[:, largest]),
    ):
        yield Column(title, "number", tuple(_short(value) for value in values.tolist()))


def _flags(title: str, hits: Sequence[bool]) -> Column:
    return Column(title, "flag", tuple(map(int, hits)))


def _short(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
