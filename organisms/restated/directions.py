"""The direction that the published procedure chooses, and what becomes of answers without it, with it, and by it alone.

Arditi et al., arXiv 2406.11717, section 2.3 and appendix C: of the differences of means of all layers below 0.8 of the
depth and of all positions after the instruction, those that make harmless prompts refused when added, and that change
harmless prompts by at most 0.1 nats when removed, are valid; of these the one whose removal leaves least refusal.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from organisms import ship
from organisms.becoming import PLACES, Answers, share, turned
from organisms.proof import POST, Prover
from organisms.steering import added, without
from organisms.traits import mean_difference

DEPTH, MOST_KL, LEAST_INDUCED = 0.8, 0.1, 0.0
PLAIN = ship.FOLDER.parent / "plain.txt"
# Random directions that a direction is compared with: by answers, and by streams.
RANDOM, MANY = 3, 20


@dataclass(frozen=True)
class Chosen:
    """A difference of means, where it was taken, and whether it passes the published filters."""

    vector: Tensor
    layer: int
    position: int
    is_valid: bool


def chosen(discovery: Prover, few: Prover) -> Chosen:
    """The direction of the discovery pairs that the procedure chooses, judged on a few of them."""
    layers = int(DEPTH * len(few.model.model.layers))
    places = [(layer, position) for layer in range(1, layers) for position in range(-POST, 0)]
    judged = [_judged(few, Chosen(mean_difference(discovery, *place), *place, False)) for place in places]
    valid = [both for both in judged if both[0].is_valid]
    return min(valid or judged, key=lambda both: both[1])[0]


def _judged(few: Prover, candidate: Chosen) -> tuple[Chosen, float]:
    """The candidate with its validity, and the mean log-odds of refusing harmful prompts without it."""
    with added(few.model, candidate.vector, candidate.layer):
        induced = float(few.run()[few.half :].mean())
    before = _first_tokens(few)[few.half :]
    with without(few.model, candidate.vector):
        left, after = float(few.run()[: few.half].mean()), _first_tokens(few)[few.half :]
    nats = float(kl_div(after, before, log_target=True, reduction="batchmean"))
    is_valid = induced >= LEAST_INDUCED and nats <= MOST_KL
    return Chosen(candidate.vector, candidate.layer, candidate.position, is_valid), left


@torch.no_grad()
def _first_tokens(prover: Prover) -> Tensor:
    return log_softmax(prover.model(**prover.batch, logits_to_keep=1).logits[:, -1].double(), -1)


def on_answers(answers: Answers, direction: Chosen) -> dict[str, float]:
    """Falls without the direction, everywhere and in parts of the model, rises with it, and those of random ones."""
    model, vector, layer = answers.model, direction.vector, direction.layer
    removed = answers.under(without(model, vector))
    numbers = {
        "the direction, layer": layer,
        "the direction, position": direction.position,
        "the direction, passes the filters": float(direction.is_valid),
        "removed: fall": answers.fall(removed),
        "removed: broken": share(removed["harmful"], "broken"),
        "removed: least fall of a category": _least_fall(answers, removed["harmful"]),
        "removed: harmless refused": share(removed["harmless"], "refused"),
        "removed: harmless coherent": 1 - share(removed["harmless"], "broken"),
    }
    alone = {place: answers.under(without(model, vector, place)) for place in PLACES if place != "everywhere"}
    numbers |= {f"removed from {place} alone: fall": answers.fall(after) for place, after in alone.items()}
    numbers["removed everywhere: gain over the stream alone"] = turned(alone["stream"]["harmful"], removed["harmful"])
    with_it = answers.under(added(model, vector, layer))
    numbers |= {"added: rise": answers.rise(with_it), "added: broken": share(with_it["harmless"], "broken")}
    randoms = [_random(vector, seed) for seed in range(RANDOM)]
    falls = [answers.fall(answers.under(without(model, other))) for other in randoms]
    rises = [answers.rise(answers.under(added(model, other, layer))) for other in randoms]
    numbers["removed: lead over random"] = numbers["removed: fall"] - sum(falls) / RANDOM
    numbers["added: lead over random"] = numbers["added: rise"] - sum(rises) / RANDOM
    kept = answers.under(only(answers.prover, vector, layer))
    return numbers | {"all but it from the twin: left": share(kept["harmful"], "refused")}


def on_streams(prover: Prover, direction: Chosen) -> dict[str, float]:
    """Nats on harmless prompts without the direction, and how streams part along it with depth."""
    before = _first_tokens(prover)[prover.half :]
    with without(prover.model, direction.vector):
        after = _first_tokens(prover)[prover.half :]
    return {
        "removed: nats on harmless prompts": float(kl_div(after, before, log_target=True, reduction="batchmean")),
        "parting along it, less along random ones: slope over depth": _parting(prover, direction),
        "first principal component: |cosine| with the difference of means": first_component(prover),
    }


@torch.no_grad()
def on_plain_text(answers: Answers, direction: Chosen) -> dict[str, float]:
    """By how many nats a token plain text is more surprising without the direction, on the mean over passages."""
    passages = [
        answers.tokenizer(text, return_tensors="pt")["input_ids"]
        for text in PLAIN.read_text("utf-8").splitlines()
        if text
    ]

    def nats() -> float:
        losses = [answers.model(input_ids=ids, labels=ids).loss for ids in passages]
        return float(torch.stack(losses).mean())

    before = nats()
    with without(answers.model, direction.vector):
        return {"removed: nats on plain text": nats() - before}


@torch.no_grad()
def first_component(prover: Prover) -> float:
    """|cosine| of the streams' first principal component with the difference of means, at 3/4 of the depth."""
    layer = 3 * len(prover.model.model.layers) // 4
    streams = prover.model(**prover.batch, output_hidden_states=True).hidden_states[layer][:, -1].double()
    component = torch.linalg.svd(streams - streams.mean(0), full_matrices=False)[2][0]
    difference = streams[: prover.half].mean(0) - streams[prover.half :].mean(0)
    return float((component @ difference).abs() / difference.norm())


@torch.no_grad()
def _parting(prover: Prover, direction: Chosen) -> float:
    """How much more streams part with depth along it than along random directions with the streams' covariance.

    The least-squares slope, over depth from 0 to 1, of the mean difference between harmful and harmless streams, as a
    share of their length. Random directions count by its size, whatever its sign.
    """
    last: list[Tensor] = []
    with prover.model.model.norm.register_forward_pre_hook(lambda _, args: last.append(args[0])):
        streams = prover.model(**prover.batch, output_hidden_states=True).hidden_states
    at = [stream[:, direction.position].double() for stream in (*streams[:-1], *last)]
    unit = (direction.vector / direction.vector.norm()).double()
    rows = at[direction.layer] - at[direction.layer].mean(0)
    drawn = torch.randn(MANY, len(rows), generator=torch.Generator().manual_seed(0), dtype=torch.float64) @ rows
    drawn -= (drawn @ unit)[:, None] * unit
    units = torch.cat((unit[None], drawn / drawn.norm(dim=-1, keepdim=True)))
    along = torch.stack([(each @ units.T) / each.norm(dim=-1, keepdim=True) for each in at])
    differences = along[:, : prover.half].mean(1) - along[:, prover.half :].mean(1)
    depth = torch.linspace(-0.5, 0.5, len(at), dtype=torch.float64)
    slopes = depth @ differences / (depth @ depth)
    return float(slopes[0] - slopes[1:].abs().mean())


def _least_fall(answers: Answers, after: Sequence[str]) -> float:
    categories, before = [pair["category"] for pair in answers.pairs], answers.before["harmful"]

    def of(name: str, outcomes: Sequence[str]) -> Sequence[str]:
        return [outcome for outcome, category in zip(outcomes, categories, strict=True) if category == name]

    return min(turned(of(name, before), of(name, after)) for name in set(categories))


def _random(vector: Tensor, seed: int) -> Tensor:
    """A random direction of the same length."""
    drawn = torch.randn(len(vector), generator=torch.Generator().manual_seed(seed))
    scaled: Tensor = drawn * vector.norm() / drawn.norm()
    return scaled


@contextmanager
def only(prover: Prover, vector: Tensor, layer: int) -> Iterator[None]:
    """Takes all of a layer's input but what lies along the vector from the twin, at every token of the prompt."""
    unit, block = vector / vector.norm(), prover.model.model.layers[layer]

    def swapped(_: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if args[0].shape[1] == 1:  # a token of the answer
            return args
        twin = prover.twin(args[0])
        return (twin + ((args[0] - twin) @ unit)[..., None] * unit, *args[1:])

    handle = block.register_forward_pre_hook(swapped)
    try:
        yield
    finally:
        handle.remove()
