"""Helper commands. To judge claims, run pytest."""

import argparse
import sys
from contextlib import nullcontext

from harness.commands import bundles, claims, controls, evidence, models, own_claims, runs
from harness.inputs import places
from harness.inputs.errors import AssayError


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; bad input is reported in one sentence with exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["judge"] and arguments[1:2] not in (["-h"], ["--help"]):
        own_claims.judge(arguments[1:])  # the other arguments are pytest's
    options = parser().parse_args(arguments)
    reports = getattr(options, "reports", None)
    try:
        with places.reports_in(reports) if reports else nullcontext():
            options.run(options)
    except AssayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line with every command; each module of harness/commands adds its own."""
    line = argparse.ArgumentParser(
        prog=places.PROGRAM,
        description=__doc__,
        epilog=f"{places.PROGRAM} COMMAND --help describes a command and shows an example.",
    )
    commands = line.add_subparsers(required=True, metavar="COMMAND")
    for group in (models, own_claims, claims, controls, runs, bundles, evidence):
        group.add_to(commands)
    return line


if __name__ == "__main__":
    sys.exit(main())
