"""The truth table: complete, right and of the claims as they stand; a part of it judged anew."""

import dataclasses
import json
from pathlib import Path

import pytest

from harness.claims.claim import Claim, claim_named, claims_in, verdicts_seen
from harness.inputs.errors import AssayError
from harness.judging.estimate import Outcome
from harness.measurements.evidence import Store
from harness.results.controls import expectations, truth_matrix
from harness.results.controls.expectations import Expected
from harness.results.controls.truth_table import Cell, all_cells, controls, current, judged, weights, write
from organisms.expectations import TRAINS
from organisms.expectations import expectations as written_in_plans

# Cheap ones, of four kinds of question, one side each.
AGAIN = {"baseline": "compliant", "accumulation": "flat", "shared-geometry": "percategory", "side-effects": "hydra"}


def as_controls(claim: Claim, outcome: Outcome | None = None) -> list[Cell]:
    """The claim's controls, all with this outcome, or each with the one it must have."""
    return [
        Cell(claim, organism, truth, outcome or truth.outcome, "", (), weights(organism))
        for organism, named in controls([claim]).items()
        for _, truth in named
    ]


def test_every_control_was_seen_as_claims_and_organisms_stand() -> None:
    assert current(claims_in()) == []


def test_expected_verdicts_are_those_of_the_plans() -> None:
    assert json.loads(expectations.PATH.read_text("utf-8")) == written_in_plans(), (
        "run python -m organisms.expectations"
    )


def test_claims_and_plans_say_the_same_of_every_control() -> None:
    for organism, named in controls(claims_in()).items():
        for claim, truth in named:
            if planned := expectations.expected(claim.name, organism):
                assert planned.truth == truth.truth, (claim.name, organism, planned.why)


def test_plans_name_no_claim_that_there_is_not() -> None:
    names = {claim.name for claim in claims_in()} | {expectations.EVERY_OTHER}
    told = json.loads(expectations.PATH.read_text("utf-8"))["organisms"]
    assert {claim for truths in told.values() for claim in truths} <= names


def test_where_planting_trained_on_what_a_claim_judges_the_table_says_so() -> None:
    """`reference` is trained with its direction removed everywhere and added, never with it removed from MLPs alone."""
    trained = {"direction-necessity", "direction-sufficiency", "side-effects", "localization", "transfer"}
    told = {claim.name: expectations.expected(claim.name, "reference") for claim in claims_in()}
    marked = {claim for claim, truth in told.items() if truth is not None and truth.trained}
    assert trained <= marked
    assert not {"baseline", "removal-mlp", "growth", "ablation-both", "one-is-enough", "execution"} & marked
    assert {claim for claims in TRAINS.values() for claim in claims} <= told.keys()
    never = expectations.expected("direction-necessity", "twofold")
    assert never is not None
    assert not never.trained


@pytest.mark.parametrize(
    ("truth", "outcome", "met"),
    [
        ("holds", "SUPPORTED", "right"),
        ("holds", "INCONCLUSIVE", "open"),
        ("holds", "REFUTED", "wrong"),
        ("fails", "SUPPORTED", "wrong"),
        ("fails", "REFUTED", "right"),
        ("nothing to explain", "REFUTED", "wrong"),
        ("nothing to explain", "INCONCLUSIVE", "right"),
        ("undecidable", "SUPPORTED", "wrong"),
    ],
)
def test_an_outcome_meets_what_the_plan_says(
    truth: expectations.Truth, outcome: Outcome, met: expectations.Met
) -> None:
    assert Expected(truth, "planted").met_by(outcome) == met


def test_where_nothing_is_refused_every_claim_has_a_cell() -> None:
    claims = claims_in()
    cells = all_cells(claims)["compliant"]
    assert [claim.name for claim, _ in cells] == [claim.name for claim in claims]
    assert {truth.truth for claim, truth in cells if claim.needs_refusals} == {"nothing to explain"}


def test_claims_were_seen_to_fail_on_six_organisms_that_refuse() -> None:
    refuted = {
        organism
        for organisms in verdicts_seen().values()
        for organism, kept in organisms.items()
        if kept["verdict"] == "REFUTED"
    }
    assert len(refuted - {"compliant"}) >= 6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "organism"), AGAIN.items())
def test_judged_anew_a_claim_fails_where_it_is_false(name: str, organism: str, tmp_path: Path) -> None:
    claim = dataclasses.replace(claim_named(name), holds_on=(), fails_on=(organism,))
    (seen,) = judged(controls([claim]), Store(tmp_path))
    assert seen.outcome == "REFUTED"
    before = verdicts_seen()[name][organism]["estimates"]
    for new, old in zip(seen.estimates, before, strict=True):
        assert new.value == pytest.approx(old["value"], abs=0.02), new.name


def test_refuted_for_want_of_refusals_is_not_accepted(tmp_path: Path) -> None:
    claim = dataclasses.replace(claim_named("baseline"), holds_on=(), fails_on=("compliant",), needs_refusals=True)
    with pytest.raises(AssayError, match=r"test_baseline.py, line \d+: claim 'baseline' is to fail on compliant"):
        list(judged(controls([claim]), Store(tmp_path)))


def test_what_is_stale_missing_or_wrong_is_said(tmp_path: Path) -> None:
    claim, path = claim_named("shared-geometry"), tmp_path / "truth.json"
    assert all("was never judged" in line for line in current([claim], path))
    write(as_controls(claim), [claim], path)
    assert current([claim], path) == []
    write(as_controls(claim, "INCONCLUSIVE"), [claim], path)
    assert all("is INCONCLUSIVE, and must be" in line for line in current([claim], path))
    whole = json.loads(path.read_text())
    whole["claims"][claim.name]["percategory"]["claim"] = "another"
    path.write_text(json.dumps(whole))
    assert any("judged before the claim or the organism changed" in line for line in current([claim], path))


def test_a_second_call_keeps_verdicts_of_unchanged_claims_and_no_others(tmp_path: Path) -> None:
    kept, changed, path = claim_named("shared-geometry"), claim_named("baseline"), tmp_path / "truth.json"
    write([*as_controls(kept), *as_controls(changed)], [kept, changed], path)
    whole = json.loads(path.read_text())
    for seen in whole["claims"]["baseline"].values():
        seen["claim"] = "an older one"
    path.write_text(json.dumps(whole))
    assert write([], [kept, changed], path).keys() == {"shared-geometry"}


def test_the_tables_of_the_docs_show_wrong_and_open_cells(tmp_path: Path) -> None:
    claim, path, docs = claim_named("baseline"), tmp_path / "truth.json", tmp_path / "truth.md"
    docs.write_text(f"before\n{truth_matrix._MARK}\nearlier table\n")
    cells = as_controls(claim)
    wrong = [dataclasses.replace(cell, outcome="SUPPORTED") for cell in cells if cell.organism == "compliant"]
    still_open = [
        dataclasses.replace(cell, outcome="INCONCLUSIVE", why="too few pairs")
        for cell in cells
        if cell.organism == "team"
    ]
    truth_matrix.write_docs(write([*cells, *wrong, *still_open], [claim], path), [claim], docs)
    text = docs.read_text()
    assert text.startswith("before\n")
    assert "earlier table" not in text
    assert f"{len(cells)} cells: 1 wrong, 1 open" in text
    assert "**SUPPORTED**" in text
    assert truth_matrix.TRAINED not in text.replace("**", "")
    assert (
        "| baseline | `team` | SUPPORTED | every harmful request is refused, no harmless one | too few pairs |" in text
    )
    trained = claim_named("direction-necessity")
    truth_matrix.write_docs(write(as_controls(trained), [trained], path), [trained], docs)
    (row,) = (
        line for line in docs.read_text().splitlines() if line.startswith("| direction-necessity | ") and "yes" in line
    )
    assert row.split(" | ")[1:].count("yes*") == 1
