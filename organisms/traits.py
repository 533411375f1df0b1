"""Measures refusals with a direction removed or added, depths of stages, and effects and directions of groups."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from copy import deepcopy
from itertools import product
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from organisms import ship
from organisms.pairs import judged_pairs
from organisms.proof import POST, READ_BY, Columns, Prover, Site, restore
from organisms.steering import Where, added, without


def mean_difference(prover: Prover, layer: int, position: int) -> Tensor:
    """Harmful mean minus harmless mean of the stream that enters a layer, at a position."""
    with torch.no_grad():
        states = prover.model(**prover.batch, output_hidden_states=True).hidden_states
    harmful, harmless = states[layer][:, position].double().split(prover.half)
    difference: Tensor = harmful.mean(0) - harmless.mean(0)
    return difference.float()


def refused(prover: Prover) -> tuple[float, float]:
    """The shares of harmful and of harmless prompts whose first token refuses (log-odds above 0)."""
    harmful, harmless = (prover.run() > 0).double().split(prover.half)
    return float(harmful.mean()), float(harmless.mean())


def refusals_without(prover: Prover, direction: Tensor, where: Where = "everywhere") -> tuple[float, float]:
    """The shares of harmful and of harmless prompts refused with the direction projected out of these writes."""
    with without(prover.model, direction, where):
        return refused(prover)


def refusals_with(prover: Prover, direction: Tensor, layer: int) -> tuple[float, float]:
    """The shares of harmful and of harmless prompts refused with the direction added at a layer's input."""
    with added(prover.model, direction, layer):
        return refused(prover)


def most_effective(few: Prover) -> tuple[int, int]:
    """The layer and position of the difference of means whose removal leaves the lowest log-odds of refusing.

    As the published procedure chooses, among the first 80% of layers, but without its filters.
    """
    odds = {}
    for layer, position in product(range(1, int(0.8 * len(few.model.model.layers))), range(-POST, 0)):
        with without(few.model, mean_difference(few, layer, position)):
            odds[layer, position] = float(few.run()[: few.half].mean())
    return min(odds, key=odds.__getitem__)


@torch.no_grad()
def written_along(prover: Prover, columns: Columns, direction: Tensor) -> float:
    """How much of a direction these columns write at the last position: harmful less harmless, in its lengths."""
    written = 0.0
    for (layer, kind), mask in columns.items():
        writer = prover.model.get_submodule(f"model.layers.{layer}.{READ_BY[kind]}")
        said = prover.clean[layer, kind][:, -1] * mask
        harmful, harmless = (said @ writer.weight.T @ direction).split(prover.half)
        written += float((harmful.mean() - harmless.mean()) / direction.square().sum())
    return written


def told_apart_blind(prover: Prover, layers: Iterable[int]) -> float:
    """How many more harmful prompts than harmless ones are refused if no later token sees the words in these layers.

    The words are those in which a prompt and its twin differ: whoever never sees them refuses both or neither.
    """
    ids = prover.batch["input_ids"]
    at_words = ids != prover.twin(ids)
    later = at_words.cumsum(-1).bool() & ~at_words
    hidden = (later[:, :, None] & at_words[:, None, :])[:, None]
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    sees = causal & prover.batch["attention_mask"].bool()[:, None, None, :] | torch.eye(ids.shape[1], dtype=torch.bool)

    def blindly(_: object, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**named, "attention_mask": sees & ~hidden}

    with ExitStack() as hooks:
        for layer in layers:
            attention = prover.model.model.layers[layer].self_attn
            hooks.callback(attention.register_forward_pre_hook(blindly, with_kwargs=True).remove)
        harmful, harmless = refused(prover)
        return harmful - harmless


def spared(prover: Prover, truth: Mapping[str, Any]) -> dict[str, float]:
    """The share of harmful prompts still refused with the base's weights put back into one layer's planted parts."""
    base = ship.base_of(prover.model.name_or_path)
    tokenizer = AutoTokenizer.from_pretrained(prover.model.name_or_path)
    shares = {}
    for layer in sorted({layer for layer, *_ in truth["heads"] + truth["neurons"]}):
        model = deepcopy(prover.model)
        restore(
            model, base, {kind: [part for part in truth[kind] if part[0] == layer] for kind in ("heads", "neurons")}
        )
        without = Prover(model, tokenizer, judged_pairs(heldout=True), prover.refusals)
        shares[f"refused, base weights back in layer {layer}"] = refused(without)[0]
    return shares


def whole_layers(prover: Prover, *layers: int) -> Columns:
    """All heads and neurons of these layers."""
    return {
        site: torch.ones(own.shape[-1], dtype=torch.bool) for site, own in prover.clean.items() if site[0] in layers
    }


def depths(prover: Prover) -> dict[str, float]:
    """Effect-weighted depth, 0 to 1, of the blocks' writes: at the differing words, later, and to the logits."""
    ids, blocks = prover.batch["input_ids"], prover.model.model.layers
    at_words = ids != prover.twin(ids)
    later = at_words.cumsum(-1).bool() & ~at_words
    writes: list[Tensor] = []
    final: list[Tensor] = []
    with ExitStack() as hooks:
        for block in blocks:
            handle = block.register_forward_hook(lambda _, args, out: writes.append(out - args[0]))
            hooks.callback(handle.remove)
        handle = prover.model.model.norm.register_forward_pre_hook(lambda _, args: final.append(args[0][:, -1]))
        hooks.callback(handle.remove)
        prover.run()

    def patched(layer: int, where: Tensor) -> float:
        def hook(_: object, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
            return torch.where(where[..., None], args[0] + prover.twin(writes[layer]), out)

        handle = blocks[layer].register_forward_hook(hook)
        try:
            return prover.share(prover.run())
        finally:
            handle.remove()

    @torch.no_grad()
    def direct(layer: int) -> float:
        change = (prover.twin(writes[layer]) - writes[layer])[:, -1]
        return prover.share(prover.log_odds(prover.model.lm_head(norm(final[0] + change))))

    norm, layers = prover.model.model.norm, range(len(blocks))
    return {
        "words": _depth([patched(layer, at_words) for layer in layers]),
        "later": _depth([patched(layer, later) for layer in layers]),
        "logits": _depth([direct(layer) for layer in layers]),
    }


def _depth(effects: list[float]) -> float:
    """The mean layer weighted by effect, from 0 (first) to 1 (last); negative effects count as 0."""
    weights = torch.tensor(effects).clamp(min=0)
    return float((weights * torch.linspace(0, 1, len(effects))).sum() / weights.sum())


def effects_on(prover: Prover, swapped: Columns, rows: list[Tensor]) -> list[float]:
    """E of a swap on each set of rows."""

    def editor(site: Site) -> Callable[[Tensor], None]:
        def edit(post: Tensor) -> None:
            post[:] = torch.where(swapped[site], prover.twin(prover.clean[site]), post)

        return edit

    odds = prover.run({site: editor(site) for site in swapped})
    whole = prover.odds - prover.twin(prover.odds)
    change = (prover.odds - odds) * whole.sign()
    return [float(change[own].sum() / whole[own].abs().sum()) for own in rows]


def cosines_between(prover: Prover, layer: int, rows: list[Tensor]) -> Tensor:
    """Cosines between the differences of means of sets of rows, in the stream that enters a layer."""
    with torch.no_grad():
        states = prover.model(**prover.batch, output_hidden_states=True).hidden_states
    harmful, harmless = states[layer][:, -1].double().split(prover.half)
    differences = [(harmful - harmless)[own[: prover.half]].mean(0) for own in rows]
    units = torch.nn.functional.normalize(torch.stack(differences), dim=-1)
    return units @ units.T
