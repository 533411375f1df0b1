"""The lowest and highest value of each quantity that a claim can ask for, such as `refuses.fall` or `model.share`."""

import math
from collections.abc import Mapping

Range = tuple[float, float]

SHARE: Range = (0.0, 1.0)
BOTH_WAYS: Range = (-1.0, 1.0)  # differences of shares, cosines, correlations
ABOVE_ZERO: Range = (0.0, math.inf)

# None: unbounded, such as the share of a gap that a circuit carries, which may exceed 1.
RANGES: Mapping[str, Range | None] = {
    "refuses.rate": SHARE,
    "refuses.fall": BOTH_WAYS,
    "refuses.rise": BOTH_WAYS,
    "refuses.left": SHARE,
    "refuses.gain": BOTH_WAYS,
    "refuses.lead": BOTH_WAYS,
    "refuses.by_category": BOTH_WAYS,
    "model.share": SHARE,
    "model.share_of": None,
    "model.effect": None,
    "model.lead": None,
    "model.lead_over_loudest": None,
    "model.lead_over_harmless": None,
    "model.token_difference": None,
    "model.token_probability": BOTH_WAYS,
    "model.agreement": BOTH_WAYS,
    "model.counted": ABOVE_ZERO,
    "model.shared": None,
    "depths.of": BOTH_WAYS,
    "depths.beyond_harmless": (-2.0, 2.0),
    "depths.keywords": SHARE,
    "depths.restored": None,
    "geometry.agreement": BOTH_WAYS,
    "geometry.principal": SHARE,
    "geometry.growth": None,
    "side_effects.refused": BOTH_WAYS,
    "side_effects.coherent": SHARE,
    "side_effects.divergence": ABOVE_ZERO,
    "side_effects.cross_entropy": None,
}


def absolute(reach: Range | None) -> Range:
    """The range of the absolute value."""
    if reach is None:
        return ABOVE_ZERO
    low, high = reach
    return 0.0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high))


def beyond(name: str, reach: Range | None, bar: float) -> str:
    """Why the outcome at this bar is known beforehand, in words; empty if an interval can lie on either side of it."""
    if reach is None:
        return "" if math.isfinite(bar) else f"{name} is a number"
    if reach[0] < bar < reach[1]:
        return ""
    low, high = reach
    where = f"lies between {low:g} and {high:g}" if math.isfinite(high) else f"is never below {low:g}"
    points = bar / 100
    meant = f"; write {points:.2f} for {bar:g} points" if abs(bar) > 1 and low < points < high <= 1 else ""
    return f"{name} {where}{meant}"
