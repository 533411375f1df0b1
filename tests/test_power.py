"""How many pairs a claim needs, and the list of claims."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import binom

from harness.claims.claim import VerdictSeen, claim_named, claims_in, verdicts_seen
from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.judging import proportions
from harness.results.controls import power
from harness.subjects.synthetic import Truth
from tests.test_cli import harness


def exact(n: int, bar: float, rate: float, level: float) -> float:
    """The power of rate < bar, summed over every number of hits."""
    few = [k for k in range(n + 1) if proportions.rate([True] * k + [False] * (n - k), level).high < bar]
    return float(binom.cdf(max(few), n, rate)) if few else 0.0


def test_the_pairs_needed_are_those_of_the_exact_sum() -> None:
    # Of baseline the harmless bar is the dear one: all answered, 1 − (0.05 / 14)^(1/n) < 0.10 from n = 54 on.
    baseline = claim_named("baseline")
    needed, level = power.needed(baseline, 1.0), baseline.level
    assert (needed.outcome, exact(53, 0.1, 0.0, level), exact(54, 0.1, 0.0, level)) == ("SUPPORTED", 0.0, 1.0)
    assert needed.pairs is not None
    assert 54 <= needed.pairs <= 57


@pytest.mark.slow
def test_power_is_the_share_of_studies_that_decide() -> None:
    claim = claim_named("ablation-heads")
    needed = power.needed(claim, 0.65)
    assert needed.outcome == "SUPPORTED"
    assert needed.pairs is not None
    counts = power.outcomes(claim, power.truth_of(claim, 0.65), needed.pairs, 400)
    assert counts["SUPPORTED"] / 400 == pytest.approx(0.92, abs=0.06)
    assert power.needed(claim, 0.05).outcome == "REFUTED"


def test_the_bar_itself_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "MOST", 256)
    assert power.needed(claim_named("ablation-heads"), 0.30) == power.Needed(0.30, "INCONCLUSIVE", None)


def test_every_claim_can_be_drawn_and_says_its_arms() -> None:
    for claim in claims_in():
        try:
            arms = power.arms(claim, Truth((0.5,)))
        except AssayError as error:
            pattern = "cannot be simulated: the claim asks for .*, and synthetic subjects cannot draw that"
            assert re.search(pattern, str(error))  # noqa: PT017
        else:
            assert arms, claim.name


def test_power_on_the_command_line() -> None:
    done = harness("power", "ablation-heads", "--effect", "0.9")
    assert done.returncode == 0, done.stderr
    assert "harmful prompts under the intervention, 45% refused" in done.stdout
    assert done.stdout.splitlines()[-1].split()[:2] == ["effect", "0.90:"]
    assert done.stdout.splitlines()[-1].endswith("pairs  SUPPORTED")
    assert "between 0 and 1" in harness("power", "baseline", "--effect", "30").stderr
    assert "did you mean baseline?" in harness("power", "baselin").stderr


def test_claims_are_listed_with_all_they_must_say_and_without_torch() -> None:
    code = (
        "import sys; from harness.__main__ import main; main(['claims']); "
        "print(sorted({'torch', 'transformers', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=DATA.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    for claim in claims_in():
        for said in (f"{claim.name}: {claim.title}", claim.bar, claim.source, f"{claim.file}:{claim.line}"):
            assert said in done.stdout


def test_last_verdicts_are_read_and_damage_is_said(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    assert verdicts_seen(path) == {}
    seen: dict[str, dict[str, VerdictSeen]] = {
        "baseline": {"reference": {"verdict": "SUPPORTED", "claim": "x", "organism": "y", "estimates": []}}
    }
    path.write_text(json.dumps({"claims": seen}))
    assert verdicts_seen(path) == seen
    path.write_text("{")
    with pytest.raises(AssayError, match=r"truth.json: is no truth table .*; `make truth` writes it anew"):
        verdicts_seen(path)
