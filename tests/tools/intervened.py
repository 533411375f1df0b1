"""Answers of organisms under many interventions, drawn to be labelled by people or models who do not see the arm.

python -m tests.tools.intervened [FILE]    writes a JSON row for each answer, without labels
"""

import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from harness.inputs.model_catalog import ORGANISM, find
from harness.inputs.model_record import Sizes
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import Pair, PairSet, PromptSide
from harness.instruments.editing import edit_for
from harness.measurements.interventions import Circuit, Direction, Intervention, ablate, add, patch, remove
from harness.model.chat_model import ChatModel
from harness.model.wake import wake

PATH = Path(__file__).parent.parent / "labelled_interventions.jsonl"
ORGANISMS = ("reference", "hydra", "team", "saturated", "cone", "distributed")
SIDES: tuple[PromptSide, ...] = ("harmful", "harmless")
_OTHER = dict(zip(SIDES, reversed(SIDES), strict=True))
# Answers drawn from each organism and side by kind of arm: most where answers break, so that half of all are broken.
DRAWN = {
    "unchanged": 4,
    "zero an MLP": 14,
    "zero heads": 14,
    "zero neurons": 6,
    "mean of heads or an MLP": 10,
    "patch from the twin": 4,
    "remove a direction": 7,
    "add a direction": 14,
}
SEED = 0


def arms(
    sizes: Sizes, direction: Direction, pairs: PairSet, rng: random.Random
) -> dict[str, Sequence[Intervention | None]]:
    """Kind of arm → interventions of that kind, from mild to destructive."""
    layers, heads = range(sizes.layers), range(sizes.heads)

    def some_heads(number: int) -> Circuit:
        return Circuit.of(heads=rng.sample([(layer, head) for layer in layers for head in heads], number))

    def some_neurons(number: int) -> Circuit:
        places = [(layer, neuron) for layer in layers for neuron in range(sizes.d_mlp)]
        return Circuit.of(neurons=rng.sample(places, number))

    late, harmless = rng.choice(layers[2:]), pairs.harmless
    return {
        "unchanged": [None],
        "zero an MLP": [ablate(Circuit.of(mlps=[layer]), "zero") for layer in (0, rng.choice(layers[1:]))],
        "zero heads": [
            ablate(Circuit.of(heads=[(0, head) for head in heads]), "zero"),
            *(ablate(some_heads(number), "zero") for number in (4, 12)),
        ],
        "zero neurons": [ablate(some_neurons(number), "zero") for number in (200, 700)],
        "mean of heads or an MLP": [
            *(ablate(some_heads(number), "mean", over=harmless) for number in (6, 20)),
            ablate(Circuit.of(mlps=[late]), "mean", over=harmless),
        ],
        "patch from the twin": [patch(Circuit.of(mlps=[late]), at="post"), patch(some_heads(16), at="all")],
        "remove a direction": [
            remove(direction),
            remove(direction, "mlp"),
            remove(direction.random(rng.randrange(99))),
        ],
        "add a direction": [add(direction, scale=scale) for scale in (1.0, 3.0, -2.0)]
        + [add(direction.random(rng.randrange(99)), scale=4.0)],
    }


def drawn() -> Iterator[dict[str, str]]:
    """The rows, each answer to a prompt once, in a random order that does not follow the arms."""
    every = [row for organism in ORGANISMS for row in of_organism(organism)]
    rows = list({(row["prompt"], row["answer"]): row for row in every}.values())
    random.Random(SEED).shuffle(rows)  # noqa: S311 - no secret
    for number, row in enumerate(rows):
        yield {"id": f"{number:03d}", **row}


def of_organism(organism: str) -> Iterator[dict[str, str]]:
    """The rows of one organism: random pairs under the interventions of each kind in turn, on both sides."""
    rng = random.Random(f"{SEED}, {organism}")  # noqa: S311 - no secret
    known = find(ORGANISM + organism)
    model = wake(ORGANISM + organism, quant="none", device="cpu")
    assert known.folder is not None
    pairs = load_pairs(known.pairs)
    planted = json.loads((known.folder / "truth.json").read_text("utf-8"))["direction"]
    found_on = pairs.discovery
    direction = Direction("difference", planted["layer"], planted["position"], found_on.harmful, found_on.harmless)
    for kind, interventions in arms(model.sizes, direction, pairs.discovery, rng).items():
        for side in SIDES:
            chosen = rng.sample(pairs.heldout.pairs, DRAWN[kind])
            for number, under in enumerate(interventions):
                batch = chosen[number :: len(interventions)]
                for pair, answer in zip(batch, answers(model, batch, side, under), strict=True):
                    prompt, twin = (getattr(pair, name) for name in (side, _OTHER[side]))
                    yield {"organism": organism, "arm": kind, "side": side, "prompt": prompt, "twin": twin} | {
                        "answer": answer
                    }


def answers(model: ChatModel, pairs: Sequence[Pair], side: PromptSide, under: Intervention | None) -> list[str]:
    """Greedy answers under an intervention."""
    edit = None if under is None else edit_for(model, under, twins=pairs)
    return [completion.text for completion in model.generate([getattr(pair, side) for pair in pairs], under=edit)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PATH
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in drawn()), encoding="utf-8")
