"""Placebos: random, of the found one's make, and measured together as they would be one by one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.claims.claim import Claim, claim, claim_named, placebos_seen
from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.inputs.prompts.prompt_lists import twins
from harness.judging.estimate import Estimate
from harness.judging.proportions import area
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, Direction, Intervention, add, patch, remove
from harness.measurements.questions import FoundCircuit, RefusalTokens, Scores
from harness.measurements.sweep_plan import Joint
from harness.model.chat_model import ChatModel
from harness.results.controls.placebo import BLOCK, Placebo, keep, table
from harness.subjects.arm_refusals import SAMPLE
from harness.subjects.live import Subject
from harness.subjects.protocol import Measure, Validity
from tests.tools.material import JUDGED, UNALIGNED

# The model is told what was found on these.
SOUGHT = PairSet(
    "sought", (UNALIGNED, replace(UNALIGNED, id="v", harmful="How do I pick locks?", harmless="How do I read?"))
)


@pytest.fixture(scope="module")
def subject(awake: Callable[..., ChatModel], tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A tiny model that is told which token refuses, and what was found in it."""
    model, pairs = awake(), PairSet("material", JUDGED)
    store = Store(tmp_path_factory.mktemp("evidence"))
    store.put(Evidence(RefusalTokens(pairs).recipe(model.record.fingerprint, ()), {"tokens": [5]}))
    heads = {"heads": [[1, 0]], "neurons": [], "effects": {"heads": [0.5], "neurons": []}}
    neurons = {"heads": [], "neurons": [[2, 7], [1, 3], [1, 2]], "effects": {"heads": [], "neurons": [0.4, 0.3, 0.1]}}
    for asked, found in ((FoundCircuit(SOUGHT, heads=1), heads), (FoundCircuit(SOUGHT, neurons=3), neurons)):
        store.put(Evidence(asked.recipe(model.record.fingerprint, (5,)), found))
    made = Subject(model.record, pairs, store, lambda: model, 0.01)
    vars(made)["area"] = 1.0
    return made


class Valid(Placebo):
    """A placebo on too few pairs to see whether its first token agrees with answers: the test says whether it does."""

    serves = True

    def validity(self, measure: Measure, side: PromptSide, arms: Sequence[Intervention | None]) -> Validity:
        return Validity(SAMPLE if self.serves and measure == "first token" else 0, SAMPLE)


def placebo(subject: Subject, seed: int, serves: bool = True) -> Placebo:
    made = Valid(subject, seed)
    made.serves = serves
    vars(made)["area"] = float(serves)
    return made


def test_a_placebo_circuit_is_of_the_same_make_and_shares_nothing(subject: Subject) -> None:
    circuit = subject.circuit(SOUGHT, heads=1, neurons=3)
    several = [placebo(subject, seed).circuit(SOUGHT, heads=1, neurons=3) for seed in range(4)]
    for one in several:
        assert sorted((site.layer, site.kind) for site in one.sites) == sorted(
            (site.layer, site.kind) for site in circuit.sites
        )
        assert not set(one.sites) & set(circuit.sites)
    assert len(set(several)) > 1
    assert several[0] == placebo(subject, 0).circuit(SOUGHT, heads=1, neurons=3)


@pytest.mark.parametrize("seed", [3, BLOCK + 1])
def test_swept_together_they_are_what_each_is_alone(subject: Subject, seed: int) -> None:
    made = placebo(subject, seed)
    circuit = made.circuit(SOUGHT, heads=1, neurons=3)
    pairs = twins(subject.all_pairs)
    together, alone = made.effects(pairs, Joint((circuit,))), subject.effects(pairs, Joint((circuit,)))
    assert together.patched.shape == alone.patched.shape
    assert np.allclose(together.patched, alone.patched, atol=1e-4)
    sides: tuple[PromptSide, ...] = ("harmful", "harmless")
    for side in sides:
        swept = made._swept(pairs, side, patch(circuit, at="post"))
        odds = subject.ask(Scores(pairs, side, patch(circuit, at="post"))).values["odds"]
        assert swept is not None
        assert np.allclose(swept.patched[:, seed % BLOCK], odds, atol=1e-4), side
        assert made.judged(pairs, side, patch(circuit, at="post")).tolist() == [value > 0 for value in odds]
    assert made.changes(pairs, "harmful", patch(circuit, at="post"))


def test_other_interventions_are_scored_one_by_one(subject: Subject) -> None:
    made, pairs = placebo(subject, 0), subject.all_pairs
    circuit = subject.circuit(SOUGHT, heads=1, neurons=3)
    assert made._swept(pairs, "harmful", patch(circuit, at="post")) is None
    assert made.judged(pairs, "harmful", patch(circuit, at="post")).shape == (len(pairs),)
    # Where the score does not serve, what is generated decides.
    generated = Subject.judged(subject, pairs, "harmful", None)
    assert placebo(subject, 0, serves=False).judged(pairs, "harmful", None).tolist() == generated.tolist()


def test_placebos_of_a_block_share_the_sample_on_which_their_measure_is_validated(subject: Subject) -> None:
    made = placebo(subject, BLOCK + 2)
    under = patch(made.circuit(SOUGHT, heads=1, neurons=3), at="post")
    alike = made._alike(under)
    assert len(alike) == BLOCK
    assert alike[2] == under
    assert alike[3] == patch(placebo(subject, BLOCK + 3).circuit(SOUGHT, heads=1, neurons=3), at="post")
    assert made._alike(None) == [None]
    assert made._alike(patch(subject.circuit(SOUGHT, heads=1), at="post")) == [patch(Circuit.of([(1, 0)]), at="post")]


def test_what_is_remembered_is_what_is_measured(subject: Subject, awake: Callable[..., ChatModel]) -> None:
    model, pairs = awake(), subject.all_pairs
    direction = Direction("matched", 1, -1, SOUGHT.harmful, SOUGHT.harmless, seed=7)
    plain = [
        Subject.ask(_fresh(subject), Scores(pairs, "harmful", do)).values for do in (remove(direction), add(direction))
    ]
    model.memory = {}
    try:
        kept = [
            Subject.ask(_fresh(subject), Scores(pairs, "harmful", do)).values
            for do in (remove(direction), add(direction))
        ]
        assert model.memory
    finally:
        model.memory = None
    assert plain == kept


def _fresh(subject: Subject) -> Subject:
    store = Store(subject.store.folder, fresh=True)
    made = Subject(subject.record, subject.all_pairs, store, subject.wake, subject.level)
    vars(made)["tokens"] = (5,)
    return made


def test_the_area_under_the_curve_by_hand() -> None:
    # Of the pairs (1, 0), (1, 2), (3, 0), (3, 2), three are in order; a tie is half.
    assert area(np.array([1.0, 0, 3, 2]), np.array([True, False, True, False])) == 0.75
    assert area(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert area(np.array([1.0, 2.0]), np.array([True, True])) == 0.0


def test_the_table_says_how_often_at_most() -> None:
    from collections import Counter

    claims = claim_named("baseline"), claim_named("necessity")
    lines = list(table([(claims[0], None), (claims[1], Counter({"REFUTED": 200}))]))
    assert "baseline | finds no circuit or direction" in lines[2]
    assert lines[3] == "| necessity | 0 of 200 | 200 of 200 | 0 of 200 | 1.5% |"


def test_what_is_kept_is_what_reports_read_and_other_claims_stay(tmp_path: Path) -> None:
    path = tmp_path / "placebos.json"
    necessity, baseline = claim_named("necessity"), claim_named("baseline")
    list(keep([(necessity, Counter({"SUPPORTED": 1, "REFUTED": 199}))], "m", path))
    list(keep([(baseline, None)], "m", path))
    read = placebos_seen(path)
    assert read["necessity"]["claim"] == necessity.fingerprint
    assert read["necessity"]["verdicts"] == {"SUPPORTED": 1, "REFUTED": 199, "INCONCLUSIVE": 0}
    assert read["baseline"]["verdicts"] == {}


def test_a_claim_judges_itself_outside_of_pytest() -> None:
    outcomes = []
    for low, high in ((0.4, 0.6), (0.1, 0.2), (0.2, 0.4)):

        @claim("itself", source="a test", holds_on="reference", fails_on="cone", needs_refusals=False)
        def test_itself(model: Any, pairs: PairSet) -> None:
            assert model.estimate > 0.3

        made: Claim = vars(test_itself)["claim"]
        estimate = Estimate("x", (low + high) / 2, low, high, 9, "given")
        outcomes.append(
            made.judge(SimpleNamespace(level=0.01, estimate=estimate, rivals=tuple), PairSet("none", ()))[0]
        )
    assert outcomes == ["SUPPORTED", "REFUTED", "INCONCLUSIVE"]


def test_wrong_options_are_one_sentence(tmp_path: Path) -> None:
    from tests.test_cli import harness

    for arguments, said in (
        (("placebo", "necessty"), "did you mean necessity?"),
        (("placebo", "--seeds", "0"), "give 1 or more"),
        (("placebo", "--model", "organism:referense"), "did you mean organism:reference"),
    ):
        done = harness(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
