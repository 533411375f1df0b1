"""A claim was seen to hold and to fail by its own runs and the truth table, if claim and weights are as they were."""

from pathlib import Path
from typing import Any

import pytest

from harness.claims.claim import claim_named, verdicts_seen
from harness.inputs import places
from harness.inputs.files.json_files import fitting
from harness.judging.verdict import Word
from harness.measurements.evidence import Store
from harness.results.controls import control_runs
from harness.results.controls.control_runs import KnownControls
from harness.results.run_record import Claimed, Run
from harness.subjects.sleeper import Sleeper
from tests.tools.records import claimed, decided, judged

ENDS: dict[Word, tuple[float, float]] = {"SUPPORTED": (0.5, 0.9), "REFUTED": (0.0, 0.1), "INCONCLUSIVE": (0.2, 0.4)}
ABOUT = claimed(fails_on=("hydra", "flat"))


def record(organism: str) -> str:
    """The fingerprint of what is kept of the organism that is here."""
    return Sleeper(f"organism:{organism}", "nf4", "cpu", Store(places.evidence())).recipe.fingerprint


def run(
    folder: Path,
    model: str,
    word: Word,
    *,
    ends: Word | None = None,
    key: str = "",
    about: Claimed = ABOUT,
    imported: bool = False,
) -> Run:
    """A run of the claim `mine` on one model, in its folder."""
    run = Run(["pytest"], "nf4", "cpu", finished=True)
    low, high = ENDS[ends or word]
    evidence = ("0" * 64, key or record(model.removeprefix("organism:")))
    verdict = judged("mine", model, word, decided("e", low, low, high), evidence=evidence)
    if imported:
        verdict["imported"] = verdict["evidence"][:1]
    run.verdicts, run.claims = [verdict], {"mine": about}
    run.save(folder / f"{model.replace(':', '-')}-{word}-{ends or ''}{key[:4]}")
    return run


def test_its_own_runs_show_that_a_claim_holds_and_fails(tmp_path: Path) -> None:
    assert KnownControls(tmp_path, Run([], "nf4", "cpu")).of("mine", ABOUT).missing(ABOUT) == (
        "not yet seen to hold on reference or to fail on hydra or flat"
    )
    own = run(tmp_path, "organism:reference", "SUPPORTED")
    controls = KnownControls(tmp_path, own).of("mine", ABOUT)
    assert (dict(controls.holds), dict(controls.fails), controls.both) == (
        {"reference": "e +0.50 [+0.50, +0.90] > 0.30"},
        {},
        False,
    )
    assert controls.missing(ABOUT) == "not yet seen to fail on hydra or flat"
    run(tmp_path, "organism:flat", "REFUTED")
    controls = KnownControls(tmp_path, own).of("mine", ABOUT)
    assert list(controls.fails) == ["flat"]
    assert controls.both


@pytest.mark.parametrize(
    "other",
    [
        {"model": "organism:cone"},  # the claim does not name it
        {"word": "INCONCLUSIVE"},
        {"word": "SUPPORTED"},
        {"ends": "SUPPORTED"},  # the word does not follow from its numbers
        {"key": "f" * 64},  # of other weights
        {"about": claimed(fails_on=("hydra", "flat"), fingerprint="cd34")},  # another claim of that name
        {"imported": True},  # a stranger measured it
    ],
    ids=["elsewhere", "undecided", "held", "forged", "weights", "changed", "imported"],
)
def test_what_is_no_control_does_not_count(tmp_path: Path, other: dict[str, Any]) -> None:
    own = run(tmp_path, "organism:reference", "SUPPORTED")
    given: dict[str, Any] = {"model": "organism:flat", "word": "REFUTED"}
    run(tmp_path, **given | other)
    assert not KnownControls(tmp_path, own).of("mine", ABOUT).fails


def test_the_truth_table_counts_for_the_weights_that_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = verdicts_seen()["baseline"]
    monkeypatch.setattr(control_runs, "verdicts_seen", lambda: {"baseline": table})
    stands = fitting(claim_named("baseline").as_json, Claimed)
    stands["fingerprint"] = table["compliant"]["claim"]
    controls = KnownControls(tmp_path, Run([], "nf4", "cpu")).of("baseline", stands)
    assert controls.both
    assert list(controls.fails) == ["compliant"]
    other = {name: one | {"organism": "another"} for name, one in table.items()}
    monkeypatch.setattr(control_runs, "verdicts_seen", lambda: {"baseline": other})
    assert not KnownControls(tmp_path, Run([], "nf4", "cpu")).of("baseline", stands).fails


def test_a_damaged_run_is_no_control_and_no_failure(tmp_path: Path) -> None:
    own = run(tmp_path, "organism:reference", "SUPPORTED")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "run.json").write_text("{")
    assert not KnownControls(tmp_path, own).of("mine", ABOUT).fails


def test_looking_for_controls_writes_nothing_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, here = tmp_path / "runs", tmp_path / "here"
    here.mkdir()
    own = run(runs, "organism:reference", "SUPPORTED")
    monkeypatch.chdir(here)
    assert KnownControls(runs, own).of("mine", ABOUT).holds
    assert not list(here.iterdir())
