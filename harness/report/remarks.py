"""What a verdict's number does not say by itself: how few parts it rests on, and what a random direction alone does."""

from collections.abc import Iterator, Mapping

import numpy as np

from harness.report.drawing.answer_figures import beside_random
from harness.report.drawing.figure_plan import growing
from harness.results.run_record import Judged
from harness.results.verdict_evidence import Material, Swept

# Parts that hold so much of the whole are what it rests on.
MOST = 0.95


def remarks(material: Material, found: Judged) -> list[str]:
    """Sentences on one verdict, from the evidence that it read."""
    names = {one["name"] for one in [*found["estimates"], *found.get("beside", ())]}
    said: list[str] = []
    if "r" in names:
        said += _rests_on(material)
    if "lead over the best random one" in names:
        said += _strongest_random(material)
    return [*said, *dict.fromkeys(_few_parts(material))]


def _rests_on(material: Material) -> Iterator[str]:
    """How few heads set a correlation over all of them, and by how much gradients miss their size."""
    guessed = {(one.same, str(one.what)): one for one in (Swept(material, each) for each in material.kind("estimated"))}
    for one in material.swept:
        if (guess := guessed.get((one.same, str(one.what)))) is None:
            continue
        rows = np.stack([one.mean.ravel(), guess.mean.ravel()])
        exact, estimated = rows[:, np.isfinite(rows).all(0)]
        spread = (exact - exact.mean()) ** 2
        order = np.argsort(-spread, kind="stable")
        if spread.sum() > 0:
            few = order[: int(np.searchsorted(np.cumsum(spread[order]), MOST * spread.sum())) + 1]
            kind = str(one.what.get("kind", "part"))
            yield (
                f"The correlation rests on {len(few)} of {len(exact)} {kind}s, which hold {MOST:.0%} of the spread of "
                f"measured effects: patches measure {exact[few].mean():.2f} for them on the mean, gradients estimate "
                f"{estimated[few].mean():.2f}. Of the others it says little."
            )


def _strongest_random(material: Material) -> Iterator[str]:
    """What the random direction does that comes nearest to the found one."""
    for arms in beside_random(material):
        shares = [_refusing(one.values) for one in arms.random]
        end = min(shares) if arms.side == "harmful" else max(shares)
        clean = f"; without, on {_refusing(arms.clean[0].values):.2f}" if arms.clean else ""
        done = "removed" if arms.side == "harmful" else "added"
        yield (
            f"With the strongest of {len(shares)} random directions {done} in its place, the first token refuses on "
            f"{end:.2f} of {arms.side} prompts{clean}."
        )


def _refusing(values: Mapping[str, list[float]]) -> float:
    return float((np.array(values["odds"]) > 0).mean())


def _few_parts(material: Material) -> Iterator[str]:
    """How few parts of a circuit do what all of it does."""
    for one in (one for one in material.swept if growing(one.circuits)):
        whole, shares = float(one.mean[-1]), one.mean.ravel()
        few = next(at for at, share in enumerate(shares) if share >= MOST * whole) if whole > 0 else len(shares) - 1
        if len(one.circuits[few]) < len(one.circuits[-1]):
            yield (
                f"Of the circuit's {len(one.circuits[-1])} parts the first {len(one.circuits[few])} by themselves "
                f"carry {shares[few]:.2f} of the effect; all of them carry {whole:.2f}."
            )
