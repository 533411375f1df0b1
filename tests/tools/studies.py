"""Simulated studies of every rule that claims use: a synthetic subject, asked through the method that claims call.

A rule is tried in cells: truths that stand exactly at a bar. `tests/tools/calibrate.py` counts how often each errs.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special, stats

from harness.judging import means
from harness.judging.estimate import Estimate
from harness.judging.proportions import Interval
from harness.measurements.interventions import Circuit, Intervention, patch, remove
from harness.subjects.live import Subject
from harness.subjects.quantities.depths import Depths, Stage
from harness.subjects.quantities.geometry import Geometry
from harness.subjects.quantities.refusals import Refusals
from harness.subjects.quantities.side_effects import SideEffects
from harness.subjects.synthetic import GAP, SIZES, Synthetic, Truth

SIZES_OF_STUDIES = (16, 32, 64, 128, 256)
# Small enough a level to be a claim's, and one at which a simulation sees more than a few errors.
LEVELS = (0.05, 0.0025)
COARSE = (0.05,)
Study = Callable[[int, int, float], Estimate | Interval]
"""n, seed, level → what a claim would see."""


@dataclass(frozen=True)
class Cell:
    """One truth at which a rule is tried, and the bar that stands there."""

    label: str
    study: Study
    bar: float
    upper: float | None = None  # the bar of refutation, where it is another
    beyond: float = 0.0  # it errs up to so many times the level, and docs/statistics.md says so; 0: it holds
    sizes: tuple[int, ...] = SIZES_OF_STUDIES
    levels: tuple[float, ...] = LEVELS
    quick: int = 400  # simulations of the test


def asked(method: Callable[[Synthetic], Estimate], truth: Truth, **sizes: int) -> Study:
    """A study by a method of the subject."""
    return lambda n, seed, level: method(Synthetic(truth, n, seed, level, replace(SIZES, **sizes)))


def of(method: Callable[[Refusals, Synthetic], Estimate], truth: Truth) -> Study:
    """A study by a method of its refusals."""
    return asked(lambda subject: method(subject.refuses(subject.all_pairs), subject), truth)


def fall(answers: Refusals, subject: Synthetic) -> Estimate:
    return answers.fall(under=_under(subject, 0))


def rise(answers: Refusals, subject: Synthetic) -> Estimate:
    return answers.rise(under=_under(subject, 0))


def left(answers: Refusals, subject: Synthetic) -> Estimate:
    return answers.left(under=_under(subject, 0))


def gain(answers: Refusals, subject: Synthetic) -> Estimate:
    return answers.gain(_under(subject, 1), over=_under(subject, 0))


def of_circuit(which: str) -> Callable[[Synthetic], Estimate]:
    return lambda subject: getattr(subject, which)(_circuit(subject), subject.all_pairs)


def to_even_odds() -> float:
    """The mean change of the probability in a synthetic study whose patches close half of the gap: to even odds."""
    return float(stats.gamma(9, scale=GAP / 9).expect(lambda gap: special.expit(gap / 2))) - 0.5


def agreement(subject: Synthetic) -> Estimate:
    return subject.agreement(subject.all_pairs, "head")


def counted(subject: Synthetic) -> Estimate:
    return subject.counted(subject.all_pairs, "head", 0.10, of=1)


def direction_lead(answers: Refusals, subject: Synthetic) -> Estimate:
    return answers.lead(under=remove(subject.direction(subject.all_pairs.discovery)))


def by_category(answers: Refusals, subject: Synthetic) -> Estimate:
    return answers.by_category(under=_under(subject, 0))


def shared(subject: Synthetic) -> Estimate:
    return subject.shared(subject.all_pairs, subject.all_pairs.discovery, heads=4)


def stage(which: Stage) -> Callable[[Synthetic], Estimate]:
    return lambda subject: subject.depths(subject.all_pairs).of(which)


def beyond_harmless(which: Stage) -> Callable[[Synthetic], Estimate]:
    return lambda subject: subject.depths(subject.all_pairs).beyond_harmless(which)


def keywords(subject: Synthetic) -> Estimate:
    return subject.depths(subject.all_pairs).keywords(by=subject.all_pairs.discovery)


def restored(subject: Synthetic) -> Estimate:
    return subject.depths(subject.all_pairs).restored("post")


def of_streams(which: str) -> Callable[[Synthetic], Estimate]:
    return lambda subject: getattr(subject.geometry(subject.all_pairs), which)()


def growth(subject: Synthetic) -> Estimate:
    return subject.geometry(subject.all_pairs).growth(subject.direction(subject.all_pairs.discovery))


def beside(which: str) -> Callable[[Synthetic], Estimate]:
    return lambda subject: getattr(subject.side_effects(subject.all_pairs, _under(subject, 0)), which)()


def drawn(draw: Callable[[np.random.Generator, int], np.ndarray], bounds: tuple[float, float]) -> Study:
    """A study by `means.mean` itself."""
    return lambda n, seed, level: means.mean(draw(np.random.default_rng([seed, n]), n), level, bounds=bounds)


def one_in_twenty(rng: np.random.Generator, n: int) -> np.ndarray:
    """Values around 0, one in twenty of which is -3: many a sample contains none of them."""
    return np.where(rng.random(n) < 0.05, -3.0, 0.3 * rng.normal(size=n))


FREE = means.UNBOUNDED
SIXES: dict[str, Any] = {"template": 6, "alike": 0.3}
FOURS: dict[str, Any] = {"template": 4}
FEWER: dict[str, Any] = {"sizes": (32, 64, 128), "quick": 60, "levels": COARSE}
STAGES: tuple[Stage, ...] = ("reading", "accumulation", "execution")

RULES: dict[str, tuple[Cell, ...]] = {
    "Refusals.rate": (
        *(
            Cell(f"rate {rate}", of(lambda answers, _: answers.rate(), Truth((0.0,), refused=rate)), rate)
            for rate in (0.02, 0.1, 0.5, 0.8, 0.98)
        ),
        *(
            Cell(
                f"rate {rate}, templates of 6 alike by {alike}",
                of(lambda answers, _: answers.rate(), Truth((0.0,), refused=rate, alike=alike, template=6)),
                rate,
                beyond=beyond,
            )
            for rate, alike, beyond in ((0.1, 0.1, 0.0), (0.8, 0.3, 0.0), (0.1, 0.9, 9.0))
        ),
    ),
    "Refusals.fall": (
        Cell("fall 0.3 of 0.5, two in five break", of(fall, Truth((0.5,), broken=0.4)), 0.3),
        Cell(
            "fall 0 by as many each way, a third breaks",
            of(fall, Truth((0.0,), contrary=0.2, refused=0.5, broken=0.33)),
            0.0,
        ),
        *(
            Cell(f"fall {bar}, {contrary:.0%} contrary", of(fall, Truth((bar,), contrary=contrary)), bar)
            for bar, contrary in ((0.02, 0.0), (0.3, 0.0), (0.3, 0.04), (0.6, 0.02), (0.9, 0.02))
        ),
        *(
            Cell(
                f"fall {bar}, templates of 6 alike by {alike}",
                of(fall, Truth((bar,), alike=alike, template=6)),
                bar,
                beyond=beyond,
            )
            for bar, alike, beyond in ((0.3, 0.1, 0.0), (0.6, 0.3, 0.0), (0.9, 0.9, 9.0))
        ),
    ),
    "Refusals.rise": tuple(
        Cell(f"rise {bar}, {contrary:.0%} contrary", of(rise, Truth((bar,), contrary=contrary)), bar)
        for bar, contrary in ((0.02, 0.0), (0.3, 0.0), (0.5, 0.02), (0.95, 0.0))
    ),
    "Refusals.left": tuple(Cell(f"left {bar}", of(left, Truth((0.95 - bar,))), bar) for bar in (0.02, 0.2, 0.5)),
    "Refusals.gain": tuple(
        Cell(f"gain {two - one:.2f}", of(gain, Truth((one, two))), two - one)
        for one, two in ((0.75, 0.75), (0.7, 0.85), (0.85, 0.7), (0.05, 0.9))
    ),
    "Subject.effect": (
        Cell("E 0.8, normal noise", asked(of_circuit("effect"), Truth((0.8,))), 0.8, quick=80),
        *(
            Cell(
                f"E 0.8, noise skewed to the {side}",
                asked(of_circuit("effect"), Truth((0.8,), skewed=sign)),
                0.8,
                quick=80,
            )
            for side, sign in (("right", 1), ("left", -1))
        ),
        Cell(
            "E 0.8, templates of 6 alike by 0.5",
            asked(of_circuit("effect"), Truth((0.8,), alike=0.5, template=6)),
            0.8,
            quick=80,
        ),
    ),
    "Subject.lead": (
        Cell("lead 0.3, skewed noise", asked(of_circuit("lead"), Truth((0.3,), skewed=1)), 0.3, quick=80),
    ),
    "Subject.lead_over_loudest": (
        Cell("lead 0.3, normal noise", asked(of_circuit("lead_over_loudest"), Truth((0.3,))), 0.3, quick=80),
    ),
    "Subject.lead_over_harmless": (
        Cell("lead 0.3, normal noise", asked(of_circuit("lead_over_harmless"), Truth((0.3,))), 0.3, quick=80),
    ),
    "Subject.token_difference": (
        Cell("E 0.5, normal noise", asked(of_circuit("token_difference"), Truth((0.5,))), 0.5, quick=80, levels=COARSE),
    ),
    "Subject.token_probability": (
        Cell(
            "to even odds",
            asked(of_circuit("token_probability"), Truth((0.5,))),
            to_even_odds(),
            quick=80,
            levels=COARSE,
        ),
    ),
    "Subject.agreement": (
        Cell("r 0.7, own noise", asked(agreement, Truth((0.5,), agreement=0.7)), 0.7, quick=80),
        Cell(
            "r 0.7, noise half in common",
            asked(agreement, Truth((0.5,), agreement=0.7, common=0.5)),
            0.7,
            levels=(0.05,),
            quick=80,
        ),
        Cell(
            "r 0.7, templates of 6 alike by 0.5",
            asked(agreement, Truth((0.5,), agreement=0.7, alike=0.5, template=6)),
            0.7,
            levels=(0.05,),
            quick=80,
        ),
    ),
    "Subject.counted": (
        Cell(
            "4 heads, all at the share itself",
            asked(counted, Truth((0.1,)), layers=1),
            0.0,
            upper=4.0,
            levels=(0.05,),
            quick=60,
        ),
    ),
    "Refusals.lead": (
        Cell("lead 0.3", of(direction_lead, Truth((0.4, 0.1))), 0.3, quick=60, levels=COARSE),
        Cell(
            "lead 0.3, templates of 6 alike by 0.3",
            of(direction_lead, Truth((0.4, 0.1), **SIXES)),
            0.3,
            quick=60,
            levels=COARSE,
        ),
    ),
    "Refusals.by_category": (
        Cell("every one of 4 falls by 0.3", of(by_category, Truth((0.3,))), 0.3, levels=COARSE),
        Cell("every one of 4 falls by 0.9", of(by_category, Truth((0.9,))), 0.9, levels=COARSE),
    ),
    "Subject.shared": (
        # Four categories: in fewer pairs their own circuits are too uncertain to compare with.
        *(
            Cell(label, asked(shared, truth), 0.7, sizes=(64, 128, 256), quick=60, levels=COARSE)
            for label, truth in (
                ("0.7 of its own effect", Truth((0.9, 0.63))),
                ("0.7, skewed noise", Truth((0.9, 0.63), skewed=1)),
            )
        ),
    ),
    "Depths.of": (
        Cell("reading 0.5, frames of 4", asked(stage("reading"), Truth((0.5,), **FOURS)), 0.5, quick=60, levels=COARSE),
        Cell(
            "execution 0.3, frames of 4 alike by 0.3, skewed",
            asked(stage("execution"), Truth((0.3,), noise=0.1, skewed=True, **FOURS | {"alike": 0.3})),
            0.3,
            quick=60,
            levels=COARSE,
        ),
    ),
    "Depths.beyond_harmless": tuple(
        Cell(
            f"{which} as in a harmless behaviour, frames of 4",
            asked(beyond_harmless(which), Truth((0.4, 0.4), noise=0.2, **FOURS)),
            0.0,
            quick=60,
            levels=COARSE,
        )
        for which in STAGES
    ),
    "Depths.keywords": (Cell("depth 0.4", asked(keywords, Truth((0.4,), noise=0.0)), 0.4, quick=60, levels=COARSE),),
    "Depths.restored": (
        Cell("restored 0.5, skewed", asked(restored, Truth((0.5,), skewed=1)), 0.5, quick=60, levels=COARSE),
    ),
    "Geometry.agreement": (
        Cell("cosine 0.7, 4 categories", asked(of_streams("agreement"), Truth((0.7,))), 0.7, **FEWER),
    ),
    "Geometry.principal": tuple(
        Cell(label, asked(of_streams("principal"), truth), 0.9, **FEWER)
        for label, truth in (
            ("cosine 0.9", Truth((1.0,), principal=0.9)),
            ("cosine 0.9, noisy", Truth((1.0,), principal=0.9, noise=0.45)),
            ("cosine 0.9, frames of 4 alike by 0.3", Truth((1.0,), principal=0.9, template=4, alike=0.3)),
        )
    ),
    "Geometry.growth": (
        Cell("0.2, along random ones 0.1", asked(growth, Truth((0.2, 0.1), noise=0.1)), 0.1, quick=60, levels=COARSE),
    ),
    "SideEffects.refused": (
        Cell("0.1 more refused", asked(beside("refused"), Truth((0.1,))), 0.1, levels=COARSE),
        Cell("none more refused", asked(beside("refused"), Truth((0.0,))), 0.0, levels=COARSE),
    ),
    "SideEffects.coherent": (
        Cell("0.9 in language", asked(beside("coherent"), Truth((0.0,), broken=0.1)), 0.9, levels=COARSE),
    ),
    "SideEffects.divergence": (
        Cell("0.1 nats, exponential", asked(beside("divergence"), Truth((0.1,))), 0.1, quick=60, levels=COARSE),
    ),
    "SideEffects.cross_entropy": (
        Cell(
            "0.2 nats, 120 passages",
            asked(beside("cross_entropy"), Truth((0.2,))),
            0.2,
            sizes=(32,),
            quick=60,
            levels=COARSE,
        ),
    ),
    "means.mean": (
        Cell("exponential", drawn(lambda rng, n: rng.exponential(size=n), FREE), 1.0, quick=80, sizes=(16, 64, 256)),
        Cell(
            "exponential, turned round",
            drawn(lambda rng, n: -rng.exponential(size=n), FREE),
            -1.0,
            quick=80,
            sizes=(16, 64, 256),
        ),
        Cell(
            "one in twenty at -3",
            drawn(one_in_twenty, FREE),
            -0.15,
            beyond=60.0,
            quick=80,
            sizes=(16, 32, 64, 128, 256),
        ),
        Cell(
            "t, 3 degrees of freedom",
            drawn(lambda rng, n: rng.standard_t(3, n), FREE),
            0.0,
            quick=80,
            sizes=(16, 64, 256),
        ),
        Cell(
            "yes at 0.95, within (0, 1)",
            drawn(lambda rng, n: rng.random(n) < 0.95, (0.0, 1.0)),
            0.95,
            quick=80,
            sizes=(16, 64, 256),
        ),
        Cell(
            "beta(5, 0.5), within (0, 1)",
            drawn(lambda rng, n: rng.beta(5, 0.5, n), (0.0, 1.0)),
            5 / 5.5,
            quick=80,
            sizes=(16, 64, 256),
        ),
    ),
}

# Counted and not estimated; and what effect, lead and others call, by which they are calibrated.
NO_RULES = {"Subject.share", "Subject.share_of"}


def in_use() -> set[str]:
    """Every method by which a claim can come to an estimate."""
    return {
        f"{owner.__name__}.{name}"
        for owner in (Refusals, Subject, Depths, Geometry, SideEffects)
        for name, method in inspect.getmembers(owner, inspect.isfunction)
        if not name.startswith("_") and method.__annotations__.get("return") in (Estimate, "Estimate")
    }


def _under(subject: Synthetic, which: int) -> Intervention:
    return patch(_circuit(subject), at=("post", "later")[which])


def _circuit(subject: Synthetic) -> Circuit:
    return subject.circuit(subject.all_pairs.discovery, heads=4)
