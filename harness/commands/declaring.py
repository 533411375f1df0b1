"""Declares commands: name, summary, example, and the options that several of them share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from harness.inputs import places
from harness.inputs.model_catalog import Device, Dtype, Quant
from harness.measurements.evidence import Store

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

RUN = "`last`, a number that `runs` shows, the beginning of a run's name if no other begins so, or its folder"


def declare(
    commands: "Commands", name: str, run: Callable[[argparse.Namespace], None], summary: str, example: str, *more: str
) -> argparse.ArgumentParser:
    """Adds a command to the command line; `more` are paragraphs of its --help, after the summary."""
    parser = commands.add_parser(
        name,
        help=summary,
        description="\n\n".join([f"{summary[0].upper()}{summary[1:]}.", *more]),
        epilog=f"example:\n  {places.PROGRAM} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, example=example)
    return parser


def with_reports(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the folders of runs and evidence."""
    parser.add_argument(
        "--reports",
        type=Path,
        metavar="FOLDER",
        help="where runs and evidence are kept (default: reports, in this folder)",
    )
    parser.add_argument("--evidence", type=Path, metavar="FOLDER", help="default: evidence, in the folder of --reports")


def with_loading(parser: argparse.ArgumentParser) -> None:
    """Adds the options for loading a model."""
    parser.add_argument("--quant", choices=get_args(Quant), default="nf4", help="default: nf4")
    parser.add_argument("--device", choices=get_args(Device), default="auto", help="default: auto")
    parser.add_argument("--dtype", choices=get_args(Dtype), default="auto", help="default: auto, as it is stored")


def store_of(options: argparse.Namespace) -> Store:
    """The store of evidence that a command's options name."""
    return Store(options.evidence or places.evidence())
