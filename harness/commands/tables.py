"""Prints tables on a terminal; cells may contain untrusted text."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.inputs.files.terminal import shown

# Columns of numbers, which are aligned to the right and never broken over lines.
NUMBERS = frozenset({"run", "judged", "pairs", "prompts a side", "size", "nf4", "int8", "none"})
# Words longer than this may be broken over lines, so that a table fits its terminal.
LONGEST_NAME = 24


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], whole: Sequence[str] = ()) -> None:
    """Prints rows under their columns; cells of the columns named in `whole` are never broken over lines."""
    cells = [[cell(text) for text in row] for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for at, name in enumerate(columns):
        number = name in NUMBERS
        # Names are words without spaces: a column is at least as wide as its longest, within reason.
        longest = max((len(word) for row in cells for word in row[at].split()), default=0)
        table.add_column(
            name,
            justify="right" if number else "left",
            no_wrap=number or name in whole,
            overflow="fold",
            min_width=min(longest, LONGEST_NAME),
        )
    for row in cells:
        table.add_row(*row)
    Console().print(table)


def cell(text: str) -> str:
    """The text with markup and control characters escaped, for a cell of a table."""
    return escape(shown(text))
