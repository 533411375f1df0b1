"""The tables of docs/truth.md: a matrix of claims and organisms, what is open, and the estimates of the controls."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.claims.claim import Claim
from harness.inputs.files.whole_files import write_whole
from harness.inputs.places import HOME
from harness.judging.numerals import printed
from harness.results.controls.expectations import Expected, Met, expected, organisms
from harness.results.controls.truth_table import Table, controls

DOCS = HOME / "docs" / "truth.md"
_MARK = "<!-- table: make truth-all -->"
# What a cell shows: for each truth, what came out.
_SIGNS: Mapping[tuple[str, Met], str] = {
    ("holds", "right"): "yes",
    ("holds", "open"): "(yes)",
    ("holds", "wrong"): "REFUTED",
    ("fails", "right"): "no",
    ("fails", "open"): "(no)",
    ("fails", "wrong"): "SUPPORTED",
    ("nothing to explain", "right"): "–",
    ("undecidable", "right"): "?",
}

# Ends the sign of a cell in which planting trained the organism on the very intervention that is judged.
TRAINED = "*"


def write_docs(table: Table, claims: Sequence[Claim], docs: Path = DOCS) -> None:
    """Writes the tables to docs/truth.md, below its text."""
    before, _, _ = docs.read_text(encoding="utf-8").partition(_MARK)
    lines = [_MARK, *matrix(grid(table)), "", *still_open(table), "", *estimates(table, claims)]
    write_whole(docs, (before + "\n".join(lines) + "\n").encode())


@dataclass(frozen=True)
class Grid:
    """What came out of every claim on every organism, in signs."""

    organisms: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]  # a claim, and its sign on each organism; empty where none is known
    count: str  # how many are right, open and wrong, in a sentence


def grid(table: Table) -> Grid:
    """The signs of all cells of which a plan says what must come out."""
    columns, numbers = organisms(), Counter[str]()
    for claim, organism, truth in _cells(table):
        numbers[truth.met_by(table[claim][organism]["verdict"])] += 1
        numbers["decidable"] += truth.decidable
    decidable = numbers.pop("decidable", 0)
    decided = decidable - numbers["open"]
    share = decided / max(decidable, 1)
    count = (
        f"{numbers.total()} cells: {numbers['wrong']} wrong, {numbers['open']} open; "
        f"of {decidable} that can be decided {decided} are ({share:.0%})."
    )
    rows = ((claim, tuple(_sign(table, claim, organism) for organism in columns)) for claim in table)
    return Grid(tuple(columns), tuple(rows), count)


def matrix(shown: Grid) -> Iterator[str]:
    """The grid in Markdown: its count, and a table with a line for each claim and a column for each organism."""
    yield shown.count
    yield ""
    yield f"| claim | {' | '.join(f'`{organism}`' for organism in shown.organisms)} |"
    yield "|---" * (len(shown.organisms) + 1) + "|"
    for claim, signs in shown.rows:
        yield f"| {claim} | {' | '.join(f'**{sign}**' if sign.isupper() else sign for sign in signs)} |"


def still_open(table: Table) -> Iterator[str]:
    """A Markdown table of the cells that could be decided and were not, each with its reason."""
    yield "| open: claim | organism | must be | because | why it is open |"
    yield "|---|---|---|---|---|"
    for claim, organism, truth in _cells(table):
        kept = table[claim][organism]
        if truth.met_by(kept["verdict"]) == "open":
            why = kept.get("why", "").replace("|", "∣")
            yield f"| {claim} | `{organism}` | {truth.outcome} | {truth.why} | {why} |"


def estimates(table: Table, claims: Sequence[Claim]) -> Iterator[str]:
    """A Markdown table of the controls that claims name, with their numbers."""
    yield "| claim | organism | verdict | estimates |"
    yield "|---|---|---|---|"
    for organism, named in controls(claims).items():
        for claim, _ in named:
            if kept := table.get(claim.name, {}).get(organism):
                numbers = "; ".join(map(in_short, kept["estimates"])).replace("|", "∣")
                yield f"| {claim.name} | `{organism}` | {kept['verdict']} | {numbers} |"


def _cells(table: Table) -> Iterator[tuple[str, str, Expected]]:
    for claim, kept in table.items():
        for organism in kept:
            if (truth := expected(claim, organism)) is not None:
                yield claim, organism, truth


def _sign(table: Table, claim: str, organism: str) -> str:
    truth, kept = expected(claim, organism), table[claim].get(organism)
    if truth is None or kept is None:
        return ""
    met = truth.met_by(kept["verdict"])
    sign = _SIGNS.get((truth.truth, met), kept["verdict"])
    return f"{sign}{TRAINED}" if truth.trained and met != "wrong" else sign


def in_short(kept: Mapping[str, Any]) -> str:
    """An estimate with its bar, in digits that show the decision."""
    numbers = printed(kept["value"], kept["low"], kept["high"], kept.get("bar"))  # older tables kept no bar
    return f"{kept['name']} {numbers.held_to(kept.get('sign', ''))}"
