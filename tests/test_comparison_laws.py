"""Comparing two runs finds every difference and no other: laws on drawn runs, and a run altered in one item."""

import json
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.inputs.files.json_files import fitting
from harness.inputs.machine import machine
from harness.judging.verdict import Decided, Word
from harness.measurements.evidence import Evidence, Store
from harness.measurements.recipe import Recipe
from harness.results.compare_runs import Change, Differences, compare
from harness.results.run_record import Claimed, Judged, Run
from tests.tools.records import claimed, decided, judged

# Laws, on runs that are drawn: few names, so that runs share some of them.

RECIPES = [
    Recipe(kind, revision, subject, {"a": "Asked", "pairs": {"pairs": pairs, "n": 3}, "under": under})
    for kind in ("a-kind", "b-kind")
    for revision in (1, 2)
    for subject in ("model", "other")
    for pairs in ("aaaa", "bbbb")
    for under in (None, {"a": "Remove", "where": "stream"}, {"a": "Remove", "where": "mlp"})
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Holds all recipes of these runs but the last two."""
    made = Store(tmp_path_factory.mktemp("store"))
    for recipe in RECIPES[:-2]:
        made.put(Evidence(recipe, {}))
    return made


numbers = st.sampled_from([0.0, 0.1, 0.1000001, 0.3, 0.9, math.nan])


@st.composite
def estimates(draw: st.DrawFn) -> Decided:
    low, value, high = sorted(draw(st.tuples(numbers, numbers, numbers)))
    method = draw(st.sampled_from(["exact", "drawn"]))
    return decided(draw(st.sampled_from("xy")), value, low, high, n=draw(st.integers(1, 2)), method=method)


WORDS: tuple[Word, ...] = ("SUPPORTED", "REFUTED", "INCONCLUSIVE", "BROKEN", "SKIPPED")
fingerprints = st.lists(st.sampled_from([recipe.fingerprint for recipe in RECIPES]), max_size=4, unique=True)


@st.composite
def verdicts(draw: st.DrawFn, claim: str, model: str) -> Judged:
    shown, read = draw(st.lists(estimates(), max_size=3)), draw(fingerprints)
    verdict = judged(claim, model, draw(st.sampled_from(WORDS)), *shown, evidence=tuple(read))
    verdict["reason"] = draw(st.sampled_from(["r", "s"]))
    verdict["beside"] = list(draw(st.lists(estimates(), max_size=2)))
    return verdict


# Claims on models, in any order.
places = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("mn")), max_size=5, unique=True)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    run = Run(
        command=["pytest"],
        quant=draw(st.sampled_from(["nf4", "none"])),
        device="auto",
        commit=draw(st.sampled_from([None, "0123456789abcdef", "0123456789abcdef-dirty"])),
        libraries=draw(st.dictionaries(st.sampled_from(["torch", "scipy"]), st.sampled_from("12"))),
        machine={**machine(), "cores": draw(st.integers(1, 2))},
        finished=draw(st.booleans()),
    )
    for claim, model in draw(places):
        run.verdicts.append(draw(verdicts(claim, model)))
        bar, title = draw(st.sampled_from(["x > 0.3", "x > 0.4"])), draw(st.sampled_from(["It.", "So."]))
        code = draw(st.sampled_from("pq"))
        run.claims[claim] = claimed(title=title, bar=bar, fingerprint=f"{bar}{title}{code}")
        record = {"revision": draw(st.sampled_from("12")), "seconds": draw(st.floats(0, 1))}
        run.models[model] = {"fingerprint": f"f{record['revision']}", "kind": "live", "record": record}
    return run


def mirrored(differences: Differences) -> Differences:
    def turned(changes: tuple[Change, ...]) -> tuple[Change, ...]:
        return tuple(Change(**vars(change) | {"before": change.after, "after": change.before}) for change in changes)

    lists: dict[str, Any] = {
        name: turned(value) for name, value in vars(differences).items() if isinstance(value, tuple)
    }
    return replace(differences, **lists)


def as_set(differences: Differences) -> dict[str, object]:
    """A line's place among the lines of its verdict says nothing."""
    return {name: set(value) if isinstance(value, tuple) else value for name, value in vars(differences).items()}


@given(run=runs())
def test_a_run_does_not_differ_from_itself(run: Run, store: Store) -> None:
    again = deepcopy(run)
    again.started, again.seconds, again.command, again.peak_bytes = "later", 7.0, ["pytest", "-q"], 1
    differences = compare(run, again, store)
    assert differences.rows == ()
    assert "do not differ" in differences.sentence("a", "b")


@given(one=runs(), other=runs())
def test_comparing_the_other_way_round_is_the_mirror(one: Run, other: Run, store: Store) -> None:
    assert as_set(compare(other, one, store)) == as_set(mirrored(compare(one, other, store)))


@given(one=runs(), other=runs())
def test_every_verdict_is_counted_once(one: Run, other: Run, store: Store) -> None:
    differences = compare(one, other, store)
    old, new = ({(v["claim"], v["model"]): v["word"] for v in run.verdicts} for run in (one, other))
    both = old.keys() & new.keys()
    assert {(c.claim, c.model) for c in differences.verdicts} == {key for key in both if old[key] != new[key]}
    assert differences.judged == sum(not old[key] == new[key] == "SKIPPED" for key in both)
    # What only one run has is under its claim, its model, or itself.
    for claim, model in old.keys() ^ new.keys():
        assert {(claim, ""), ("", model), (claim, model)} & {(c.claim, c.model) for c in differences.alone}
    assert not {(c.claim, c.model) for c in differences.alone} & both


@given(one=runs(), other=runs())
def test_every_line_has_two_sides_that_differ(one: Run, other: Run, store: Store) -> None:
    for change in compare(one, other, store).rows:
        # What recipes say is gathered over a model's verdicts, and may have gone both ways.
        assert change.before != change.after or (change.model and not change.claim), change


# A run is altered in one item: that item is found, under its name, and no other.

RUN = Run(
    command=["pytest"],
    quant="nf4",
    device="auto",
    commit="0123456789abcdef",
    finished=True,
    libraries={"torch": "2.0", "scipy": "1.0"},
    machine={**machine(), "cores": 2},
    models={"m": {"fingerprint": "f", "kind": "live", "record": {"revision": "local", "quant": "nf4", "seconds": 1.0}}},
    claims={"c": claimed(title="It.", bar="x > 0.3", fingerprint="p")},
    verdicts=[
        judged("c", "m", "SUPPORTED", decided("x", 0.5, 0.4, 0.6, method="exact"), evidence=(RECIPES[0].fingerprint,))
    ],
)


def claim(run: Run, **values: Any) -> None:
    run.claims["c"] = fitting({**run.claims["c"], **values, "fingerprint": "another"}, Claimed)


def estimate(run: Run, **values: Any) -> None:
    shown = run.verdicts[0]["estimates"]
    shown[0] = fitting({**shown[0], **values}, Decided)


def reads(run: Run, *recipes: Recipe) -> None:
    run.verdicts[0]["evidence"] = sorted(one.fingerprint for one in recipes)


OTHER_WHERE, OTHER_REVISION, OTHER_PAIRS = RECIPES[1], RECIPES[12], RECIPES[3]

ALTERED: list[tuple[str, Callable[[Run], Any], tuple[str, str, str]]] = [
    ("inputs", lambda run: vars(run).update(commit="fedcba98765432-dirty"), ("commit", "0123456789ab", "fedcba987654")),
    ("inputs", lambda run: vars(run).update(quant="none"), ("quant", "nf4", "none")),
    ("inputs", lambda run: vars(run).update(finished=False), ("end of the run", "reached", "not reached")),
    ("inputs", lambda run: run.libraries.update(scipy="2.0"), ("scipy", "1.0", "2.0")),
    ("inputs", lambda run: run.machine.update({"cores": 4}), ("machine's cores", "2", "4")),
    ("inputs", lambda run: run.models["m"].update({"fingerprint": "g"}), ("fingerprint", "f", "g")),
    ("inputs", lambda run: run.models["m"]["record"].update(quant="int8"), ("quant", "nf4", "int8")),
    ("inputs", lambda run: claim(run, bar="x > 0.4"), ("bar", "x > 0.3", "x > 0.4")),
    ("inputs", lambda run: claim(run, level=0.02), ("level", "0.01", "0.02")),
    ("inputs", lambda run: claim(run, title="So."), ("title", "It.", "So.")),
    ("inputs", lambda run: claim(run), ("code", "p", "another")),
    ("inputs", lambda run: reads(run, OTHER_WHERE), ("under", "none", "Remove")),
    ("inputs", lambda run: reads(run, OTHER_PAIRS), ("pairs", "3 (aaaa)", "3 (bbbb)")),
    ("inputs", lambda run: reads(run, OTHER_REVISION), ("revision of a-kind", "1", "2")),
    ("inputs", lambda run: reads(run, RECIPES[0], RECIPES[24]), ("further measurements (b-kind)", "", "1")),
    ("inputs", lambda run: reads(run, RECIPES[-1]), ("evidence that is not here", "", "1")),
    ("verdicts", lambda run: run.verdicts[0].update({"word": "REFUTED"}), ("verdict", "SUPPORTED", "REFUTED")),
    ("estimates", lambda run: estimate(run, value=0.504), ("x", "+0.500 [+0.400", "+0.504 [+0.400")),
    ("estimates", lambda run: estimate(run, value=math.nan), ("x", "+0.50 [", "no number")),
    ("estimates", lambda run: estimate(run, n=8), ("x", "n=9 pairs", "n=8 pairs")),
    ("estimates", lambda run: estimate(run, method="drawn"), ("x", "exact", "drawn")),
    ("further", lambda run: run.verdicts[0]["estimates"].clear(), ("further estimates", "x", "")),
    ("alone", lambda run: run.verdicts[0].update({"model": "n"}), ("model", "1 SUPPORTED", "")),
]


@pytest.mark.parametrize(("where", "alter", "expected"), ALTERED)
def test_one_thing_altered_is_found(
    where: str, alter: Callable[[Run], Any], expected: tuple[str, str, str], store: Store
) -> None:
    other = deepcopy(RUN)
    alter(other)
    differences = compare(RUN, other, store)
    item, before, after = expected
    hits = [
        change
        for change in getattr(differences, where)
        if change.item == item
        and change.before.startswith(before)
        and change.after.startswith(after)
        and bool(change.before) == bool(before)
        and bool(change.after) == bool(after)
    ]
    assert len(hits) == 1, differences
    # Recipes that are not here are one line on each side; another model is lost on one side and new on the other.
    assert len(differences.rows) == {"evidence that is not here": 2, "model": 2}.get(item, 1), differences.rows


def test_arithmetic_alone_moves_nothing(store: Store) -> None:
    other = deepcopy(RUN)
    estimate(other, value=0.5 + 1e-9, low=0.4 - 1e-9)
    assert compare(RUN, other, store).rows == ()


@pytest.mark.parametrize(("low", "high", "apart"), [(0.61, 0.8, True), (0.6, 0.8, False), (0.1, 0.39, True)])
def test_intervals_that_no_longer_overlap_are_named(low: float, high: float, apart: bool, store: Store) -> None:
    other = deepcopy(RUN)
    estimate(other, value=(low + high) / 2, low=low, high=high)
    differences = compare(RUN, other, store)
    assert [change.apart for change in differences.estimates] == [apart]
    assert ("1 of them so far that the intervals no longer overlap" in differences.sentence("a", "b")) == apart
    assert differences.estimates[0].because == "the same evidence"
    assert "no recorded input changed" in differences.sentence("a", "b")


def test_what_was_not_committed_is_said_where_no_input_explains_it(store: Store) -> None:
    one, other = deepcopy(RUN), deepcopy(RUN)
    one.commit = other.commit = "0123456789abcdef-dirty"
    estimate(other, value=0.55)
    assert "but some files were not committed" in compare(one, other, store).sentence("a", "b")


def test_runs_of_before_there_were_estimates_beside_are_compared(store: Store) -> None:
    copied = deepcopy(RUN)
    del copied.verdicts[0]["beside"]
    assert compare(Run(**json.loads(json.dumps(vars(copied)))), RUN, store).rows == ()
