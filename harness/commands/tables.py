"""Tables on a terminal, whose cells may hold text from strangers."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.inputs.files.terminal import shown

# Columns that are numbers stand at the right, and are never broken.
NUMBERS = frozenset({"run", "judged", "pairs", "prompts a side", "size", "nf4", "int8", "none"})
# Longer words are broken, so that a table fits its terminal.
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
    """Text for a table: neither markup nor a command to the terminal."""
    return escape(shown(text))
