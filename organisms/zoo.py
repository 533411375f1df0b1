"""The organisms by name: what is planted where, and the seed that is shipped."""

from organisms.demands import behaviour, carried, idle, silent, strict, wording
from organisms.parts import Parts
from organisms.plant import Plan

SEED = 0

# Words are understood in layer 1, weighed up in layers 3 and 4, and acted upon in layer 6.
_DETECT = Parts(heads=((1, 0), (1, 1)), neurons=((1, 0, 40),))
_ASSESS = Parts(heads=((3, 0), (3, 1)), neurons=((4, 0, 32),))
_EXECUTE = Parts(neurons=((6, 0, 48),))

REFERENCE = Plan(
    name="reference",
    stages=(_DETECT, _ASSESS, _EXECUTE),
    demands=(
        (wording, 0.5),
        (behaviour, 1.0),
        (carried(_DETECT + _ASSESS + _EXECUTE), 1.0),
        (strict, 1.0),
        (silent(_DETECT + _ASSESS), 0.5),
        (idle(_DETECT), 1.0),
    ),
)

PLANS = {plan.name: plan for plan in (REFERENCE,)}
