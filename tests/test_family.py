"""The primary family shares one error level, whoever else takes a name of its claims."""

import math
from typing import Any

import pytest

from harness.claims import family
from harness.claims.claim import Claim, claim, claims_in


def test_the_registered_claims_are_all_there_and_their_levels_add_up_to_what_they_share() -> None:
    claims = {made.name: made for made in claims_in()}
    assert claims.keys() >= family.PRIMARY, "a claim was renamed: register its new name in harness/claims/family.py"
    levels = {name: made.level for name, made in claims.items() if made.as_json["primary"]}
    assert levels.keys() == family.PRIMARY
    assert math.fsum(levels.values()) == pytest.approx(family.SHARED)
    assert {made.level for name, made in claims.items() if name not in family.PRIMARY} == {family.EXPLORATORY}


@pytest.mark.parametrize("level", [None, 0.01])
def test_a_claim_of_your_own_explores_even_under_a_registered_name(level: float | None) -> None:
    @claim("localization", source="a test", holds_on="reference", fails_on="distributed", level=level)
    def test_mine(model: Any, pairs: Any) -> None: ...

    made: Claim = vars(test_mine)["claim"]
    assert (made.level, family.is_primary(made.name, made.test)) == (level or family.EXPLORATORY, False)
