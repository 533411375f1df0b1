"""Drawn answers (--answers sampled:K@T): from the model's own distribution, the same in any batch and any run."""

import re
import shlex
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial

from harness.__main__ import main
from harness.inputs.errors import AssayError
from harness.inputs.model_record import Sample, Sampling, sampling
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.judging import answer_shares, means, proportions
from harness.measurements.evidence import Store
from harness.measurements.interventions import Direction, remove
from harness.model.chat_model import ChatModel
from harness.results import wording
from harness.results.pair_table import table
from harness.results.run_list import latest
from harness.results.run_record import Run
from harness.subjects.dry_run import Planner, Work
from harness.subjects.live import Bare
from harness.subjects.sleeper import Sleeper
from tests.test_judging_by_hand import LEVEL, PATCH, answers
from tests.test_plugin import HELD, judge
from tests.tools.given import pairs_of

SOME = PairSet("some", load_pairs(DATA / "objects.jsonl").pairs[:6])
REFERENCE = DATA / "organisms" / "pairs.jsonl"
COLD, WARM = 1e-7, 2.0


@pytest.fixture
def asleep(folder: Callable[[str], Path], tmp_path: Path) -> Callable[..., Sleeper]:
    """A tiny model whose answers are drawn so, with evidence in the folder of that name."""

    def of(drawn: Sampling | None, name: str = "evidence") -> Sleeper:
        store = Store(tmp_path / name)
        return Sleeper(str(folder("llama")), "none", "cpu", store, tokens=4, sampling=drawn)

    return of


# From the option to a value.


@pytest.mark.parametrize(
    ("given", "drawn"),
    [
        ("greedy", None),
        ("sampled:5@0.7", Sampling(5, 0.7)),
        ("sampled:1@1", Sampling(1, 1.0)),
        ("sampled:100@1e-6", Sampling(100, 1e-6)),
    ],
)
def test_the_option_and_its_text(given: str, drawn: Sampling | None) -> None:
    assert sampling(given) == drawn
    assert drawn is None or sampling(str(drawn)) == drawn


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "give greedy or sampled:K@T"),
        ("Greedy", "give greedy or sampled:K@T"),
        ("sampled", "give greedy or sampled:K@T"),
        ("sampled:5", "give greedy or sampled:K@T"),
        ("sampled:@1", "give greedy or sampled:K@T"),
        ("sampled:2.5@1", "give greedy or sampled:K@T"),
        ("sampled:5@-1", "give greedy or sampled:K@T"),
        ("sampled:5@nan", "give greedy or sampled:K@T"),
        ("sampled:5@inf", "give greedy or sampled:K@T"),
        ("sampled:٥@1", "give greedy or sampled:K@T"),
        ("sampled:0@1", "give from 1 to 100 answers"),
        ("sampled:101@1", "give from 1 to 100 answers"),
        ("sampled:5@0", "at temperature 0 all answers are the same; give greedy"),
        ("sampled:5@0.0", "at temperature 0 all answers are the same; give greedy"),
        ("sampled:5@1e-999", "at temperature 0 all answers are the same; give greedy"),
        ("sampled:5@10.5", "give a temperature of at most 10"),
        ("sampled:5@1e999", "give a temperature of at most 10"),
    ],
)
def test_what_is_no_way_of_answering_is_one_sentence(given: str, said: str) -> None:
    with pytest.raises(AssayError, match=f"^--answers .*{re.escape(said)}") as refused:
        sampling(given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--answers", "sampled:5"], "--answers 'sampled:5': give greedy or sampled:K@T"),
        (["--answers", "sampled:2@1", "--model", "recorded:gemma-2b-it"], "--answers: recorded answers are as they"),
    ],
)
def test_the_door_says_it_before_anything_runs(options: list[str], said: str, tmp_path: Path) -> None:
    done = judge("hypotheses", *options, "--reports", tmp_path)
    assert done.returncode == 4
    assert said in done.stderr
    assert "Traceback" not in done.stderr


# What is drawn.


def test_the_first_token_is_drawn_from_the_softmax(awake: Callable[..., ChatModel]) -> None:
    """An exact multinomial test of 250 draws in three groups of tokens; another temperature fails it."""
    model, prompt, n = awake(), SOME.harmful[0], 250
    tokens = [model.generate([prompt], tokens=1, sample=Sample(number, WARM))[0].ids for number in range(n)]
    drawn = np.array([ids[0] if ids else model.chat.tokenizer.eos_token_id for ids in tokens])
    logits = model.next_token([prompt])[0].double()
    shares = (logits / WARM).softmax(-1).numpy()
    order = np.argsort(-shares)
    group = np.empty(len(shares), dtype=int)
    group[order] = np.minimum(2, (3 * (np.cumsum(shares[order]) - shares[order])).astype(int))
    seen = np.bincount(group[drawn], minlength=3)

    def chance(of: np.ndarray) -> float:
        """The probability of counts that are no likelier than those seen."""
        probabilities = np.bincount(group, of, minlength=3)
        all_counts = [(a, b, n - a - b) for a, b in product(range(n + 1), repeat=2) if a + b <= n]
        weights = multinomial(n, probabilities / probabilities.sum()).pmf(all_counts)
        return float(weights[weights <= weights[all_counts.index(tuple(seen))] * (1 + 1e-9)].sum())

    assert min(np.bincount(group, shares)) > 0.1
    assert chance(shares) > 0.001
    assert chance((logits / (WARM / 2)).softmax(-1).numpy()) < 1e-6


def test_a_cold_sample_is_the_greedy_answer_whatever_its_number(awake: Callable[..., ChatModel]) -> None:
    greedy = awake().generate(SOME.harmful, tokens=6)
    for number in (0, 7):
        assert awake().generate(SOME.harmful, tokens=6, sample=Sample(number, COLD)) == greedy
    warm = [awake().generate(SOME.harmful, tokens=6, sample=Sample(number, WARM)) for number in (0, 1)]
    assert warm[0] != greedy
    assert warm[0] != warm[1]


def test_an_answer_depends_on_no_other_prompt(awake: Callable[..., ChatModel]) -> None:
    model, sample = awake(), Sample(3, WARM)
    together = model.generate(SOME.harmful, tokens=6, sample=sample)
    assert model.generate(SOME.harmful[::-1], tokens=6, sample=sample)[::-1] == together
    assert [model.generate([prompt], tokens=6, sample=sample)[0] for prompt in SOME.harmful] == together
    assert model.generate([SOME.harmful[0]] * 2, tokens=6, sample=sample) == [together[0]] * 2


def test_a_run_that_was_stopped_goes_on_with_the_same_answers(asleep: Callable[..., Sleeper]) -> None:
    """Each sample is evidence of its own: a run continues after the last one, and one with more answers uses it."""
    whole, stopped = asleep(Sampling(3, WARM), "whole"), asleep(Sampling(3, WARM), "stopped")
    questions = stopped.subject(SOME).to_answer(SOME, "harmful")
    stopped.subject(SOME).ask(questions[1])
    stopped.close()
    first = whole.subject(SOME).judged(SOME, "harmful", None)
    after = asleep(Sampling(3, WARM), "stopped")
    assert after.subject(SOME).judged(SOME, "harmful", None).tolist() == first.tolist()
    kept = [[sleeper.subject(SOME).ask(question).values for question in questions] for sleeper in (whole, after)]
    assert kept[0] == kept[1]
    assert len({tuple(values["prefixes"]) for values in kept[0]}) == 3
    more = asleep(Sampling(5, WARM), "stopped").subject(SOME).to_answer(SOME, "harmful")
    assert more[:3] == questions
    whole.close()
    after.close()


# What a prompt's value is.


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_one_answer_is_judged_as_ever(hits: list[bool], others: list[bool]) -> None:
    after = others[: len(hits)]
    ways = np.array(hits) & ~np.array(after), ~np.array(hits) & np.array(after)
    assert answer_shares.rate(hits, 0.01) == proportions.rate(hits, 0.01)
    assert answer_shares.net_share(*ways, 0.01) == proportions.net_share(*ways, 0.01)
    assert answer_shares.paired_difference(hits, after, 0.01) == proportions.paired_difference(hits, after, 0.01)


@given(st.lists(st.booleans(), min_size=5, max_size=30))
@settings(max_examples=30)
def test_answers_that_all_agree_are_worth_as_much_as_one(hits: list[bool]) -> None:
    """The rule for bounded means is then the exact binomial one, computed by an approximation."""
    once, thrice = proportions.rate(hits, 0.01), answer_shares.rate([hits] * 3, 0.01)
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high), abs=3e-3)
    assert thrice.low < once.low + 3e-4
    assert thrice.high > once.high - 3e-4
    assert thrice.n == once.n == len(hits)


def test_bounds_of_means_over_samples_err_as_seldom_as_they_say() -> None:
    """Prompts differ in how often they are refused; what is estimated is the mean over prompts of that."""
    rng, level, studies, truth = np.random.default_rng(1), 0.05, 1500, 0.8
    wrong = np.zeros(2, dtype=int)
    for _ in range(studies):
        each = rng.beta(2, 0.5, size=24)
        interval = answer_shares.rate(rng.random((4, 24)) < each, level)
        wrong += (interval.low > truth, interval.high < truth)
    assert all(binomtest(int(count), studies, level, alternative="greater").pvalue > 0.001 for count in wrong)


def test_a_fall_is_the_mean_over_samples_of_what_turns() -> None:
    """Four prompts, three answers each: refused 1, answered 0, broken 2; each sample is paired with its own."""
    before = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0]]
    after = [[0, 1, 2, 0], [0, 1, 0, 1], [0, 0, 2, 0]]
    made = answers(pairs_of(*"aaaa"), {("harmful", None): before, ("harmful", PATCH): after})
    turned = np.array([3, 0, 0, -1]) / 3
    fall, rate, left = made.fall(PATCH), made.rate(), made.left(PATCH)
    assert fall.value == pytest.approx(turned.mean())
    by_hand = means.mean(turned, LEVEL, None, (-1.0, 1.0))
    assert (fall.low, fall.high) == pytest.approx((by_hand.low, by_hand.high))
    assert rate.value == pytest.approx(np.array([3, 2, 2, 0]).mean() / 3)
    assert left.value == pytest.approx(np.array([0, 2, 0, 1]).mean() / 3)
    assert fall.n == rate.n == 4
    assert "mean of 3 answers to each" in fall.method


def test_the_least_category_is_that_of_the_means() -> None:
    before = [[1] * 20, [1] * 20]
    after = [[0] * 10 + [1] * 5 + [0] * 5, [0] * 20]
    made = answers(pairs_of(*"aaaaaaaaaabbbbbbbbbb"), {("harmful", None): before, ("harmful", PATCH): after})
    assert made.by_category(PATCH).value == pytest.approx(0.75)


def test_cold_samples_give_the_values_of_greedy_answers(tmp_path: Path) -> None:
    """`organism:reference`, as it is and with a direction removed."""
    whole = load_pairs(REFERENCE)
    few = PairSet("few", whole.pairs[:40])
    arm = remove(Direction("difference", 5, -1, whole.discovery.harmful[:40], whole.discovery.harmless[:40]))
    seen = []
    for drawn in (None, Sampling(2, COLD)):
        sleeper = Sleeper("organism:reference", "none", "cpu", Store(tmp_path), tokens=12, sampling=drawn)
        subject = Bare(sleeper.record, whole, sleeper.store, sleeper, 0.01)
        told = subject.outcomes(few.heldout, "harmful", arm)
        shares = [answer_shares.per_prompt(hits).tolist() for hits in (told.refused, told.answered, told.broken)]
        refusals = subject.refuses(few.heldout)
        values = [refusals.rate().value, refusals.fall(under=arm).value, refusals.left(under=arm).value]
        seen.append((shares, subject.answers(few.heldout, "harmful", arm), values))
        sleeper.close()
    assert seen[0] == seen[1]
    assert seen[0][2][0] > 0.5 > seen[0][2][2]


# What a person sees.


def test_run_page_and_bundle_say_how_answers_were_drawn(
    folder: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim, model = tmp_path / "test_held.py", str(folder("llama"))
    claim.write_text(HELD.format(name="held"))
    of = ["--model", model, "--quant", "none", "--device", "cpu", "--pairs", str(DATA / "objects.jsonl")]
    of += ["--tokens", "2", "--answers", "sampled:2@0.70", "--reports", str(tmp_path / "reports")]
    told = "2 answers to each prompt, drawn at temperature 0.7"
    done = judge(claim, *of)
    assert f"answers: {told}" in done.stdout, done.stdout + done.stderr
    run_folder = latest(tmp_path / "reports" / "runs")
    run = Run.load(run_folder)
    assert run.sampling == Sampling(2, 0.7)
    assert f"The value of a prompt is the mean over {told}." in wording.limits(run.verdicts[0], run, ["answers"])
    assert told in (run_folder / "index.html").read_text(encoding="utf-8")
    here, there = (["--evidence", str(tmp_path / name / "evidence")] for name in ("reports", "there"))
    assert main(["bundle", "--to", str(tmp_path / "b.zip"), *here]) == 0
    assert main(["import", str(tmp_path / "b.zip"), *there]) == 0
    command = shlex.split(capsys.readouterr().out.partition("judge it: ")[2])
    assert command[command.index("--answers") + 1] == "sampled:2@0.7"


def test_a_plan_counts_every_answer(asleep: Callable[..., Sleeper]) -> None:
    works = []
    for drawn in (None, Sampling(3, WARM)):
        sleeper = asleep(drawn)
        planner = Planner(sleeper.record, SOME, sleeper.store, sleeper, 0.01).plan(Work(), set())
        planner.judged(SOME, "harmful", None)
        works.append(planner.work)
        sleeper.close()
    assert (works[1].asked, works[1].tokens) == (3 * works[0].asked, 3 * works[0].tokens)


def test_the_table_of_pairs_has_the_share_of_each_prompts_answers(asleep: Callable[..., Sleeper]) -> None:
    sleeper = asleep(Sampling(3, WARM))
    subject = sleeper.subject(SOME)
    evidence = [subject.ask(question) for question in subject.to_answer(SOME.heldout, "harmful")]
    made = table(evidence, SOME)
    assert made is not None
    assert [column.title for column in made.columns] == [
        "harmful, as it is: the first of 3 answers",
        "harmful, as it is: share refused",
    ]
    assert made.columns[0].values == tuple(evidence[0].values["prefixes"])
    sleeper.close()
