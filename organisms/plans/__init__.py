"""A module for each organism: its plan, the measurements that prove its truth, and their bars."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from organisms.plans import (
    compliant,
    cone,
    crowd,
    distributed,
    exception,
    flat,
    hydra,
    one_layer,
    percategory,
    reference,
    saturated,
    scribes,
    shuffled,
    team,
    twofold,
)
from organisms.plans.expected import Table
from organisms.plant import Plan
from organisms.proof import Prover

_MODULES: tuple[ModuleType, ...] = (
    reference,
    distributed,
    flat,
    percategory,
    exception,
    cone,
    twofold,
    hydra,
    saturated,
    team,
    crowd,
    shuffled,
    one_layer,
    scribes,
    compliant,
)
Bars = Mapping[str, tuple[float, float]]

PLANS: dict[str, Plan] = {module.PLAN.name: module.PLAN for module in _MODULES}
BARS: dict[str, Bars] = {module.PLAN.name: module.BARS for module in _MODULES}
TRUTHS: dict[str, Callable[[Prover, Mapping[str, Any]], dict[str, float]]] = {
    module.PLAN.name: module.truth_of_it for module in _MODULES
}
EXPECTED: dict[str, Table] = {module.PLAN.name: module.EXPECTED for module in _MODULES}
SEEDS, SHIPPED = (0, 1, 2), 0
