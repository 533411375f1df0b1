"""An estimate names the evidence that its value and interval were computed from, and nothing that was not read."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from harness.claims.claim import Claim, claim_named, claims_in
from harness.inputs.errors import NotMeasured
from harness.inputs.judges.outcomes import READINGS
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.judging.estimate import Estimate, Inconclusive, Refuted, asides, decisions
from harness.judging.verdict import estimate_of, plain
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Direction, remove
from harness.measurements.questions import Answers, DealtAnswers, Measurement, RefusalTokens, Scores
from harness.subjects.dry_run import Planner, Work
from harness.subjects.live import Subject
from harness.subjects.quantities.refusals import RANDOM
from harness.subjects.sleeper import Sleeper

PAIRS = load_pairs(DATA / "organisms" / "pairs.jsonl")
SOME = PairSet("some", (*PAIRS.discovery.pairs[::4], *PAIRS.heldout.pairs[::2]))
LEVEL = 0.05


@dataclass(frozen=True)
class Came:
    """What one claim came to, and what it read."""

    estimates: tuple[Estimate, ...]
    read: frozenset[str]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sleeper]:
    """`organism:reference`, whose evidence is kept for the whole module."""
    made = Sleeper("organism:reference", "nf4", "cpu", Store(tmp_path_factory.mktemp("evidence")))
    yield made
    made.close()


class Altered(Subject):
    """The same subject, but every judged measurement whose fingerprint is not among those spared is another."""

    spared: Collection[str] = ()

    # What is sought stays as it is, so that the same circuits and directions are judged.

    def ask(self, question: Measurement) -> Evidence:
        evidence = super().ask(question)
        if evidence.fingerprint in self.spared:
            return evidence
        n = len(getattr(question.pairs, getattr(question, "side", "harmful")))
        # Judgements move, and answers stay what they are: one that breaks could hide that its judgement moved.
        values = {name: value if name in READINGS else _moved(value, n) for name, value in evidence.values.items()}
        arrays = {name: array * np.linspace(1.1, 1.4, array.size).reshape(array.shape) for name, array in
                  evidence.arrays.items()}  # fmt: skip
        return replace(evidence, values=values, arrays=arrays)


def _moved(value: Any, n: int) -> Any:
    """Numbers a prompt, the first of them the other way round; anything else as it is."""
    if not (isinstance(value, list) and len(value) >= n and all(isinstance(one, float | int) for one in value)):
        return value
    return [1.0 - value[0], *(one * 1.01 for one in value[1:])]


def came(kind: type[Subject], claim: Claim, reference: Sleeper, spared: Collection[str] | None = None) -> Came:
    """Every estimate that a claim came to on the subject."""
    subject = kind(reference.record, SOME, reference.store, reference, LEVEL)
    if spared is not None:
        vars(subject)["spared"] = spared
    with decisions() as made, asides() as beside, reference.store.tracking() as read, suppress(Refuted, Inconclusive):
        claim.run(model=subject, pairs=SOME)
    decided = [estimate for comparison in made for estimate, _, _ in comparison.bars]
    return Came((*decided, *beside.values()), frozenset(read))


# One of each quantity; the rest are asked with the slow tests.
QUICK = ("direction-necessity", "localization", "execution", "growth", "gradients", "shared-geometry", "side-effects")


@pytest.mark.parametrize(
    "claim",
    [pytest.param(one, id=one.name, marks=() if one.name in QUICK else pytest.mark.slow) for one in claims_in()],
)
def test_an_estimate_names_evidence_that_its_claim_read(claim: Claim, reference: Sleeper) -> None:
    outcome = came(Subject, claim, reference)
    assert outcome.estimates
    assert {key for estimate in outcome.estimates for key in estimate.evidence} <= outcome.read
    assert [
        estimate.name for estimate in outcome.estimates if estimate.low < estimate.high and not estimate.evidence
    ] == []


@pytest.mark.parametrize(
    "name",
    [
        *("necessity", "localization", "growth"),
        *[pytest.param(name, marks=pytest.mark.slow) for name in ("side-effects", "accumulation", "gradients")],
    ],
)
def test_a_number_stays_when_all_evidence_that_it_does_not_name_is_another(name: str, reference: Sleeper) -> None:
    claim = claim_named(name)
    for estimate in came(Subject, claim, reference).estimates:
        if not estimate.evidence or "AUC" in estimate.name:
            continue
        again = {other.name: other for other in came(Altered, claim, reference, estimate.evidence).estimates}
        assert (again[estimate.name].value, again[estimate.name].low, again[estimate.name].high) == (
            estimate.value,
            estimate.low,
            estimate.high,
        )


def test_a_number_moves_when_the_evidence_that_it_names_is_another(reference: Sleeper) -> None:
    claim = claim_named("necessity")
    again = {other.name: other for other in came(Altered, claim, reference, ()).estimates}
    counted = [estimate for estimate in came(Subject, claim, reference).estimates if estimate.name in ("fall", "left")]
    assert [again[one.name].value != one.value for one in counted] == [True, True]


@pytest.mark.parametrize("name", ["direction-necessity", "gradients", "shared-geometry"])
def test_without_evidence_that_an_estimate_names_judging_alone_says_that_it_was_not_measured(
    name: str, reference: Sleeper
) -> None:
    claim, store = claim_named(name), reference.store
    named = {key for estimate in came(Subject, claim, reference).estimates for key in estimate.evidence}
    asleep = replace(reference, store=Store(store.folder, judge_only=True), judge_only=True)
    assert asleep.subject(SOME, LEVEL).record == reference.record
    claim.judge(Subject(asleep.record, SOME, asleep.store, asleep, LEVEL), SOME)
    for key in named:
        path = store.path(key)
        aside = path.rename(path.with_suffix(".aside"))
        with pytest.raises(NotMeasured):
            claim.judge(Subject(asleep.record, SOME, asleep.store, asleep, LEVEL), SOME)
        aside.rename(path)


def test_a_block_of_reading_knows_what_was_asked_in_it_and_not_in_blocks_within(reference: Sleeper) -> None:
    subject = Subject(reference.record, SOME, reference.store, reference, LEVEL)
    ours, theirs = Answers(SOME.heldout, "harmful"), Answers(SOME.heldout, "harmless")
    with subject.reading() as outer:
        first = subject.ask(ours)
        with subject.reading() as inner:
            second = subject.ask(theirs)
        subject.ask(ours)
    subject.ask(theirs)
    assert (outer, inner) == ([first.fingerprint] * 2, [second.fingerprint])


def test_whether_an_arm_changes_anything_asks_only_what_decides(reference: Sleeper) -> None:
    """Answers before and after, and the arm's scores in the tokens that refuse: four; all else goes beside."""
    planned: dict[type[Planner], list[Measurement]] = {}
    for kind in (Planner, Alone):
        asked: list[Measurement] = []
        subject = kind(reference.record, SOME, Store(DATA / "nowhere"), reference, LEVEL).plan(Work(), set())
        seek = subject.seek
        vars(subject)["seek"] = lambda what, seek=seek, asked=asked: (asked.append(what), seek(what))[1]
        under = remove(Direction("difference", 2, -1, SOME.discovery.harmful, SOME.discovery.harmless))
        subject.refuses(SOME.heldout).fall(under=under)
        planned[kind] = list(dict.fromkeys(asked))
    on = SOME.heldout
    decides = {Answers(on, "harmful"), Answers(on, "harmful", under), Scores(on, "harmful", under), RefusalTokens(SOME)}
    assert set(planned[Alone]) == decides
    assert decides < set(planned[Planner])
    (dealt,) = (asked for asked in planned[Planner] if isinstance(asked, DealtAnswers) and asked.pairs == on)
    assert len(dealt.arms) == RANDOM


class Alone(Planner):
    """Plans what a verdict takes, and nothing beside it."""

    controls = False


def test_a_kept_estimate_keeps_its_evidence_and_an_older_one_has_none() -> None:
    made = Estimate("fall", 0.5, 0.4, 0.6, 10, "counted", evidence=("ab", "cd"))
    assert estimate_of(plain(made)).evidence == ("ab", "cd")
    older: Mapping[str, Any] = {key: value for key, value in plain(made).items() if key != "evidence"}
    assert estimate_of(older).evidence == ()
