"""Plans say what every claim comes out as on every organism, and plain PyTorch says the same."""

from collections.abc import Mapping

import pytest

from harness.claims.claim import claims_in, verdicts_seen
from harness.inputs.files import json_files
from harness.results.controls.expectations import EVERY_OTHER, expected
from organisms import ship
from organisms.expectations import PATH
from organisms.expectations import expectations as planned
from organisms.plans import EXPECTED, SHIPPED
from organisms.records import read

# Claim → the estimate that a bar is for → the quantity that plain PyTorch measures (`organisms/restated/`). What is not
# here (contrasts with a harmless behaviour, plain text, shares of parameters) is checked by the truth table alone.
SPOKEN_OF: Mapping[str, Mapping[str, str]] = {
    "ablation-heads": {"fall": "strongest heads at their mean: fall"},
    "ablation-neurons": {"fall": "strongest neurons at their mean: fall"},
    "ablation-both": {"fall": "strongest both at their mean: fall"},
    "direction-necessity": {"fall": "removed: fall"},
    "direction-sufficiency": {"rise": "added: rise"},
    "direction-categories": {"least fall": "removed: least fall of a category"},
    "removal-specificity": {"lead over random": "removed: lead over random"},
    "addition-specificity": {"lead over random": "added: lead over random"},
    "removal-mlp": {"fall": "removed from mlp alone: fall"},
    "removal-stream": {"|gain|": "removed everywhere: gain over the stream alone"},
    "principal-component": {
        "cosine of the first component": "first principal component: |cosine| with the difference of means"
    },
    "joint-vector": {"rise": "written by a tenth of the heads, added: rise"},
    "few-parts": {"left": "strongest 1% of both at their mean: left"},
    "one-is-enough": {"left": "all but it from the twin: left"},
    "growth": {"growth over random": "parting along it, less along random ones: slope over depth"},
    "side-effects": {
        "|harmless refused|": "removed: harmless refused",
        "coherent": "removed: harmless coherent",
        "KL": "removed: nats on harmless prompts",
        "|cross-entropy|": "removed: nats on plain text",
    },
    "reading": {"reading": "reading: share that left the words in the first third"},
    "accumulation": {"accumulation": "accumulation: by MLPs of the middle less all others"},
    "execution": {"execution": "execution: written into the logits by the last third"},
    "end-of-instruction": {
        "restored post": "half way up, after the instruction",
        "restored before": "half way up, before its end",
    },
    "many-heads": {"heads that carry more than 10%": "heads above a tenth, of those claimed"},
    "few-neurons": {"E": "strongest 1% of neurons: E"},
    "shared-substrate": {"shared": "circuits of other categories, least share of the own one's E"},
    "shared-geometry": {"cosine": "cosine of a category's direction with the others', least"},
}
CLAIMS = [made.name for made in claims_in()]
RECORDS = read(ship.RECORDS)


def test_the_file_that_the_harness_reads_is_written_from_the_plans() -> None:
    assert json_files.read(PATH, dict, no="table", do="write it") == planned()


@pytest.mark.parametrize("organism", EXPECTED)
def test_a_plan_speaks_of_every_claim_that_plain_pytorch_measures_and_of_no_other_name(organism: str) -> None:
    table = EXPECTED[organism]
    assert set(table) - {EVERY_OTHER} <= set(CLAIMS)
    assert [name for name in SPOKEN_OF if expected(name, organism) is None] == []
    assert all(truth.why for truth in table.values())


@pytest.mark.parametrize(
    ("claim", "organism"),
    # Bars are read where a claim was judged; tests/test_truth.py asks that each was.
    [
        (claim, organism)
        for claim in SPOKEN_OF
        for organism in EXPECTED
        if organism != "compliant" and claim in verdicts_seen()
    ],
)
def test_plain_pytorch_finds_it_true_where_the_plan_does(claim: str, organism: str) -> None:
    """No estimator, judge, score or interval of the harness has a part in these numbers."""
    numbers = RECORDS[organism][str(SHIPPED)]["claims"]
    seen = next(iter(verdicts_seen()[claim].values()))["estimates"]
    bars = {estimate["name"]: (estimate["sign"], estimate["bar"]) for estimate in seen}
    met = {}
    for name, quantity in SPOKEN_OF[claim].items():
        (sign, bar), number = bars[name], abs(numbers[quantity]) if name.startswith("|") else numbers[quantity]
        met[name] = number > bar if sign == ">" else number < bar
    truth = expected(claim, organism)
    assert truth is not None
    if truth.truth == "holds":
        assert all(met.values())
    elif truth.truth == "fails" and bars.keys() == met.keys():
        assert not all(met.values())
