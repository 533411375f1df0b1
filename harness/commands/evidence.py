"""The command `evidence`: lists measurements, shows one in words, checks their hashes, and exports all numbers."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.declaring import declare, store_of, with_reports
from harness.commands.tables import print_table
from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.files.terminal import say
from harness.inputs.model_catalog import readable
from harness.results.evidence import words
from harness.results.evidence.tables import DIGITS, Entry, entries, export, verify

# The number of claims named for a measurement that several have read.
SHOWN_CLAIMS = 2

if TYPE_CHECKING:
    from harness.commands.declaring import Commands


def add_to(commands: "Commands") -> None:
    """Declares the command."""
    evidence = declare(
        commands,
        "evidence",
        _evidence,
        "list all measurements, show one of them, check all hashes, or export all numbers",
        "evidence --export numbers.csv",
    )
    evidence.add_argument(
        "fingerprint",
        nargs="?",
        metavar="FINGERPRINT",
        help="show this measurement in words: its fingerprint, or a beginning that no other fingerprint has",
    )
    evidence.add_argument("--verify", action="store_true", help="check every hash")
    evidence.add_argument(
        "--export", type=Path, metavar="PATH", help="write every number as a row of a .csv or .parquet file"
    )
    with_reports(evidence)


def _evidence(options: argparse.Namespace) -> None:
    store = store_of(options)
    if not store.files():
        raise AssayError(f"{store.folder}: holds no evidence yet; judge claims first: {places.JUDGE}")
    if options.fingerprint is not None:
        for line in words.lines(store, options.fingerprint):
            say(line)
        return
    if options.verify:
        say(f"{store.folder}: {verify(store)} measurements, all hashes are right")
    if options.export:
        say(f"{options.export}: {export(store, options.export)} rows")
    if not options.verify and not options.export:
        listed = entries(store)
        columns = ("evidence", "model", "measurement", "read by", "pairs", "size")
        print_table(columns, map(_row, listed), whole=columns[:1])
        say(f"\n{len(listed)} measurements, {readable(sum(entry.size for entry in listed))}")


def _row(entry: Entry) -> tuple[str, ...]:
    measurement = ", ".join(filter(None, (entry.kind, entry.side, entry.arm, entry.prompts)))
    more = f" and {len(entry.claims) - SHOWN_CLAIMS} more" if len(entry.claims) > SHOWN_CLAIMS else ""
    claims = ", ".join(entry.claims[:SHOWN_CLAIMS]) + more
    pairs = "" if entry.n is None else str(entry.n)
    return entry.fingerprint[:DIGITS], entry.model, measurement, claims, pairs, readable(entry.size)
