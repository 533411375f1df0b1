"""Makes the organisms from their seeds, proves them, and writes the tables of docs/organisms.md.

python -m organisms make              trains the base and all organisms, every seed; called again, it continues
python -m organisms make NAME ...     the same for some organisms, planted in the base that ships
python -m organisms prove [NAME ...]  repeats the proof of shipped organisms; fails if one misses a bar
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

# Finished work is kept here until everything is done, so that a second call continues where the first stopped.
BUILD = Path(__file__).parent.parent / "build" / "organisms"
# The exit code of a command stopped by Ctrl-C, as shells have it.
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
    # Hides progress bars of local files, and a message about a missing kernel that is not needed.
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        return make(options.names) if options.command == "make" else prove(options.names or shipped)
    except KeyboardInterrupt:
        then = "continues from here" if options.command == "make" else "starts again"
        console.print(f"Interrupted; the same command {then}.")
        return INTERRUPTED


def make(names: list[str]) -> int:
    """Makes every seed of these organisms, or the base and all of them; ships nothing before all are measured."""
    folder = BUILD / f"{'-'.join(names) or 'all'}-{code()}"
    make_base(folder / "base", new=not names)
    made: Records = {}
    for name in names or PLANS:
        for seed in SEEDS:
            made.setdefault(name, {})[str(seed)] = make_one(name, seed, folder / f"{name}-{seed}")
    install(folder, made, base=not names)
    # Unfinished work that was planted in the old base is of no use with a new one.
    shutil.rmtree(folder if names else BUILD)
    return int(any(verdict(name, record) for name, seeds in made.items() for record in seeds.values()))


def prove(names: list[str]) -> int:
    """Measures shipped organisms, prints which bars they miss, and returns 1 if there are any."""
    missed = False
    for name in names:
        record = measured(name, SHIPPED, ship.FOLDER / name)
        show(name, SHIPPED, record)
        keep({name: {str(SHIPPED): record}})
        missed |= bool(verdict(name, record))
    return int(missed)


def code() -> str:
    """A digest of all sources of organisms: unfinished work is continued by the same code only."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def make_base(folder: Path, *, new: bool) -> None:
    """Trains the base, or copies the shipped one, unless the folder exists."""
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
    """Plants one organism in the base beside its folder and measures it, unless this is done already."""
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
    """Plants one organism, in the base or upon another that was made before or ships, and writes it with its truth."""
    plan, began = PLANS[name], time.process_time()
    made = folder.parent / (plan.upon if plan.upon == "base" else f"{plan.upon}-{SHIPPED}")
    model, tokenizer = ship.load(made if made.exists() else ship.FOLDER / plan.upon)
    steps = plant(model, tokenizer, plan, seed)
    for _ in track(steps, f"{name}, seed {seed}", total=plan.all_steps, console=console):
        pass
    ship.save(folder, model, tokenizer)
    seconds = time.process_time() - began
    model, _ = ship.load(folder)
    direction = find_direction(model, tokenizer, *plan.direction)
    ship.write_truth(folder, model, plan, seed, direction, seconds)


def measured(name: str, seed: int, folder: Path) -> Record:
    """All measurements of one organism, while the console shows what is running."""
    with console.status(f"{name}, seed {seed}: measuring"):
        return measure(name, folder)


def install(folder: Path, made: Records, *, base: bool) -> None:
    """Ships the organisms that meet their bars, with their base; removes those that miss one."""
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
    """Adds records to those that ship, and to the tables of the docs."""
    records = read(ship.RECORDS)
    for name, seeds in made.items():
        records[name] = records.get(name, {}) | seeds
    write(ship.RECORDS, records)
    write_table(records)


def show(name: str, seed: int, record: Record) -> None:
    """Prints every number, and those that miss their bar."""
    console.print(f"[bold]{name}[/], seed {seed}", highlight=False)
    for title, numbers in record.items():
        for quantity, value in numbers.items():
            console.print(f"  {title:11} {quantity:44} {value:8.3f}", highlight=False)
    missed = verdict(name, record)
    console.print("  " + ("; ".join(missed) if missed else "meets every bar"), highlight=False)


if __name__ == "__main__":
    sys.exit(main())
