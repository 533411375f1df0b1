"""Refutes a claim about a direction only if no other direction that the search might have chosen meets its bars."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from harness.judging.estimate import Inconclusive, Refuted, decisions, doubt, exclusions, unheard


class Choosing(Protocol):
    """A subject that may have chosen a direction among several."""

    def rivals(self) -> Iterator[tuple[str, "Choosing"]]:
        """The subject with other directions in the place of the chosen ones, each with what distinguishes it."""
        ...


def run(test: Callable[..., None], given: Mapping[str, Any]) -> None:
    """Runs a claim's test; if it is refuted with the chosen direction but not with another, it ends Inconclusive."""
    with decisions() as made:
        try:
            test(**given)
            return
        except Refuted:
            if not (why := _hangs_on_the_choice(test, given)):
                raise
        made.clear()
        doubt(why)
        test(**given)


def _hangs_on_the_choice(test: Callable[..., None], given: Mapping[str, Any]) -> str:
    """The direction with which the claim is not refuted, in words; empty if it is refuted with each.

    A direction with which there is nothing to compare, since refusals do not depend on it, is not one of them.
    """
    model: Choosing = given["model"]
    for direction, rival in model.rivals():
        with unheard(), exclusions(), decisions() as made:
            try:
                test(**{**given, "model": rival})
                came = "the claim holds"
            except Refuted:
                continue
            except Inconclusive as error:
                if any(estimate.nothing for comparison in made for estimate, *_ in comparison.bars):
                    continue
                came = f"the claim is not refuted ({error})"
        return f"it hangs on the choice of a direction: with that {direction} {came}"
    return ""
