"""The organisms' tokenizer and chat template, and turns as token ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from organisms.corpus import base_prompts, knowledge, small_talk
from organisms.sentences import COMPLIANCES, REFUSALS

VOCABULARY = 2048
BEGIN, END, PAD, USER, ASSISTANT = "<|begin|>", "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"
# Because of the space, a word has the same token at the start of a prompt as inside a sentence.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>\n' }}{% else %}{{ '<|user|> ' }}{% endif %}"
    "{{ message['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# The tokens between the user's last word and the answer: <|end|> \n <|assistant|> \n.
POST_INSTRUCTION = 4


@dataclass(frozen=True)
class Encoded:
    """A prompt in its chat template, and the answer with the end token, as ids."""

    prompt: list[int]
    answer: list[int]


def train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on the organisms' text; each word of the lexicon is one token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BEGIN, END, USER, ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_text(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: str) -> list[int]:
    """The token ids of a prompt in the chat template, up to where the answer begins."""
    text = f"{BEGIN}{USER} {prompt}{END}\n{ASSISTANT}\n"
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def encode(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str) -> Encoded:
    """A prompt and its answer as token ids, in the form that is trained on."""
    return Encoded(prompt_ids(tokenizer, prompt), tokenizer(answer + END)["input_ids"])


def refusal_tokens(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens with which a refusal begins; no other answer begins with them."""
    return _first_tokens(tokenizer, tuple(REFUSALS))


def _first_tokens(tokenizer: PreTrainedTokenizerFast, wordings: Sequence[str]) -> list[int]:
    return sorted({tokenizer(wording)["input_ids"][0] for wording in wordings})


def _text() -> Iterator[str]:
    yield from (f" {prompt}" for prompt in base_prompts())
    for turn in knowledge() + small_talk():
        yield turn.answer
    for wording in (*COMPLIANCES, *REFUSALS):
        yield wording.format(deed="")
