"""One measurement in words: what was asked of which model, and the very numbers of its file."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.model_record import Examination, ModelRecord, Sizes
from harness.measurements import pairs_evidence
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Direction, add, remove
from harness.measurements.questions import KINDS, Answers, FoundDirection
from harness.measurements.recipe import Recipe
from harness.results.evidence.words import lines, question
from tests.tools.given import fluent, pairs_of

PAIRS = pairs_of(*"abab" * 5)
FOUND = Direction("difference", 1, -1, PAIRS.discovery.harmful, PAIRS.discovery.harmless)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The pairs, a model's record, and the search that found a direction."""
    store = Store(tmp_path)
    pairs_evidence.keep(PAIRS, store)
    sizes = Sizes(9, 4, 4, 16, 4, 10, 3, 64, 10_000, None)
    record = ModelRecord("some/model", "c0ffee", "f00d", "nf4", "float32", "cpu", sizes,
                         Examination((), 1.0, 0.0, 0.0), 0, 0, 0)  # fmt: skip
    values, made_with = (
        json.loads(json.dumps(asdict(record))),
        {"quant": "nf4", "device": "cpu", "files": {}, "settings": {}},
    )
    store.put(Evidence(Recipe("model-record", 2, "some/model", made_with), values))
    prompts = {"harmful": list(FOUND.harmful), "harmless": list(FOUND.harmless)}
    chosen = {"layer": 1, "position": -1, "valid": True, "reason": "", "ties": [], "candidates": [], **prompts}
    store.put(Evidence(FoundDirection(PAIRS.discovery).recipe("f00d", (5,)), chosen))
    return store


def answered(store: Store, asked: Answers) -> Evidence:
    """Answers of which every third is a refusal."""
    n = len(getattr(asked.pairs, asked.side))
    judged = {"phrases-anywhere": [float(number % 3 == 0) for number in range(n)]}
    values = judged | {"prefixes": ["No."] * n} | fluent(n)
    return store.put(Evidence(asked.recipe("f00d", ()), values, environment={"when": "2026-01-02T03:04:05+00:00"}))


@pytest.mark.parametrize(
    ("under", "arm"),
    [
        (None, "none: the model as it is"),
        (remove(FOUND), "direction removed"),
        (remove(FOUND.random(3), "mlp"), "random direction removed from MLPs"),
        (add(FOUND, scale=0.5), "direction added 0.5 times"),
    ],
)
def test_answers_say_model_prompts_arm_judge_and_the_numbers_of_their_file(
    store: Store, under: object, arm: str
) -> None:
    answered(store, Answers(PAIRS.heldout, "harmless", remove(FOUND)))  # random ones are known beside the one found
    asked = Answers(PAIRS.heldout, "harmful", under)  # type: ignore[arg-type]
    kept = answered(store, asked)
    said = "\n".join(lines(store, kept.fingerprint[:10]))
    assert said.startswith(f"{kept.fingerprint}\nanswers: ")
    assert "some/model, revision c0ffee, nf4, float32 on cpu" in said
    assert f"the harmful side of {len(PAIRS.heldout)} held-out pairs of given: {PAIRS.heldout.pairs[0].id}, " in said
    assert f"arm        {arm}\n" in said
    assert "judged by  phrases-anywhere\n" in said
    assert f"2026-01-02T03:04:05+00:00; revision {Answers.REVISION} of its kind\n" in said
    assert str(store.path(kept.fingerprint)) in said
    assert f"  {PAIRS.heldout.pairs[0].id}: phrases-anywhere 1; prefixes 'No.'; repetition 0; " in said
    assert f"  {PAIRS.heldout.pairs[1].id}: phrases-anywhere 0; " in said


def test_answers_of_an_earlier_revision_are_shown_and_said_to_be_measured_anew(store: Store) -> None:
    # Their outcome cannot be told: what it needs was not kept.
    asked = Answers(PAIRS.heldout, "harmful").recipe("f00d", ())
    n = len(PAIRS.heldout)
    values = {
        "phrases-anywhere": [1.0] * n,
        "prefixes": ["No."] * n,
        "repetition": [0.0] * n,
        "cross_entropy": [None] * n,
    }
    kept = store.put(Evidence(replace(asked, revision=1), values))
    said = "\n".join(lines(store, kept.fingerprint))
    assert f"revision 1 of its kind, which is measured anew: revision {Answers.REVISION} is the newest" in said
    assert store.get(asked) is None


def test_a_category_is_named(store: Store) -> None:
    kept = answered(store, Answers(PAIRS.discovery.category("b"), "harmless"))
    assert "discovery pairs of given in the category “b”: " in "\n".join(lines(store, kept.fingerprint))


def test_prompts_that_are_not_kept_are_said_to_be_missing(store: Store) -> None:
    kept = answered(store, Answers(pairs_of(*"xyz"), "harmful"))
    assert "3, of a set that is not kept here" in "\n".join(lines(store, kept.fingerprint))


def test_what_is_no_fingerprint_of_one_whole_file_is_one_sentence(store: Store) -> None:
    kept = answered(store, Answers(PAIRS.heldout, "harmful"))
    for beginning, said in (
        ("xyz", "'xyz' is no fingerprint"),
        ("", "'' is no fingerprint"),
        ("0" * 20, "holds no evidence whose fingerprint begins with 0000"),
    ):
        with pytest.raises(AssayError, match=said):
            list(lines(store, beginning))
    path = store.path(kept.fingerprint)
    twin = path.with_name(f"{path.stem[:-1]}{'0' if path.stem[-1] != '0' else '1'}.json")
    twin.write_bytes(path.read_bytes())
    with pytest.raises(AssayError, match=f"2 measurements begin with {path.stem[:8]} .*give more of the fingerprint"):
        list(lines(store, path.stem[:8]))
    path.write_text(path.read_text().replace("No.", "Go."))
    with pytest.raises(AssayError, match="was changed after it was written; the next run sets it aside"):
        list(lines(store, path.stem))


@pytest.mark.parametrize("kind", [*KINDS, *pairs_evidence.KINDS, "model-record", "part"])
def test_every_kind_of_evidence_is_told_in_words(kind: str) -> None:
    assert re.fullmatch(r"[A-Z].{20,}", question(kind))
