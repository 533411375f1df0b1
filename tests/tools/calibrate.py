"""How often each rule that claims use supports, and refutes, falsely when the truth stands exactly at the bar.

python -m tests.tools.calibrate   (about an hour of one core; interrupted, it goes on where it was)

Every study is a synthetic subject, asked through the very method that claims call. Writes docs/statistics.md between
its markers, and docs/figures.
"""

import hashlib
import inspect
import json
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harness.claims.claim import claim_named, claims_in
from harness.inputs import places
from harness.inputs.places import HOME
from harness.judging import correlations, means, permutations, proportions
from harness.judging.estimate import Inconclusive
from harness.measurements.evidence import Store
from harness.results.controls import placebo, power
from harness.subjects import synthetic
from harness.subjects.live import Subject
from harness.subjects.quantities import refusals
from harness.subjects.quantities.depths import Depths
from harness.subjects.quantities.geometry import Geometry
from harness.subjects.quantities.side_effects import SideEffects
from tests.tools import studies
from tests.tools.figures import Line, figure
from tests.tools.studies import LEVELS, RULES, SIZES_OF_STUDIES, Cell

ROOT = HOME
DOCS = ROOT / "docs"
KEPT = ROOT / "reports" / "calibration.json"
SIMULATIONS = 4000
STUDIES = 200
REFERENCE, PLACEBOS = "organism:reference", 200


def wrong(cell: Cell, n: int, level: float, simulations: int) -> tuple[float, float]:
    """The shares of studies that support falsely, and that refute falsely, as the claim's comparison decides."""
    found = []
    for seed in range(simulations):
        with suppress(Inconclusive):  # which errs neither way
            found.append(cell.study(n, seed, level))
    if len(found) < simulations / 2:
        raise ValueError(f"{cell.label}, n = {n}: only {len(found)} of {simulations} studies come to an estimate")
    # Hair's breadths are arithmetic's, not the truth's.
    upper = cell.bar if cell.upper is None else cell.upper
    return (
        sum(one.low > cell.bar + 1e-9 for one in found) / simulations,
        sum(one.high < upper - 1e-9 for one in found) / simulations,
    )


def allowed(level: float, simulations: int, times: float = 1.0) -> float:
    """The level and what simulation may add: three standard errors and one study."""
    return times * level + 3 * math.sqrt(times * level / simulations) + 1 / simulations


# What the claims' own rules can see: claim, effects that are drawn as lines.
CURVES = {
    "ablation-heads": (0.4, 0.5, 0.65, 0.8, 0.95),
    "baseline": (0.92, 0.96, 0.98, 1.0),
    "localization": (0.85, 0.9, 0.95, 1.0),
    "gradients": (0.8, 0.9, 0.95),
}


def main() -> None:
    """Simulates what is not kept yet, and writes the tables and figures."""
    kept = Kept()
    for name, effects in CURVES.items():
        for effect in effects:
            for n in SIZES_OF_STUDIES:
                key = f"power | {name} | {effect} | {n}"
                if key not in kept.values:
                    claim = claim_named(name)
                    counts = power.outcomes(claim, power.truth_of(claim, effect), n, STUDIES)
                    kept.put(key, (counts["SUPPORTED"] / STUDIES, counts["REFUTED"] / STUDIES))
                    print(f"{key}: {kept.values[key][0]:.2f} supported", file=sys.stderr, flush=True)
    cells = list(every())
    for number, (rule, cell, n, level) in enumerate(cells):
        key = f"{rule} | {cell.label} | {n} | {level}"
        if key not in kept.values:
            kept.put(key, wrong(cell, n, level, SIMULATIONS))
        said = " / ".join(f"{share / level:.2f}" for share in kept.values[key])
        print(f"{number + 1} of {len(cells)}: {key}: {said} times the level", file=sys.stderr, flush=True)
    seen = placebo.keep(placebo.placebos(claims_in(), REFERENCE, PLACEBOS, Store(places.evidence())), REFERENCE)
    written("placebos", "\n".join(placebo.table(seen)))
    written("calibration", "\n".join(tables(kept.values)))
    (DOCS / "figures").mkdir(exist_ok=True)
    for level in LEVELS:
        (DOCS / "figures" / f"false-support-{level}.svg").write_text(errors(kept.values, level), encoding="utf-8")
    for name in CURVES:
        (DOCS / "figures" / f"power-{name}.svg").write_text(curves(kept.values, name), encoding="utf-8")


def every() -> Iterator[tuple[str, Cell, int, float]]:
    for rule, cells in RULES.items():
        for cell in cells:
            for level in cell.levels:
                for n in cell.sizes:
                    yield rule, cell, n, level


class Kept:
    """Shares by key, in a file: of this very code alone."""

    def __init__(self) -> None:
        modules = [proportions, means, permutations, correlations, refusals, synthetic, studies, sys.modules[__name__]]
        owners = {owner.__name__: owner for owner in (Subject, Depths, Geometry, SideEffects)}
        named = (rule.partition(".") for rule in RULES)
        methods = [getattr(owners[owner], name) for owner, _, name in named if owner in owners]
        sources = "".join(map(inspect.getsource, [*modules, *methods, Subject.share_of]))
        self.code = hashlib.sha256(sources.encode()).hexdigest()
        whole = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        self.values: dict[str, tuple[float, float]] = whole["values"] if whole.get("code") == self.code else {}

    def put(self, key: str, shares: tuple[float, float]) -> None:
        self.values[key] = shares
        aside = KEPT.with_suffix(".writing")
        aside.write_text(json.dumps({"code": self.code, "values": self.values}))
        aside.replace(KEPT)


def tables(kept: dict[str, tuple[float, float]]) -> Iterator[str]:
    errors = " and ".join(f"{math.sqrt(1 / level / SIMULATIONS):.2f} at level {level}" for level in LEVELS)
    yield (
        f"{SIMULATIONS:,} simulated studies a cell. Where the true error is the level itself (a true 1), the standard "
        f"error of the number shown is {errors}."
    )
    yield ""
    yield "| rule | truth | level | " + " | ".join(f"n = {n}" for n in SIZES_OF_STUDIES) + " |"
    yield "|---" * (3 + len(SIZES_OF_STUDIES)) + "|"
    for rule, cells in RULES.items():
        for cell in cells:
            for level in cell.levels:
                row = []
                for n in SIZES_OF_STUDIES:
                    shares = kept.get(f"{rule} | {cell.label} | {n} | {level}")
                    row.append(" / ".join(f"{share / level:.2f}" for share in shares) if shares else "")
                yield f"| `{rule}` | {cell.label} | {level} | " + " | ".join(row) + " |"


def errors(kept: dict[str, tuple[float, float]], level: float) -> str:
    """The worst false support of each rule, by n."""
    lines = []
    for rule, cells in RULES.items():
        points = []
        for n in SIZES_OF_STUDIES:
            keys = [f"{rule} | {cell.label} | {n} | {level}" for cell in cells if not cell.beyond]
            shares = [max(kept[key]) / level for key in keys if key in kept]
            if shares:
                points.append((n, max(shares)))
        lines.append(Line(rule, tuple(points)))
    title = f"Worst false verdicts at the bar, as multiples of the level {level}"
    return figure(title, lines, SIZES_OF_STUDIES, top=2.0, mark=1.0, across="pairs")


def curves(kept: dict[str, tuple[float, float]], name: str) -> str:
    lines = [
        Line(f"truth {effect}", tuple((n, kept[f"power | {name} | {effect} | {n}"][0]) for n in SIZES_OF_STUDIES))
        for effect in CURVES[name]
    ]
    return figure(
        f"{name}: share of studies that support it", lines, SIZES_OF_STUDIES, top=1.0, mark=0.9, across="pairs"
    )


def written(marker: str, text: str, path: Path = DOCS / "statistics.md") -> None:
    """Puts the text between the markers of that name."""
    whole = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {marker} -->\n", f"<!-- end of {marker} -->"
    before, found, rest = whole.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{path}: has no markers {begin.strip()} and {end}")
    path.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
