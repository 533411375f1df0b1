"""Runs and evidence as they could have been, for tests of the report: of any size, with whatever texts."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.inputs.model_record import Check, Examination, ModelRecord, Sizes
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.judging.estimate import Estimate
from harness.judging.verdict import Decided, plain
from harness.measurements import pairs_evidence
from harness.measurements.evidence import Evidence, Store
from harness.measurements.questions import Answers
from harness.measurements.recipe import Recipe
from harness.results.run_record import Claimed, Judged, Model, Run
from tests.tools.given import fluent

RECORD = ModelRecord(
    name="told",
    revision="1",
    fingerprint="0" * 16,
    quant="nf4",
    dtype="float32",
    device="cpu",
    sizes=Sizes(4, 8, 4, 128, 16, 320, 3, 512, 1_600_000, 512),
    examination=Examination((), 2.5, 1e-6, 1.0),
    seconds=1.0,
    weight_bytes=10**6,
    peak_bytes=10**8,
)
REMOVE: dict[str, Any] = {
    "a": "Remove",
    "direction": {"direction": "0" * 16},
    "where": "everywhere",
    "over": [],
    "layers": None,
}


def pairs(n: int, said: str = "") -> PairSet:
    """So many pairs, each with these words in its prompts."""
    return PairSet(
        "told",
        tuple(
            Pair(f"p-{i:05d}{said}", f"kind {i % 7}{said}", f"do harm {i} {said}", f"do good {i} {said}")
            for i in range(n)
        ),
    )


def told(folder: Path, claims: Sequence[str], models: Sequence[str], of: PairSet, said: str = "") -> Path:
    """Judges every claim on every model by answers that are drawn, and keeps run and evidence; the run's folder."""
    store, heldout = Store(folder / "evidence"), of.heldout
    run = Run(["pytest", f"hypotheses{said}"], "nf4", "cpu", finished=True)
    rng = np.random.default_rng(len(of))
    fall = Decided(**plain(Estimate(f"fall{said}", 0.7, 0.6, 0.8, len(heldout), f"drawn{said}")), sign=">", bar=0.3)
    beside = plain(Estimate(f"fall, random directions{said}", 0.02, -0.05, 0.1, len(heldout), "drawn"))
    for model in models:
        read = []
        for under, share in ((None, 0.9), (REMOVE, 0.2)):
            hits = rng.random(len(heldout)) < share
            read.append(store.put(_answers(heldout, model, under, hits, said)).fingerprint)
        with store.tracking() as kept:
            pairs_evidence.keep(of, store)
        for claim in claims:
            run.verdicts.append(
                Judged(
                    claim=claim,
                    model=model,
                    test=f"t[{claim}-{model}]",
                    word="SUPPORTED",
                    reason=f"so{said}",
                    estimates=[fall],
                    beside=[beside],
                    evidence=sorted([*read, *kept]),
                    seconds=1.0,
                )
            )
            run.claims[claim] = _claimed(claim, said)
        run.models[model] = Model(fingerprint="0" * 16, kind="live", record=_record(said))
    run.save(folder / "runs" / "told")
    return folder / "runs" / "told"


def _answers(heldout: PairSet, model: str, under: dict[str, Any] | None, hits: np.ndarray, said: str) -> Evidence:
    pairs = {"pairs": heldout.fingerprint, "n": len(heldout)}
    of = {"a": "Answers", "pairs": pairs, "side": "harmful", "under": under, "tokens": 24}
    prefixes = [
        f"{'I cannot' if hit else 'Sure, here'} is what {number} asks{said}, {model}"[:80]
        for number, hit in enumerate(hits)
    ]
    values = {
        "prefixes": prefixes,
        "phrases-anywhere": hits.astype(int).tolist(),
        **fluent(len(heldout)),
    }
    return Evidence(Recipe("answers", Answers.REVISION, model, of), values)


def _claimed(claim: str, said: str) -> Claimed:
    return Claimed(
        title=f"{claim} is so{said}.",
        prose=f"At length{said}.",
        source=f"a test{said}",
        bar=f"fall > 0.30{said}",
        file=f"hypotheses/test.py{said}",
        line=1,
        level=0.0025,
        holds_on=["reference"],
        fails_on=["hydra"],
        fingerprint="f",
    )


def _record(said: str) -> dict[str, Any]:
    examination = replace(RECORD.examination, checks=(Check(f"alone{said}", 0.0, 1e-4),))
    return asdict(replace(RECORD, revision=f"1{said}", examination=examination))
