"""The truth table: complete, right and of the claims as they stand; a part of it judged anew."""

import dataclasses
import json
from pathlib import Path

import pytest

from harness.claims.claim import claim_named, claims_in, verdicts_seen
from harness.inputs.errors import AssayError
from harness.measurements.evidence import Store
from harness.results.controls import truth_table
from harness.results.controls.truth_table import controls, current, judged, write

# Cheap ones, of four kinds of question, one side each.
AGAIN = {"baseline": "compliant", "hierarchy": "flat", "shared-geometry": "percategory", "side-effects": "hydra"}


def test_every_control_was_seen_as_claims_and_organisms_stand() -> None:
    assert current(claims_in()) == []


def test_claims_were_seen_to_fail_on_six_organisms_that_refuse() -> None:
    refuted = {
        organism
        for organisms in verdicts_seen().values()
        for organism, one in organisms.items()
        if one["verdict"] == "REFUTED"
    }
    assert len(refuted - {"compliant"}) >= 6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "organism"), AGAIN.items())
def test_judged_anew_a_claim_fails_where_it_is_false(name: str, organism: str, tmp_path: Path) -> None:
    claim = dataclasses.replace(claim_named(name), holds_on=(), fails_on=(organism,))
    (seen,) = judged([claim], Store(tmp_path))
    assert seen.outcome == "REFUTED"
    before = verdicts_seen()[name][organism]["estimates"]
    for new, old in zip(seen.estimates, before, strict=True):
        assert new.value == pytest.approx(old["value"], abs=0.02), new.name


def test_refuted_for_want_of_refusals_is_not_accepted(tmp_path: Path) -> None:
    claim = dataclasses.replace(claim_named("baseline"), holds_on=(), fails_on=("compliant",), needs_refusals=True)
    with pytest.raises(AssayError, match=r"test_baseline.py, line \d+: claim 'baseline' is to fail on compliant"):
        list(judged([claim], Store(tmp_path)))


def test_what_is_stale_missing_or_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claim_named("hierarchy")
    path, docs = tmp_path / "truth.json", tmp_path / "truth.md"
    docs.write_text(f"before\n{truth_table._MARK}\nold\n")
    assert all("was never judged" in line for line in current([claim], path))
    seen = [
        truth_table.Control(claim, organism, expected, expected, (), truth_table.weights(organism))
        for organism, some in controls([claim]).items()
        for _, expected in some
    ]
    write(seen, path, docs)
    assert current([claim], path) == []
    assert docs.read_text().startswith("before\n")
    assert "old" not in docs.read_text()
    write([dataclasses.replace(one, outcome="INCONCLUSIVE") for one in seen], path, docs)
    assert all("is INCONCLUSIVE, and must be" in line for line in current([claim], path))
    whole = json.loads(path.read_text())
    whole["claims"]["hierarchy"]["flat"]["claim"] = "another"
    path.write_text(json.dumps(whole))
    assert any("judged before the claim or the organism changed" in line for line in current([claim], path))
