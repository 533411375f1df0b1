"""A claim's figure shows what is judged beside its bars, and sentences beside it say what the number hides."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judging.estimate import Estimate
from harness.judging.verdict import Decided, plain
from harness.measurements.evidence import Evidence, Store
from harness.measurements.interventions import Direction, Remove
from harness.measurements.questions import described
from harness.measurements.recipe import Recipe
from harness.report.claim_section import reasons
from harness.report.drawing.answer_figures import random_controls, refusals
from harness.report.drawing.figures import figure
from harness.report.drawing.judged_figures import judged
from harness.report.page import write
from harness.report.remarks import remarks
from harness.results.run_record import Judged
from harness.results.verdict_evidence import Material, intervention_in_words
from harness.subjects.quantities.refusals import RANDOM
from tests.tools import stories
from tests.tools.planted import HELDOUT, PAIRS, SPACE, answered, heads, hovers, joint, scored


def held(name: str, low: float, high: float, sign: Any = ">", bar: float = 0.3) -> Decided:
    return Decided(**plain(Estimate(name, (low + high) / 2, low, high, 9, "drawn")), sign=sign, bar=bar)


def verdict(*estimates: Decided, model: str = "m", beside: tuple[str, ...] = (), **more: Any) -> Judged:
    kept = [plain(Estimate(name, 0.1, 0.0, 0.2, 9, "drawn")) for name in beside]
    judged_claim = Judged(
        claim="c",
        model=model,
        test="t",
        word="SUPPORTED",
        reason="",
        estimates=list(estimates),
        beside=kept,
        evidence=[],
        seconds=0.0,
    )
    return judged_claim | more  # type: ignore[return-value]


def svg_of(*verdicts: Judged) -> str:
    plan = judged(verdicts, 0.0025)
    assert plan is not None
    return figure("c", plan.name, plan, plan.limits).svg


def bars(text: str) -> list[list[tuple[float, float]]]:
    """The corners of each row's bar, from its flag down; not the one of the legend."""
    lines = [one.get("points", "").split() for one in ET.fromstring(text).iter(f"{SPACE}polyline")]
    corners = [[(float(x), float(y)) for x, _, y in (point.partition(",") for point in line)] for line in lines]
    return [line for line in corners if line[-1][1] - line[1][1] == pytest.approx(20)]


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(-1, 1), st.sampled_from("><"))
def test_a_bar_stands_where_its_number_is_and_its_flag_points_to_the_side_that_supports(
    low: float, width: float, bar: float, sign: Any
) -> None:
    rows = [held("fall", low, low + width, sign, bar), held("left", bar - 0.5, bar + 0.5, sign, bar)]
    text = svg_of(verdict(*rows))
    (flag, corner, _), other = bars(text)
    assert corner[0] == pytest.approx(other[1][0])
    assert (flag[0] > corner[0]) == (sign == ">")
    # The second row's mark stands on its bar by construction: the first lies on the side on which its value does.
    marks = [
        element
        for element in ET.fromstring(text)
        if element.findtext(f"{SPACE}title") and element.tag != f"{SPACE}title"
    ]
    first, second = (float(mark.get("cx") or (mark.get("d") or "M0").split(" ")[0][1:]) for mark in marks)
    assert second == pytest.approx(corner[0], abs=0.2)
    if abs(low + width / 2 - bar) > 0.05:
        assert (first > corner[0]) == (low + width / 2 > bar)


def test_the_placebo_and_the_harmless_behaviour_stand_beside_what_is_judged() -> None:
    staged = verdict(
        held("reading", 0.5, 0.6, bar=0.05),
        beside=("reading, harmless behaviour", "fall, random circuits", "AUC of the score"),
    )
    assert [text.partition(": +")[0] for text in hovers(svg_of(staged)) if text] == [
        "effect that has left the words after a third",
        "effect that has left the words, if harmless",
        "mean fall under 20 random circuits",
    ]


def test_several_models_are_rows_of_one_figure() -> None:
    first, second = (
        verdict(held("fall", 0.5, 0.6), model="recorded:a"),
        verdict(held("fall", 0, 0.1), model="recorded:b"),
    )
    assert [text.partition(":")[0] for text in hovers(svg_of(first, second)) if text] == ["a", "b"]
    undecided = verdict(model="recorded:c", word="INCONCLUSIVE")
    assert judged([undecided], 0.01) is None


def test_a_correlation_that_rests_on_few_heads_says_on_how_many() -> None:
    exact, guess = np.zeros((8, 8)), np.zeros((8, 8))
    exact[3, 1], exact[4, 2] = 0.5, 0.5
    guess[3, 1], guess[4, 2] = 0.1, 0.1
    material = Material([heads(exact), heads(guess, "estimated")], PAIRS, 0.01)
    (said,) = remarks(material, verdict(held("r, heads", 0.8, 0.9)))
    assert said.startswith("The correlation rests on 2 of 64 heads")
    assert "their mean effect is 0.50 as patching measures it, and 0.10 as gradients estimate it" in said
    every = Material([heads(np.linspace(-1, 1, 64).reshape(8, 8)), heads(guess, "estimated")], PAIRS, 0.01)
    (said,) = remarks(every, verdict(held("r, heads", 0.8, 0.9)))
    assert int(re.findall(r"rests on (\d+) of 64", said)[0]) > 40
    assert remarks(material, verdict(held("fall", 0.8, 0.9))) == []


def test_a_circuit_of_which_a_part_does_all_says_so() -> None:
    parts = [f"1.head.{number}" for number in range(5)]
    material = Material([joint([parts[:1], parts[:2], parts], [0.4, 0.98, 1.0])], PAIRS, 0.01)
    assert remarks(material, verdict(held("E", 0.9, 1.0))) == [
        "The first 2 of the circuit's 5 parts alone carry 0.98 of the effect; all of them carry 1.00."
    ]
    needed = Material([joint([parts[:1], parts[:2], parts], [0.4, 0.8, 1.0])], PAIRS, 0.01)
    assert remarks(needed, verdict(held("E", 0.9, 1.0))) == []


def test_the_strongest_random_direction_is_told_by_what_it_does() -> None:
    prompts = tuple(HELDOUT.harmful[:2]), tuple(HELDOUT.harmless[:2])
    direction_found = Direction("difference", 2, -1, *prompts)
    values = {"layer": 2, "position": -1, "harmful": list(prompts[0]), "harmless": list(prompts[1])}
    of = {"pairs": {"pairs": PAIRS.discovery.fingerprint, "n": len(PAIRS.discovery)}}
    arms = [(direction_found, -3.0), *((direction_found.random(seed), 1.0 - 2 * (seed == 4)) for seed in range(RANDOM))]
    evidence = [
        Evidence(Recipe("direction", 1, "m", of), values),
        scored("harmful", None, 3.0),
        *(scored("harmful", described(Remove(direction)), odds) for direction, odds in arms),
    ]
    led = verdict(held("lead over random", 0.8, 0.9), beside=("lead over the best random one",))
    assert remarks(Material(evidence, PAIRS, 0.01), led) == [
        f"With the strongest of {RANDOM} random directions removed instead, 0.00 of harmful prompts are refused; by "
        "the unchanged model, 1.00."
    ]


def test_where_answers_were_generated_or_openings_scored_no_first_token_is_shown() -> None:
    prompts = tuple(HELDOUT.harmful[:2]), tuple(HELDOUT.harmless[:2])
    direction_found, n = Direction("difference", 2, -1, *prompts), len(HELDOUT)
    values = {"layer": 2, "position": -1, "harmful": list(prompts[0]), "harmless": list(prompts[1])}
    of = {"pairs": {"pairs": PAIRS.discovery.fingerprint, "n": len(PAIRS.discovery)}}
    arms = [described(Remove(direction_found.random(seed))) for seed in range(RANDOM)]
    cheap = [
        scored("harmful", described(Remove(direction_found)), -3.0),
        *(scored("harmful", arm, 3.0) for arm in arms),
    ]
    told = [Evidence(Recipe("direction", 1, "m", of), values), *cheap]
    (control,) = random_controls(Material(told, PAIRS, 0.01))
    assert refusals(control.under_found[0]).mean() == 0
    by_openings = {
        "pairs": {"pairs": HELDOUT.fingerprint, "n": n},
        "side": "harmful",
        "under": described(Remove(direction_found)),
    }
    openings = Evidence(Recipe("opening-scores", 1, "m", by_openings), {"odds": [1.0] * n})
    for dearer in (openings, answered(HELDOUT, "harmful", described(Remove(direction_found)), np.ones(n))):
        (control,) = random_controls(Material([*told, dearer], PAIRS, 0.01))
        assert [refusals(arm).mean() for arm in control.under_found] == [1.0]
        assert len(control.under_random) == RANDOM


def test_each_model_that_a_claim_was_not_judged_on_has_its_reason() -> None:
    skipped = [
        verdict(model="recorded:a", word="SKIPPED", reason="recorded:a: first tokens were not recorded"),
        verdict(model="recorded:b", word="SKIPPED", reason="recorded:b: first tokens were not recorded"),
        verdict(model="c", word="UNFIT", reason="it answers in no language"),
    ]
    assert list(reasons(skipped)) == [
        ("first tokens were not recorded", ["recorded:a", "recorded:b"]),
        ("it answers in no language", ["c"]),
    ]


def test_one_component_is_no_plural() -> None:
    patch = {"a": "Patch", "sites": ["1.head.1"]}
    assert intervention_in_words(patch) == "1 component from the twin"
    assert intervention_in_words(patch | {"sites": ["1.head.1", "1.head.2"]}) == "2 components from the twin"


def test_folded_verdicts_that_their_numbers_contradict_are_counted_apart(tmp_path: Path) -> None:
    run = stories.told(tmp_path, ["a claim"], ["a", "b", "c"], stories.pairs(40))
    values = json.loads((run / "run.json").read_text())
    values["claims"]["a claim"]["bar"] = "fall > 0.30"
    values["verdicts"][0]["word"] = "REFUTED"
    (run / "run.json").write_text(json.dumps(values))
    text = write(run, Store(tmp_path / "evidence"), tmp_path / "index.html").page.read_text(encoding="utf-8")
    tally = re.sub(r"<[^>]*>", "", re.findall(r'<p class="tally">(.*?)</p>', text)[0])
    assert tally == "supported on 2, contradicted by its numbers on 1 of 3 models"


def test_a_run_of_an_older_assay_still_has_its_page(tmp_path: Path) -> None:
    run = stories.told(tmp_path, ["a claim"], ["m"], stories.pairs(40))
    values = json.loads((run / "run.json").read_text())
    for name in ("expected", "all_claims", "imported"):
        del values[name]
    for one in values["verdicts"]:
        del one["beside"]
        for estimate in one["estimates"]:
            del estimate["nothing"]
    (run / "run.json").write_text(json.dumps(values | {"schema": 2}))
    text = write(run, Store(tmp_path / "evidence"), tmp_path / "index.html").page.read_text(encoding="utf-8")
    assert "Harmful prompts going from refused to answered: 0.70 [0.60, 0.80]" in text
    assert 'id="a-claim--judged"' in text
