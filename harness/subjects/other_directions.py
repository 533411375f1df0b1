"""Directions that stand in the place of the chosen one, to see whether a refutation hangs on the choice."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from harness.measurements.evidence import Evidence

Preference = Literal["added", "removed"]
"""The direction with which, when added, most harmless prompts are refused; without which fewest harmful ones are."""

_IN_WORDS: Mapping[Preference, str] = {
    "removed": "whose removal leaves least refusal",
    "added": "whose addition brings most refusal",
}


class OtherDirections:
    """The other directions that a search for one might have chosen; a base class of `Subject`."""

    controls: bool
    _prefers: Preference | None
    _sought: Sequence[Evidence]  # what the searches for directions came to so far

    def rivals(self) -> Iterator[tuple[str, Self]]:
        """The subject, without controls, with each other direction that stands out among the candidates.

        The published filters, on few prompts, decide between candidates that are nearly alike. A refutation that holds
        for the chosen one alone would be one of the filters.
        """
        searches = [evidence.values for evidence in {each.fingerprint: each for each in self._sought}.values()]
        seen = {tuple(place_of(values, None) for values in searches)}
        for preference, words in _IN_WORDS.items():
            places = tuple(place_of(values, preference) for values in searches)
            if places not in seen:
                seen.add(places)
                rival = copy.copy(self)
                rival.controls, rival._prefers = False, preference
                where = ", ".join(f"of layer {layer} and position {position}" for layer, position in places)
                yield f"{where}, {words},", rival


def place_of(values: Mapping[str, Any], preference: Preference | None) -> tuple[int, int]:
    """The layer and position of the chosen direction, or of the candidate that is preferred to it.

    Candidates whose score the choice did not need were not measured, and are never preferred.
    """
    column, sign = {"added": (2, -1), "removed": (3, 1), None: (0, 0)}[preference]
    measured = [candidate for candidate in values.get("candidates", ()) if candidate[column] is not None]
    if preference is None or not measured:
        return values["layer"], values["position"]
    layer, position, *_ = min(measured, key=lambda candidate: sign * candidate[column])
    return layer, position
