"""The proof, in plain torch, that the planted parts carry refusal and nothing else does.

Activations are swapped between a prompt and its twin, at the post-instruction positions of a real forward pass. Effects
are E = (m - m_swapped) / (m - m_twin), m being the log-odds of refusing. The code that plants is not used; the planted
parts are read from the truth file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

POST = 4
# A site is a layer and the input of one of these modules, some columns of which are swapped.
READ_BY = {"z": "self_attn.o_proj", "hidden": "mlp.down_proj"}
Site = tuple[int, str]
Columns = Mapping[Site, Tensor]
Edit = Callable[[Tensor], None]
Edits = Mapping[Site, Edit]


class Prover:
    """A model, prompts and their twins, their clean activations, and runs with activations swapped between them."""

    def __init__(
        self,
        model: LlamaForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        pairs: Sequence[Mapping[str, str]],
        refusals: Sequence[int],
    ) -> None:
        self.model, self.refusals, self.half = model, list(refusals), len(pairs)
        prompts = [pair["harmful"] for pair in pairs] + [pair["harmless"] for pair in pairs]
        tokenizer.padding_side = "left"
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        self.batch = tokenizer.apply_chat_template(
            chats,
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        self.clean: dict[Site, Tensor] = {}
        sites = [(layer, kind) for layer in range(len(model.model.layers)) for kind in READ_BY]
        self.odds = self.run({site: self._recorder(site) for site in sites})

    def effect(self, swapped: Columns, held: Columns | None = None) -> float:
        """E of setting `swapped` columns to the twin's clean values while `held` ones keep their own."""
        edits = {site: self._editor(site, swapped, held or {}) for site in {*swapped, *(held or {})}}
        return self.share(self.run(edits))

    def share(self, odds: Tensor) -> float:
        """E, pooled over all rows in both directions."""
        whole = self.odds - self.twin(self.odds)
        return float(((self.odds - odds) * whole.sign()).sum() / whole.abs().sum())

    def twin(self, rows: Tensor) -> Tensor:
        """The twin of each row: rows i and i + half are twins."""
        return rows.roll(self.half, 0)

    @torch.no_grad()
    def run(self, edits: Edits = MappingProxyType({})) -> Tensor:
        """Log-odds of every row, with activations edited at the post-instruction positions."""
        with ExitStack() as hooks:
            for (layer, kind), edit in edits.items():

                def hook(_: nn.Module, args: tuple[Tensor], edit: Edit = edit) -> tuple[Tensor]:
                    value = args[0].clone()
                    edit(value[:, -POST:])
                    return (value,)

                module = self.model.get_submodule(f"model.layers.{layer}.{READ_BY[kind]}")
                hooks.callback(module.register_forward_pre_hook(hook).remove)
            return self.log_odds(self.model(**self.batch, logits_to_keep=1).logits[:, -1])

    def log_odds(self, logits: Tensor) -> Tensor:
        """Log p - log(1 - p), p being the probability that the first token begins a refusal."""
        p = logits.double().softmax(-1)[:, self.refusals].sum(-1)
        return torch.log(p) - torch.log1p(-p)

    def _recorder(self, site: Site) -> Callable[[Tensor], None]:
        def record(post: Tensor) -> None:
            self.clean[site] = post.clone()

        return record

    def _editor(self, site: Site, swapped: Columns, held: Columns) -> Callable[[Tensor], None]:
        own = self.clean[site]

        def edit(post: Tensor) -> None:
            if site in swapped:
                post[:] = torch.where(swapped[site], self.twin(own), post)
            if site in held:
                post[:] = torch.where(held[site], own, post)

        return edit


def prove(prover: Prover, few: Prover, truth: Mapping[str, Any]) -> dict[str, float]:
    """E of the planted parts, of all others while those are held, and the largest E of one or two of the others.

    The largest pair is searched for on the pairs of `few` only.
    """
    planted, rest = planted_and_rest(prover, truth)
    parts = components(rest, prover.model.config.head_dim)
    return {
        "planted": prover.effect(planted),
        "rest, planted held": prover.effect(rest, held=planted),
        "largest single": max((prover.effect(part) for part in parts), key=abs, default=0.0),
        "largest pair": max((few.effect(union(*two)) for two in combinations(parts, 2)), key=abs, default=0.0),
    }


def planted_and_rest(prover: Prover, truth: Mapping[str, Any]) -> tuple[Columns, Columns]:
    """The columns that were planted, and all others from the first planted layer on."""
    size = prover.model.config.head_dim
    planted = {site: torch.zeros(own.shape[-1], dtype=torch.bool) for site, own in prover.clean.items()}
    for layer, head in truth["heads"]:
        planted[layer, "z"][head * size : (head + 1) * size] = True
    for layer, start, stop in truth["neurons"]:
        planted[layer, "hidden"][start:stop] = True
    rest = {site: ~mask for site, mask in planted.items() if site[0] >= truth["first_layer"]}
    return {site: mask for site, mask in planted.items() if mask.any()}, rest


def components(columns: Columns, head_size: int) -> list[Columns]:
    """The columns of each head, and of each MLP block."""
    parts: list[Columns] = []
    for (layer, kind), mask in columns.items():
        size = head_size if kind == "z" else len(mask)
        for start in range(0, len(mask), size):
            part = torch.zeros_like(mask)
            part[start : start + size] = mask[start : start + size]
            if part.any():
                parts.append({(layer, kind): part})
    return parts


def union(first: Columns, second: Columns) -> Columns:
    """The columns of both."""
    none = torch.tensor(False)
    return {site: first.get(site, none) | second.get(site, none) for site in {*first, *second}}


@torch.no_grad()
def restore(model: LlamaForCausalLM, base: LlamaForCausalLM, truth: Mapping[str, Any]) -> int:
    """Puts the base's values into the planted parts; returns how many parameters still differ from the base."""
    for ours, its in zip(planted_weights(model, truth), planted_weights(base, truth), strict=True):
        ours.copy_(its)
    both = zip(model.parameters(), base.parameters(), strict=True)
    return sum(int((ours != its).sum()) for ours, its in both)


def planted_weights(model: LlamaForCausalLM, truth: Mapping[str, Any]) -> Iterator[Tensor]:
    """Views of the parameters of planted neurons and heads, including shared keys and values."""
    size = model.config.head_dim
    sharing = model.config.num_attention_heads // model.config.num_key_value_heads
    for layer, head in truth["heads"]:
        attention = model.model.layers[layer].self_attn
        queries = slice(head * size, (head + 1) * size)
        keys = slice(head // sharing * size, (head // sharing + 1) * size)
        yield attention.q_proj.weight[queries]
        yield attention.k_proj.weight[keys]
        yield attention.v_proj.weight[keys]
        yield attention.o_proj.weight[:, queries]
    for layer, start, stop in truth["neurons"]:
        mlp = model.model.layers[layer].mlp
        yield mlp.gate_proj.weight[start:stop]
        yield mlp.up_proj.weight[start:stop]
        yield mlp.down_proj.weight[:, start:stop]
