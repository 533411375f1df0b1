"""A word that does not follow from its numbers is found, said in red and not counted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.inputs.places import DATA
from harness.judging.estimate import Estimate, decisions
from harness.judging.verdict import Verdict, Word, verdict
from harness.measurements.evidence import Store
from harness.report.page import write
from harness.results import wording
from harness.results.rejudged import doubt, doubts
from harness.results.run_record import Judged, Run
from tests.tools import stories

_ends = st.tuples(st.floats(-2, 2), st.floats(-2, 2)).map(sorted)
_bars = st.tuples(_ends, st.sampled_from("><"), st.floats(-2, 2), st.sampled_from(["", "nothing to explain"]))


def judged(found: Verdict) -> Judged:
    return Judged(
        claim="c",
        model="m",
        test="t",
        word=found.word,
        reason=found.reason,
        estimates=list(found.estimates),
        beside=[],
        evidence=[],
        seconds=0.0,
    )


def compared(bars: list[tuple[list[float], str, float, str]]) -> Verdict:
    """What pytest's side makes of an assert on these."""
    whole, error = None, None
    for (low, high), sign, bar, nothing in bars:
        estimate = Estimate("e", (low + high) / 2, low, high, 9, "drawn", nothing=nothing)
        decided = estimate > bar if sign == ">" else estimate < bar
        whole = decided if whole is None else whole & decided
    with decisions() as made:
        try:
            assert whole
        except Exception as raised:  # noqa: BLE001 - refuted or inconclusive
            error = raised
    return verdict(error, made, pytest.skip.Exception)


@given(st.lists(_bars, min_size=1, max_size=4))
def test_every_verdict_that_pytest_gives_follows_from_its_numbers(
    bars: list[tuple[list[float], str, float, str]],
) -> None:
    text = " & ".join(f"(model.e() {sign} {bar!r})" for _, sign, bar, _ in bars)
    assert doubt(judged(compared(bars)), text) == ""


@given(st.lists(_bars, min_size=1, max_size=4), st.sampled_from(["SUPPORTED", "REFUTED", "INCONCLUSIVE"]))
def test_any_other_word_does_not(bars: list[tuple[list[float], str, float, str]], word: Word) -> None:
    pytest_said = compared(bars)
    said = doubt(judged(pytest_said) | {"word": word}, "")
    assert bool(said) == (word != pytest_said.word)
    if said:
        assert f"it says {word}, but its numbers say {pytest_said.word}" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(model.e() > 0.3)", ""),
        ("abs(model.e()) > 0.3", ""),
        ("(model.e() > 0.5)", "the claim's bar is > 0.50, but no estimate was compared with that"),
        ("(model.e() < 0.3)", "the claim's bar is < 0.30, but"),
        ("(model.e() > 0.3) & (model.f() > -0.1)", "the claim's bar is > -0.10, but"),
        # What cannot be compared says nothing.
        ("model.e() > bar", ""),
        ("no Python at all >", ""),
        ("(" * 5000, ""),
        ("\0", ""),
        ("", ""),
    ],
)
def test_bars_are_those_that_the_claim_wrote(text: str, said: str) -> None:
    reason = doubt(judged(compared([([0.5, 0.9], ">", 0.3, "")])), text)
    assert reason == said if not said else reason.startswith(said)


def test_a_word_without_any_estimate_says_nothing_but_inconclusive() -> None:
    nothing = judged(Verdict("INCONCLUSIVE", "nothing to explain: it refuses 0 of 9"))
    assert doubt(nothing, "e > 0.3") == ""
    assert "no estimate was compared with a bar" in doubt(nothing | {"word": "SUPPORTED"}, "e > 0.3")
    assert doubt(nothing | {"word": "SKIPPED"}, "e > 0.3") == ""


@pytest.mark.parametrize("word", ["SKIPPED", "UNFIT", "UNMEASURED", "BROKEN"])
def test_a_refutation_is_not_hidden_behind_another_word(word: Word) -> None:
    refuted = judged(compared([([0.1, 0.2], ">", 0.3, "")]))
    assert doubt(refuted | {"word": word}, "").startswith(f"it says {word}, but its numbers say REFUTED: e ")
    # What went wrong after it had asserted says nothing else.
    assert doubt(judged(compared([([0.5, 0.6], ">", 0.3, "")])) | {"word": word}, "") == ""


def test_a_run_changed_by_hand_is_said_in_red_at_the_top_and_on_the_command_line(tmp_path: Path) -> None:
    run = stories.told(tmp_path, ["a", "b"], ["m"], stories.pairs(12))
    before = write(run, Store(tmp_path / "evidence"))
    assert before.doubts == ()
    assert 'class="wrong"' not in before.page.read_text()
    values = json.loads((run / "run.json").read_text())
    values["verdicts"][0]["estimates"][0] |= {"value": 0.1, "low": 0.0, "high": 0.2}  # REFUTED, it should say
    (run / "run.json").write_text(json.dumps(values))
    assert list(doubts(Run.load(run))) == [("a", "m")]
    assert wording.headline(Run.load(run)) == "1 of 2 claims supported on m; 1 contradicted by its own numbers."
    command = [sys.executable, "-m", "harness", "report", "--evidence", str(tmp_path / "evidence")]
    done = subprocess.run(command, cwd=DATA.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    why = "a on m: it says SUPPORTED, but its numbers say REFUTED: fall +0.10 [+0.00, +0.20] > 0.30"
    assert f"NOT COUNTED  {why}\n" in done.stdout
    page = before.page.read_text()
    assert page.index('class="wrong" role="alert"') < page.index("<h1>1 of 2 claims supported")
    assert "it says SUPPORTED, but its numbers say REFUTED" in page
