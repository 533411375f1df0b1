"""Every rule that claims use errs at most at its level when the truth stands at the bar, asked as claims ask it."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.judging.estimate import Estimate
from harness.subjects.live import Subject
from harness.subjects.synthetic import Synthetic, Truth
from tests.tools import calibrate, studies
from tests.tools.figures import Line, figure

# The first two cells of each rule every time: few pairs, and many.
CELLS = [
    pytest.param(cell, n, id=f"{rule} {cell.label} {n}", marks=() if number < 2 else pytest.mark.slow)
    for rule, cells in studies.RULES.items()
    for number, (cell, few) in enumerate(zip(cells, (16, 64, 32) * len(cells), strict=False))
    for n in [max(few, min(cell.sizes))]
]


def test_every_rule_that_claims_use_is_calibrated() -> None:
    assert studies.in_use() == {rule for rule in studies.RULES if rule[0].isupper()} | (studies.NO_RULES), (
        "give the new rule cells in tests/tools/studies.py, or say why there is nothing to err"
    )


def test_a_new_rule_would_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def guessed(self: Subject) -> Estimate:
        raise NotImplementedError

    monkeypatch.setattr(Subject, "guessed", guessed, raising=False)
    assert "Subject.guessed" in studies.in_use()


@pytest.mark.parametrize(("cell", "n"), CELLS)
def test_false_verdicts_at_the_bar_are_at_most_the_level(cell: studies.Cell, n: int) -> None:
    wrong = calibrate.wrong(cell, n, 0.05, cell.quick)
    assert max(wrong) <= calibrate.allowed(0.05, cell.quick, max(cell.beyond, 1.0))


def test_it_would_be_seen_if_a_rule_erred() -> None:
    # Answers of one template that count as independent.
    def careless(n: int, seed: int, level: float) -> Estimate:
        subject = Synthetic(Truth((0.0,), refused=0.5, alike=0.5, template=4), n, seed, level)
        alone = Synthetic(Truth((0.0,)), n, seed, level)
        subject.all_pairs = alone.all_pairs
        return subject.refuses(alone.all_pairs).rate()

    assert max(calibrate.wrong(studies.Cell("", careless, 0.5), 64, 0.05, 400)) > calibrate.allowed(0.05, 400)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["Refusals.fall", "Refusals.rise", "Refusals.left", "Refusals.gain"])
def test_synthetic_subjects_have_the_effect_they_are_said_to_have(rule: str) -> None:
    for cell in studies.RULES[rule]:
        assert cell.study(20_000, 0, 0.01).value == pytest.approx(cell.bar, abs=0.02)


def test_shares_and_agreements_are_drawn_as_said() -> None:
    subject = Synthetic(Truth((0.6,), agreement=0.8), 600, 0, 0.01)
    assert studies.of_circuit("effect")(subject).value == pytest.approx(0.6, abs=0.05)
    assert studies.of_circuit("lead")(subject).value == pytest.approx(0.6, abs=0.05)
    assert studies.agreement(subject).value == pytest.approx(0.8, abs=0.05)
    assert "effects by gradients" in " ".join(subject.asked)


def test_a_figure_is_well_formed_and_holds_every_line() -> None:
    lines = [Line("a < b", ((16, 0.5), (32, 3.0))), Line("c", ((16, 0.0),))]
    root = ElementTree.fromstring(figure("x & y", lines, (16, 32), top=2.0, mark=1.0, across="pairs"))
    drawn = [one.attrib["points"] for one in root.iter() if one.tag.endswith("polyline")]
    assert len(drawn) == 2
    # What lies beyond the top is drawn at the top.
    assert drawn[0].split()[1].endswith(",44.0")


def test_tables_go_between_their_markers_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- x -->\nold\n<!-- end of x -->\nbelow\n")
    for _ in range(2):
        calibrate.written("x", "new", page)
        assert page.read_text() == "above\n<!-- x -->\nnew\n<!-- end of x -->\nbelow\n"
    with pytest.raises(SystemExit, match="no markers"):
        calibrate.written("y", "new", page)
