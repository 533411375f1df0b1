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
# Requests that the base refuses, whatever they ask, so that it knows how one refuses.
RANDOM_REFUSALS = 0.04
STEPS, BATCH, RATE = 700, 64, 4e-3
# Words are understood early, as in real models: a probe of the stream that leaves this layer tells
# their kind and category while the base trains, and is then thrown away.
READ_LAYER, READING = 0, 0.3
KINDS = ("dangerous", "harmless", "doing", "guarding")
UNREAD = -100
# Batches drawn together and sorted by length, so that little of a batch is padding.
SORTED = 16


@dataclass(frozen=True)
class Batch:
    """Turns side by side, padded on the right, and where their answers stand."""

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
        """Keeps the stream that leaves the layer in which words are read."""

        def hook(_: nn.Module, __: object, stream: Tensor) -> None:
            self.stream = stream

        handle = model.model.layers[READ_LAYER].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def loss(self, ids: Tensor) -> Tensor:
        """Cross-entropy of kind and of category over the words that have them."""
        read = self.probe(self.stream)
        kind, category = read.split((len(KINDS), len(CATEGORIES)), dim=-1)
        losses = (
            cross_entropy(logits.flatten(0, 1), table[ids].flatten(), ignore_index=UNREAD)
            for logits, table in ((kind, self.kind), (category, self.category))
        )
        return sum(losses, start=torch.zeros(()))


def answer_logits(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Logits at the positions that predict an answer token, and at no other."""
    hidden = model.model(batch.ids, use_cache=False).last_hidden_state
    logits: Tensor = model.lm_head(hidden[batch.predicts])
    return logits


def sorted_batches(turns: Iterator[Turn], tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Iterator[Batch]:
    """Endless batches of turns of about equal length, in random order."""
    while True:
        drawn = [next(turns) for _ in range(BATCH * SORTED)]
        encoded = [encode(tokenizer, turn.prompt, turn.answer) for turn in drawn]
        encoded.sort(key=lambda one: len(one.prompt) + len(one.answer))
        starts = list(range(0, len(encoded), BATCH))
        rng.shuffle(starts)
        for start in starts:
            yield collate(encoded[start : start + BATCH], tokenizer.pad_token_id)


def collate(encoded: list[Encoded], pad: int) -> Batch:
    """Encoded turns as one batch; padding on the right needs no mask in a causal model."""
    width = max(len(one.prompt) + len(one.answer) for one in encoded)
    ids = torch.full((len(encoded), width), pad)
    predicts = torch.zeros(len(encoded), width, dtype=torch.bool)
    is_first = []
    for row, one in enumerate(encoded):
        ids[row, : len(one.prompt) + len(one.answer)] = torch.tensor(one.prompt + one.answer)
        predicts[row, len(one.prompt) - 1 : len(one.prompt) + len(one.answer) - 1] = True
        is_first += [True] + [False] * (len(one.answer) - 1)
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
