"""The same work by the public functions of other libraries, unmodified."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import patching

from harness.inputs.chat_tokens import Encoded
from harness.inputs.prompts.pairs import Pair
from harness.instruments.direction_selection import MAX_KL, MIN_INDUCED, Prompts
from harness.measurements.questions.searches import LAYERS
from harness.model.chat_model import ChatModel

# Hides progress bars, for which there is no argument.
patching.tqdm = lambda rows, *_, **__: rows


def odds(tokens: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """Assay's score, log-odds of refusing, as a function of logits at every position."""
    chosen = list(tokens)

    def metric(logits: Tensor) -> Tensor:
        last = logits[:, -1].double()
        refuse = last[:, chosen].logsumexp(-1)
        last[:, chosen] = -torch.inf
        return refuse - last.logsumexp(-1)

    return metric


@torch.no_grad()
def transformer_lens_heads(
    model: ChatModel, pairs: Sequence[Pair], tokens: Sequence[int], variants: Sequence[tuple[int, int, int]]
) -> Float[Tensor, "pair variant"]:
    """Heads (layer, head, position) one at a time by `generic_activation_patch`, all pairs in one batch."""
    prompts, twins = _ids(model, pairs)
    _, cache = model.bridge.run_with_cache(twins)

    def setter(activation: Tensor, index: Sequence[int], cache: Any) -> Tensor:
        _, head, position = index
        activation[:, position, head] = cache[:, position, head]
        return activation

    table = pd.DataFrame(list(variants), columns=["layer", "head", "position"])
    patched = patching.generic_activation_patch(
        model.bridge, prompts, cache, odds(tokens), setter, "z", index_df=table, reduce="none"
    )
    return patched.values.T.float()  # type: ignore[no-any-return]


@torch.no_grad()
def transformer_lens_residual(
    model: ChatModel, pairs: Sequence[Pair], tokens: Sequence[int]
) -> Float[Tensor, "pair layer position"]:
    """The stream that enters each layer, at each position, by `get_act_patch_resid_pre`."""
    prompts, twins = _ids(model, pairs)
    _, cache = model.bridge.run_with_cache(twins)
    patched = patching.get_act_patch_resid_pre(model.bridge, prompts, cache, odds(tokens), reduce="none")
    return patched.values.permute(2, 0, 1).float()  # type: ignore[no-any-return]


Place = tuple[int, int]
"""Layer, and position from the end."""


@dataclass(frozen=True)
class Published:
    """The three scores of every candidate, and the candidate that was chosen, if any."""

    scores: Mapping[Place, Mapping[str, float]]
    chosen: Place | None


@torch.no_grad()
def published(hf: Any, model: ChatModel, train: Prompts, validation: Prompts, tokens: Sequence[int]) -> Published:
    """The direction selection of Arditi et al. (arXiv 2406.11717), with forward hooks on the plain model.

    As published, it runs the validation prompts three times for every layer and position, with logits at every
    position, and filters afterwards. One difference: the refusal score adds no 1e-8 inside its logarithms. `model` is
    used for tokenizing only.
    """
    score = odds(tokens)
    layers, positions = len(hf.model.layers), range(-len(model.chat.after_instruction), 0)

    def batch(prompts: Sequence[str]) -> dict[str, Tensor]:
        made = model.batch([*map(model.chat.encode, prompts)])
        return {"input_ids": made.ids, "attention_mask": made.mask.long(), "position_ids": made.position_ids}

    def scores(prompts: Sequence[str]) -> list[float]:
        return [
            value for at in range(0, len(prompts), 32) for value in score(hf(**batch(prompts[at : at + 32])).logits)
        ]

    def really(prompts: Prompts) -> Prompts:
        sides = ((prompts.harmful, 1), (prompts.harmless, -1))
        kept = [tuple(p for p, s in zip(side, scores(side), strict=True) if s * sign > 0) for side, sign in sides]
        return Prompts(kept[0], kept[1])

    def means(prompts: Sequence[str]) -> Float[Tensor, "layer position width"]:
        total = torch.zeros(layers, len(positions), hf.config.hidden_size, dtype=torch.float64)
        for at in range(0, len(prompts), 32):
            with ExitStack() as hooks:
                for number, layer in enumerate(hf.model.layers):

                    def read(_: Any, given: tuple[Tensor], number: int = number) -> None:
                        total[number] += given[0][:, list(positions)].double().sum(0)

                    hooks.callback(layer.register_forward_pre_hook(read).remove)
                hf(**batch(prompts[at : at + 32]))
        return total / len(prompts)

    train, validation = really(train), really(validation)
    vectors = (means(train.harmful) - means(train.harmless)).float()
    harmful, harmless = batch(validation.harmful), batch(validation.harmless)
    clean = hf(**harmless).logits[:, -1].double().log_softmax(-1)
    by_place = {}
    for layer in range(layers):
        for row, position in enumerate(positions):
            vector = vectors[layer, row]
            with _ablated(hf, vector / vector.norm()):
                bypassed = score(hf(**harmful).logits).mean().item()
                changed = hf(**harmless).logits[:, -1].double().log_softmax(-1)
            with _added(hf.model.layers[layer], vector):
                induced = score(hf(**harmless).logits).mean().item()
            kl = (clean.exp() * (clean - changed)).sum(-1).mean().item()
            by_place[layer, position] = {"bypassed": bypassed, "kl": kl, "induced": induced}
    valid = [
        at
        for at, three in by_place.items()
        if at[0] < int(layers * LAYERS) and three["kl"] <= MAX_KL and three["induced"] >= MIN_INDUCED
    ]
    return Published(by_place, min(valid, key=lambda at: by_place[at]["bypassed"], default=None))


def _ablated(hf: Any, unit: Tensor) -> ExitStack:
    def without(stream: Tensor) -> Tensor:
        return stream - (stream @ unit)[..., None] * unit

    def before(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (without(given[0]), *given[1:])

    def after(_: Any, __: Any, output: Any) -> Any:
        return (without(output[0]), *output[1:]) if isinstance(output, tuple) else without(output)

    hooks = ExitStack()
    for layer in hf.model.layers:
        hooks.callback(layer.register_forward_pre_hook(before).remove)
        for part in (layer.self_attn, layer.mlp):
            hooks.callback(part.register_forward_hook(after).remove)
    return hooks


def _added(layer: Any, vector: Tensor) -> ExitStack:
    hooks = ExitStack()
    hooks.callback(layer.register_forward_pre_hook(lambda _, given: (given[0] + vector, *given[1:])).remove)
    return hooks


def _ids(model: ChatModel, pairs: Sequence[Pair]) -> tuple[Int[Tensor, "pair position"], Int[Tensor, "pair position"]]:
    encoded = [model.chat.encode_pair(pair) for pair in pairs]

    def tensor(prompts: Sequence[Encoded]) -> Tensor:
        return torch.tensor([prompt.ids for prompt in prompts])

    return tensor([pair.harmful for pair in encoded]), tensor([pair.harmless for pair in encoded])
