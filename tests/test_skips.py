"""What was not judged is said claim by claim, each with its own reason."""

import pytest

from harness.claims.claim import claim_named
from harness.judging.estimate import Inconclusive, asides, decisions
from harness.results.run_record import Judged
from harness.running.run_reporter import skips
from harness.subjects.published.recorded import RecordedSubject
from harness.subjects.published.recordings import NotRecorded, recording


def skipped(claim: str, model: str, reason: str) -> Judged:
    return Judged(
        claim=claim, model=model, test="", word="SKIPPED", reason=f"{model}: {reason}", estimates=[], beside=[],
        evidence=[], seconds=0.0,
    )  # fmt: skip


def test_every_claim_has_its_own_reason_and_models_of_the_same_reasons_stand_together() -> None:
    why = {"heads": "(circuit) was not recorded", "both": "(circuit) was not recorded", "depth": "(depths) was not"}
    both = ("recorded:a", "recorded:b")
    made = {model: [skipped(claim, model, reason) for claim, reason in why.items()] for model in both}
    made["recorded:b"].reverse()  # workers judge in any order
    made["recorded:c"] = [skipped("heads", "recorded:c", "'harmful, direction added' was not recorded")]
    assert list(skips(made)) == [
        "SKIPPED      3 on recorded:a, recorded:b:",
        "             both, heads: (circuit) was not recorded",
        "             depth: (depths) was not",
        "SKIPPED      1 on recorded:c:",
        "             heads: 'harmful, direction added' was not recorded",
    ]
    assert list(skips({})) == []


def test_what_was_not_recorded_skips_a_claim_although_there_is_perhaps_nothing_to_explain() -> None:
    """Yi-6B refuses 62 of 100: too few for the gate, which hid that a recording holds no circuits."""
    yi = RecordedSubject(recording("yi-6b-chat"), 0.0025)
    with pytest.raises(NotRecorded, match=r"\(circuit\) was not recorded"):
        claim_named("localization").run(model=yi, pairs=yi.all_pairs)
    with decisions() as made, asides() as beside, pytest.raises(Inconclusive, match="it refuses 62 of 100"):
        claim_named("direction-necessity").run(model=yi, pairs=yi.all_pairs)
    assert made == []
    assert list(beside) == ["refused to begin with"]
