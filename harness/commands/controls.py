"""The commands `truth` and `placebo`: judge claims on organisms whose truth is known, and on random replacements."""

import argparse
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from harness.claims.claim import Claim, claim_named, claims_here, claims_in
from harness.commands.declaring import declare, store_of, with_reports
from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.files.terminal import say
from harness.inputs.model_catalog import REFERENCE, find

if TYPE_CHECKING:
    from harness.commands.declaring import Commands


def add_to(commands: "Commands") -> None:
    """Declares both commands."""
    truth = declare(
        commands,
        "truth",
        _truth,
        "judge every claim on the organisms on which it must hold and must fail, and write data/truth.json",
        "truth -k direction",
        "With -k only the chosen claims are judged, which takes about a minute, and nothing is written.",
    )
    truth.add_argument(
        "--all",
        dest="every",
        action="store_true",
        help="judge them on every organism whose plan says what must come out, not only on those that claims name",
    )
    truth.add_argument(
        "-k", dest="words", metavar="WORDS", help="only claims whose name contains these words; `a or b` for either"
    )
    with_reports(truth)
    placebo = declare(
        commands,
        "placebo",
        _placebo,
        "judge claims with random circuits and directions in place of those found",
        "placebo ablation-heads --seeds 20",
    )
    placebo.add_argument("names", nargs="*", metavar="CLAIM", help="default: all")
    placebo.add_argument("--seeds", type=int, default=200, help="default: 200")
    placebo.add_argument(
        "--keep", action="store_true", help="write the counts to data/placebos.json, which reports show"
    )
    placebo.add_argument("--model", default=REFERENCE, metavar="NAME", help="default: %(default)s")
    with_reports(placebo)


def _truth(options: argparse.Namespace) -> None:
    from harness.results.controls import truth_matrix, truth_table  # scipy is loaded for this command alone

    claims = claims_in() if options.words is None else _selected(claims_here(), options.words)
    writes = options.words is None and not places.INSTALLED
    cells = truth_table.all_cells(claims) if options.every else truth_table.controls(claims)
    seen = []
    for cell in truth_table.judged(cells, store_of(options)):
        seen.append(cell)
        differs = "" if cell.met == "right" else f"   must be {cell.expected.outcome}: {cell.expected.why}"
        say(f"{cell.outcome:<12} {cell.claim.name} on {cell.organism}{differs}")
    if writes:
        truth_matrix.write_docs(truth_table.write(seen, claims), claims)
    bad = ("wrong",) if options.every else ("wrong", "open")
    if wrong := [cell for cell in seen if cell.met in bad]:
        raise AssayError(f"{len(wrong)} of {len(seen)} verdicts are not what they must be; look at the lines above")
    still_open = sum(cell.met == "open" for cell in seen)
    kept = f"written to {truth_table.PATH}, {truth_matrix.DOCS}" if writes else f"not written, {_why(options.words)}"
    if still_open:
        say(f"none of {len(seen)} verdicts is wrong, and {still_open} are open where they could be decided: {kept}")
    else:
        say(f"all {len(seen)} verdicts are what they must be: {kept}")


def _why(words: str | None) -> str:
    return "since the table belongs to Assay's checkout" if words is None else "since not all claims were judged"


def _selected(claims: list[Claim], words: str) -> list[Claim]:
    """The claims whose names contain all words of any of the alternatives that `or` separates."""
    wanted = [part.split() for part in f" {words} ".split(" or ")]
    chosen = [claim for claim in claims if any(all(word in claim.name for word in part) for part in wanted if part)]
    if not chosen:
        names = ", ".join(claim.name for claim in claims)
        raise AssayError(f"-k {words}: no claim's name contains this; there are {names}")
    return chosen


def _placebo(options: argparse.Namespace) -> None:
    from harness.results.controls import placebo  # scipy is loaded for this command alone

    find(options.model)
    if options.seeds < 1:
        raise AssayError(f"--seeds {options.seeds}: give 1 or more")
    if options.keep and places.INSTALLED:
        raise AssayError("--keep writes data/placebos.json of Assay's checkout; leave it out of an installed Assay")
    claims = [claim_named(name) for name in options.names] or claims_here()
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        tasks = {claim.name: progress.add_task(claim.name, total=options.seeds, start=False) for claim in claims}

        def done(claim: Claim) -> None:
            progress.start_task(tasks[claim.name])
            progress.advance(tasks[claim.name])

        judged = placebo.placebos(claims, options.model, options.seeds, store_of(options), done)
        for line in placebo.table(placebo.keep(judged, options.model) if options.keep else judged):
            say(line)
