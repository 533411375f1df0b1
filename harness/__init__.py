"""What claim files import: `from harness import ablate, add, beside, claim, patch, remove`. All else is internal."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.claims.claim import claim
    from harness.judging.estimate import beside
    from harness.measurements.interventions import ablate, add, patch, remove

__all__ = ["ablate", "add", "beside", "claim", "patch", "remove"]

_INTERVENTIONS = "harness.measurements.interventions"
_HOMES = {
    "ablate": _INTERVENTIONS,
    "add": _INTERVENTIONS,
    "beside": "harness.judging.estimate",
    "claim": "harness.claims.claim",
    "patch": _INTERVENTIONS,
    "remove": _INTERVENTIONS,
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: importing a room must not load the others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
