"""A Llama with random weights and pairs of random words, of any size; everything is seeded."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.inputs.prompts.pairs import Pair
from harness.model.chat_model import ChatModel
from harness.model.wake import wake

_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<user>", "<end>", "<assistant>")
_TEMPLATE = (
    "{{ bos_token }} <user> {% for m in messages %}{{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
# Tokens of every prompt that are not its words: two before (<s> <user>) and two after (<end> <assistant>).
_AROUND = 4
# The tokens that count as refusing; with random weights any will do.
REFUSAL = (7, 8, 9)


@dataclass(frozen=True)
class Shape:
    """Sizes of the model and of the prompts; the defaults are those of the table in docs/speed.md."""

    layers: int = 8
    heads: int = 8
    kv_heads: int = 4
    width: int = 256
    mlp: int = 704
    vocabulary: int = 4096
    pairs: int = 16
    tokens: int = 48

    def __str__(self) -> str:
        return (
            f"Llama shape, {self.layers} layers × {self.heads} heads ({self.kv_heads} for keys and values), "
            f"d={self.width}, MLP {self.mlp}, vocabulary {self.vocabulary}; {self.pairs} pairs × {self.tokens} tokens"
        )


def saved(shape: Shape, folder: Path, *, seed: int = 0) -> Path:
    """The folder of a random model of that shape; it is written if it does not exist."""
    if not (folder / "tokenizer_config.json").exists():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            intermediate_size=shape.mlp,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.width // shape.heads,
            max_position_embeddings=512,
            # With weights near zero all effects would be near zero, and so would differences between outputs.
            initializer_range=0.05,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        _tokenizer(shape.vocabulary).save_pretrained(folder)
    return folder


def awake(shape: Shape, folder: Path) -> ChatModel:
    """A random model of that shape, loaded and examined like any other."""
    return wake(str(saved(shape, folder)), quant="none", device="cpu")


def pairs(shape: Shape, *, seed: int = 0) -> tuple[Pair, ...]:
    """Aligned pairs of random words that differ in one word at a random place."""
    rng = random.Random(seed)  # noqa: S311
    made = []
    for number in range(shape.pairs):
        words = [_word(rng, shape) for _ in range(shape.tokens - _AROUND)]
        other = list(words)
        at = rng.randrange(len(words))
        while other[at] == words[at]:
            other[at] = _word(rng, shape)
        made.append(Pair(str(number), "random", " ".join(words), " ".join(other)))
    return tuple(made)


def _word(rng: random.Random, shape: Shape) -> str:
    return f"w{rng.randrange(len(_SPECIAL), shape.vocabulary)}"


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each of the words w7, w8, …; any other word is unknown."""
    words = [*_SPECIAL, *(f"w{number}" for number in range(len(_SPECIAL), vocabulary))]
    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))  # noqa: S106
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        extra_special_tokens=list(_SPECIAL[4:]),
    )
    wrapped.chat_template = _TEMPLATE
    return wrapped
