"""How often each rule of the statistics supports falsely when the truth stands exactly at the bar.

python -m tests.false_support [rates|pairs|means|correlations] [simulations] [n …]   (all of them at 4,000: an hour)

Each cell is simulated through the public function; what is printed is false support as a multiple of the level, which
must be at or under 1 plus simulation error.
"""

import sys
from collections.abc import Callable

import numpy as np

from harness import resampling, stats

LEVELS = (0.0025, 0.01, 0.05)
SIZES = (16, 64, 256)
RATES = (0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98)
# (bar, rate of rises): the fall is the bar; no rises, few, and as many as there can be.
PAIRS = [
    (bar, share * (1 - bar) / 2) for bar in (-0.2, 0.0, 0.05, 0.1, 0.3, 0.5, 0.8, 0.95) for share in (0.0, 0.05, 0.4, 1)
]
DRAWS: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float, tuple[float, float]]] = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0, resampling.UNBOUNDED),
    "uniform, unbounded": (lambda rng, n: rng.random(n), 0.5, resampling.UNBOUNDED),
    "t, 3 d.f.": (lambda rng, n: rng.standard_t(3, n), 0.0, resampling.UNBOUNDED),
    "exponential": (lambda rng, n: rng.exponential(size=n), 1.0, resampling.UNBOUNDED),
    "log-normal 0.5": (lambda rng, n: rng.lognormal(0, 0.5, n), float(np.exp(0.125)), resampling.UNBOUNDED),
    "yes at 0.95": (lambda rng, n: (rng.random(n) < 0.95).astype(float), 0.95, (0.0, 1.0)),
    "beta(5, 0.5)": (lambda rng, n: rng.beta(5, 0.5, n), 5 / 5.5, (0.0, 1.0)),
}


def rate(n: int, bar: float, level: float, simulations: int) -> tuple[float, float]:
    """False support of rate > bar and of rate < bar."""
    rng = np.random.default_rng(n)
    found = [stats.rate(rng.random(n) < bar, level) for _ in range(simulations)]
    return wrong(found, bar)


def pairs(n: int, bar: float, rises: float, level: float, simulations: int) -> tuple[float, float]:
    rng = np.random.default_rng(n)
    falls = max(bar + rises, 0.0)
    rises = falls - bar
    found = []
    for _ in range(simulations):
        u = rng.random(n)
        before, after = u < falls, (u >= falls) & (u < falls + rises)
        found.append(stats.paired_difference(before, after, level))
    return wrong(found, bar)


def means(n: int, name: str, level: float, simulations: int) -> tuple[float, float]:
    draw, truth, bounds = DRAWS[name]
    rng = np.random.default_rng(n)
    return wrong([resampling.mean(draw(rng, n), level, bounds=bounds) for _ in range(simulations)], truth)


def ratios(n: int, level: float, simulations: int) -> tuple[float, float]:
    """Shares of gaps that are never negative, in clusters of 4 with noise in common; the truth is 0.8."""
    rng = np.random.default_rng(n)
    found = []
    for _ in range(simulations):
        gap = rng.gamma(4, 1, n)
        noise = np.repeat(rng.normal(0, 0.5, n // 4), 4) + rng.normal(0, 0.5, n)
        found.append(resampling.ratio_of_means(0.8 * gap + noise, gap, level, clusters=np.arange(n) // 4))
    return wrong(found, 0.8)


def correlations(n: int, truth: float, shared: float, level: float, simulations: int) -> tuple[float, float]:
    """60 components whose true effects correlate at `truth`, with noise as large, `shared` of it in common."""
    rng = np.random.default_rng(n)
    found = []
    for _ in range(simulations):
        a = rng.normal(size=60)
        a = (a - a.mean()) / a.std()
        b = rng.normal(size=60)
        b -= b.mean() + a * (a @ b) / 60
        b = truth * a + np.sqrt(1 - truth**2) * b / b.std()
        both, first, second = rng.normal(size=(3, n, 60))
        own, common = np.sqrt(1 - shared), np.sqrt(shared)
        found.append(resampling.correlation(a + own * first + common * both, b + own * second + common * both, level))
    return wrong(found, truth)


def wrong(found: list[stats.Interval], truth: float) -> tuple[float, float]:
    """The shares of intervals wholly above and wholly below the truth."""
    return (
        sum(i.low > truth + 1e-9 for i in found) / len(found),
        sum(i.high < truth - 1e-9 for i in found) / len(found),
    )


def table(title: str, cells: dict[str, dict[int, Callable[[float], tuple[float, float]]]]) -> None:
    print(f"\n{title}: above / below, as multiples of the level\n")
    for level in LEVELS:
        for name, by_size in cells.items():
            said = []
            for n, cell in by_size.items():
                above, below = cell(level)
                said.append(f"n={n}: {above / level:.2f} / {below / level:.2f}")
            print(f"{level:<7} {name:<28} {'   '.join(said)}", flush=True)


def main(what: str = "all", simulations: str = "4000", *only: str) -> None:
    s, sizes = int(simulations), [int(n) for n in only] or SIZES
    if what in ("rates", "all"):
        table("rate", {f"{b}": {n: lambda lv, n=n, b=b: rate(n, b, lv, s) for n in sizes} for b in RATES})
    if what in ("pairs", "all"):
        table(
            "paired_difference",
            {
                f"bar {b}, rises {r:.3f}": {n: lambda lv, n=n, b=b, r=r: pairs(n, b, r, lv, s) for n in sizes}
                for b, r in PAIRS
            },
        )
    if what in ("means", "all"):
        table("mean", {name: {n: lambda lv, n=n, d=name: means(n, d, lv, s) for n in sizes} for name in DRAWS})
        table(
            "ratio_of_means, clusters of 4",
            {"0.8": {n: lambda lv, n=n: ratios(n, lv, s) for n in (32, 64, 256) if n in sizes}},
        )
    if what in ("correlations", "all"):
        table(
            "correlation",
            {
                f"r {r}, noise shared {c}": {n: lambda lv, n=n, r=r, c=c: correlations(n, r, c, lv, s) for n in sizes}
                for r in (0.0, 0.7, 0.95)
                for c in (0.0, 0.5)
            },
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
