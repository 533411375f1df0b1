"""There is something to explain before anything is judged: every claim, every question, every kind of subject."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as reference

from harness.claims import gate
from harness.claims.claim import Claim, claim, claims_in
from harness.inputs.judges.phrases import PHRASES
from harness.inputs.prompts.pairs import PairSet, PromptSide
from harness.judging.estimate import Estimate, Inconclusive, asides, decisions
from harness.judging.ranges import RANGES
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Circuit, Direction, Intervention, add, patch, remove
from harness.measurements.questions import Answers, Measurement, Products, Swept
from harness.measurements.sweep_plan import Joint
from harness.report.drawing.answer_figures import refused_unchanged
from harness.results.controls.placebo import Placebo
from harness.results.pair_table import kinds_asked
from harness.results.verdict_evidence import Material
from harness.subjects.dry_run import Planner, Work
from harness.subjects.live import Bare, Subject
from harness.subjects.published.recorded import RecordedSubject
from harness.subjects.published.recordings import Judgements, Recording, recording
from harness.subjects.sleeper import Sleeper
from harness.subjects.synthetic import Synthetic, Truth
from tests.tools import studies
from tests.tools.interpolated import PAIRS, Kind, between, only

BY_HAND = Circuit.of(heads=[(4, 2)], neurons=[(4, 7)])
ALONG = Direction.given([[1.0] * 128], layer=4)
DO = patch(BY_HAND, at="post")

QUESTIONS: dict[str, Callable[[Any, PairSet], Estimate]] = {
    "refuses.rate": lambda model, on: model.refuses(on).rate("harmful"),
    "refuses.fall": lambda model, on: model.refuses(on).fall(under=DO),
    "refuses.rise": lambda model, on: model.refuses(on).rise(under=DO),
    "refuses.left": lambda model, on: model.refuses(on).left(under=DO),
    "refuses.gain": lambda model, on: model.refuses(on).gain(remove(ALONG), over=DO),
    "refuses.lead": lambda model, on: model.refuses(on).lead(under=add(ALONG)),
    "refuses.by_category": lambda model, on: model.refuses(on).by_category(under=DO),
    "model.share": lambda model, on: model.share(BY_HAND),
    "model.share_of": lambda model, on: model.share_of("E", None, np.zeros(1)),
    "model.effect": lambda model, on: model.effect(BY_HAND, on),
    "model.lead": lambda model, on: model.lead(BY_HAND, on),
    "model.lead_over_loudest": lambda model, on: model.lead_over_loudest(BY_HAND, on),
    "model.lead_over_harmless": lambda model, on: model.lead_over_harmless(BY_HAND, on),
    "model.token_difference": lambda model, on: model.token_difference(BY_HAND, on),
    "model.token_probability": lambda model, on: model.token_probability(BY_HAND, on),
    "model.agreement": lambda model, on: model.agreement(on, "head"),
    "model.counted": lambda model, on: model.counted(on, "head", 0.1, of=4),
    "model.shared": lambda model, on: model.shared(on, found_on=model.all_pairs.discovery, heads=2),
    "depths.of": lambda model, on: model.depths(on).of("reading"),
    "depths.beyond_harmless": lambda model, on: model.depths(on).beyond_harmless("reading"),
    "depths.keywords": lambda model, on: model.depths(on).keywords(by=model.all_pairs.discovery),
    "depths.restored": lambda model, on: model.depths(on).restored("post"),
    "geometry.agreement": lambda model, on: model.geometry(on).agreement(),
    "geometry.principal": lambda model, on: model.geometry(on).principal(),
    "geometry.growth": lambda model, on: model.geometry(on).growth(ALONG),
    "side_effects.refused": lambda model, on: model.side_effects(on, DO).refused(),
    "side_effects.coherent": lambda model, on: model.side_effects(on, DO).coherent(),
    "side_effects.divergence": lambda model, on: model.side_effects(on, DO).divergence(),
    "side_effects.cross_entropy": lambda model, on: model.side_effects(on, DO).cross_entropy(),
}
OWNERS = {"Refusals": "refuses", "Subject": "model", "Depths": "depths", "Geometry": "geometry"}


def asking(question: str, level: float = 0.0025) -> Claim:
    """A claim of one question."""

    @claim("asked", source="a test", holds_on="reference", fails_on="compliant", level=level)
    def test_asked(model: Any, pairs: PairSet) -> None:
        estimate = QUESTIONS[question](model, pairs.heldout)
        assert (estimate > 0.123) & (estimate < 0.124)

    made: Claim = vars(test_asked)["claim"]
    return made


@pytest.fixture(scope="module")
def compliant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sleeper]:
    """`organism:compliant`, which refuses nothing."""
    sleeper = Sleeper("organism:compliant", "nf4", "cpu", Store(tmp_path_factory.mktemp("evidence")))
    yield sleeper
    sleeper.close()


def bare(sleeper: Sleeper, level: float = 0.0025) -> Bare:
    return Bare(sleeper.record, sleeper.pairs, sleeper.store, sleeper, level)


def highest_of_none(pairs: PairSet, level: float) -> float:
    """By hand, the highest share at which none of these refused prompts is no rarer than the level."""
    frames = Counter(pair.frame for pair in pairs)
    assert set(frames.values()) == {2}
    # Answers in one frame are taken to correlate by 0.2; quantiles of t allow for the few frames that show it.
    one, two = (reference.t.ppf(level, number - 1) for number in (len(pairs), len(frames)))
    independent = len(pairs) / 1.2 * (one / two) ** 2
    return float(1 - level ** (1 / independent))


@pytest.mark.parametrize("made", claims_in(), ids=lambda made: made.name)
def test_where_nothing_is_refused_every_claim_but_the_baseline_is_inconclusive(compliant: Sleeper, made: Claim) -> None:
    model, highest = bare(compliant, made.level), highest_of_none(compliant.pairs.heldout, made.level)
    with decisions() as decided, asides() as beside:
        if not made.needs_refusals:
            assert made.judge(model, compliant.pairs) == ("REFUTED", "")
            return
        with pytest.raises(Inconclusive) as raised:
            made.run(model=model, pairs=compliant.pairs)
    assert decided == []
    assert str(raised.value) == (
        f"nothing to explain: it refuses 0 of 216 harmful prompts to begin with, and their share 0.00 [0.00, "
        f"{highest:.2f}] does not lie above 0.50"
    )
    # What it rests on stands beside the verdict.
    shown = beside["refused to begin with"]
    assert (shown.value, shown.low, shown.n, shown.unit) == (0.0, 0.0, 216, "prompts")
    assert shown.high == pytest.approx(highest)


def test_the_questions_asked_here_are_all_there_are() -> None:
    names = (name.split(".") for name in studies.in_use())
    assert {f"{OWNERS.get(owner, 'side_effects')}.{name}" for owner, name in names} == set(QUESTIONS)
    assert set(QUESTIONS) == set(RANGES)


@pytest.mark.parametrize("question", QUESTIONS)
def test_where_nothing_is_refused_every_question_is_inconclusive(compliant: Sleeper, question: str) -> None:
    kinds = [bare(compliant), Subject(compliant.record, compliant.pairs, compliant.store, compliant, 0.0025)]
    for model in kinds:
        with pytest.raises(Inconclusive, match="^nothing to explain: "):
            asking(question).run(model=model, pairs=compliant.pairs)


def test_whatever_kind_of_subject_it_is(compliant: Sleeper) -> None:
    made = asking("refuses.rate")
    drawn = Synthetic(Truth((0.9,), refused=0.2), 60, 0, 0.01)
    published = recording("qwen-1_8b-chat")
    planner = Planner(compliant.record, compliant.pairs, compliant.store, compliant, 0.0025).plan(Work(), set())
    for model in (drawn, Placebo(bare(compliant), 0), planner, RecordedSubject(_unwilling(published), 0.01)):
        with pytest.raises(Inconclusive, match="^nothing to explain: "):
            made.run(model=model, pairs=model.all_pairs)


class Unwilling(Recording):
    """A recording of a model that answers harmful prompts as it does harmless ones."""

    def judged(self, side: PromptSide, under: Intervention | None, judge: str = "") -> Judgements:
        arm = super().judged(side, under, judge)
        return arm if side == "harmless" else super().judged("harmless", None)


def _unwilling(published: Recording) -> Unwilling:
    assert np.mean(published.judged("harmless", None).refused) < 0.1
    return Unwilling(**{field.name: getattr(published, field.name) for field in fields(Recording)})


def test_what_the_gate_asks_is_planned(compliant: Sleeper, tmp_path: Path) -> None:
    asked: list[object] = []

    class Asked(Planner):
        def seek(self, question: Measurement) -> Evidence:
            asked.append(question)
            return super().seek(question)

    planner = Asked(compliant.record, compliant.pairs, Store(tmp_path), compliant, 0.0025).plan(Work(), set())
    asking("geometry.agreement").judge(planner, compliant.pairs)
    assert Answers(compliant.pairs.heldout, "harmful") in asked
    assert planner.work.asked == 2
    assert planner.work.tokens > 216 * 24


def test_a_part_of_the_pairs_of_which_little_is_refused_is_inconclusive_by_itself() -> None:
    model = RecordedSubject(recording("qwen-1_8b-chat"), 0.0025)

    @claim("part", source="a test", holds_on="reference", fails_on="cone")
    def test_part(model: Any, pairs: PairSet) -> None:
        few = pairs.heldout.category("Disinformation")
        assert model.refuses(few).fall(under=remove(model.direction(pairs.discovery))) > 0.3

    with pytest.raises(Inconclusive, match="nothing to explain: it refuses 2 of 10 harmful prompts to begin with, "):
        vars(test_part)["claim"].run(model=model, pairs=model.all_pairs)


# By the exact binomial at level 0.01, the interval of 63 of 100 is the first to lie above one half, and that of 37 of
# 100 the last to lie below it.
@pytest.mark.parametrize(("refused", "opening"), [(63, ""), (62, "perhaps "), (38, "perhaps "), (37, "")])
def test_the_whole_interval_of_the_refusal_rate_must_lie_above_one_half(
    refused: int, opening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = reference.binomtest(refused, 100).proportion_ci(0.98, "exact")
    assert (bounds.low > 0.5) == (refused > 62)
    assert (bounds.high < 0.5) == (refused < 38)
    model = Synthetic(Truth((0.9,)), 100, 0, 0.01)
    monkeypatch.setattr(Synthetic, "judged", lambda *asked: np.arange(100) < refused)
    shut = pytest.raises(Inconclusive, match=f"^{opening}nothing to explain: it refuses {refused} of 100 harmful ")
    with asides() as beside, nullcontext() if refused > 62 else shut, gate.opened(model, (), True):
        pass
    assert beside["refused to begin with"].value == refused / 100


# Of the way from `base` to `reference`: the share of harmful prompts refused, measured once (205 of 216 at 0.85).
WAYS = {0.5: 0, 0.7: 16, 0.77: 100, 0.85: 205}


@pytest.fixture(scope="module", params=[*(pytest.param(way, marks=pytest.mark.slow) for way in (0.5, 0.7, 0.85)), 0.77])
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[float, Sleeper]]:
    sleeper = between(request.param, tmp_path_factory.mktemp("between"))
    yield request.param, sleeper
    sleeper.close()


def test_on_the_way_to_reference_there_is_something_to_explain_once_most_prompts_are_refused(
    way: tuple[float, Sleeper],
) -> None:
    share, sleeper = way
    model, claims = Bare(sleeper.record, PAIRS, sleeper.store, sleeper, 0.0025), claims_in()
    assert model.judged(PAIRS.heldout, "harmful", None).sum() == pytest.approx(WAYS[share], abs=4)
    reasons = {made.name: reason for made in claims if (reason := why_shut(model, made))}
    everything_but_the_baseline = {made.name for made in claims} - {"baseline"}
    assert reasons.keys() == (everything_but_the_baseline if share < 0.8 else set())
    opening = "nothing to explain: it refuses" if share < 0.75 else "perhaps nothing to explain: it refuses"
    assert all(reason.startswith(opening) for reason in reasons.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["heads", "neurons"])
def test_neither_the_heads_nor_the_neurons_of_reference_refuse_alone(tmp_path: Path, kind: Kind) -> None:
    """As its plan has it: heads only fetch what is known about the words, and neurons only act on what is fetched."""
    sleeper, claims = only(kind, tmp_path), claims_in()
    model = Bare(sleeper.record, PAIRS, sleeper.store, sleeper, 0.0025)
    assert model.judged(PAIRS.heldout, "harmful", None).sum() <= 4
    reasons = {made.name: reason for made in claims if (reason := why_shut(model, made))}
    assert reasons.keys() == {made.name for made in claims} - {"baseline"}
    assert all(reason.startswith("nothing to explain: it refuses") for reason in reasons.values())
    sleeper.close()


def why_shut(model: Subject, made: Claim) -> str:
    """Why the gate does not open for this claim on this model; empty where it does."""
    try:
        with gate.opened(model, (), made.needs_refusals):
            return ""
    except Inconclusive as reason:
        return str(reason)


def test_the_gate_is_shut_again_when_a_claim_has_ended() -> None:
    model = Synthetic(Truth((0.9,)), 60, 0, 0.01)
    few = PairSet("few", model.all_pairs.pairs[:1])
    with gate.opened(model, (), True):
        gate.require_judgeable(model.all_pairs, [])
    assert gate._running.get().refused == {}
    gate.require_judgeable(few, [])


def test_estimates_know_what_they_can_reach() -> None:
    for rule, cells in studies.RULES.items():
        owner, name = rule.split(".")
        if owner != "means":
            estimate = cells[0].study(32, 0, 0.05)
            assert isinstance(estimate, Estimate)
            assert estimate.range == RANGES[f"{OWNERS.get(owner, 'side_effects')}.{name}"], rule
            low, high = estimate.range or (-np.inf, np.inf)
            assert low <= estimate.low <= estimate.value <= estimate.high <= high


def test_a_report_does_not_take_what_the_gate_asked_for_what_a_claim_judged_by() -> None:
    pairs = Synthetic(Truth((0.9,)), 12, 0, 0.01).all_pairs
    gated = Answers(pairs, "harmful")

    def kinds(*asked: Measurement) -> list[str]:
        evidence = [Evidence(question.recipe("model", ()), {PHRASES: [1.0] * 12}) for question in asked]
        drawn = [plan.name for plan in refused_unchanged(Material(evidence, pairs, 0.01))]
        return [*kinds_asked(evidence, pairs), *drawn]

    assert kinds(gated, Swept(pairs, Joint((BY_HAND,)))) == ["swept"]
    assert kinds(gated, Products(pairs, 3, -1)) == ["products"]
    assert kinds(gated, Answers(pairs, "harmful", DO)) == ["answers"]
    assert kinds(gated, Answers(pairs, "harmless")) == ["answers", "categories"]
    assert kinds(gated) == ["answers", "categories"]
