"""What was not judged is said claim by claim, each with its own reason."""

from harness.results.run_record import Judged
from harness.running.run_reporter import skips


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
