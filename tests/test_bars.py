"""Bars that nothing can miss or meet are refused before anything is measured, and so is torch in a claim's file."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.claims.claim import Claim, claims_in
from harness.inputs.errors import AssayError
from harness.judging.estimate import Comparison, Estimate, Unreachable
from harness.judging.ranges import RANGES, absolute, beyond
from harness.results.controls.power import rehearse
from tests.test_claims import judge, loaded

CLAIM = """
{imports}
from harness.claims.claim import claim
from harness.measurements.interventions import remove
{helper}

@claim("reach", source="a test", holds_on="reference", fails_on="compliant")
def test_reach(model, pairs):
    '''A sentence that can be wrong.'''
    direction = model.direction(pairs.discovery)
{body}
"""
FALL = "model.refuses(pairs.heldout).fall(under=remove(direction))"
HELPER = "def ours(model, pairs):\n    return model.refuses(pairs).rate('harmless')\n"


def text(body: str, imports: str = "", helper: str = "") -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return CLAIM.format(imports=imports, helper=helper, body=lines)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f"assert {FALL} > 30", "fall lies between -1 and 1; write 0.30 for 30 points"),
        (f"fall = {FALL}\nassert fall > 30", "fall lies between -1 and 1; write 0.30 for 30 points"),
        (f"fall: object = {FALL}\nassert fall < -30", "fall lies between -1 and 1; write -0.30 for -30 points"),
        (
            "answers, other = model.refuses(pairs.heldout), 1\nassert answers.rate('harmful') < -1",
            "rate lies between 0 and 1",
        ),
        ("assert model.refuses(pairs.heldout, judge='x').rate() > 80", "rate lies between 0 and 1; write 0.80 for 80"),
        ("assert model.geometry(pairs.heldout).agreement() > 1", "agreement lies between -1 and 1"),
        ("where = model.geometry(pairs.heldout)\nassert where.agreement() > 1.01", "agreement lies between -1 and 1"),
        (
            "assert model.depths(pairs.heldout).of('reading') > 12",
            "depths.of lies between -1 and 1; write 0.12 for 12 points",
        ),
        (f"assert abs({FALL}) < 0", "|fall| lies between 0 and 1"),
        (f"fall = abs({FALL})\nassert fall > 1", "|fall| lies between 0 and 1"),
        (
            "beside = model.side_effects(pairs.heldout, remove(direction))\n"
            "assert (beside.coherent() > 0.9) & (beside.divergence() < 0.0)",
            "divergence is never below 0",
        ),
        ("assert (model.share(None) < 5) & (model.effect(None, pairs) > 7)", "share lies between 0 and 1; write 0.05"),
        ("assert ours(model, pairs.heldout) < 10", "rate lies between 0 and 1; write 0.10 for 10 points"),
    ],
)
def test_a_bar_that_cannot_be_reached_is_refused_at_collection(tmp_path: Path, body: str, said: str) -> None:
    made = loaded(tmp_path / "test_reach.py", text(body, helper=HELPER))
    with pytest.raises(AssayError, match=re.escape(said)) as raised:
        made.check()
    assert str(raised.value).startswith("test_reach.py, line ")
    assert "has a bar out of reach: " in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [
        f"assert {FALL} > 0.99",
        f"assert {FALL} < 0",
        "assert (model.effect(None, pairs) > 1.5) & (model.lead(None, pairs) > 30)",
        "assert model.side_effects(pairs, remove(direction)).cross_entropy() < 2",
        "assert model.counted(pairs, 'head', 0.1, of=2) > 1.5",
    ],
)
def test_a_bar_that_can_be_is_accepted(tmp_path: Path, body: str) -> None:
    loaded(tmp_path / "test_reach.py", text(body)).check()


@pytest.mark.parametrize(
    "body",
    [
        f"falls = [{FALL}]\nassert falls[0] > 30",
        f"fall = {FALL}\nfall = fall\nassert fall > 30",
        "import operator\nfall = operator.methodcaller('rate')(model.refuses(pairs.heldout))\nassert fall > 30",
    ],
)
def test_what_the_source_does_not_show_is_found_on_drawn_answers_before_anything_is_measured(
    tmp_path: Path, body: str
) -> None:
    made = loaded(tmp_path / "test_reach.py", text(body))
    made.check()
    assert [bar.question for bar in made.bars] == [None]
    with pytest.raises(AssayError, match=r"test_reach.py, line \d+: claim 'reach' .* write 0.30 for 30 points"):
        rehearse(made)
    done = judge(tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "write 0.30 for 30 points" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_rehearsal_says_nothing_of_what_it_cannot_draw_and_nothing_of_other_mistakes(tmp_path: Path) -> None:
    for body in ("bars = [model.missing]\nassert bars[0] > 30", f"falls = [{FALL}]\nassert falls[0] > 0.3"):
        made = loaded(tmp_path / "test_reach.py", text(body))
        assert not all(bar.question for bar in made.bars), "its source would show the bar, and nothing be drawn"
        rehearse(made)


@pytest.mark.parametrize("made", claims_in(), ids=lambda made: made.name)
def test_of_our_claims_the_source_shows_every_question(made: Claim) -> None:
    assert all(bar.question in RANGES for bar in made.bars)
    assert len(made.bars) == made.bar.count("<") + made.bar.count(">")


def test_an_estimate_refuses_such_a_bar_whoever_wrote_it() -> None:
    fall = Estimate("fall", 0.6, 0.5, 0.7, 64, "Tango", range=(-1.0, 1.0))
    beyond_reach: list[Callable[[], Comparison]] = [
        lambda: fall > 30,
        lambda: fall < -1,
        lambda: abs(fall) > 1,
        lambda: fall > math.nan,
    ]
    for compare in beyond_reach:
        with pytest.raises(Unreachable, match="fall.? lies between"):
            compare()
    assert (fall > 0.3).outcome == "SUPPORTED"


@given(low=st.floats(-2, 2), width=st.floats(0.1, 3), bar=st.floats(-5, 5))
def test_a_bar_is_within_reach_if_intervals_can_lie_on_both_sides(low: float, width: float, bar: float) -> None:
    reach = (low, low + width)
    assert (beyond("x", reach, bar) == "") == (reach[0] < bar < reach[1])
    for endless in (float("inf"), float("-inf"), float("nan")):
        assert beyond("x", reach, endless) != ""
        assert beyond("x", None, endless) == "x is a number"
    held = absolute(reach)
    for value in (reach[0], reach[1], (reach[0] + reach[1]) / 2):
        assert held[0] <= abs(value) <= held[1]


@pytest.mark.parametrize(
    "imports",
    [
        "import torch",
        "import torch as t",
        "import numpy, torch.nn as nn",
        "from torch import nn",
        "from torch.nn import functional as f",
        "from harness.instruments.directions import torch as t",
        "import importlib\nt = importlib.import_module('torch')",
        "t = __import__('torch')",
    ],
)
def test_torch_in_a_claims_file_is_refused_with_its_line(tmp_path: Path, imports: str) -> None:
    # Read and not run: a claim's file is refused before anything of it is.
    line = 2 + imports.count("\n")
    with pytest.raises(AssayError, match=rf"^test_reach.py, line {line}: imports torch; a claim asks the model"):
        loaded(tmp_path / "test_reach.py", text(f"assert {FALL} > 0.3", imports)).check()


def test_torch_within_a_claims_test_is_refused_too(tmp_path: Path) -> None:
    body = f"import torch\nassert {FALL} > 0.3"
    with pytest.raises(AssayError, match=r"^test_reach.py, line 11: imports torch"):
        loaded(tmp_path / "test_reach.py", text(body)).check()
    (tmp_path / "test_reach.py").write_text(text("torchlight = 3\n" + f"assert {FALL} > 0.3"))
    assert len(claims_in(tmp_path)) == 1
    (tmp_path / "test_reach.py").write_text(text(body))
    done = judge(tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_reach.py, line 11: imports torch" in done.stderr
