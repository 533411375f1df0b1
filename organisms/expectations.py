"""Writes data/organisms/expected.json: what every claim must come out as on every organism, from the plans.

python -m organisms.expectations
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from organisms.demands import Demand, carried
from organisms.demands.direction import addable, removable
from organisms.demands.redundancy import redundant
from organisms.demands.routes import routed
from organisms.demands.stages import reads
from organisms.demands.team import even
from organisms.plans import EXPECTED, PLANS
from organisms.ship import FOLDER

PATH = FOLDER / "expected.json"
_SWAPS = (
    *("localization", "necessity", "transfer", "token-difference", "token-probability"),
    *("many-heads", "few-neurons", "shared-substrate"),
)
# What makes a demand → the claims that judge the very intervention on which it trains: a direction that is removed or
# added, or planted parts whose activations after the instruction are the twin's.
TRAINS: Mapping[Callable[..., Any], tuple[str, ...]] = {
    removable: ("direction-necessity", "direction-categories", "removal-specificity", "side-effects"),
    addable: ("direction-sufficiency", "addition-specificity"),
    **dict.fromkeys((carried, reads, even, redundant, routed), _SWAPS),
}


def expectations() -> dict[str, object]:
    """The content of the file: organism → claim → its expected truth, with the planted reason.

    `trained` says that the claim holds where planting trained on the very intervention that is judged.
    """
    organisms = {
        organism: {claim: asdict(expected) for claim, expected in sorted(table.items())}
        for organism, table in sorted(EXPECTED.items())
    }
    for organism, claims in organisms.items():
        for claim in claims.keys() & trained(organism):
            if claims[claim]["truth"] == "holds":
                claims[claim]["trained"] = True
    return {"schema": 1, "organisms": organisms}


def trained(organism: str) -> set[str]:
    """The claims on whose very intervention the organism's plan trains."""
    claims = {maker.__name__: named for maker, named in TRAINS.items()}
    return {claim for demand, _ in PLANS[organism].demands for claim in claims.get(_maker(demand), ())}


def _maker(demand: Demand) -> str:
    """The name of the function that made the demand."""
    return demand.__qualname__.partition(".")[0]


def write() -> None:
    """Writes data/organisms/expected.json; the same every time."""
    PATH.write_text(json.dumps(expectations(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
