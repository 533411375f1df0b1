"""Runs only the post-instruction positions, with parts changed, which is cheaper than running whole prompts.

A change at these positions affects nothing before them, so one clean run gives the keys and values of all earlier
positions, and the stream that enters the first planted layer.
"""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

# From a layer, "z" (heads) or "hidden" (neurons) and their activations (row × position × column) to changed ones.
Change = Callable[[int, str, Tensor], Tensor]


class Replay:
    """A clean run of a batch of prompts, from which any number of changed runs can start."""

    def __init__(self, model: LlamaForCausalLM, ids: Tensor, post: Tensor, first_layer: int) -> None:
        self.model, self.post, self.first_layer = model, post, first_layer
        self.rows = torch.arange(len(post))[:, None]
        self.layers = list(enumerate(model.model.layers))[first_layer:]
        self.read: dict[tuple[int, str], Tensor] = {}
        stream: list[Tensor] = []
        with ExitStack() as hooks:
            handle = model.model.layers[first_layer].register_forward_pre_hook(
                lambda _, args: stream.append(args[0][self.rows, post])
            )
            hooks.callback(handle.remove)
            for layer, block in self.layers:
                for name in ("k_proj", "v_proj"):
                    module = getattr(block.self_attn, name)
                    handle = module.register_forward_hook(self._keeper(layer, name))
                    hooks.callback(handle.remove)
            model.model(ids, use_cache=False)
        self.stream = stream[0]
        self.turns = model.model.rotary_emb(self.stream, post)
        everywhere = torch.arange(ids.shape[1])[None]
        turns = model.model.rotary_emb(self.stream, everywhere)
        for layer, _ in self.layers:
            keys = self._by_head(self.read[layer, "k_proj"])
            self.read[layer, "k_proj"], _ = apply_rotary_pos_emb(keys, keys, *turns)
            self.read[layer, "v_proj"] = self._by_head(self.read[layer, "v_proj"])
        before = torch.arange(ids.shape[1]) < post[:, :1]
        among = torch.ones(post.shape[1], post.shape[1], dtype=torch.bool).tril()
        self.sees = torch.cat((before[:, None].expand(-1, len(among), -1), among.expand(len(ids), -1, -1)), -1)[:, None]
        self.said: dict[tuple[int, str], Tensor] = {}
        self.logits = self.run(self._record)

    def run(self, change: Change) -> Tensor:
        """Logits at the last position, with changes at the post-instruction positions."""
        stream = self.stream
        for layer, block in self.layers:
            attention = block.self_attn
            normed = block.input_layernorm(stream)
            query, key = apply_rotary_pos_emb(
                self._by_head(attention.q_proj(normed)), self._by_head(attention.k_proj(normed)), *self.turns
            )
            value = self._by_head(attention.v_proj(normed))
            z = nn.functional.scaled_dot_product_attention(
                query,
                torch.cat((self.read[layer, "k_proj"], key), 2),
                torch.cat((self.read[layer, "v_proj"], value), 2),
                attn_mask=self.sees,
                enable_gqa=True,
            )
            stream = stream + attention.o_proj(change(layer, "z", z.transpose(1, 2).flatten(2)))
            mlp, normed = block.mlp, block.post_attention_layernorm(stream)
            hidden = mlp.act_fn(mlp.gate_proj(normed)) * mlp.up_proj(normed)
            stream = stream + mlp.down_proj(change(layer, "hidden", hidden))
        logits: Tensor = self.model.lm_head(self.model.model.norm(stream[:, -1]))
        return logits

    def _keeper(self, layer: int, name: str) -> Callable[..., None]:
        def keep(_: nn.Module, __: object, out: Tensor) -> None:
            self.read[layer, name] = out

        return keep

    def _record(self, layer: int, kind: str, said: Tensor) -> Tensor:
        self.said[layer, kind] = said
        return said

    def _by_head(self, projected: Tensor) -> Tensor:
        heads: Tensor = projected.unflatten(-1, (-1, self.model.config.head_dim))
        return heads.transpose(1, 2)
