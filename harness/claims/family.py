"""The primary family: claims that are registered here and share one error level. All others explore."""

from collections.abc import Callable
from inspect import getfile
from pathlib import Path

from harness.inputs.places import HYPOTHESES

# The chance that any primary claim is supported falsely, by Bonferroni.
SHARED = 0.05
# The hypotheses of the research plan, in the claim files that Assay ships; a claim of the same name elsewhere explores.
PRIMARY = frozenset(
    {
        "baseline",
        "localization",
        "necessity",
        "reading",
        "accumulation",
        "execution",
        "end-of-instruction",
        "shared-substrate",
        "shared-geometry",
        "direction-necessity",
        "direction-sufficiency",
        "ablation-heads",
        "ablation-neurons",
        "ablation-both",
    }
)
# The level of an exploratory claim: by Bonferroni, twenty of them are wrong with a probability of at most 0.05.
EXPLORATORY = 0.0025


def is_primary(name: str, test: Callable[..., None]) -> bool:
    """Whether a claim of that name, made by this test, belongs to the primary family."""
    return name in PRIMARY and Path(getfile(test)).parent == HYPOTHESES


def level_of(name: str, test: Callable[..., None]) -> float:
    """The level of a claim that names none: its part of the family's, or an exploratory claim's."""
    return SHARED / len(PRIMARY) if is_primary(name, test) else EXPLORATORY
