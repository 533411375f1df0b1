"""Makes the organisms from their seeds, proves them, and writes the table of docs/organisms.md.

python -m organisms make              remakes and proves all, every seed; interrupted, it goes on when called again
python -m organisms make NAME ...     the same with some, planted in the base that ships
python -m organisms prove [NAME ...]  proves the shipped ones anew, fails if one misses its bars
"""

import argparse
import hashlib
import logging
import shutil
import sys
import time
from pathlib import Path

import torch
import transformers
from rich.console import Console
from rich.progress import track

from organisms import base, pairs, ship
from organisms.gate import find_direction
from organisms.language import train_tokenizer
from organisms.plans import PLANS, SEEDS, SHIPPED
from organisms.plant import plant
from organisms.records import Record, Records, measure, read, verdict, write, write_table

# What is made stays here until all of it is; a second call goes on where the first stopped.
BUILD = Path(__file__).parent.parent / "build" / "organisms"
# What a shell makes of an end by Ctrl-C.
INTERRUPTED = 130

console = Console()


def main() -> int:
    """Runs one command; 1 if an organism misses a bar."""
    parser = argparse.ArgumentParser(prog="python -m organisms", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("make", "prove"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PLANS))
    options = parser.parse_args()
    shipped = [name for name in PLANS if (ship.FOLDER / name).exists()]
    known = list(PLANS) if options.command == "make" else shipped
    if unknown := set(options.names) - set(known):
        parser.error(f"no organism is called {' or '.join(sorted(unknown))}; there are {', '.join(known)}")
    # One thread: the same seed gives the same weights whatever else the machine does.
    torch.set_num_threads(1)
    # Bars of files that are here already, and a kernel that nobody needs.
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        return make(options.names) if options.command == "make" else prove(options.names or shipped)
    except KeyboardInterrupt:
        then = "goes on from here" if options.command == "make" else "begins anew"
        console.print(f"Interrupted; the same command {then}.")
        return INTERRUPTED


def make(names: list[str]) -> int:
    """Every seed of some organisms, or of all and their base; nothing that ships changes until all are measured."""
    folder = BUILD / f"{'-'.join(names) or 'all'}-{code()}"
    make_base(folder / "base", new=not names)
    made: Records = {}
    for name in names or PLANS:
        for seed in SEEDS:
            made.setdefault(name, {})[str(seed)] = make_one(name, seed, folder / f"{name}-{seed}")
    install(folder, made, base=not names)
    # A new base leaves nothing to go on with to what was planted in the old one.
    shutil.rmtree(folder if names else BUILD)
    return int(any(verdict(name, record) for name, seeds in made.items() for record in seeds.values()))


def prove(names: list[str]) -> int:
    """Measures what is shipped, and says which bars it misses."""
    missed = False
    for name in names:
        record = measured(name, SHIPPED, ship.FOLDER / name)
        show(name, SHIPPED, record)
        keep({name: {str(SHIPPED): record}})
        missed |= bool(verdict(name, record))
    return int(missed)


def code() -> str:
    """A digest of all that makes and proves organisms: it goes on only with what it began itself."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def make_base(folder: Path, *, new: bool) -> None:
    """Trains the base, or takes the one that ships, unless the folder is there already."""
    if folder.exists():
        return
    with ship.whole(folder) as part:
        if new:
            train_base(part)
        else:
            shutil.copytree(ship.FOLDER / "base", part, dirs_exist_ok=True)


def train_base(folder: Path) -> None:
    """Trains the base and writes it."""
    tokenizer = train_tokenizer()
    model = base.fresh(tokenizer, SHIPPED)
    steps = base.train(model, tokenizer, SHIPPED)
    for _ in track(steps, "base", total=base.STEPS, console=console):
        pass
    ship.save(folder, model, tokenizer)


def make_one(name: str, seed: int, folder: Path) -> Record:
    """Plants one organism in the base beside it and measures it, each unless it is done already."""
    if not folder.exists():
        with ship.whole(folder) as part:
            plant_one(name, seed, part)
    path = folder / "record.json"
    if not path.exists():
        write(path, {name: {str(seed): measured(name, seed, folder)}})
    record = read(path)[name][str(seed)]
    show(name, seed, record)
    return record


def plant_one(name: str, seed: int, folder: Path) -> None:
    """Plants one organism and writes it with its truth."""
    plan, began = PLANS[name], time.process_time()
    model, tokenizer = ship.load(folder.parent / "base")
    steps = plant(model, tokenizer, plan, seed)
    for _ in track(steps, f"{name}, seed {seed}", total=plan.all_steps, console=console):
        pass
    ship.save(folder, model, tokenizer)
    seconds = time.process_time() - began
    model, _ = ship.load(folder)
    direction = find_direction(model, tokenizer, *plan.direction)
    ship.write_truth(folder, model, plan, seed, direction, seconds)


def measured(name: str, seed: int, folder: Path) -> Record:
    """All numbers of one, while a line says what is being done."""
    with console.status(f"{name}, seed {seed}: measuring"):
        return measure(name, folder)


def install(folder: Path, made: Records, *, base: bool) -> None:
    """Ships what meets its bars, and what it was planted in; what misses one ships no more."""
    if base:
        pairs.write()
        ship.install(folder / "base", "base")
    for name, seeds in made.items():
        if verdict(name, seeds[str(SHIPPED)]):
            console.print(f"{name} misses its bars and does not ship")
            ship.remove(name)
        else:
            ship.install(folder / f"{name}-{SHIPPED}", name)
    keep(made)


def keep(made: Records) -> None:
    """Adds records to those that ship, and to the table of the docs."""
    records = read(ship.RECORDS)
    for name, seeds in made.items():
        records[name] = records.get(name, {}) | seeds
    write(ship.RECORDS, records)
    write_table(records)


def show(name: str, seed: int, record: Record) -> None:
    """Prints every number, and those that miss their bar."""
    console.print(f"[bold]{name}[/], seed {seed}", highlight=False)
    for title, numbers in record.items():
        for what, value in numbers.items():
            console.print(f"  {title:11} {what:44} {value:8.3f}", highlight=False)
    missed = verdict(name, record)
    console.print("  " + ("; ".join(missed) if missed else "meets every bar"), highlight=False)


if __name__ == "__main__":
    sys.exit(main())
