"""The commands `bundle` and `import`: hand a run with its evidence to someone else, and take one in."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from harness.commands.declaring import RUN, declare, store_of, with_reports
from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.files.terminal import say
from harness.inputs.model_catalog import readable
from harness.measurements.evidence import Store
from harness.measurements.interventions import Where
from harness.report import front_page
from harness.report.page import front_page_of
from harness.results.bundle import bundle, unbundle
from harness.results.run_list import chosen
from harness.results.run_record import runs_beside
from harness.subjects.published.recording_import import import_run
from harness.subjects.published.recordings import RECORDED

if TYPE_CHECKING:
    from harness.commands.declaring import Commands


def add_to(commands: "Commands") -> None:
    """Declares both commands."""
    bundled = declare(
        commands,
        "bundle",
        _bundle,
        "write a run and the evidence it read to one .zip, for someone without the model",
        "bundle last --to run.zip",
    )
    bundled.add_argument("run_name", nargs="?", metavar="RUN", help=f"{RUN} (default: last)")
    bundled.add_argument("--to", type=Path, metavar="PATH", help="default: RUN.zip in the current folder")
    with_reports(bundled)
    imported = declare(
        commands,
        "import",
        _import,
        "add a bundle, or a run of the published pipeline (Arditi et al.), to the evidence here",
        "import run.zip",
        "All of a bundle is checked before any of it is put in place. Imported evidence is marked as such, and a live "
        "run does not use it unless it is given --use-imported.",
    )
    imported.add_argument(
        "path", type=Path, metavar="PATH", help="a bundle's .zip, or a pipeline's run folder (with completions/)"
    )
    imported.add_argument(
        "--arm",
        choices=get_args(Where),
        default="everywhere",
        help="for a pipeline's run: where its ablation removed the direction (default: everywhere)",
    )
    imported.add_argument(
        "--layer", type=int, metavar="N", help="for a pipeline's run without metadata: the layer of its direction"
    )
    imported.add_argument(
        "--position", type=int, metavar="N", help="likewise: the position of its direction; -1 is the last token"
    )
    imported.add_argument(
        "--into", metavar="NAME", help="add the run's arms to the recording that was imported as NAME"
    )
    imported.add_argument(
        "--sha256", default="", metavar="HEX", help="for a bundle: refuse a file with any other SHA-256"
    )
    with_reports(imported)


def _bundle(options: argparse.Namespace) -> None:
    store = store_of(options)
    folder = chosen(options.run_name, runs_beside(store.folder))
    to = options.to or Path(f"{folder.resolve().name}.zip")
    made = bundle(folder, store, to)
    size = readable(to.stat().st_size)
    say(f"{to}: {folder.name} and the {made.measurements} measurements it read, {size}")
    say(f"SHA-256 {made.sha256}: publish it with the results of this run; `import --sha256` checks it")


def _import(options: argparse.Namespace) -> None:
    if not options.path.is_dir():
        if options.arm != "everywhere" or (options.layer, options.position, options.into) != (None, None, None):
            raise AssayError(
                f"{options.path}: --arm, --layer, --position and --into are for a run's folder; leave them out"
            )
        _unbundle(options.path, store_of(options), options.sha256)
        return
    if options.sha256:
        raise AssayError(f"{options.path}: --sha256 is for a bundle's .zip, and this is a folder; leave it out")
    imported = import_run(
        options.path, where=options.arm, layer=options.layer, position=options.position, into=options.into
    )
    recording = imported.recording
    arms = ", ".join(f"{sum(arm.refused)} of {len(arm.refused)} refused ({arm.label})" for arm in recording.arms)
    say("\n".join([f"{RECORDED}{recording.name}: {arms}", *imported.remarks]))
    say(f"judge it: {places.JUDGE} --model {shlex.quote(RECORDED + recording.name)}")


def _unbundle(path: Path, store: Store, sha256: str) -> None:
    placed = unbundle(path, store, runs_beside(store.folder), sha256)
    here = f" ({placed.kept} more were here already and are kept)" if placed.kept else ""
    options = ["--judge-only", "--quant", placed.run.quant, "--device", placed.run.device]
    if (system := placed.run.system) is not None:
        options.append(f"--system={system}")
    if len(tokens := set(placed.run.answer_tokens.values())) == 1:  # else each model has its usual number
        options += ["--tokens", str(tokens.pop())]
    if (drawn := placed.run.sampling) is not None:
        options += ["--answers", str(drawn)]
    options += [part for name in placed.run.models for part in ("--model", name)]
    say(f"{path}: SHA-256 {placed.sha256}")
    count = len(placed.run.verdicts)
    verdicts = "1 verdict" if count == 1 else f"{count} verdicts"
    say(f"{placed.folder}: {verdicts}, {placed.placed} measurements put in place{here}")
    say("its hashes show damage, not forgery: whoever made the bundle can have invented its contents")
    say(f"judge it: {places.JUDGE} {shlex.join(options)}")
    front_page.write(placed.folder.parent, front_page_of(placed.folder.parent))
