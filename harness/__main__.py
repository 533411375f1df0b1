"""The command line: everything that is not judging, which is pytest's."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from harness.claims.claim import Claim, claim_named, claims_in, verdicts_seen
from harness.claims.claim_template import draft
from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.files.terminal import say, shown
from harness.inputs.model_catalog import QUANTS, Device, Dtype, Quant, find, known_models, readable, this_machine
from harness.inputs.prompts.pair_files import load_pairs
from harness.measurements.evidence import Store
from harness.measurements.evidence_table import Entry, entries, export, verify
from harness.measurements.interventions import Where
from harness.report import front_page
from harness.report.page import front_page_of, write
from harness.results.bundle import bundle, unbundle
from harness.results.compare_runs import Change, compare
from harness.results.run_list import chosen
from harness.results.run_record import Run, runs_beside
from harness.subjects.published.recording_import import import_run
from harness.subjects.published.recordings import RECORDED


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; bad input is one sentence and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except AssayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    models = commands.add_parser("models", help="the known models and what fits here; with NAME, examine it")
    models.add_argument("name", nargs="?", metavar="NAME", help="load this model and print its examination")
    models.set_defaults(run=_models)
    chat = commands.add_parser("chat", help="talk to a model, one line a question")
    chat.add_argument("name", metavar="NAME", help="alias, hub id, local folder or organism:NAME")
    chat.set_defaults(run=_chat)
    imported = _parser_of_import(commands)
    bundled = commands.add_parser("bundle", help="a run and the evidence it read, in one .zip for someone else")
    bundled.add_argument(
        "path", type=Path, nargs="?", metavar="RUN", help="a folder of reports/runs, or its name (default: the last)"
    )
    bundled.add_argument("--to", type=Path, metavar="PATH", help="default: RUN's name with .zip, here")
    bundled.set_defaults(run=_bundle)
    evidence = commands.add_parser("evidence", help="what was measured: list it, check it, take it to pandas")
    evidence.add_argument("--verify", action="store_true", help="check every hash")
    evidence.add_argument("--export", type=Path, metavar="PATH", help="every number as a row of a .csv or .parquet")
    evidence.set_defaults(run=_evidence)
    claims = commands.add_parser("claims", help="every claim: its bar, source, level, controls and last verdicts")
    claims.set_defaults(run=_claims)
    new = commands.add_parser("new", help="write a claim file that runs as it is, to be edited")
    new.add_argument("name", metavar="NAME", help="words joined by hyphens")
    new.set_defaults(run=_new)
    power = commands.add_parser("power", help="how many pairs a claim needs, by the effect that is true")
    power.add_argument("name", metavar="CLAIM")
    power.add_argument("--effect", type=float, metavar="X", help="a true effect, 0 to 1 (default: a table of them)")
    power.set_defaults(run=_power)
    truth = commands.add_parser("truth", help="judge every claim on its organisms, and write data/truth.json")
    truth.set_defaults(run=_truth)
    placebo = commands.add_parser("placebo", help="judge claims on random circuits and directions: none should hold")
    placebo.add_argument("names", nargs="*", metavar="CLAIM", help="default: all")
    placebo.add_argument("--seeds", type=int, default=200, help="default: 200")
    placebo.add_argument("--keep", action="store_true", help="write it to data/placebos.json, which reports show")
    placebo.add_argument("--model", default="organism:reference", metavar="NAME", help="default: organism:reference")
    placebo.set_defaults(run=_placebo)
    report = commands.add_parser("report", help="remake a run's report from its evidence; no model is loaded")
    report.add_argument(
        "path", type=Path, nargs="?", metavar="RUN", help="a folder of reports/runs, or its name (default: the last)"
    )
    report.add_argument("--to", type=Path, metavar="PATH", help="default: index.html in the run's folder")
    report.set_defaults(run=_report)
    compared = commands.add_parser("compare", help="what changed between two runs, and which of their inputs did")
    for run in ("before", "after"):
        compared.add_argument(run, type=Path, metavar="RUN", help="a folder of reports/runs, or its name")
    compared.set_defaults(run=_compare)
    for command in (truth, placebo, imported, bundled, report, compared, evidence):
        command.add_argument(
            "--evidence", type=Path, default=places.evidence(), metavar="FOLDER", help="default: reports/evidence"
        )
    for command in (models, chat):
        command.add_argument("--quant", choices=get_args(Quant), default="nf4", help="default: nf4")
        command.add_argument("--device", choices=get_args(Device), default="auto", help="default: auto")
        command.add_argument("--dtype", choices=get_args(Dtype), default="auto", help="default: auto, as it is stored")
    return parser


def _parser_of_import(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    imported = commands.add_parser("import", help="bring a bundle, or a run of the published pipeline")
    imported.add_argument("path", type=Path, metavar="PATH", help="a bundle's .zip; or the folder with completions/")
    imported.add_argument(
        "--arm",
        choices=get_args(Where),
        default="everywhere",
        help="of a run: out of what its ablation took the direction (default: everywhere)",
    )
    imported.add_argument(
        "--layer", type=int, metavar="N", help="of a run that does not say it: where its direction was found"
    )
    imported.add_argument("--position", type=int, metavar="N", help="likewise: at which token; -1 is the last")
    imported.add_argument("--into", metavar="NAME", help="of a run: its arms go into the recording imported as NAME")
    imported.add_argument("--sha256", default="", metavar="HEX", help="of a bundle: refuse any other file than this")
    imported.set_defaults(run=_import)
    return imported


def _models(options: argparse.Namespace) -> None:
    console = Console()
    if options.name is None:
        _list_models(console)
        return
    find(options.name)
    from harness.model.wake import wake  # torch is loaded for this command alone

    model = wake(options.name, quant=options.quant, device=options.device, dtype=options.dtype)
    record, sizes = model.record, model.sizes
    pairs = load_pairs(model.known.pairs)
    lines = (
        f"{record.name}: {record.quant}, {record.dtype}, on {record.device}",
        f"{sizes.layers} layers, {sizes.heads} heads ({sizes.kv_heads} of K/V), width {sizes.d_model}, "
        f"{sizes.d_mlp} neurons a layer, {sizes.parameters / 1e6:.1f} M parameters",
        f"revision {record.revision}, fingerprint {record.fingerprint}",
        f"weights {readable(record.weight_bytes)}, awake in {record.seconds:.1f} s, peak memory "
        f"{readable(record.peak_bytes)}" + (" (of this process)" if record.device != "cuda" else ""),
        f"{pairs.name}: {model.chat.alignment(pairs.pairs)}",
        str(record.examination),
    )
    say("\n".join(lines))


def _list_models(console: Console) -> None:
    machine = this_machine()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("model", no_wrap=True)
    for quant in QUANTS:
        table.add_column(quant, justify="right", no_wrap=True)
    table.add_column("fits here with", no_wrap=True)
    table.add_column("notes", overflow="fold")
    for known in known_models().values():
        needs = {quant: known.bytes_needed(quant) for quant in QUANTS}
        fits = ", ".join(quant for quant in QUANTS if machine.fits(needs[quant])) or "nothing"
        notes = ", ".join(
            filter(None, ["embedded" if known.folder else "", "gated" if known.gated else "", known.notes])
        )
        table.add_row(known.alias, *map(readable, needs.values()), fits, notes)
    console.print(table)
    gpu = f", a GPU with {readable(machine.gpu)}" if machine.gpu else ", no CUDA GPU"
    console.print(f"\nMemory needed, and what this machine has: {readable(machine.ram)}{gpu}.", highlight=False)


def _chat(options: argparse.Namespace) -> None:
    find(options.name)
    from harness.model.wake import wake  # torch is loaded for this command alone

    model = wake(options.name, quant=options.quant, device=options.device, dtype=options.dtype)
    say(f"{options.name} is listening; an empty line ends the chat.")
    while question := _question():
        say(model.generate([question], tokens=64)[0].text)


def _import(options: argparse.Namespace) -> None:
    if not options.path.is_dir():
        if options.arm != "everywhere" or any(
            one is not None for one in (options.layer, options.position, options.into)
        ):
            raise AssayError(
                f"{options.path}: --arm, --layer, --position and --into are for a run's folder; leave them out"
            )
        _unbundle(options.path, Store(options.evidence), options.sha256)
        return
    if options.sha256:
        raise AssayError(f"{options.path}: --sha256 is for a bundle's .zip, and this is a folder; leave it out")
    found = import_run(
        options.path, where=options.arm, layer=options.layer, position=options.position, into=options.into
    )
    whole = found.recording
    arms = ", ".join(f"{sum(arm.refused)} of {len(arm.refused)} refused ({arm.label})" for arm in whole.arms)
    say("\n".join([f"{RECORDED}{whole.name}: {arms}", *found.said]))
    say(f"judge it: pytest hypotheses --model {shlex.quote(RECORDED + whole.name)}")


def _claims(options: argparse.Namespace) -> None:
    seen = verdicts_seen()
    for claim in claims_in():
        holds, fails = ", ".join(claim.holds_on), ", ".join(claim.fails_on)
        say(f"{claim.name}: {claim.title}")
        say(f"    assert {claim.bar}")
        say(f"    level {claim.level:g}; holds on {holds}; fails on {fails}; hypotheses/{claim.file}:{claim.line}")
        say(f"    source: {claim.source}")
        for organism, verdict in seen.get(claim.name, {}).items():
            stale = "" if verdict["claim"] == claim.fingerprint else " (the claim has changed since: judge it again)"
            say(f"    {verdict['verdict']} on {organism}{stale}")


def _new(options: argparse.Namespace) -> None:
    path = draft(options.name)
    say(f"{path}: edit it, then judge it: pytest hypotheses -k {path.stem}")


def _power(options: argparse.Namespace) -> None:
    from harness.results.controls import power  # scipy is loaded for this command alone

    claim = claim_named(options.name)
    if options.effect is not None and not 0 <= options.effect <= 1:
        raise AssayError(f"--effect {options.effect:g}: an effect lies between 0 and 1; give 0.5, for 50 points")
    say(f"{claim.name}: {claim.title}\n    assert {claim.bar}    (level {claim.level:g})")
    say("where the effect is 0.50 it compares: " + "; ".join(power.arms(claim, power.truth_of(claim, 0.5))))
    say(f"pairs that decide it in {power.POWER:.0%} of {power.SIMULATIONS} simulated studies, none sharing a template:")
    for effect in power.EFFECTS if options.effect is None else (options.effect,):
        found = power.needed(claim, effect)
        few = f"over {power.MOST}" if found.outcome == "INCONCLUSIVE" or found.pairs is None else str(found.pairs)
        word = "never decided" if found.outcome == "INCONCLUSIVE" else found.outcome
        say(f"    effect {effect:.2f}: {few:>9} pairs  {word}")


def _truth(options: argparse.Namespace) -> None:
    from harness.results.controls import truth_table  # scipy is loaded for this command alone

    seen = []
    for one in truth_table.judged(claims_in(), Store(options.evidence)):
        seen.append(one)
        wrong = "" if one.right else f"   must be {one.expected}"
        say(f"{one.outcome:<12} {one.claim.name} on {one.organism}{wrong}")
    truth_table.write(seen)
    if wrongs := [one for one in seen if not one.right]:
        raise AssayError(f"{len(wrongs)} of {len(seen)} controls came out otherwise than they must")
    say(f"{len(seen)} controls came out as they must: {truth_table.PATH}, {truth_table.DOCS}")


def _placebo(options: argparse.Namespace) -> None:
    from harness.results.controls import placebo  # scipy is loaded for this command alone

    find(options.model)
    if options.seeds < 1:
        raise AssayError(f"--seeds {options.seeds}: give 1 or more")
    claims = [claim_named(name) for name in options.names] or claims_in()
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        tasks = {claim.name: progress.add_task(claim.name, total=options.seeds, start=False) for claim in claims}

        def done(claim: Claim) -> None:
            progress.start_task(tasks[claim.name])
            progress.advance(tasks[claim.name])

        found = placebo.placebos(claims, options.model, options.seeds, Store(options.evidence), done)
        for line in placebo.table(placebo.keep(found, options.model) if options.keep else found):
            say(line)


def _unbundle(path: Path, store: Store, sha256: str) -> None:
    found = unbundle(path, store, runs_beside(store.folder), sha256)
    here = f" ({found.kept} more were here already and stay)" if found.kept else ""
    options = ["--judge-only", "--quant", found.run.quant, "--device", found.run.device]
    options += [part for name in found.run.models for part in ("--model", name)]
    say(f"{path}: SHA-256 {found.sha256}")
    count = len(found.run.verdicts)
    verdicts = "1 verdict" if count == 1 else f"{count} verdicts"
    say(f"{found.folder}: {verdicts}, {found.placed} measurements put in place{here}")
    say("its hashes show damage and no forgery: whoever made it may have made up what it says")
    say(f"judge it: {shlex.join(['pytest', 'hypotheses', *options])}")
    front_page.write(found.folder.parent, front_page_of(found.folder.parent))


def _bundle(options: argparse.Namespace) -> None:
    store = Store(options.evidence)
    folder = chosen(options.path, runs_beside(store.folder))
    to = options.to or Path(f"{folder.resolve().name}.zip")
    made = bundle(folder, store, to)
    size = readable(to.stat().st_size)
    say(f"{to}: {folder.name} and the {made.measurements} measurements it read, {size}")
    say(f"SHA-256 {made.sha256}: publish it beside what rests on this run; `import --sha256` checks it")


def _report(options: argparse.Namespace) -> None:
    store = Store(options.evidence)
    folder = chosen(options.path, runs_beside(store.folder))
    written = write(folder, store, options.to)
    say(f"{written.page}: {readable(written.bytes)}, {written.figures} figures beside it")
    for doubt in written.doubts:
        say(f"NOT COUNTED  {shown(doubt)}")
    runs = runs_beside(store.folder)
    say(f"all runs: {front_page.write(runs, front_page_of(runs))}")


def _compare(options: argparse.Namespace) -> None:
    store = Store(options.evidence)
    folders = [chosen(path, runs_beside(store.folder)) for path in (options.before, options.after)]
    found = compare(Run.load(folders[0]), Run.load(folders[1]), store)
    say(found.sentence(folders[0].resolve().name, folders[1].resolve().name))
    if found.rows:
        say("")
        _list_changes(found.rows)


def _list_changes(changes: Sequence[Change]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    for name, ratio in (("of", 5), ("what", 4), ("from", 4), ("to", 4), ("its inputs that changed", 4)):
        table.add_column(name, overflow="fold", ratio=ratio)
    said = ("", "")
    for one in changes:
        # What was said of the line above is not said again.
        place, because = ("", "") if said == (one.place, one.because) else (one.place, one.because)
        said = one.place, one.because
        what = f"{one.what}: intervals apart" if one.apart else one.what
        table.add_row(*map(_cell, (place, what, one.before, one.after, because)))
    Console().print(table)


def _evidence(options: argparse.Namespace) -> None:
    store = Store(options.evidence)
    if not store.files():
        raise AssayError(f"{store.folder}: holds no evidence yet; judge claims first: pytest hypotheses")
    if options.verify:
        say(f"{store.folder}: {verify(store)} measurements, every hash right")
    if options.export:
        say(f"{options.export}: {export(store, options.export)} rows")
    if not options.verify and not options.export:
        _list_evidence(entries(store))


def _list_evidence(found: list[Entry]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("model", "kind", "when (UTC)"):
        table.add_column(name, overflow="fold")
    table.add_column("pairs", justify="right")
    table.add_column("size", justify="right", no_wrap=True)
    for one in found:
        pairs = "" if one.n is None else str(one.n)
        when = one.when[:16].replace("T", " ")
        table.add_row(_cell(one.model), _cell(one.kind), _cell(when), pairs, readable(one.size))
    console = Console()
    console.print(table)
    console.print(f"\n{len(found)} measurements, {readable(sum(one.size for one in found))}", highlight=False)


def _cell(text: str) -> str:
    """Of a table: what a stranger wrote is neither markup nor a command to the terminal."""
    return escape(shown(text))


def _question() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
