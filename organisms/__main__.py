"""Makes the organisms from their seeds, proves them, and writes the table of docs/organisms.md.

python -m organisms make [NAME ...]   remakes and proves all or some, every seed; interrupted, it resumes
python -m organisms prove [NAME ...]  proves the shipped ones anew, fails if one misses its bars
"""

import argparse
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
from organisms.records import Record, measure, read, verdict, write, write_table

# What is made stays here until all of it is; a second call goes on where the first stopped.
BUILD = Path(__file__).parent.parent / "build" / "organisms"

console = Console()


def main() -> int:
    """Runs one command; 1 if an organism misses a bar."""
    parser = argparse.ArgumentParser(prog="python -m organisms", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("make", "prove"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PLANS))
    options = parser.parse_args()
    if unknown := set(options.names) - set(PLANS):
        parser.error(f"no organism is called {' or '.join(sorted(unknown))}; there are {', '.join(PLANS)}")
    # One thread: the same seed gives the same weights whatever else the machine does.
    torch.set_num_threads(1)
    # Bars of files that are here already, and a kernel that nobody needs.
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    names = options.names or list(PLANS)
    return make(names) if options.command == "make" else prove(names)


def make(names: list[str]) -> int:
    """The base, if all are to be made, then every seed of each planting, its measurement, and the table."""
    if not BUILD.exists() and names == list(PLANS):
        pairs.write()
        make_base()
    BUILD.mkdir(parents=True, exist_ok=True)
    missed = False
    for name in names:
        for seed in SEEDS:
            folder = BUILD / f"{name}-{seed}"
            if not (folder / ship.TRUTH).exists():
                make_one(name, seed, folder)
            if seed == SHIPPED:
                ship.install(folder, name)
            record = measured(name, seed, folder)
            keep(name, seed, record)
            missed |= bool(verdict(name, record))
    shutil.rmtree(BUILD)
    return int(missed)


def prove(names: list[str]) -> int:
    """Measures what is shipped, and says which bars it misses."""
    missed = False
    for name in names:
        record = measure(name, ship.FOLDER / name)
        keep(name, SHIPPED, record)
        missed |= bool(verdict(name, record))
    return int(missed)


def make_base() -> None:
    """Trains the base and writes it to where it ships from."""
    tokenizer = train_tokenizer()
    model = base.fresh(tokenizer, SHIPPED)
    steps = base.train(model, tokenizer, SHIPPED)
    for _ in track(steps, "base", total=base.STEPS, console=console):
        pass
    ship.save("base", model, tokenizer)


def make_one(name: str, seed: int, folder: Path) -> None:
    """Plants one organism in the base and writes it with its truth."""
    plan, began = PLANS[name], time.process_time()
    model, tokenizer = ship.load("base")
    steps = plant(model, tokenizer, plan, seed)
    for _ in track(steps, f"{name}, seed {seed}", total=plan.all_steps, console=console):
        pass
    ship.save(folder, model, tokenizer)
    seconds = time.process_time() - began
    model, _ = ship.load(folder)
    direction = find_direction(model, tokenizer, *plan.direction)
    ship.write_truth(folder, model, plan, seed, direction, seconds)


def measured(name: str, seed: int, folder: Path) -> Record:
    """The record of one made, measured at most once."""
    path = folder / "record.json"
    if not path.exists():
        write(path, {name: {str(seed): measure(name, folder)}})
    return read(path)[name][str(seed)]


def keep(name: str, seed: int, record: Record) -> None:
    """Adds a record to those that ship, to the table of the docs, and shows it."""
    records = read(ship.RECORDS)
    records.setdefault(name, {})[str(seed)] = record
    write(ship.RECORDS, records)
    write_table(records)
    show(name, seed, record)


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
