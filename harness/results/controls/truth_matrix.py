"""The tables of docs/truth.md: a matrix of claims and organisms, what is open, and the estimates of the controls."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
    ("holds", "wrong"): "**REFUTED**",
    ("fails", "right"): "no",
    ("fails", "open"): "(no)",
    ("fails", "wrong"): "**SUPPORTED**",
    ("nothing to explain", "right"): "–",
    ("undecidable", "right"): "?",
}


def write_docs(table: Table, claims: Sequence[Claim], docs: Path = DOCS) -> None:
    """Writes the tables to docs/truth.md, below its text."""
    before, _, _ = docs.read_text(encoding="utf-8").partition(_MARK)
    lines = [_MARK, *matrix(table), "", *still_open(table), "", *estimates(table, claims)]
    write_whole(docs, (before + "\n".join(lines) + "\n").encode())


def counted(table: Table) -> Counter[Met | str]:
    """How many cells are right, open and wrong, and how many of them can be decided."""
    numbers: Counter[Met | str] = Counter()
    for claim, organism, truth in _cells(table):
        numbers[truth.met_by(table[claim][organism]["verdict"])] += 1
        numbers["decidable"] += truth.decidable
    return numbers


def matrix(table: Table) -> Iterator[str]:
    """A count of the cells, and a Markdown table with a line for each claim and a column for each organism."""
    numbers = counted(table)
    of, columns = numbers["decidable"], organisms()
    yield (
        f"{sum(numbers.values()) - of} cells: {numbers['wrong']} wrong, {numbers['open']} open; of {of} that can be "
        f"decided {of - numbers['open']} are ({(of - numbers['open']) / max(of, 1):.0%})."
    )
    yield ""
    yield f"| claim | {' | '.join(f'`{organism}`' for organism in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for claim in table:
        yield f"| {claim} | {' | '.join(_sign(table, claim, organism) for organism in columns)} |"


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
    return _SIGNS.get((truth.truth, truth.met_by(kept["verdict"])), f"**{kept['verdict']}**")


def in_short(kept: Mapping[str, Any]) -> str:
    """An estimate with its bar, in digits that show the decision."""
    numbers = printed(kept["value"], kept["low"], kept["high"], kept.get("bar"))  # older tables kept no bar
    return f"{kept['name']} {numbers.held_to(kept.get('sign', ''))}"
