"""What every claim must come out as on every organism, as the organisms' plans say."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

from msgspec import Struct

from harness.inputs.files import json_files
from harness.inputs.places import DATA
from harness.judging.estimate import Outcome

Truth = Literal["holds", "fails", "nothing to explain", "undecidable"]
Met = Literal["right", "open", "wrong"]

_RIGHT: Mapping[Truth, Outcome] = {
    "holds": "SUPPORTED",
    "fails": "REFUTED",
    "nothing to explain": "INCONCLUSIVE",
    "undecidable": "INCONCLUSIVE",
}
# Stands for every claim that an organism's plan does not name.
EVERY_OTHER = "every other claim"


class Expected(Struct, frozen=True):
    """Whether a claim is true of an organism, and the planted fact that makes it so."""

    truth: Truth
    why: str
    trained: bool = False  # planting trained the organism on the very intervention that the claim judges

    @property
    def outcome(self) -> Outcome:
        """The outcome that the claim should have."""
        return _RIGHT[self.truth]

    @property
    def decidable(self) -> bool:
        """Whether the claim can be supported or refuted on the organism."""
        return self.truth in ("holds", "fails")

    def met_by(self, outcome: Outcome) -> Met:
        """Whether an outcome is right, open (undecided where it could be decided) or wrong."""
        if outcome == self.outcome:
            return "right"
        return "open" if outcome == "INCONCLUSIVE" else "wrong"


class _Expectations(Struct):
    organisms: dict[str, dict[str, Expected]]


PATH = DATA / "organisms" / "expected.json"


def expected(claim: str, organism: str) -> Expected | None:
    """What the claim must come out as on the organism; None if the organism's plan does not say."""
    truths = _expectations().get(organism, {})
    return truths.get(claim, truths.get(EVERY_OTHER))


def organisms() -> list[str]:
    """The organisms whose plans say what claims must come out as."""
    return list(_expectations())


@cache
def _expectations() -> Mapping[str, Mapping[str, Expected]]:
    remedy = "`python -m organisms.expectations` writes it anew from the plans"
    return json_files.read(PATH, _Expectations, no="table of expected verdicts", do=remedy).organisms
