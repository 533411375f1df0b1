"""Sentences on what a verdict's number hides: how few parts it rests on, and what random directions alone do."""

from collections.abc import Iterator

import numpy as np

from harness.measurements.questions import Estimated
from harness.report.drawing.answer_figures import random_controls, refusals
from harness.report.drawing.figure_plan import growing
from harness.results.run_record import Judged
from harness.results.verdict_evidence import Arm, Material, Swept

# A number rests on the parts that make up this share of it.
MOST = 0.95


def remarks(material: Material, verdict: Judged) -> list[str]:
    """Sentences on one verdict, from the evidence that it read."""
    names = {estimate["name"] for estimate in [*verdict["estimates"], *verdict.get("beside", ())]}
    sentences: list[str] = []
    if any(name.startswith("r, ") for name in names):
        sentences += _few_decide(material)
    if "lead over the best random one" in names:
        sentences += _strongest_random(material)
    return [*sentences, *dict.fromkeys(_few_parts(material))]


def _few_decide(material: Material) -> Iterator[str]:
    """How few parts decide a correlation over all of them, and how far gradients miss the size of their effects."""
    estimates = [Swept(material, evidence) for evidence in material.kind(Estimated.KIND)]
    by_sweep = {(sweep.comparison_key, str(sweep.description)): sweep for sweep in estimates}
    for sweep in material.swept:
        if (estimate := by_sweep.get((sweep.comparison_key, str(sweep.description)))) is None:
            continue
        rows = np.stack([sweep.mean.ravel(), estimate.mean.ravel()])
        exact, estimated = rows[:, np.isfinite(rows).all(0)]
        spread = (exact - exact.mean()) ** 2
        order = np.argsort(-spread, kind="stable")
        if spread.sum() > 0:
            few = order[: int(np.searchsorted(np.cumsum(spread[order]), MOST * spread.sum())) + 1]
            parts = f"{sweep.description.get('kind', 'part')}s"
            parts = f"groups of {parts}" if sweep.description.get("groups") else parts
            yield (
                f"The correlation rests on {len(few)} of {len(exact)} {parts}, which make up {MOST:.0%} of the spread "
                f"of the measured effects: their mean effect is {exact[few].mean():.2f} as patching measures it, and "
                f"{estimated[few].mean():.2f} as gradients estimate it. It says little about the other {parts}."
            )


def _strongest_random(material: Material) -> Iterator[str]:
    """What the random direction with the largest effect does."""
    for control in random_controls(material):
        shares = [_share_refusing(told) for told in control.under_random]
        strongest = min(shares) if control.side == "harmful" else max(shares)
        done = "removed" if control.side == "harmful" else "added"
        unchanged = ""
        if control.unchanged:
            unchanged = f"; by the unchanged model, {_share_refusing(control.unchanged[0]):.2f}"
        yield (
            f"With the strongest of {len(shares)} random directions {done} instead, {strongest:.2f} of {control.side} "
            f"prompts are refused{unchanged}."
        )


def _share_refusing(told: Arm) -> float:
    return float(refusals(told).mean())


def _few_parts(material: Material) -> Iterator[str]:
    """How few parts of a circuit do what all of it does."""
    for sweep in (sweep for sweep in material.swept if growing(sweep.circuits)):
        whole, shares = float(sweep.mean[-1]), sweep.mean.ravel()
        few = next(at for at, share in enumerate(shares) if share >= MOST * whole) if whole > 0 else len(shares) - 1
        if len(sweep.circuits[few]) < len(sweep.circuits[-1]):
            yield (
                f"The first {len(sweep.circuits[few])} of the circuit's {len(sweep.circuits[-1])} parts alone carry "
                f"{shares[few]:.2f} of the effect; all of them carry {whole:.2f}."
            )
