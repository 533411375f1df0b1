"""A chat model one can read, score and generate with, whatever its architecture and quantization."""

import gc
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import Cache, GenerationConfig

from harness.inputs.chat_tokens import Encoded
from harness.inputs.errors import AssayError
from harness.inputs.files.library_calls import library_call, ran_out
from harness.inputs.model_catalog import KnownModel
from harness.inputs.model_record import ModelRecord
from harness.inputs.sites import Site, in_layer
from harness.model.architecture import Architecture, architecture, sizes
from harness.model.loading import Loaded

# Tokens in one forward to begin with; halved whenever memory runs out.
_TOKENS_AT_ONCE = {"cpu": 2048, "mps": 4096, "cuda": 32768}
# Masked wherever it stands, and every vocabulary has it.
_PADDING = 0

Hook = tuple[str, Callable[..., Tensor | None]]
"""The name of a TransformerLens hook, and what becomes of the activation there (None: it stays)."""

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Prompts on their way through the model, padded on the left so that position −1 is the last."""

    rows: tuple[int, ...]  # which of the prompts that were asked for
    encoded: tuple[Encoded, ...]
    ids: Int[Tensor, "row position"]
    mask: Bool[Tensor, "row position"]

    @property
    def position_ids(self) -> Int[Tensor, "row position"]:
        """Each token's place in its own prompt, padding not counted."""
        return (self.mask.long().cumsum(-1) - 1).clamp(min=0)


class Edit(Protocol):
    """Whatever changes activations while a batch runs: given model and batch, it says where and how."""

    def hooks(self, model: "ChatModel", batch: Batch) -> Iterable[Hook]:
        """The hooks to set for this batch, in the order in which they apply."""
        ...


@dataclass(frozen=True)
class Completion:
    """What the model answered, greedily, and whether it came to an end of its own."""

    text: str
    ids: tuple[int, ...]
    finished: bool


class ChatModel:
    """A loaded model; every method takes instructions as a person types them, and an edit or none."""

    record: ModelRecord  # set once the model has examined itself
    # What the unedited model was seen to do, where one asks for the same again and again; None: it is not kept.
    memory: dict[Hashable, Any] | None = None

    def __init__(self, known: KnownModel, loaded: Loaded) -> None:
        """Wraps the weights in place; `loaded.hf` computes the same, with hooks, from then on."""
        self.name = known.alias
        self.known = known
        self.loaded = loaded
        self.chat = loaded.chat
        self.budget = _TOKENS_AT_ONCE[loaded.device]
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
        """The blocks, wrapped, in order of depth."""
        return self.bridge.blocks  # type: ignore[no-any-return]

    @cached_property
    def architecture(self) -> Architecture:
        """How this model's blocks write to the stream."""
        return architecture(self.blocks)

    @property
    def embedding(self) -> Any:
        """What turns tokens into the stream that enters the first block, wrapped."""
        return self.bridge.embed

    @property
    def device(self) -> str:
        """Where the weights are: cpu, cuda or mps."""
        return self.loaded.device

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under this key before, while memory is kept; else it is made."""
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
        """Activations at each site, on the CPU in float32; all positions come padded on the left."""
        encoded = self.encode(prompts)
        longest = max(len(prompt) for prompt in encoded)
        self.check(sites, shortest=min(len(prompt) for prompt in encoded))

        def activations(batch: Batch) -> list[dict[Site, Tensor]]:
            seen: dict[Site, Tensor] = {}

            def keep(site: Site) -> Hook:
                def hook(activation: Tensor, hook: object) -> Tensor:
                    seen[site] = _select(activation, site, longest, batch.mask).float().cpu()
                    return activation

                return site.hook, hook

            with self._edited(under, batch), self.hooked([keep(site) for site in sites]):
                self.forward(batch)
            return [{site: seen[site][i] for site in sites} for i in range(len(batch.rows))]

        rows = self.in_batches(encoded, activations)
        return {site: torch.stack([row[site] for row in rows]) for site in sites}

    def generate(self, prompts: Sequence[str], *, tokens: int = 24, under: Edit | None = None) -> list[Completion]:
        """Greedy answers of at most that many tokens."""
        settings = GenerationConfig(
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=list(self.loaded.stops) or None,
            pad_token_id=_PADDING,
        )

        def answers(batch: Batch) -> list[Completion]:
            with self._edited(under, batch), torch.no_grad():
                output = self.loaded.hf.generate(
                    input_ids=batch.ids, attention_mask=batch.mask.long(), generation_config=settings
                )
            return [self._completion(row) for row in output[:, batch.ids.shape[1] :].tolist()]

        return self.in_batches(self.encode(prompts), answers, beyond=tokens)

    def cross_entropy(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Nats a token of each completion, were it this model's own, unedited; infinite if it is empty."""
        answers = [self.chat.tokenizer(text, add_special_tokens=False)["input_ids"] for text in completions]
        whole = [
            Encoded((*prompt.ids, *ids), prompt.start, prompt.end)
            for prompt, ids in zip(self.encode(prompts), answers, strict=True)
        ]
        return self._nats(whole, [len(ids) for ids in answers])

    def surprise(self, texts: Sequence[str], *, under: Edit | None = None) -> list[float]:
        """Nats a token of plain texts, of all but their first token; no chat template."""
        ids = [self.chat.tokenizer(text)["input_ids"] for text in texts]
        return self._nats([Encoded(tuple(one), 0, len(one)) for one in ids], [len(one) - 1 for one in ids], under)

    def _nats(self, whole: Sequence[Encoded], ends: Sequence[int], under: Edit | None = None) -> list[float]:
        """Nats a token of so many tokens at each one's end."""

        def nats(batch: Batch) -> list[float]:
            longest = max(1, *(ends[row] for row in batch.rows))
            with self._edited(under, batch):
                logits = self.forward(batch, keep=longest + 1)[:, :-1].float()
            surprise = -logits.log_softmax(-1).gather(-1, batch.ids[:, -longest:, None])[..., 0]
            return [
                float(surprise[i, -n:].mean()) if (n := ends[row]) else math.inf for i, row in enumerate(batch.rows)
            ]

        return self.in_batches(whole, nats)

    def encode(self, prompts: Sequence[str]) -> list[Encoded]:
        """The prompts in this model's tokens, its chat template applied."""
        if not prompts:
            raise AssayError(f"{self.name}: was asked about no prompts at all")
        return [self.chat.encode(prompt) for prompt in prompts]

    def batch(self, encoded: Sequence[Encoded], rows: Sequence[int] | None = None) -> Batch:
        """Those prompts side by side, in one tensor on the model's device."""
        width = max(len(prompt) for prompt in encoded)
        ids = torch.full((len(encoded), width), _PADDING)
        mask = torch.zeros((len(encoded), width), dtype=torch.bool)
        for row, prompt in enumerate(encoded):
            ids[row, width - len(prompt) :] = torch.tensor(prompt.ids)
            mask[row, width - len(prompt) :] = True
        which = tuple(range(len(encoded)) if rows is None else rows)
        return Batch(which, tuple(encoded), ids.to(self.device), mask.to(self.device))

    def forward(
        self, batch: Batch, *, keep: int = 1, gradients: bool = False, cache: Cache | None = None
    ) -> Float[Tensor, "row kept vocabulary"]:
        """Logits of the last `keep` positions (0: of all), as the model itself computes them."""
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

    def seen(
        self, batch: Batch, hooks: Iterable[str], *, cache: Cache | None = None
    ) -> tuple[dict[str, Tensor], Float[Tensor, "row vocabulary"]]:
        """Activations at the hooks, where the model computes them, and the last logits."""
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Hook:
            def hook(activation: Tensor, hook: object) -> None:
                seen[name] = activation

            return name, hook

        with self.hooked(map(keep, hooks)):
            logits = self.forward(batch, cache=cache)[:, -1]
        return seen, logits

    def hooked(self, hooks: Iterable[Hook]) -> AbstractContextManager[object]:
        """Sets hooks for as long as the block runs, gone after it whatever happens."""
        if not (listed := list(hooks)):
            return nullcontext()
        there = self.bridge.hook_dict  # made anew whenever it is asked for
        for name, _ in listed:
            if name not in there:
                raise AssayError(f"{self.name}: this architecture has no hook {name}")
        return self.bridge.hooks(fwd_hooks=listed)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Lets go of the weights, so that the next model finds the memory free."""
        # Wrapped modules refer to each other and quantized ones keep copies: empty them all.
        for module in [*self.bridge.modules(), *self.loaded.hf.modules()]:
            module.__dict__.clear()
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _edited(self, edit: Edit | None, batch: Batch) -> AbstractContextManager[object]:
        return self.hooked([] if edit is None else edit.hooks(self, batch))

    def check(self, sites: Sequence[Site], shortest: int | None = None) -> None:
        """One sentence for a site this model does not have, or, if told its length, the shortest prompt."""
        for site in sites:
            if not 0 <= site.layer < self.sizes.layers:
                raise AssayError(f"{self.name}: has {self.sizes.layers} layers, {site} is not in them")
            if site.index is not None and not 0 <= site.index < (count := in_layer(site.kind, self.sizes)):
                numbers = f"a layer has {count}, counted from 0" if count else f"{site.kind} takes no number"
                raise AssayError(f"{self.name}: has no {site}; {numbers}")
            if site.position is not None and shortest is not None and not -shortest <= site.position < 0:
                raise AssayError(
                    f"{self.name}: {site} lies outside the shortest prompt ({shortest} tokens); positions "
                    "count from the end, -1 is the last"
                )

    def in_batches(self, encoded: Sequence[Encoded], work: Callable[[Batch], list[T]], beyond: int = 0) -> list[T]:
        """Does the work in batches within the token budget, and gives its rows in the order asked."""
        longest = max(len(prompt) for prompt in encoded) + beyond
        if self.sizes.context is not None and longest > self.sizes.context:
            raise AssayError(
                f"{self.name}: a prompt and its answer take {longest} tokens, it was made for "
                f"{self.sizes.context}; shorten the prompt"
            )
        # Prompts of like length share a batch, so that little is spent on padding.
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
        """After memory ran out on so many rows of so many tokens; one sentence when it cannot be less."""
        if rows == 1:
            raise AssayError(
                f"{self.name}: {self.device} memory does not hold one prompt of {widest} tokens beside "
                "the weights; use a smaller model or shorter prompts"
            )
        self.budget = rows * widest // 2
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def _completion(self, ids: list[int]) -> Completion:
        ends = [i for i, token in enumerate(ids) if token in self.loaded.stops]
        kept = ids[: ends[0]] if ends else ids
        return Completion(self.chat.decode(kept), tuple(kept), finished=bool(ends))


def _select(activation: Tensor, site: Site, longest: int, mask: Bool[Tensor, "row position"]) -> Tensor:
    if site.index is not None:
        activation = activation[:, :, site.index]
    if site.position is not None:
        return activation[:, site.position]
    shape = (mask.shape[0], longest, *activation.shape[2:])
    padded = activation.new_zeros(shape)
    # What stands on padding is noise; nobody should be able to average over it.
    real = mask.view(*mask.shape, *[1] * (activation.dim() - 2))
    padded[:, longest - mask.shape[1] :] = activation.masked_fill(~real, 0)
    return padded
