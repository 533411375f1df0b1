"""The openings of answers, of one or several tokens: by these refusals are told where the first token does not do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Opening = tuple[int, ...]
"""The tokens with which an answer begins."""

# The tokens that a run is given after the prompt where the answer's first token is scored alone: none, in one run.
FIRST_TOKEN: tuple[Opening, ...] = ((),)
# The most tokens of an opening, the share of answers with it that must be of one kind, and the most openings of a kind.
LONGEST, PURE, MOST = 6, 0.95, 16


@dataclass(frozen=True)
class Openings:
    """The openings of refusals and of other answers, none the beginning of another."""

    refusing: tuple[Opening, ...]
    answering: tuple[Opening, ...]
    # The prompts whose answers they were taken from; not part of recipes.
    sought_on: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @property
    def every(self) -> tuple[Opening, ...]:
        """The refusing openings, and then the answering ones."""
        return *self.refusing, *self.answering

    @property
    def runs(self) -> tuple[Opening, ...]:
        """The tokens that each run of the model is given after a prompt, so that every opening can be scored."""
        return chains(self.every) or FIRST_TOKEN


def runs_of(openings: Openings | None) -> tuple[Opening, ...]:
    """The tokens given after a prompt in each run of a score by openings or, without any, by the first token."""
    return FIRST_TOKEN if openings is None else openings.runs


def beginnings(tokens: Opening) -> Iterator[Opening]:
    """The first token, the first two, and so on to all of them."""
    return (tokens[:length] for length in range(1, len(tokens) + 1))


def chains(openings: Iterable[Opening]) -> tuple[Opening, ...]:
    """The tokens that must be given after a prompt so that every opening's last token can be scored."""
    given = {beginning for opening in openings for beginning in beginnings(opening[:-1])}
    return tuple(sorted(chain for chain in given if not any(chain == other[: len(chain)] for other in given - {chain})))
