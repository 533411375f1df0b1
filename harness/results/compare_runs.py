"""What changed between two runs, and which of their inputs did. Reads recipes of evidence; judges nothing anew."""

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

# Numbers nearer than this differ by arithmetic alone.
LEAST = 1e-6
# So many inputs are named in the sentence; the table has all.
NAMED = 5
# Longer values of a recipe are told by their hash.
SHOWN = 100
# Of a claim as it stood: what decides, and what only says so.
_BARS = ("bar", "level")
_WORDS = ("title", "prose", "source", "holds_on", "fails_on")
# Of a model's record, what says which model it is; what a load took is no input.
_IDENTITY = ("fingerprint", "revision", "quant", "dtype", "device", "hub", "source", "layer", "position", "n")
_LABELS = {"refusing": "refusing tokens", "device": "device asked for"}
_GONE = "evidence that is not here"

Sides = tuple[str, str]
Known = Callable[[str], Recipe | None]


@dataclass(frozen=True)
class Change:
    """One thing that differs; empty on the side that does not have it."""

    claim: str  # none: of the whole run, or of a model
    model: str  # none: of the whole run, or of a claim
    what: str
    before: str
    after: str
    because: str = ""  # of a verdict or an estimate: which of its own inputs changed
    apart: bool = False  # the intervals no longer overlap

    @property
    def place(self) -> str:
        """Of what, in words."""
        return " on ".join(filter(None, (self.claim, self.model))) or "run"

    @property
    def label(self) -> str:
        """An input in words."""
        of = f"claim {self.claim}'s " if self.claim else f"{self.model}'s " if self.model else ""
        return of + self.what


@dataclass(frozen=True)
class Differences:
    """All that differs between two runs."""

    judged: int  # claims on models that both runs have, and at least one judged
    uncommitted: bool  # the commit is the same, and files differed from it
    inputs: tuple[Change, ...]
    verdicts: tuple[Change, ...]
    reasons: tuple[Change, ...]  # of verdicts without estimates that came out the same
    estimates: tuple[Change, ...]
    further: tuple[Change, ...]  # names of estimates that only one run has, a line a verdict and run
    alone: tuple[Change, ...]  # claims, models and verdicts that only one run has

    @property
    def rows(self) -> tuple[Change, ...]:
        """Inputs first, then what only one run has, then claim by claim."""
        found = [*self.verdicts, *self.reasons, *self.estimates, *self.further]
        return (*self.inputs, *self.alone, *sorted(found, key=lambda one: (one.claim, one.model)))

    def sentence(self, before: str, after: str) -> str:
        """All of it in one sentence."""
        if not self.rows:
            what = f"{self.judged} verdicts, their estimates and every input that is recorded"
            return f"{before} and {after} do not differ: {what} are the same."
        said = [f"{len(self.verdicts)} of {self.judged} verdicts changed", self._moved()]
        if self.reasons:
            said.append(f"{len(self.reasons)} stayed for another reason")
        for name, side in ((before, "before"), (after, "after")):
            counts = Counter(one.what for one in self.alone if getattr(one, side))
            parts = [_counted(count, what) for what, count in sorted(counts.items())]
            if more := sum(bool(getattr(one, side)) for one in self.further):
                parts.append(f"some estimates of {_counted(more, 'verdict')}")
            if parts:
                said.append(f"only in {name}: {', '.join(parts)}")
        return f"From {before} to {after}: {'; '.join([*said, self._inputs()])}."

    def _moved(self) -> str:
        apart = sum(one.apart for one in self.estimates)
        far = f", {apart} of them until the intervals no longer overlap" if apart else ""
        return f"{_counted(len(self.estimates), 'estimate')} moved{far}"

    def _inputs(self) -> str:
        if not self.inputs:
            dirty = ", but files were not committed" if self.uncommitted else ""
            return f"no input changed that is recorded{dirty}"
        names = [one.label for one in self.inputs]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        noun = "input" if len(names) == 1 else "inputs"
        return f"{noun} that changed: {', '.join(names[:NAMED])}{more}"


def compare(before: Run, after: Run, store: Store) -> Differences:
    """What the second run has otherwise than the first; recipes of evidence are read from the store."""

    @cache
    def recipe(fingerprint: str) -> Recipe | None:
        try:
            return read(store.path(fingerprint)).recipe
        except (FileNotFoundError, Damaged):
            return None

    first, second = ({(one["claim"], one["model"]): one for one in run.verdicts} for run in (before, after))
    both = sorted(first.keys() & second.keys())
    claims = {name: tuple(_claim(name, before.claims, after.claims)) for name in sorted({claim for claim, _ in both})}
    models = {name: tuple(_model(name, before.models, after.models)) for name in sorted({model for _, model in both})}
    measured: dict[str, dict[str, tuple[set[str], set[str]]]] = defaultdict(lambda: defaultdict(lambda: (set(), set())))
    verdicts: list[Change] = []
    reasons: list[Change] = []
    estimates: list[Change] = []
    further: list[Change] = []
    for claim, model in both:
        old, new = first[claim, model], second[claim, model]
        asked = _evidence(old["evidence"], new["evidence"], recipe)
        for what, (one, other) in asked.items():
            measured[model][what][0].update(one)
            measured[model][what][1].update(other)
        labels = [one.what for one in claims[claim]] + [f"model's {one.what}" for one in models[model]]
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
            *(one for changes in claims.values() for one in changes if one.what not in _WORDS),
            *(one for changes in models.values() for one in changes),
            *(
                Change("", model, what, _listed(one), _listed(other))
                for model, asked in measured.items()
                for what, (one, other) in sorted(asked.items())
                if what not in {one.what for one in models[model]}
            ),
            *(one for changes in claims.values() for one in changes if one.what in _WORDS),
        ),
        verdicts=tuple(verdicts),
        reasons=tuple(reasons),
        estimates=tuple(estimates),
        further=tuple(further),
        alone=tuple(_alone(first, second)),
    )


def _run(before: Run, after: Run) -> Iterator[Change]:
    """Inputs that all verdicts of a run share, and whether it came to its end."""
    if before.commit != after.commit:
        yield Change("", "", "commit", _commit(before), _commit(after))
    asked = [{"quant": run.quant, "device": run.device, "seed": run.seed} for run in (before, after)]
    machines = [{f"machine's {name}": value for name, value in run.machine.items()} for run in (before, after)]
    yield from _differing("", "", asked[0], asked[1])
    yield from _differing("", "", before.libraries, after.libraries)
    yield from _differing("", "", machines[0], machines[1])
    if before.finished != after.finished:
        ends = ["reached" if run.finished else "not reached" for run in (before, after)]
        yield Change("", "", "end of the run", ends[0], ends[1])


def _commit(run: Run) -> str:
    name, _, dirty = (run.commit or "none").partition("-")
    return name[:12] + (", files not committed" if dirty else "")


def _claim(name: str, before: Mapping[str, Claimed], after: Mapping[str, Claimed]) -> Iterator[Change]:
    if name not in before or name not in after or before[name]["fingerprint"] == after[name]["fingerprint"]:
        return
    one, other = dict(before[name]), dict(after[name])
    bars = [Change(name, "", key, _told(one[key]), _told(other[key])) for key in _BARS if one[key] != other[key]]
    words = [key for key in _WORDS if one[key] != other[key]]
    yield from bars
    for key in words:
        yield Change(name, "", key, _told(one[key]), _told(other[key]))
    if not bars and not words:  # what it does is not in the run, only its hash
        yield Change(name, "", "code", str(one["fingerprint"]), str(other["fingerprint"]))


def _model(name: str, before: Mapping[str, Model], after: Mapping[str, Model]) -> Iterator[Change]:
    if name in before and name in after:
        sides = [side[name]["record"] | {"fingerprint": side[name]["fingerprint"]} for side in (before, after)]
        known = [{key: side[key] for key in _IDENTITY if key in side} for side in sides]
        yield from _differing("", name, known[0], known[1])


def _differing(claim: str, model: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        if one != other:
            yield Change(claim, model, key, _told(one), _told(other))


def _moved(before: Judged, after: Judged, because: str) -> Iterator[Change]:
    old, new = _named(before), _named(after)
    for name in sorted(old.keys() & new.keys()):
        one, other = old[name], new[name]
        numbers = _numbers(one, other)
        if numbers[0] != numbers[1]:
            apart = one["high"] < other["low"] or other["high"] < one["low"]
            yield Change(before["claim"], before["model"], name, *numbers, because, apart)


def _further(before: Judged, after: Judged, because: str) -> Iterator[Change]:
    old, new = _named(before), _named(after)
    for lost, found in ((sorted(old.keys() - new.keys()), []), ([], sorted(new.keys() - old.keys()))):
        if lost or found:
            sides = "; ".join(lost), "; ".join(found)
            yield Change(before["claim"], before["model"], "further estimates", *sides, because)


def _named(found: Judged) -> dict[str, Mapping[str, Any]]:
    """Estimates by name; one of several of a name by its number."""
    named: dict[str, Mapping[str, Any]] = {}
    for where, some in (("", found["estimates"]), (" (beside)", found.get("beside", []))):  # older runs have none
        seen: Counter[str] = Counter()
        for one in some:
            seen[one["name"]] += 1
            number = f" {seen[one['name']]}" if seen[one["name"]] > 1 else ""
            named[f"{one['name']}{number}{where}"] = one
    return named


def _numbers(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sides:
    """Value and interval of both sides, with as many digits as tell them apart; equal where nothing differs."""
    found: list[Sides] = []
    if not all(_near(before[key], after[key]) for key in ("value", "low", "high")):
        pairs = ((_number(before, digits), _number(after, digits)) for digits in range(2, 8))
        found += [pair for pair in pairs if pair[0] != pair[1]][:1]
    if (before["n"], before["unit"]) != (after["n"], after["unit"]):
        found.append((f"n={before['n']} {before['unit']}", f"n={after['n']} {after['unit']}"))
    if before["method"] != after["method"]:
        found.append((before["method"], after["method"]))
    return ", ".join(one for one, _ in found), ", ".join(other for _, other in found)


def _number(one: Mapping[str, Any], digits: int) -> str:
    return str(rounded(one["value"], one["low"], one["high"], digits)) if math.isfinite(one["value"]) else "no number"


def _near(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other)) or abs(one - other) <= LEAST


def _alone(before: Mapping[tuple[str, str], Judged], after: Mapping[tuple[str, str], Judged]) -> Iterator[Change]:
    """A claim or a model that only one run has is one line, whatever it came to."""
    lost: set[tuple[str, str]] = set()
    for at, kind in enumerate(("claim", "model")):
        names = [{key[at] for key in side} for side in (before, after)]
        for name in sorted(names[0] ^ names[1]):
            keys = {key for key in before.keys() ^ after.keys() if key[at] == name} - lost
            lost |= keys
            tallies = [_tally(side[key]["word"] for key in keys if key in side) for side in (before, after)]
            if keys and kind == "claim":
                yield Change(name, "", kind, tallies[0], tallies[1])
            elif keys:
                yield Change("", name, kind, tallies[0], tallies[1])
    for claim, model in sorted((before.keys() ^ after.keys()) - lost):
        words = [str(side[claim, model]["word"]) if (claim, model) in side else "" for side in (before, after)]
        yield Change(claim, model, "verdict", words[0], words[1])


def _tally(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(words).items()))


def _because(labels: Sequence[str], before: Judged, after: Judged) -> str:
    said = [", ".join(labels)] if labels else []
    if before["evidence"] == after["evidence"] and before["evidence"]:
        said.append("the same evidence")
    return "; ".join(said) or "nothing of its own"


def _evidence(before: Sequence[str], after: Sequence[str], recipe: Known) -> dict[str, tuple[set[str], set[str]]]:
    """Fields of recipes that differ, each with the values before and after; recipes nearest to each other are one."""
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    sides = [sorted(set(one) - set(other)) for one, other in ((before, after), (after, before))]
    known = [[(key, one) for key in side if (one := recipe(key)) is not None] for side in sides]
    for at, side in enumerate(sides):
        if gone := len(side) - len(known[at]):
            found[_GONE][at].add(str(gone))
    for kind in sorted({one.kind for side in known for _, one in side}):
        old, new = ({key: one for key, one in side if one.kind == kind} for side in known)
        near = sorted(
            (len(list(_fields(one, other))), *sorted((key, twin)), key, twin)
            for key, one in old.items()
            for twin, other in new.items()
        )
        for *_, key, twin in near:
            if key in old and twin in new:
                for label, one, other in _fields(old.pop(key), new.pop(twin)):
                    found[label][0].add(_told(one))
                    found[label][1].add(_told(other))
        if old or new:
            found[f"further measurements ({kind})"][0 if old else 1].add(str(len(old or new)))
    return dict(found)


def _fields(before: Recipe, after: Recipe) -> Iterator[tuple[str, Any, Any]]:
    """What differs between two recipes of a kind, as far down as both are made alike."""
    if before.revision != after.revision:
        yield f"revision of {before.kind}", before.revision, after.revision
    if before.subject != after.subject:
        yield "pairs' name" if before.kind in pairs_evidence.KINDS else "fingerprint", before.subject, after.subject
    for name in sorted(before.of.keys() | after.of.keys()):
        yield from _deeper(_LABELS.get(name, name), before.of.get(name), after.of.get(name))


def _deeper(label: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if before == after:
        return
    alike = isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys()
    if alike and "a" in before and before["a"] == after["a"]:
        for name in before:
            yield from _deeper(f"{label}: {name}", before[name], after[name])
    else:
        yield label, before, after


def _told(value: Any) -> str:
    """A value of a record or a recipe, in short."""
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
    some = sorted(values)
    return "; ".join(some[:3]) + (f"; {len(some) - 3} more" if len(some) > 3 else "")


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'s' if count > 1 else ''}"
