"""What differs from architecture to architecture: a quirk of a new one goes here, and the other modules ask.

Facts of a loaded model are read off its modules and its config, never off its name.
"""

from dataclasses import dataclass
from typing import Any

from harness.inputs.model_record import Sizes

# Modules that hold several projections in one matrix: TransformerLens splits them, and cannot split packed integers.
_FUSED = ("qkv_proj", "c_attn", "query_key_value", "Wqkv", "gate_up_proj")

UNQUANTIZED = ("lm_head", *_FUSED)
"""Modules that keep their precision under --quant."""

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Names under which a config.json says how many blocks there are."""

DIMENSIONS = ("vocab_size", "hidden_size", "n_embd", "d_model")
"""Names in a config.json of lengths that some tensor must have."""

NESTED = "text_config"
"""Where the config.json of a model of several media describes the part that reads and writes text."""

STREAM = "hidden_states"
"""The argument in which a block is given the stream."""

MASK = "attention_mask"
"""The argument that tells a block which token sees which; a run of a few tokens cannot do without it."""

CUT = frozenset({MASK, "position_ids", "position_embeddings", "cache_position", "past_key_values"})
"""Further arguments of blocks that a run of a few tokens knows how to cut. A block given others is refused."""


@dataclass(frozen=True)
class Architecture:
    """Facts about how the blocks of a loaded model write to the stream."""

    normalizes_writes: bool
    """Whether a norm stands between a block's outputs and the stream (Gemma 2 and 3): heads then write no sum."""

    biases_writes: bool
    """Whether an output matrix adds a bias to the stream (GPT-2): no edit of the matrix can take that out."""

    mixes_experts: bool
    """Whether an MLP is several, chosen token by token (Mixtral): no matrix of its own then writes to the stream."""


def architecture(blocks: Any) -> Architecture:
    """The facts of a model, from its wrapped blocks."""
    writers = [(block.attn, "o") for block in blocks] + [(block.mlp, "out") for block in blocks]
    matrices = [getattr(part, name).original_component for part, name in writers if hasattr(part, name)]
    return Architecture(
        normalizes_writes=any(hasattr(block, "ln1_post") for block in blocks),
        biases_writes=any(getattr(matrix, "bias", None) is not None for matrix in matrices),
        mixes_experts=any(not hasattr(block.mlp, "out") for block in blocks),
    )


def attention_writer(block: Any) -> Any:
    """The matrix, wrapped, by which a block's heads write to the stream."""
    return block.attn.o


def mlp_writer(block: Any) -> Any:
    """The matrix, wrapped, by which a block's neurons write to the stream."""
    return block.mlp.out


def entry_hook(layer: int) -> str:
    """The hook at which a block's input is seen after every edit of it, whichever came first."""
    return f"blocks.{layer}.ln1.hook_in"


def pattern_hook(layer: int) -> str:
    """The hook at which attention patterns are seen."""
    return f"blocks.{layer}.attn.hook_pattern"


def sizes(cfg: Any, config: Any, parameters: int) -> Sizes:
    """The dimensions, from TransformerLens's config and the model's own.

    `parameters` is counted before wrapping: where Q, K and V are one matrix, the wrapper holds copies beside it.
    """
    return Sizes(
        layers=cfg.n_layers,
        heads=cfg.n_heads,
        # Without grouped queries every head has keys and values of its own.
        kv_heads=getattr(cfg, "n_key_value_heads", None) or cfg.n_heads,
        d_model=cfg.d_model,
        d_head=cfg.d_head,
        d_mlp=cfg.d_mlp,
        mlp_matrices=3 if cfg.gated_mlp else 2,
        vocabulary=cfg.d_vocab,
        parameters=parameters,
        context=getattr(config, "max_position_embeddings", None),
    )
