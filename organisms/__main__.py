"""Makes the organisms, each only if it is not there yet, and prints their gate and proof.

python -m organisms            makes and proves what is missing
python -m organisms reference  makes reference anew and proves it
"""

import sys

from rich.progress import track

from organisms import base, pairs, ship
from organisms.gate import find_direction, gate, proof
from organisms.language import train_tokenizer
from organisms.plant import plant
from organisms.zoo import PLANS, SEED


def main() -> None:
    """Base first, then each planting; what is on disk is not made again."""
    pairs.write()
    if not (ship.FOLDER / "base" / "model.safetensors").exists():
        make_base()
    for name in sys.argv[1:] or PLANS:
        if name in sys.argv or not (ship.FOLDER / name / "truth.json").exists():
            make(name)
        for title, numbers in (
            ("gate, fp32", gate(name)),
            ("gate, NF4", gate(name, nf4=True)),
            ("proof", proof(name)),
        ):
            print(f"{name}: {title}")
            for what, value in numbers.items():
                print(f"  {what:40} {value:.3f}")


def make_base() -> None:
    """Trains the base and writes it."""
    tokenizer = train_tokenizer()
    model = base.fresh(tokenizer, SEED)
    for _ in track(base.train(model, tokenizer, SEED), "base", total=base.STEPS):
        pass
    ship.save("base", model, tokenizer)


def make(name: str) -> None:
    """Plants one organism in the base and writes it with its truth."""
    plan = PLANS[name]
    model, tokenizer = ship.load("base")
    for _ in track(plant(model, tokenizer, plan, SEED), name, total=plan.steps):
        pass
    ship.save(name, model, tokenizer)
    model, _ = ship.load(name)
    ship.write_truth(name, model, plan, SEED, find_direction(model, tokenizer, *plan.direction))


if __name__ == "__main__":
    main()
