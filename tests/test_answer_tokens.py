"""The length of answers is part of what is asked: --tokens, or the usual number of the kind of model."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.inputs.model_record import LONG_ANSWER, SHORT_ANSWER
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, ablate
from harness.measurements.questions import Answers, Measurement
from harness.results import wording
from harness.results.run_list import latest
from harness.results.run_record import Run
from harness.subjects.dry_run import Awake, Planner, Work
from harness.subjects.sleeper import Sleeper
from tests.test_plugin import HELD, judge

ZEROED = ablate(Circuit.of(heads=[(0, 0)]), "zero")
SOME = PairSet("some", load_pairs(DATA / "objects.jsonl").pairs[:4])


@pytest.fixture
def asleep(folder: Callable[[str], Path], tmp_path: Path) -> Callable[[int | None], Sleeper]:
    """A tiny model that is asked for answers of so many tokens."""
    return lambda tokens: Sleeper(str(folder("llama")), "none", "cpu", Store(tmp_path), tokens=tokens)


def test_organisms_answer_briefly_and_other_models_at_length(
    asleep: Callable[[int | None], Sleeper], tmp_path: Path
) -> None:
    model = asleep(None)
    assert model.record.answer_tokens == LONG_ANSWER == 64
    model.close()
    organism = Sleeper("organism:compliant", "none", "cpu", Store(tmp_path))
    assert organism.record.answer_tokens == SHORT_ANSWER == 24
    organism.close()
    assert asleep(7).record.answer_tokens == 7  # the same record in evidence, asked for something else
    assert asleep(7).record == replace(model.record, answer_tokens=7)


def test_answers_have_at_most_so_many_tokens_and_longer_ones_begin_alike(
    asleep: Callable[[int | None], Sleeper],
) -> None:
    begun: dict[int, list[str]] = {}
    keys = set()
    for tokens in (3, 6):
        sleeper = asleep(tokens)
        subject = sleeper.subject(SOME)
        begun[tokens] = subject.answers(SOME)
        keys.add(subject.ask(subject.to_answer(SOME, "harmful")[0]).fingerprint)
        ids = [completion.ids for completion in sleeper().generate(SOME.harmful, tokens=tokens)]
        assert max(map(len, ids)) <= tokens
        assert begun[tokens] == [sleeper().chat.decode(answer)[:80] for answer in ids]
        sleeper.close()
    assert len(keys) == 2
    assert begun[3] != begun[6]
    assert all(longer.startswith(shorter.rstrip("�")) for shorter, longer in zip(begun[3], begun[6], strict=True))


def test_every_question_for_answers_has_the_length_that_was_asked_for(
    asleep: Callable[[int | None], Sleeper],
) -> None:
    sleeper = asleep(5)
    asked: list[Measurement] = []

    class Noting(Planner):
        def seek(self, question: Measurement) -> Evidence:
            asked.append(question)
            return super().seek(question)

    subject = Noting(sleeper.record, SOME, sleeper.store, sleeper, 0.01).plan(Work(), set())
    subject.answers(SOME)
    subject.outcomes(SOME, "harmless", None)
    subject.side_effects(SOME, ZEROED).coherent()
    _ = subject.area
    sleeper.close()
    assert {question.tokens for question in asked if isinstance(question, Answers)} == {5}
    assert sum(isinstance(question, Answers) for question in asked) >= 6


def test_longer_answers_cost_more(asleep: Callable[[int | None], Sleeper]) -> None:
    """Each further token is generated once, and read after the prompt, after its twin and after no prompt."""
    costs = {}
    for tokens in (10, 30):
        sleeper = asleep(tokens)
        planner = Planner(sleeper.record, SOME, sleeper.store, sleeper, 0.01).plan(Work(), set())
        costs[tokens] = planner.to_answer(SOME, "harmful")[0].cost(Awake(planner))
        sleeper.close()
    assert costs[30] - costs[10] == 4 * len(SOME) * 20


def test_run_and_bundle_name_the_length(
    folder: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = tmp_path / "test_held.py"
    claim.write_text(HELD.format(name="held"))
    of = ["--model", str(folder("llama")), "--quant", "none", "--device", "cpu", "--pairs", str(DATA / "objects.jsonl")]
    done = judge(claim, *of, "--tokens", "3", "--reports", tmp_path / "reports")
    run_folder = latest(tmp_path / "reports" / "runs")
    run = Run.load(run_folder)
    assert run.answer_tokens == {str(folder("llama")): 3}, done.stdout + done.stderr
    assert "in their first 3 tokens" in " ".join(wording.limits(run.verdicts[0], run, ["answers"]))
    here, there = (["--evidence", str(tmp_path / name / "evidence")] for name in ("reports", "there"))
    assert main(["bundle", "--to", str(tmp_path / "b.zip"), *here]) == 0
    assert main(["import", str(tmp_path / "b.zip"), *there]) == 0
    command = shlex.split(capsys.readouterr().out.partition("judge it: ")[2])
    assert command[command.index("--tokens") + 1] == "3"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tokens", "0"], "--tokens 0: give a whole number from 1 to 4096"),
        (["--tokens", "9999"], "--tokens 9999: give a whole number from 1 to 4096"),
        (["--tokens", "many"], "argument --tokens: invalid int value: 'many'"),
        (["--tokens", "9", "--model", "recorded:gemma-2b-it"], "--tokens: recorded answers have the length"),
    ],
)
def test_a_length_that_cannot_be_is_one_sentence(options: list[str], said: str, tmp_path: Path) -> None:
    done = judge("hypotheses", *options, "--reports", tmp_path)
    assert done.returncode == 4
    assert said in done.stderr
