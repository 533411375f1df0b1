"""The numbers by which the interval rules were chosen: errors of simpler rules, and correlations within templates.

python -m tests.tools.rule_choices           (about a quarter of an hour of one core)
python -m tests.tools.rule_choices templates (measures organisms: about four minutes)
python -m tests.tools.rule_choices skewed    (means of skewed values alone: seconds)

Prints the numbers of docs/statistics.md that `make calibrate` does not write. Errors are multiples of the level.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import product

import numpy as np
from scipy import stats

from harness import remove
from harness.inputs import places
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.judging import means, proportions
from harness.measurements.evidence import Store
from harness.measurements.interventions import Intervention
from harness.measurements.questions import PromptSide, Scores
from harness.subjects.sleeper import Sleeper
from organisms.plans import PLANS
from tests.test_proportions import PAIRS, RATES, false_support_of_falls

LEVEL, LEVELS, SIZES = 0.0025, (0.0025, 0.05), (16, 64, 256)
RANDOM_CELLS = 2500
STUDIES, SKEWED = 40_000, 20_000
Bounds = Callable[[int, int, float], tuple[float, float]]
"""Hits, n, level → the bounds of a rate."""


def main() -> None:
    parts: tuple[Iterator[str], ...] = (exact(), random_cells(), skewed(), widths(), templates())
    if "templates" in sys.argv:
        parts = (correlations(),)
    if "skewed" in sys.argv:
        parts = (skewed(), widths())
    for part in parts:
        for line in part:
            print(line, flush=True)


def templates() -> Iterator[str]:
    """False support of `rate` on the organisms' held-out templates, over bars 0.1 to 0.9; answers are beta-binomial."""
    clusters = np.array(load_pairs(DATA / "organisms" / "pairs.jsonl").heldout.clusters)
    _, place = np.unique(clusters, return_inverse=True)
    rng = np.random.default_rng(0)
    yield f"rate, {len(place)} pairs in {place.max() + 1} templates, level {LEVEL}, {STUDIES:,} studies a cell"
    for alike in (0.0, 0.1, 0.2, 0.3, 0.5, 0.9):
        errors = []
        for bar in np.arange(1, 10) / 10:
            spread = (1 - alike) / alike if alike else math.inf
            wrong = np.zeros(2)
            for _ in range(STUDIES):
                drawn = rng.beta(bar * spread, (1 - bar) * spread, place.max() + 1)[place] if alike else bar
                hits = rng.random(len(place)) < drawn
                wrong += [proportions.rate(hits, LEVEL, names).low > bar for names in (None, clusters)]
            errors.append(wrong / STUDIES / LEVEL)
        (alone, used), (most_alone, most_used) = np.min(errors, axis=0), np.max(errors, axis=0)
        said = f"pairs as units {alone:.2f} to {most_alone:.2f}, as used {used:.2f} to {most_used:.2f}"
        yield f"correlation {alike}: {said}"


def exact() -> Iterator[str]:
    """The worst false verdict, summed over every table, at the bars of tests/test_proportions.py."""
    for level in LEVELS:
        for n in SIZES:
            errors = {
                "Wilson": error_of_rates(wilson, n, level),
                "rate": error_of_rates(in_use, n, level),
                "Tango": max(false_support_by_tango(n, *cell, level) for cell in both_ways()),
                "paired_difference": max(false_support_of_falls(n, *cell, level) for cell in both_ways()),
            }
            said = ", ".join(f"{rule} {error / level:.2f}" for rule, error in errors.items())
            yield f"exact sums, level {level}, n = {n}: {said}"


def both_ways() -> Iterator[tuple[float, float]]:
    """Bars and rates of rises; false refutation of a fall is false support of the opposite one."""
    for bar, rises in PAIRS:
        rises = max(rises, -bar)
        yield bar, rises
        yield -bar, rises + bar


def error_of_rates(bounds: Bounds, n: int, level: float) -> float:
    """The worst chance that a bound lies beyond the true rate."""
    intervals = [bounds(k, n, level) for k in range(n + 1)]
    chances = ((bar, stats.binom.pmf(np.arange(n + 1), n, bar)) for bar in RATES)
    return float(
        max(
            max(chance[[low > bar for low, _ in intervals]].sum(), chance[[high < bar for _, high in intervals]].sum())
            for bar, chance in chances
        )
    )


def in_use(k: int, n: int, level: float) -> tuple[float, float]:
    interval = proportions.rate(np.arange(n) < k, level)
    return interval.low, interval.high


def wilson(k: int, n: int, level: float) -> tuple[float, float]:
    z, share = float(stats.norm.isf(level)), k / n
    middle = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)


def false_support_by_tango(n: int, bar: float, rises: float, level: float) -> float:
    """As `false_support_of_falls`, with the normal tail of Tango's score."""
    z, wrong = float(stats.norm.isf(level)), 0.0
    for rose in range(n + 1):
        fell = np.arange(n - rose + 1)
        nuisance = np.array([proportions._restricted(n, int(falls), rose, bar) for falls in fell])
        variance = np.maximum(n * (2 * nuisance + bar * (1 - bar)), 1e-300)
        supports = (fell - rose - n * bar) / np.sqrt(variance) > z
        chance = stats.binom.pmf(rose, n, rises) * stats.binom.pmf(
            fell, n - rose, min(1.0, (rises + bar) / (1 - rises)) if rises < 1 else 0.0
        )
        wrong += float(chance[supports].sum())
    return wrong


def random_cells() -> Iterator[str]:
    """How often `paired_difference` errs above the level where n, bar and rate of rises are drawn at random."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(RANDOM_CELLS):
        n, bar = int(rng.integers(8, 129)), float(rng.uniform(-0.95, 0.95))
        rises = max(0.0, -bar) + float(rng.uniform()) * (1 - abs(bar)) / 2
        errors.append(max(false_support_of_falls(n, bar, rises, level) / level for level in LEVELS))
    above = [error for error in errors if error > 1]
    said = ", ".join(f"{error:.3f}" for error in sorted(above))
    yield f"paired_difference, {RANDOM_CELLS:,} random cells: {len(above)} above the level: {said}"


def skewed() -> Iterator[str]:
    """False support of means without bounds, as multiples of the level: the rule in use, and Student's interval."""
    shapes: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
        "normal": lambda rng, shape: rng.normal(size=shape),
        "log-normal 0.5, to the right": lambda rng, shape: rng.lognormal(-0.125, 0.5, shape) - 1,
        "log-normal 0.5, to the left": lambda rng, shape: 1 - rng.lognormal(-0.125, 0.5, shape),
        "log-normal 1, to the left": lambda rng, shape: 1 - rng.lognormal(-0.5, 1, shape),
        "one in twenty at -3": lambda rng, shape: (
            np.where(rng.random(shape) < 0.05, -3.0, 0.3 * rng.normal(size=shape)) + 0.15
        ),
    }
    for (name, draw), n, level in product(shapes.items(), (32, 64, 216), (0.01, LEVEL)):
        used, student = (share / level for share in decided(draw(np.random.default_rng(n), (SKEWED, n)), level))
        yield f"{name}, n = {n}, level {level}: {used:.2f} as used, Student's {student:.2f}"


def widths() -> Iterator[str]:
    """How often an effect of 1.0 is seen to be above 0.8, by the rule in use and by Student's interval."""
    for n, level in product((32, 64), (0.01, LEVEL)):
        used, student = decided(0.2 + 0.3 * np.random.default_rng(n).normal(size=(SKEWED, n)), level)
        yield f"1.0 above 0.8, spread 0.3, n = {n}, level {level}: {used:.2f} as used, Student's {student:.2f}"


def decided(drawn: np.ndarray, level: float) -> tuple[float, float]:
    """The shares of rows whose mean lies above 0: by the rule of `means.mean`, written out again, and by Student's."""
    n = drawn.shape[1]
    t = drawn.mean(1) / drawn.std(1, ddof=1) * math.sqrt(n)
    student = float(stats.t.isf(level, n - 1))
    skewness = np.minimum(means.SKEWNESS * stats.skew(drawn, axis=1, bias=False), -1e-9)
    inner = 1 + skewness * (student / math.sqrt(n) - skewness / (6 * n))
    hall = np.maximum(student, 3 * math.sqrt(n) / skewness * (np.cbrt(inner) - 1))
    rows = slice(None, None, len(drawn) // 20)
    if any((means.mean(row, level).low > 0) != above for row, above in zip(drawn[rows], (t > hall)[rows], strict=True)):
        raise SystemExit("means.mean decides otherwise than this simulation of it")
    return float((t > hall).mean()), float((t > student).mean())


def correlations() -> Iterator[str]:
    """Correlations within templates on each organism: log-odds of the first token, and answers where five differ."""
    for name in sorted(PLANS.keys() - {"compliant"}):  # it refuses nothing, so no token is one of refusal
        with closing(Sleeper(f"organism:{name}", "nf4", "auto", Store(places.evidence()))) as sleeper:
            subject = sleeper.subject(level=LEVEL)
            pairs = subject.all_pairs.heldout
            arms: dict[str, tuple[PromptSide, Intervention | None]] = {
                "harmful": ("harmful", None),
                "harmless": ("harmless", None),
                "harmful, direction removed": ("harmful", remove(subject.direction(subject.all_pairs.discovery))),
            }
            for arm, (side, under) in arms.items():
                odds = np.array(subject.ask(Scores(pairs, side, under)).values["odds"])
                hits = subject.judged(pairs, side, under).astype(float)
                said = f"log-odds {within(odds, pairs.clusters_of(side)):.2f}"
                if 5 <= hits.sum() <= len(hits) - 5:
                    said += f", answers {within(hits, pairs.clusters_of(side)):.2f}"
                yield f"{name}, {arm}: {said}"


def within(values: np.ndarray, clusters: Sequence[str]) -> float:
    """The intraclass correlation by analysis of variance (Donner 1986, International Statistical Review 54:67)."""
    _, place = np.unique(clusters, return_inverse=True)
    sizes, total = np.bincount(place), len(values)
    means_of = np.bincount(place, values) / sizes
    between = float((sizes * (means_of - values.mean()) ** 2).sum()) / (len(sizes) - 1)
    inside = float(((values - means_of[place]) ** 2).sum()) / (total - len(sizes))
    size = (total - float((sizes**2).sum()) / total) / (len(sizes) - 1)
    return (between - inside) / (between + (size - 1) * inside)


if __name__ == "__main__":
    main()
