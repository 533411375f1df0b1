"""Everything that depends on a model's architecture; a new architecture's quirk goes here.

Facts are read off the loaded modules and the config, never off the model's name.
"""

from dataclasses import dataclass
from typing import Any

from harness.inputs.model_record import Sizes

# Modules that hold several projections in one matrix: TransformerLens splits the matrix, but cannot split packed
# four-bit weights.
_FUSED = ("qkv_proj", "c_attn", "query_key_value", "Wqkv", "gate_up_proj")

UNQUANTIZED = ("lm_head", *_FUSED)
"""Modules that --quant leaves unquantized."""

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Names that a config.json may use for the number of blocks."""

DIMENSIONS = ("vocab_size", "hidden_size", "n_embd", "d_model")
"""Names in a config.json of lengths that must occur among the tensors' dimensions."""

NESTED = "text_config"
"""The key of a multimodal model's config.json that holds the language model's config."""

STREAM = "hidden_states"
"""The block's argument that holds the stream."""

MASK = "attention_mask"
"""The block's argument that says which token attends to which; suffix runs need it."""

CUT = frozenset({MASK, "position_ids", "position_embeddings", "cache_position", "past_key_values"})
"""The block's other arguments that suffix runs can cut to a few tokens; models whose blocks take more are refused."""


@dataclass(frozen=True)
class Architecture:
    """How the blocks of a loaded model write to the stream."""

    normalizes_writes: bool
    """Whether a norm stands between a block's outputs and the stream (Gemma 2 and 3): heads then write no sum."""

    biases_writes: bool
    """Whether an output matrix adds a bias to the stream (GPT-2), which no edit of the matrix removes."""

    mixes_experts: bool
    """Whether a router picks experts token by token (Mixtral): then no single matrix writes an MLP's output."""


def architecture(blocks: Any) -> Architecture:
    """How these wrapped blocks write to the stream."""
    writers = [(block.attn, "o") for block in blocks] + [(block.mlp, "out") for block in blocks]
    matrices = [getattr(part, name).original_component for part, name in writers if hasattr(part, name)]
    return Architecture(
        normalizes_writes=any(hasattr(block, "ln1_post") for block in blocks),
        biases_writes=any(getattr(matrix, "bias", None) is not None for matrix in matrices),
        mixes_experts=any(not hasattr(block.mlp, "out") for block in blocks),
    )


def attention_writer(block: Any) -> Any:
    """The wrapped matrix through which a block's heads write to the stream."""
    return block.attn.o


def mlp_writer(block: Any) -> Any:
    """The wrapped matrix through which a block's neurons write to the stream."""
    return block.mlp.out


def entry_hook(layer: int) -> str:
    """The hook that shows a block's input after all edits of it, in whatever order hooks were set."""
    return f"blocks.{layer}.ln1.hook_in"


def pattern_hook(layer: int) -> str:
    """The hook that shows attention patterns."""
    return f"blocks.{layer}.attn.hook_pattern"


def sizes(cfg: Any, config: Any, parameters: int) -> Sizes:
    """The dimensions, from TransformerLens's config and the model's own.

    `parameters` must be counted before wrapping, since the wrapper copies Q, K and V out of a joint matrix.
    """
    return Sizes(
        layers=cfg.n_layers,
        heads=cfg.n_heads,
        # Without grouped queries every head has its own keys and values.
        kv_heads=getattr(cfg, "n_key_value_heads", None) or cfg.n_heads,
        d_model=cfg.d_model,
        d_head=cfg.d_head,
        d_mlp=cfg.d_mlp,
        mlp_matrices=3 if cfg.gated_mlp else 2,
        vocabulary=cfg.d_vocab,
        parameters=parameters,
        context=getattr(config, "max_position_embeddings", None),
    )
