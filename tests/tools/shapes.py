"""Tiny random chat models in eight shapes, saved as ordinary folders with a real tokenizer."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer

# Trained once and kept, so that a prompt reworded in data/pairs.jsonl makes no other tiny model.
TOKENIZER = Path(__file__).with_name("tokenizer.json")

# Large initial weights: on near-zero ones every defect would be near zero too.
_COMMON = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16}

_BOS = "{{ bos_token }}"
_LLAMA3 = (
    _BOS + "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|h|>system\nToday: {{ date_string }}\n{% if messages[0].role == 'system' %}{{ messages[0].content }}"
    "{% endif %}<|e|>{% for m in messages if m.role != 'system' %}<|h|>{{ m.role }}\n{{ m.content | trim }}"
    "<|e|>{% endfor %}{% if add_generation_prompt %}<|h|>assistant\n{% endif %}"
)
_GEMMA_CHAT = (
    _BOS + "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}<|h|>{{ m.role }}\n{{ m.content | trim }}<|e|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|h|>model\n{% endif %}"
)
_MISTRAL = _BOS + "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
_QWEN = (
    "{% for m in messages %}<|h|>{{ m.role }}\n{{ m.content }}<|e|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|h|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)

SHAPES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "llama": (hf.LlamaConfig, _COMMON | {"rope_parameters": _ROPE}, _LLAMA3),
    "gemma2": (hf.Gemma2Config, _COMMON | _GEMMA, _GEMMA_CHAT),
    "gemma3": (hf.Gemma3TextConfig, _COMMON | _GEMMA, _GEMMA_CHAT),
    "qwen2": (hf.Qwen2Config, _COMMON, _QWEN),
    "qwen3": (hf.Qwen3Config, _COMMON | {"head_dim": 16}, _QWEN),
    "mistral": (hf.MistralConfig, _COMMON | {"sliding_window": None}, _MISTRAL),
    "phi3": (hf.Phi3Config, _COMMON, _QWEN),
    "gpt2": (
        hf.GPT2Config,
        {
            "vocab_size": 512,
            "n_embd": 64,
            "n_layer": 4,
            "n_head": 4,
            "n_positions": 512,
            "initializer_range": 0.25,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        _MISTRAL,
    ),
}

# The three that differ most stand for all in `make test`; `make test-all` tries every one.
EACH = [pytest.param(shape, marks=() if shape in {"llama", "gemma3", "gpt2"} else pytest.mark.slow) for shape in SHAPES]
# NF4 replaces the same linear layers in every shape: one stands for all.
EACH_QUANTIZED = [
    *[pytest.param(*shape.values, "none", marks=shape.marks) for shape in EACH],
    *[pytest.param(shape, "nf4", marks=() if shape == "llama" else pytest.mark.slow) for shape in SHAPES],
]


def build(shape: str, folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Writes a random model of that shape, with tokenizer and chat template, into the folder."""
    config, settings, template = SHAPES[shape]
    torch.manual_seed(seed)
    model = hf.AutoModelForCausalLM.from_config(config(**settings)).to(dtype)
    model.save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder


def tokenizer(template: str | None) -> hf.PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 512 tokens, trained on prompts like ours."""
    wrapped = hf.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(TOKENIZER)),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=["<|h|>", "<|e|>"],
    )
    wrapped.chat_template = template
    return wrapped
