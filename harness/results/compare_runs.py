"""Compares two runs: which verdicts and estimates changed, and which of their inputs. Judges nothing again."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.judging.numerals import rounded
from harness.judging.verdict import NOT_JUDGED
from harness.measurements import pairs_evidence
from harness.measurements.evidence import Damaged, Store, read
from harness.measurements.recipe import Recipe, digest
from harness.results.run_record import Claimed, Judged, Model, Run

# Numbers that differ by less count as equal: such differences come from arithmetic alone.
LEAST = 1e-6
# The most inputs that the sentence names; the table lists all.
NAMED = 5
# Longer values of a recipe or record are shown as the beginning of their hash.
SHOWN = 100
# Fields of a claim that decide its verdict, and fields that only describe it.
_BARS = ("bar", "level")
_WORDS = ("title", "prose", "source", "holds_on", "fails_on")
# Fields of a model's record that say which model it is; the others, such as seconds, are no inputs.
_IDENTITY = ("fingerprint", "revision", "quant", "dtype", "device", "system", "hub", "source", "layer", "position", "n")
_LABELS = {"refusing": "refusing tokens", "system": "system prompt", "device": "device asked for"}
_MISSING = "evidence that is not here"

Sides = tuple[str, str]
Recipes = Callable[[str], Recipe | None]
Values = dict[str, tuple[set[str], set[str]]]
"""Label of an input → its values in the first run and in the second."""


@dataclass(frozen=True)
class Change:
    """One difference between two runs; `before` or `after` is empty if that run lacks the item."""

    claim: str  # empty: of the whole run, or of a model
    model: str  # empty: of the whole run, or of a claim
    item: str  # such as `verdict`, `bar`, `torch`, or the name of an estimate
    before: str
    after: str
    because: str = ""  # for a verdict or an estimate: which of its own inputs changed
    apart: bool = False  # whether the two intervals do not overlap

    @property
    def place(self) -> str:
        """The claim and model that it concerns, or `run`."""
        return " on ".join(filter(None, (self.claim, self.model))) or "run"

    @property
    def label(self) -> str:
        """The item with its owner: `claim refuses's bar`."""
        owner = f"claim {self.claim}'s " if self.claim else f"{self.model}'s " if self.model else ""
        return owner + self.item


@dataclass(frozen=True)
class Differences:
    """All differences between two runs."""

    judged: int  # verdicts that both runs have, without those that neither judged
    uncommitted: bool  # whether both runs have the same commit, with files that were not committed
    inputs: tuple[Change, ...]
    verdicts: tuple[Change, ...]
    reasons: tuple[Change, ...]  # of verdicts with the same word and no estimates
    estimates: tuple[Change, ...]
    further: tuple[Change, ...]  # names of estimates that only one run has, a line for each verdict and run
    alone: tuple[Change, ...]  # claims, models and verdicts that only one run has

    @property
    def rows(self) -> tuple[Change, ...]:
        """All changes: inputs first, then what only one run has, then claim by claim."""
        by_claim = [*self.verdicts, *self.reasons, *self.estimates, *self.further]
        return (*self.inputs, *self.alone, *sorted(by_claim, key=lambda change: (change.claim, change.model)))

    def sentence(self, before: str, after: str) -> str:
        """The differences in one sentence, with these names for the runs."""
        if not self.rows:
            compared = f"{self.judged} verdicts, their estimates and every input that is recorded"
            return f"{before} and {after} do not differ: {compared} are the same."
        phrases = [f"{len(self.verdicts)} of {self.judged} verdicts changed", self._moved_estimates()]
        if self.reasons:
            phrases.append(f"{len(self.reasons)} stayed the same for another reason")
        for name, side in ((before, "before"), (after, "after")):
            counts = Counter(change.item for change in self.alone if getattr(change, side))
            parts = [_counted(count, item) for item, count in sorted(counts.items())]
            if more := sum(bool(getattr(change, side)) for change in self.further):
                parts.append(f"some estimates of {_counted(more, 'verdict')}")
            if parts:
                phrases.append(f"only in {name}: {', '.join(parts)}")
        return f"From {before} to {after}: {'; '.join([*phrases, self._changed_inputs()])}."

    def _moved_estimates(self) -> str:
        apart = sum(change.apart for change in self.estimates)
        far = f", {apart} of them so far that the intervals no longer overlap" if apart else ""
        return f"{_counted(len(self.estimates), 'estimate')} moved{far}"

    def _changed_inputs(self) -> str:
        if not self.inputs:
            dirty = ", but some files were not committed" if self.uncommitted else ""
            return f"no recorded input changed{dirty}"
        labels = [change.label for change in self.inputs]
        more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
        noun = "input" if len(labels) == 1 else "inputs"
        return f"{noun} that changed: {', '.join(labels[:NAMED])}{more}"


def compare(before: Run, after: Run, store: Store) -> Differences:
    """All differences between two runs; evidence is compared by the recipes in the store."""

    @cache
    def recipe(fingerprint: str) -> Recipe | None:
        try:
            return read(store.path(fingerprint)).recipe
        except (FileNotFoundError, Damaged):
            return None

    first, second = (
        {(verdict["claim"], verdict["model"]): verdict for verdict in run.verdicts} for run in (before, after)
    )
    both = sorted(first.keys() & second.keys())
    claims = {name: tuple(_claim(name, before.claims, after.claims)) for name in sorted({claim for claim, _ in both})}
    models = {name: tuple(_model(name, before.models, after.models)) for name in sorted({model for _, model in both})}
    measured: dict[str, Values] = defaultdict(lambda: defaultdict(lambda: (set(), set())))
    verdicts: list[Change] = []
    reasons: list[Change] = []
    estimates: list[Change] = []
    further: list[Change] = []
    for claim, model in both:
        old, new = first[claim, model], second[claim, model]
        asked = _evidence(old["evidence"], new["evidence"], recipe)
        for label, values in asked.items():
            measured[model][label][0].update(values[0])
            measured[model][label][1].update(values[1])
        labels = [change.item for change in claims[claim]] + [f"model's {change.item}" for change in models[model]]
        because = _because([*labels, *asked], old, new)
        if old["word"] != new["word"]:
            verdicts.append(Change(claim, model, "verdict", old["word"], new["word"], because))
        elif not (old["estimates"] or new["estimates"]) and old["reason"] != new["reason"]:
            reasons.append(Change(claim, model, "reason", old["reason"], new["reason"], because))
        estimates += _moved(old, new, because)
        further += _further(old, new, because)
    return Differences(
        judged=sum(not {first[key]["word"], second[key]["word"]} <= NOT_JUDGED for key in both),
        uncommitted=before.commit == after.commit and str(before.commit).endswith("-dirty"),
        inputs=(
            *_run(before, after),
            *(change for changes in claims.values() for change in changes if change.item not in _WORDS),
            *(change for changes in models.values() for change in changes),
            *_measured(measured, models),
            *(change for changes in claims.values() for change in changes if change.item in _WORDS),
        ),
        verdicts=tuple(verdicts),
        reasons=tuple(reasons),
        estimates=tuple(estimates),
        further=tuple(further),
        alone=tuple(_alone(first, second)),
    )


def _measured(measured: Mapping[str, Values], models: Mapping[str, Sequence[Change]]) -> Iterator[Change]:
    """Inputs of evidence, gathered by model; without those that the model's record already names."""
    for model, asked in measured.items():
        recorded = {change.item for change in models[model]}
        for label, (old, new) in sorted(asked.items()):
            if label not in recorded:
                yield Change("", model, label, _listed(old), _listed(new))


def _run(before: Run, after: Run) -> Iterator[Change]:
    """Inputs that all verdicts of a run share, and whether the run finished."""
    if before.commit != after.commit:
        yield Change("", "", "commit", _commit(before), _commit(after))
    settings = [{"quant": run.quant, "device": run.device, "seed": run.seed} for run in (before, after)]
    machines = [{f"machine's {name}": value for name, value in run.machine.items()} for run in (before, after)]
    yield from _differing("", "", settings[0], settings[1])
    yield from _differing("", "", before.libraries, after.libraries)
    yield from _differing("", "", machines[0], machines[1])
    if before.finished != after.finished:
        ends = ["reached" if run.finished else "not reached" for run in (before, after)]
        yield Change("", "", "end of the run", ends[0], ends[1])


def _commit(run: Run) -> str:
    name, _, dirty = (run.commit or "none").partition("-")
    return name[:12] + (", files not committed" if dirty else "")


def _claim(name: str, before: Mapping[str, Claimed], after: Mapping[str, Claimed]) -> Iterator[Change]:
    """Fields of a claim that changed; `code` if only its function did."""
    if name not in before or name not in after or before[name]["fingerprint"] == after[name]["fingerprint"]:
        return
    old, new = dict(before[name]), dict(after[name])
    changed = [key for key in (*_BARS, *_WORDS) if old[key] != new[key]]
    for key in changed:
        yield Change(name, "", key, _short(old[key]), _short(new[key]))
    if not changed:  # the run records only the hash of the claim's code
        yield Change(name, "", "code", str(old["fingerprint"]), str(new["fingerprint"]))


def _model(name: str, before: Mapping[str, Model], after: Mapping[str, Model]) -> Iterator[Change]:
    if name in before and name in after:
        records = [models[name]["record"] | {"fingerprint": models[name]["fingerprint"]} for models in (before, after)]
        identities = [{key: record[key] for key in _IDENTITY if key in record} for record in records]
        yield from _differing("", name, identities[0], identities[1])


def _differing(claim: str, model: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old != new:
            yield Change(claim, model, key, _short(old), _short(new))


def _moved(before: Judged, after: Judged, because: str) -> Iterator[Change]:
    """Estimates of one verdict that both runs have, with other numbers."""
    old, new = _named(before), _named(after)
    for name in sorted(old.keys() & new.keys()):
        first, second = old[name], new[name]
        numbers = _numbers(first, second)
        if numbers[0] != numbers[1]:
            apart = first["high"] < second["low"] or second["high"] < first["low"]
            yield Change(before["claim"], before["model"], name, *numbers, because, apart)


def _further(before: Judged, after: Judged, because: str) -> Iterator[Change]:
    """Names of a verdict's estimates that only one run has."""
    old, new = _named(before), _named(after)
    for lost, gained in ((sorted(old.keys() - new.keys()), []), ([], sorted(new.keys() - old.keys()))):
        if lost or gained:
            sides = "; ".join(lost), "; ".join(gained)
            yield Change(before["claim"], before["model"], "further estimates", *sides, because)


def _named(verdict: Judged) -> dict[str, Mapping[str, Any]]:
    """Estimates by name; a repeated name gets a number."""
    named: dict[str, Mapping[str, Any]] = {}
    beside = verdict.get("beside", [])  # older runs have none
    for suffix, estimates in (("", verdict["estimates"]), (" (beside)", beside)):
        seen: Counter[str] = Counter()
        for estimate in estimates:
            seen[estimate["name"]] += 1
            number = f" {seen[estimate['name']]}" if seen[estimate["name"]] > 1 else ""
            named[f"{estimate['name']}{number}{suffix}"] = estimate
    return named


def _numbers(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sides:
    """What differs between two estimates, for each side, with enough digits to show it; two equal texts if nothing."""
    parts: list[Sides] = []
    if not all(_near(before[key], after[key]) for key in ("value", "low", "high")):
        pairs = ((_number(before, digits), _number(after, digits)) for digits in range(2, 8))
        parts += [pair for pair in pairs if pair[0] != pair[1]][:1]
    if (before["n"], before["unit"]) != (after["n"], after["unit"]):
        parts.append((f"n={before['n']} {before['unit']}", f"n={after['n']} {after['unit']}"))
    if before["method"] != after["method"]:
        parts.append((before["method"], after["method"]))
    return ", ".join(old for old, _ in parts), ", ".join(new for _, new in parts)


def _number(estimate: Mapping[str, Any], digits: int) -> str:
    if not math.isfinite(estimate["value"]):
        return "no number"
    return str(rounded(estimate["value"], estimate["low"], estimate["high"], digits))


def _near(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= LEAST


def _alone(before: Mapping[tuple[str, str], Judged], after: Mapping[tuple[str, str], Judged]) -> Iterator[Change]:
    """Verdicts that only one run has; one line for all verdicts of a claim or model that only one run has."""
    covered: set[tuple[str, str]] = set()
    for at, kind in enumerate(("claim", "model")):
        names = [{key[at] for key in side} for side in (before, after)]
        for name in sorted(names[0] ^ names[1]):
            keys = {key for key in before.keys() ^ after.keys() if key[at] == name} - covered
            covered |= keys
            tallies = [_tally(side[key]["word"] for key in keys if key in side) for side in (before, after)]
            if keys and kind == "claim":
                yield Change(name, "", kind, tallies[0], tallies[1])
            elif keys:
                yield Change("", name, kind, tallies[0], tallies[1])
    for claim, model in sorted((before.keys() ^ after.keys()) - covered):
        words = [str(side[claim, model]["word"]) if (claim, model) in side else "" for side in (before, after)]
        yield Change(claim, model, "verdict", words[0], words[1])


def _tally(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(words).items()))


def _because(labels: Sequence[str], before: Judged, after: Judged) -> str:
    phrases = [", ".join(labels)] if labels else []
    if before["evidence"] == after["evidence"] and before["evidence"]:
        phrases.append("the same evidence")
    return "; ".join(phrases) or "none of its own inputs"


def _evidence(before: Sequence[str], after: Sequence[str], recipe: Recipes) -> Values:
    """Fields of recipes that differ; each recipe that only one run read is compared with the most similar of the other.

    Recipes of one kind are matched greedily, those with the fewest differences first.
    """
    values: Values = defaultdict(lambda: (set(), set()))
    sides = [sorted(set(own) - set(other)) for own, other in ((before, after), (after, before))]
    known = [[(key, asked) for key in side if (asked := recipe(key)) is not None] for side in sides]
    for at, side in enumerate(sides):
        if missing := len(side) - len(known[at]):
            values[_MISSING][at].add(str(missing))
    for kind in sorted({asked.kind for side in known for _, asked in side}):
        old, new = ({key: asked for key, asked in side if asked.kind == kind} for side in known)
        by_similarity = sorted(
            (len(list(_fields(old_recipe, new_recipe))), *sorted((old_key, new_key)), old_key, new_key)
            for old_key, old_recipe in old.items()
            for new_key, new_recipe in new.items()
        )
        for *_, old_key, new_key in by_similarity:
            if old_key in old and new_key in new:
                for label, old_value, new_value in _fields(old.pop(old_key), new.pop(new_key)):
                    values[label][0].add(_short(old_value))
                    values[label][1].add(_short(new_value))
        if old or new:
            values[f"further measurements ({kind})"][0 if old else 1].add(str(len(old or new)))
    return dict(values)


def _fields(before: Recipe, after: Recipe) -> Iterator[tuple[str, Any, Any]]:
    """(label, before, after) of each difference between two recipes of a kind."""
    if before.revision != after.revision:
        yield f"revision of {before.kind}", before.revision, after.revision
    if before.subject != after.subject:
        yield "pairs' name" if before.kind in pairs_evidence.KINDS else "fingerprint", before.subject, after.subject
    for name in sorted(before.of.keys() | after.of.keys()):
        yield from _deeper(_LABELS.get(name, name), before.of.get(name), after.of.get(name))


def _deeper(label: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ, if both values are of one class with the same fields; else both values whole."""
    if before == after:
        return
    alike = isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys()
    if alike and "a" in before and before["a"] == after["a"]:
        for name in before:
            yield from _deeper(f"{label}: {name}", before[name], after[name])
    else:
        yield label, before, after


def _short(value: Any) -> str:
    """A value of a record or recipe as text; long values as the beginning of their hash."""
    match value:
        case None:
            return "none"
        case {"a": kind}:
            return f"{kind} {digest(value)[:8]}"
        case {"n": count, **rest} if len(rest) == 1:
            return f"{count} ({str(next(iter(rest.values())))[:8]})"
        case [str(), *_]:
            text = ", ".join(map(str, value))
        case _:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else digest(value)[:8]


def _listed(values: set[str]) -> str:
    ordered = sorted(values)
    return "; ".join(ordered[:3]) + (f"; {len(ordered) - 3} more" if len(ordered) > 3 else "")


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'s' if count > 1 else ''}"
