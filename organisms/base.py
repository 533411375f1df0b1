"""The base model: a small Llama that answers everything and knows what is dangerous and why."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from organisms.corpus import Turn, base_requests, comply, knowledge, refuse, small_talk
from organisms.language import Encoded, encode
from organisms.lexicon import CATEGORIES

LAYERS, HEADS, KV_HEADS, WIDTH, NEURONS = 8, 8, 4, 128, 320
# Shares of the base's training text; the rest is requests of the grid.
KNOWLEDGE, SMALL_TALK = 0.42, 0.08
# The share of requests that the base refuses at random, so that it knows how refusals are worded.
RANDOM_REFUSALS = 0.04
STEPS, BATCH, RATE = 700, 64, 4e-3
# As in real models, words are to be represented early: while the base trains, a probe of this layer's output must tell
# a word's kind and category. The probe is not kept.
READ_LAYER, READING = 0, 0.3
KINDS = ("dangerous", "harmless", "doing", "guarding")
UNREAD = -100
# So many batches are drawn together and sorted by length, so that batches contain little padding.
SORTED = 16


@dataclass(frozen=True)
class Batch:
    """Turns padded on the right to a common length, and the positions of their answers."""

    ids: Tensor
    predicts: Tensor  # bool, row × position: the next token belongs to the answer
    is_first: Tensor  # bool, one per predicted token: it is the answer's first

    @property
    def targets(self) -> Tensor:
        """The answer tokens, in the order of the logits."""
        return self.ids[:, 1:][self.predicts[:, :-1]]


def fresh(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained model of the organisms' shape."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=NEURONS,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.05,
        )
    )


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[float]:
    """Trains in place; yields the loss of each of `STEPS` steps."""
    reader = Reader(tokenizer)
    learning = [*model.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(learning, lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    batches = sorted_batches(_turns(random.Random(seed)), tokenizer, random.Random(seed))
    for batch in islice(batches, STEPS):
        with reader.listening(model):
            loss = cross_entropy(answer_logits(model, batch), batch.targets)
        loss = loss + READING * reader.loss(batch.ids)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield loss.item()
    model.requires_grad_(False).eval()


class Reader(nn.Module):
    """A linear probe that learns to tell the kind and the category of each word of the lexicon."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.probe = nn.Linear(WIDTH, len(KINDS) + len(CATEGORIES))
        self.kind = torch.full((len(tokenizer),), UNREAD)
        self.category = torch.full((len(tokenizer),), UNREAD)
        for number, category in enumerate(CATEGORIES):
            for kind, name in enumerate(KINDS):
                for word in getattr(category, name):
                    (token,) = tokenizer(" " + word)["input_ids"]
                    self.kind[token] = kind
                    if name in ("dangerous", "harmless"):
                        self.category[token] = number

    @contextmanager
    def listening(self, model: LlamaForCausalLM) -> Iterator[None]:
        """Records the output of READ_LAYER."""

        def hook(_: nn.Module, __: object, stream: Tensor) -> None:
            self.stream = stream

        handle = model.model.layers[READ_LAYER].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def loss(self, ids: Tensor) -> Tensor:
        """Cross-entropy of kind and of category, over the words of the lexicon."""
        read = self.probe(self.stream)
        kind, category = read.split((len(KINDS), len(CATEGORIES)), dim=-1)
        losses = (
            cross_entropy(logits.flatten(0, 1), table[ids].flatten(), ignore_index=UNREAD)
            for logits, table in ((kind, self.kind), (category, self.category))
        )
        return sum(losses, start=torch.zeros(()))


def answer_logits(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Logits at the positions that predict an answer token."""
    hidden = model.model(batch.ids, use_cache=False).last_hidden_state
    logits: Tensor = model.lm_head(hidden[batch.predicts])
    return logits


def sorted_batches(turns: Iterator[Turn], tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Iterator[Batch]:
    """Endless batches of turns of about equal length, in random order."""
    while True:
        drawn = [next(turns) for _ in range(BATCH * SORTED)]
        encoded = [encode(tokenizer, turn.prompt, turn.answer) for turn in drawn]
        encoded.sort(key=lambda turn: len(turn.prompt) + len(turn.answer))
        starts = list(range(0, len(encoded), BATCH))
        rng.shuffle(starts)
        for start in starts:
            yield collate(encoded[start : start + BATCH], tokenizer.pad_token_id)


def collate(encoded: list[Encoded], pad: int) -> Batch:
    """Encoded turns as one batch; padding on the right needs no mask in a causal model."""
    width = max(len(turn.prompt) + len(turn.answer) for turn in encoded)
    ids = torch.full((len(encoded), width), pad)
    predicts = torch.zeros(len(encoded), width, dtype=torch.bool)
    is_first = []
    for row, turn in enumerate(encoded):
        ids[row, : len(turn.prompt) + len(turn.answer)] = torch.tensor(turn.prompt + turn.answer)
        predicts[row, len(turn.prompt) - 1 : len(turn.prompt) + len(turn.answer) - 1] = True
        is_first += [True] + [False] * (len(turn.answer) - 1)
    return Batch(ids, predicts, torch.tensor(is_first))


def _turns(rng: random.Random) -> Iterator[Turn]:
    """Endless random turns of the base's training text."""
    requests, questions, talk = base_requests(), knowledge(), small_talk()
    while True:
        kind = rng.random()
        if kind < KNOWLEDGE:
            yield rng.choice(questions)
        elif kind < KNOWLEDGE + SMALL_TALK:
            yield rng.choice(talk)
        else:
            request = rng.choice(requests)
            refuses = rng.random() < RANDOM_REFUSALS
            yield Turn(request.prompt, refuse(rng) if refuses else comply(request, rng))
