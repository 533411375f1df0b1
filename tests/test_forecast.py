"""How long a run still takes is said from what it measured, and saying it changes nothing that is judged."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.inputs.places import DATA
from harness.measurements.evidence import DamagedEvidence, Evidence, Store
from harness.measurements.recipe import Recipe
from harness.results.run_list import latest
from harness.results.run_record import Run
from harness.running.forecast import ENOUGH, Forecast, Progress, seconds_left, until_all, words
from harness.running.run_reporter import RunReporter
from tests.test_plugin import judge

TOKENS = st.integers(0, 10**9).map(float)
SECONDS = st.floats(0, 1e6)


@given(TOKENS, SECONDS, TOKENS | st.just(math.inf), st.floats(1e-3, 1e3))
def test_it_is_never_negative_and_free_of_scale(done: float, seconds: float, left: float, times: float) -> None:
    expected = seconds_left(Progress(done=done, seconds=seconds, left=left))
    assert expected is None or 0 <= expected < math.inf
    # Powers of two, so that no rounding moves the tenth.
    factor = 2.0 ** round(math.log2(times))
    assert seconds_left(Progress(done=factor * done, seconds=seconds, left=factor * left)) == expected
    slower = seconds_left(Progress(done=done, seconds=factor * seconds, left=left))
    assert slower == (expected if expected is None else pytest.approx(factor * expected))


@given(TOKENS, SECONDS, TOKENS, TOKENS)
def test_less_to_come_takes_no_longer(done: float, seconds: float, less: float, more: float) -> None:
    less, more = sorted((less, more))
    longer = seconds_left(Progress(done=done, seconds=seconds, left=more))
    shorter = seconds_left(Progress(done=done, seconds=seconds, left=less))
    assert longer is None or (shorter is not None and shorter <= longer)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.floats(0.001, 1000))
def test_at_an_even_rate_it_is_right_from_a_tenth_on_and_falls_to_nothing(planned: list[int], rate: float) -> None:
    model, done = Forecast(), 0
    model.plan(lambda: {str(number): float(tokens) for number, tokens in enumerate(planned)})
    for number, tokens in enumerate(planned):
        progress = model.judged(str(number), tokens * rate)
        done += tokens
        assert progress is not None
        found, left = seconds_left(progress), sum(planned) - done
        if left and done < ENOUGH * sum(planned):
            assert found is None
        else:
            assert found == pytest.approx(left * rate)
    assert found == 0
    assert words(len(planned), len(planned), found) == f"{len(planned)} of {len(planned)}"


def progress_of(model: Forecast, test: str, seconds: float | None) -> Progress:
    progress = model.judged(test, seconds)
    assert progress is not None
    return progress


def test_only_what_measured_and_came_to_a_verdict_tells_a_rate() -> None:
    model = Forecast()
    assert model.judged("asleep", 5.0) is None
    model.plan(lambda: {"a": 100.0, "broken": 50.0, "kept": 0.0, "marked": 30.0, "b": 200.0, "c": 300.0})
    model.plan(lambda: pytest.fail("it was planned already"))
    assert progress_of(model, "a", 10.0) == {"done": 100, "seconds": 10, "left": 580}
    assert progress_of(model, "broken", None) == {"done": 100, "seconds": 10, "left": 530}
    assert progress_of(model, "kept", 99.0) == {"done": 100, "seconds": 10, "left": 530}
    assert progress_of(model, "another model's", 99.0) == {"done": 100, "seconds": 10, "left": 530}
    # What a mark skips is never set up, and does not come any more.
    assert progress_of(model, "b", 20.0) == {"done": 300, "seconds": 30, "left": 300}
    assert seconds_left(progress_of(model, "c", 30.0)) == 0


def test_while_a_claim_to_come_could_not_be_planned_nothing_is_promised() -> None:
    model = Forecast()
    model.plan(lambda: {"a": 100.0, "unknown": math.inf, "b": 200.0})
    assert seconds_left(progress_of(model, "a", 10.0)) is None
    assert seconds_left(progress_of(model, "unknown", 70.0)) == pytest.approx(20)


def test_a_run_takes_as_long_as_its_slowest_model_and_one_that_is_not_known_promises_nothing() -> None:
    fast, slow = Progress(done=10, seconds=1, left=10), Progress(done=10, seconds=5, left=20)
    assert until_all([fast, slow]) == 10
    assert until_all([fast, None]) is None
    assert until_all([fast, Progress(done=0, seconds=0, left=10)]) is None
    assert until_all([]) == 0


SAID = {
    None: "2 of 9",
    0.0: "2 of 9",
    0.01: "2 of 9, about 1 s left",
    40.4: "2 of 9, about 40 s left",
    99.4: "2 of 9, about 99 s left",
    99.6: "2 of 9, about 2 min left",
    5969.0: "2 of 9, about 99 min left",
    5971.0: "2 of 9, about 1.7 h left",
}


@pytest.mark.parametrize("seconds", SAID, ids=str)
def test_it_is_said_in_words(seconds: float | None) -> None:
    assert words(2, 9, seconds) == SAID[seconds]


LIVE = "organism:reference"
FAR = Progress(done=10, seconds=5, left=20)
RUNS: dict[str, tuple[list[str], dict[str, Progress | None], str, str]] = {
    "not awake": ([LIVE], {LIVE: None}, "no", "1 of 22"),
    "awake": ([LIVE], {LIVE: FAR}, "no", "1 of 22, about 10 s left"),
    "recordings to come": ([LIVE, "recorded:yi-6b-chat"], {LIVE: FAR}, "no", "1 of 44, about 10 s left"),
    "another to come": ([LIVE, "organism:flat"], {LIVE: FAR}, "no", "1 of 44"),
    "two at once": ([LIVE, "organism:flat"], {LIVE: FAR, "organism:flat": FAR}, "load", "1 of 44, about 10 s left"),
    "several workers a model": ([LIVE], {LIVE: FAR}, "worksteal", "1 of 22"),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_run_promises_no_time_of_what_is_not_known(run: str, tmp_path: Path) -> None:
    models, measured, distribution, said = RUNS[run]
    options = {"--evidence": str(tmp_path / "evidence"), "--quant": "nf4", "--device": "cpu", "dist": distribution}
    config = SimpleNamespace(getoption=options.get, invocation_params=SimpleNamespace(args=()))
    account = RunReporter(config, models)  # type: ignore[arg-type]
    account._expected = {f"t_{number}[{model}]" for number in range(22) for model in models}
    account._words = {f"t_0[{LIVE}]": "SUPPORTED"}
    account._measured.update(measured)
    assert account._progress() == said


def test_a_glance_at_evidence_is_no_reading_and_leaves_damage_to_readers(tmp_path: Path) -> None:
    store = Store(tmp_path, fresh=True)
    whole, damaged = (Recipe("a-kind", 1, "model", {"side": side}) for side in ("harmful", "harmless"))
    values = {"refused": [1.0, 0.0]}
    for recipe in (whole, damaged):
        store.put(Evidence(recipe, values))
    path = store.path(damaged.fingerprint)
    path.write_text("{")
    with store.tracking() as read:
        glance = store.for_planning()
        kept = glance.get(whole)
        assert kept is not None
        assert kept.values == values
        assert glance.get(damaged) is None
        assert path.exists()
        assert read == set()
    # What others measured before a fresh run began is as far away for a plan as for a claim.
    assert Store(tmp_path, fresh=True).for_planning().get(whole) is None
    with pytest.warns(DamagedEvidence):
        assert store.get(damaged) is None
    assert not path.exists()


CLAIMS = """
import pytest
from harness.claims.claim import claim
from harness.measurements.interventions import remove

class Odd(Exception):
    pass

def made(name):
    return claim(name, source="a test", holds_on="reference", fails_on="compliant")

@made("first")
def test_first(model, pairs):
    '''It goes by the direction.'''
    assert model.refuses(pairs.heldout).fall(remove(model.direction(pairs.discovery))) > 0.30

@made("odd")
def test_odd(model, pairs):
    '''It is wrong in a way of its own.'''
    if model.sizes.layers:
        raise Odd("no")
    assert model.refuses(pairs.heldout).rate("harmful") > 0.30

@made("skips")
def test_skips(model, pairs):
    '''It is not asked.'''
    if model.sizes.layers:
        pytest.skip("not here")
    assert model.refuses(pairs.heldout).rate("harmful") > 0.30

@made("second")
def test_second(model, pairs):
    '''It goes by one head.'''
    assert model.effect(model.circuit(pairs.discovery, heads=1), pairs.heldout) > 0.30

@pytest.mark.skip("never")
@made("marked")
def test_marked(model, pairs):
    '''It is not asked either.'''
    assert model.effect(model.circuit(pairs.discovery, heads=2), pairs.heldout) > 0.30

@made("last")
def test_last(model, pairs):
    '''It was asked before.'''
    assert model.refuses(pairs.heldout).rate("harmful") > 0.30
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [("-n", "0"), ("-n", "2")], ids=["alone", "xdist"])
def test_what_is_left_is_said_from_what_was_measured_and_changes_nothing(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "test_mine.py").write_text(CLAIMS)
    pairs = (DATA / "organisms" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()[::9]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs), encoding="utf-8")
    options = (tmp_path, "--model", "organism:reference", "--device", "cpu", "--pairs", tmp_path / "pairs.jsonl")
    evidence = ("--evidence", tmp_path / "evidence")
    done = judge(*options, *evidence, *workers)
    assert done.returncode == 12, done.stdout + done.stderr
    said = dict(re.findall(r"^[A-Z]+ +(\w+)\[.*\[\d of 6(.*)\]$", done.stdout, re.MULTILINE))
    # Nothing while a claim to come could not be planned, nor where all that is to come is evidence or never runs.
    assert {name: bool(re.fullmatch(r", about \d+ (s|min) left", end)) for name, end in said.items()} == {
        "first": False,
        "odd": True,
        "second": False,
        "last": False,
    }
    assert not any(end for name, end in said.items() if name != "odd")
    measured = verdicts(tmp_path)
    words = {name: json.loads(one)["word"] for name, one in measured.items()}
    assert words["odd"] == "BROKEN"
    assert words["skips"] == words["marked"] == "SKIPPED"
    # From evidence alone the model is not woken, so nothing is planned: accounts and verdicts stay what they were.
    again = judge(*options, *evidence, "--judge-only")
    assert " left]" not in again.stdout
    assert verdicts(tmp_path) == measured


def verdicts(folder: Path) -> dict[str, str]:
    """Of the latest run, by claim, without the seconds they took."""
    run = Run.load(latest(folder / "runs"))
    return {verdict["claim"]: json.dumps(verdict | {"seconds": 0}) for verdict in run.verdicts}
