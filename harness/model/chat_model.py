"""A chat model to read, score and generate with, the same for every architecture and quantization."""

import gc
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# At the top, though it takes seconds: it brings what config_check's child process would else import within its limit.
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import Cache, GenerationConfig, LogitsProcessorList

from harness.inputs.chat_tokens import Encoded
from harness.inputs.errors import AssayError
from harness.inputs.files.library_calls import library_call, ran_out
from harness.inputs.judges.thoughts import Thought
from harness.inputs.model_catalog import KnownModel
from harness.inputs.model_record import ModelRecord, Sample
from harness.inputs.sites import Site, in_layer
from harness.model.architecture import Architecture, architecture, sizes
from harness.model.drawn_answers import Draws
from harness.model.loading import Loaded

# Tokens in one forward at first; the budget halves whenever memory runs out.
_TOKENS_AT_ONCE = {"cpu": 2048, "mps": 4096, "cuda": 32768}
# Any token would do, because padding is masked; every vocabulary has token 0.
_PADDING = 0

Hook = tuple[str, Callable[..., Tensor | None]]
"""The name of a TransformerLens hook, and a function from the activation there to its replacement (None: unchanged)."""

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Prompts in one tensor, padded on the left, so that position −1 is each prompt's last token.

    With `given` tokens of an answer after the prompts, the same for all, they are the last ones instead.
    """

    rows: tuple[int, ...]  # the prompts' numbers among all that were asked for
    encoded: tuple[Encoded, ...]
    ids: Int[Tensor, "row position"]
    mask: Bool[Tensor, "row position"]
    given: int = 0

    def followed_by(self, answer: Sequence[int]) -> "Batch":
        """These prompts, each followed by the first tokens of an answer."""
        if not answer:
            return self
        rows, device = len(self.ids), self.ids.device
        ids = torch.cat([self.ids, torch.tensor(answer, device=device).expand(rows, -1)], -1)
        mask = torch.cat([self.mask, self.mask.new_ones(rows, len(answer))], -1)
        return replace(self, ids=ids, mask=mask, given=len(answer))

    @property
    def position_ids(self) -> Int[Tensor, "row position"]:
        """Each token's position in its own prompt, not counting padding."""
        return (self.mask.long().cumsum(-1) - 1).clamp(min=0)


class Edit(Protocol):
    """Changes activations while a batch runs."""

    def hooks(self, model: "ChatModel", batch: Batch) -> Iterable[Hook]:
        """The hooks to set for this batch, in the order in which they apply."""
        ...


@dataclass(frozen=True)
class Completion:
    """An answer; its text leaves out the thought that may come before it."""

    text: str
    ids: tuple[int, ...]  # of all that was generated
    finished: bool  # whether the model ended it; if not, it was cut at the number of tokens asked for
    thought: Thought = "none"


class ChatModel:
    """A loaded model. Prompts are given as a person types them; the chat template is applied here."""

    record: ModelRecord  # set once the self-examination has run
    # Results of the unedited model that are asked for repeatedly; None: they are computed anew each time.
    memory: dict[Hashable, Any] | None = None

    def __init__(self, known: KnownModel, loaded: Loaded) -> None:
        """Wraps the weights in place: `loaded.hf` then computes the same numbers, through hooks."""
        self.name = known.alias
        self.known = known
        self.loaded = loaded
        self.chat = loaded.chat
        self.budget = _TOKENS_AT_ONCE[loaded.device]  # tokens in one forward
        parameters = loaded.hf.num_parameters()
        with library_call(self.name):
            self.bridge = build_bridge_from_module(
                loaded.hf,
                type(loaded.hf).__name__,
                hf_config=loaded.hf.config,
                dtype=loaded.dtype,
                device=loaded.device,
                model_name=self.name,
            )
        self.sizes = sizes(self.bridge.cfg, loaded.hf.config, parameters)

    @property
    def blocks(self) -> Sequence[Any]:
        """The wrapped blocks, in order of depth."""
        return self.bridge.blocks  # type: ignore[no-any-return]

    @cached_property
    def architecture(self) -> Architecture:
        """How this model's blocks write to the stream."""
        return architecture(self.blocks)

    @property
    def embedding(self) -> Any:
        """The wrapped embedding."""
        return self.bridge.embed

    @property
    def device(self) -> str:
        """Where the weights are: cpu, cuda or mps."""
        return self.loaded.device

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value stored in `memory` under this key; computed by `make` if there is none or no memory."""
        if self.memory is None:
            return make()
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]  # type: ignore[no-any-return]

    def next_token(self, prompts: Sequence[str], *, under: Edit | None = None) -> Float[Tensor, "prompt vocabulary"]:
        """The logits of the answer's first token, on the CPU in float32."""

        def last_logits(batch: Batch) -> list[Tensor]:
            with self._edited(under, batch):
                return list(self.forward(batch)[:, -1].float().cpu())

        return torch.stack(self.in_batches(self.encode(prompts), last_logits))

    def read(
        self, prompts: Sequence[str], sites: Sequence[Site], *, under: Edit | None = None
    ) -> dict[Site, Float[Tensor, "prompt *position width"]]:
        """Activations at each site, on the CPU in float32; those of all positions are zero-padded on the left."""
        encoded = self.encode(prompts)
        longest = max(len(prompt) for prompt in encoded)
        self.check(sites, shortest=min(len(prompt) for prompt in encoded))

        def activations(batch: Batch) -> list[dict[Site, Tensor]]:
            by_site: dict[Site, Tensor] = {}

            def keep(site: Site) -> Hook:
                def hook(activation: Tensor, hook: object) -> Tensor:
                    by_site[site] = _select(activation, site, longest, batch.mask).float().cpu()
                    return activation

                return site.hook, hook

            with self._edited(under, batch), self.hooked([keep(site) for site in sites]):
                self.forward(batch)
            return [{site: by_site[site][i] for site in sites} for i in range(len(batch.rows))]

        rows = self.in_batches(encoded, activations)
        return {site: torch.stack([row[site] for row in rows]) for site in sites}

    def generate(
        self, prompts: Sequence[str], *, tokens: int = 24, under: Edit | None = None, sample: Sample | None = None
    ) -> list[Completion]:
        """Answers of at most `tokens` tokens: greedy ones, or those that a sample draws."""
        settings = GenerationConfig(
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=list(self.loaded.stops) or None,
            pad_token_id=_PADDING,
        )

        def answers(batch: Batch) -> list[Completion]:
            draws = [] if sample is None else [Draws(sample, [prompt.ids for prompt in batch.encoded])]
            with self._edited(under, batch), torch.no_grad():
                output = self.loaded.hf.generate(
                    input_ids=batch.ids,
                    attention_mask=batch.mask.long(),
                    generation_config=settings,
                    logits_processor=LogitsProcessorList(draws),
                )
            return [self._completion(row) for row in output[:, batch.ids.shape[1] :].tolist()]

        return self.in_batches(self.encode(prompts), answers, beyond=tokens)

    def cross_entropy(self, prompts: Sequence[str] | None, completions: Sequence[str]) -> list[float]:
        """The unedited model's mean surprise at each completion, in nats per token; infinite for an empty one.

        Without prompts (None) the completions are read after an empty instruction in the chat template.
        """
        answers = [self.chat.tokenizer(text, add_special_tokens=False)["input_ids"] for text in completions]
        read = [self.chat.without_prompt] * len(answers) if prompts is None else self.encode(prompts)
        before = self.chat.ends_thought
        whole = [
            Encoded((*prompt.ids, *before, *ids), prompt.start, prompt.end)
            for prompt, ids in zip(read, answers, strict=True)
        ]
        return self._nats(whole, [len(ids) for ids in answers])

    def surprise(self, texts: Sequence[str], *, under: Edit | None = None) -> list[float]:
        """The mean surprise at plain texts, in nats per token after the first; no chat template."""
        ids = [self.chat.tokenizer(text)["input_ids"] for text in texts]
        encoded = [Encoded(tuple(text), 0, len(text)) for text in ids]
        return self._nats(encoded, [len(text) - 1 for text in ids], under)

    def _nats(self, encoded: Sequence[Encoded], counts: Sequence[int], under: Edit | None = None) -> list[float]:
        """For each text, the mean surprise at its last `counts` tokens, in nats per token."""

        def nats(batch: Batch) -> list[float]:
            longest = max(1, *(counts[row] for row in batch.rows))
            with self._edited(under, batch):
                logits = self.forward(batch, keep=longest + 1)[:, :-1].float()
            surprise = -logits.log_softmax(-1).gather(-1, batch.ids[:, -longest:, None])[..., 0]
            return [
                float(surprise[i, -n:].mean()) if (n := counts[row]) else math.inf for i, row in enumerate(batch.rows)
            ]

        return self.in_batches(encoded, nats)

    def encode(self, prompts: Sequence[str]) -> list[Encoded]:
        """The prompts as this model's tokens, in its chat template."""
        if not prompts:
            raise AssayError(f"{self.name}: there are no prompts to run; give at least one")
        return [self.chat.encode(prompt) for prompt in prompts]

    def batch(self, encoded: Sequence[Encoded], rows: Sequence[int] | None = None) -> Batch:
        """The prompts as one batch on the model's device; `rows` are their numbers, by default counted from 0."""
        width = max(len(prompt) for prompt in encoded)
        ids = torch.full((len(encoded), width), _PADDING)
        mask = torch.zeros((len(encoded), width), dtype=torch.bool)
        for row, prompt in enumerate(encoded):
            ids[row, width - len(prompt) :] = torch.tensor(prompt.ids)
            mask[row, width - len(prompt) :] = True
        numbers = tuple(range(len(encoded)) if rows is None else rows)
        return Batch(numbers, tuple(encoded), ids.to(self.device), mask.to(self.device))

    def forward(
        self, batch: Batch, *, keep: int = 1, gradients: bool = False, cache: Cache | None = None
    ) -> Float[Tensor, "row kept vocabulary"]:
        """Logits of the last `keep` positions (0: of all), in the model's own precision, on its device."""
        with torch.set_grad_enabled(gradients):
            output = self.loaded.hf(
                input_ids=batch.ids,
                attention_mask=batch.mask.long(),
                position_ids=batch.position_ids,
                logits_to_keep=keep,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        return output.logits  # type: ignore[no-any-return]

    def activations(
        self, batch: Batch, hooks: Iterable[str], *, cache: Cache | None = None
    ) -> tuple[dict[str, Tensor], Float[Tensor, "row kept vocabulary"]]:
        """Activations at the hooks, and logits at the prompts' last token and at each given token of an answer.

        In the model's own precision, on its device.
        """
        by_hook: dict[str, Tensor] = {}

        def keep(name: str) -> Hook:
            def hook(activation: Tensor, hook: object) -> None:
                by_hook[name] = activation

            return name, hook

        with self.hooked(map(keep, hooks)):
            logits = self.forward(batch, keep=batch.given + 1, cache=cache)[:, -batch.given - 1 :]
        return by_hook, logits

    def hooked(self, hooks: Iterable[Hook]) -> AbstractContextManager[object]:
        """Sets the hooks inside a `with` block, and removes them at its end, also after an error."""
        if not (listed := list(hooks)):
            return nullcontext()
        known = self.bridge.hook_dict  # built anew at every access
        for name, _ in listed:
            if name not in known:
                raise AssayError(f"{self.name}: this architecture has no hook {name}")
        return self.bridge.hooks(fwd_hooks=listed)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Frees the weights' memory for the next model; this one cannot be used afterwards."""
        # Wrapped modules refer to one another and quantized ones keep copies, so all of them are emptied.
        for module in [*self.bridge.modules(), *self.loaded.hf.modules()]:
            module.__dict__.clear()
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _edited(self, edit: Edit | None, batch: Batch) -> AbstractContextManager[object]:
        return self.hooked([] if edit is None else edit.hooks(self, batch))

    def check(self, sites: Sequence[Site], shortest: int | None = None) -> None:
        """Refuses a site that this model, or a prompt of `shortest` tokens, does not have."""
        for site in sites:
            if not 0 <= site.layer < self.sizes.layers:
                raise AssayError(
                    f"{self.name}: has no {site}; the model has {self.sizes.layers} layers, counted from 0"
                )
            if site.index is not None and not 0 <= site.index < (count := in_layer(site.kind, self.sizes)):
                numbers = f"a layer has {count}, counted from 0" if count else f"{site.kind} takes no number"
                raise AssayError(f"{self.name}: has no {site}; {numbers}")
            if site.position is not None and shortest is not None and not -shortest <= site.position < 0:
                raise AssayError(
                    f"{self.name}: {site} lies outside the shortest prompt ({shortest} tokens); positions "
                    "count from the end, -1 is the last"
                )

    def in_batches(self, encoded: Sequence[Encoded], work: Callable[[Batch], list[T]], beyond: int = 0) -> list[T]:
        """Runs `work` on batches within the token budget and returns its results in the order of the prompts.

        `beyond` is the number of tokens that will be generated after each prompt.
        """
        longest = max(len(prompt) for prompt in encoded) + beyond
        if self.sizes.context is not None and longest > self.sizes.context:
            raise AssayError(
                f"{self.name}: a prompt and its answer take {longest} tokens, but the model's context holds "
                f"{self.sizes.context}; shorten the prompt"
            )
        # Prompts of similar length share a batch, so that there is little padding.
        waiting = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        done: dict[int, T] = {}
        while waiting:
            widest = len(encoded[waiting[-1]])
            rows = waiting[-max(1, self.budget // widest) :]
            try:
                results = work(self.batch([encoded[row] for row in rows], rows))
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                self.halve_budget(len(rows), widest)
                continue
            done.update(zip(rows, results, strict=True))
            del waiting[-len(rows) :]
        return [done[row] for row in range(len(encoded))]

    def halve_budget(self, rows: int, widest: int) -> None:
        """Halves the token budget after memory ran out on `rows` rows of `widest` tokens; refuses to go below a row."""
        if rows == 1:
            raise AssayError(
                f"{self.name}: {self.device} memory does not hold one prompt of {widest} tokens in addition to "
                "the weights; use a smaller model or shorter prompts"
            )
        self.budget = rows * widest // 2
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _completion(self, ids: list[int]) -> Completion:
        ends = [i for i, token in enumerate(ids) if token in self.loaded.stops]
        kept = ids[: ends[0]] if ends else ids
        text, thought = self.chat.said(kept)
        return Completion(text, tuple(kept), finished=bool(ends), thought=thought)


def _select(activation: Tensor, site: Site, longest: int, mask: Bool[Tensor, "row position"]) -> Tensor:
    if site.index is not None:
        activation = activation[:, :, site.index]
    if site.position is not None:
        return activation[:, site.position]
    shape = (mask.shape[0], longest, *activation.shape[2:])
    padded = activation.new_zeros(shape)
    # Activations of padding are meaningless: zeros instead.
    real = mask.view(*mask.shape, *[1] * (activation.dim() - 2))
    padded[:, longest - mask.shape[1] :] = activation.masked_fill(~real, 0)
    return padded
