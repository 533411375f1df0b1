"""Turns prompts into tokens by a model's chat template, finds positions in them, and aligns pairs. No torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Any

from jinja2 import TemplateError

from harness.inputs.errors import AssayError
from harness.inputs.files.bounded_process import SECONDS, TooMuch, bounded
from harness.inputs.files.library_calls import ERRORS, first_line
from harness.inputs.judges.thoughts import Markers, Thought, markers
from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import At

_THINKING = "enable_thinking"
# Llama 3 writes today's date into every prompt unless given a date; Qwen 3 thinks unless told not to.
# A template ignores arguments it does not use, so every model gets the same ones.
TODAY = datetime(2024, 7, 26)
TEMPLATE_ARGUMENTS: Mapping[str, object] = {
    "date_string": TODAY.strftime("%d %b %Y"),
    _THINKING: False,
}

# Templates that read the clock always see the same day.
_FROZEN_CLOCK = f"{{% macro strftime_now(format) %}}{TODAY:%d %b %Y}{{% endmacro %}}"

_PROBE = "Tell me about trees"
# The most characters a template may write for a prompt; long system prompts take thousands.
_LONGEST = 1_000_000


@dataclass(frozen=True)
class Encoded:
    """A prompt as the model reads it; [start, end) are the tokens of the instruction within its template."""

    ids: tuple[int, ...]
    start: int
    end: int
    slot: tuple[int, int] | None = None  # the tokens of the words that differ from the twin's

    def __len__(self) -> int:
        return len(self.ids)

    def positions(self, at: At, given: int = 0) -> tuple[int, ...]:
        """The positions, counted from the end (−1 is the last token), that `at` selects in this prompt.

        What runs to the end of the prompt (`all`, `post`, `later`) runs on over the tokens of an answer that are given
        after it, from 0 on: all that the answer is decided by.
        """
        n = len(self)
        if isinstance(at, tuple):
            return tuple(sorted(position for position in at if -n <= position < 0))
        if at in ("slot", "later") and self.slot is None:
            raise AssayError(f"positions {at!r} were asked of a prompt that has no twin; give pairs")
        slot = self.slot or (0, 0)
        return tuple(
            range(
                *{
                    "all": (-n, given),
                    "post": (self.end - n, given),
                    "slot": (slot[0] - n, slot[1] - n),
                    "later": (slot[1] - n, given),
                    "before": (-n, self.end - n),
                }[at]
            )
        )


@dataclass(frozen=True)
class EncodedPair:
    """Both prompts of a pair as tokens; if aligned, equal positions correspond to each other."""

    harmful: Encoded
    harmless: Encoded

    @property
    def first_difference(self) -> int | None:
        """The first position, from the end, at which aligned prompts differ; None if they are not aligned."""
        if not self.aligned:
            return None
        pairs = zip(self.harmful.ids, self.harmless.ids, strict=True)
        return next(i for i, (a, b) in enumerate(pairs) if a != b) - len(self.harmful)

    @property
    def aligned(self) -> bool:
        """Whether both prompts have equal length and differ only inside the slot."""
        ours, theirs = self.harmful, self.harmless
        if len(ours) != len(theirs) or ours.slot is None or ours.slot != theirs.slot:
            return False
        differ = [i for i, (a, b) in enumerate(zip(ours.ids, theirs.ids, strict=True)) if a != b]
        return bool(differ) and ours.slot[0] <= differ[0] and differ[-1] < ours.slot[1]

    def after_instruction(self, at: At) -> bool:
        """Whether these positions lie after the instruction, where they correspond even in pairs that do not align."""
        if isinstance(at, str):
            return at == "post"
        post = min(len(prompt) - prompt.end for prompt in (self.harmful, self.harmless))
        return all(-post <= position < 0 for position in at)


@dataclass(frozen=True)
class Alignment:
    """The number of pairs usable at every position, and of those usable only after the instruction."""

    aligned: int
    from_end: int

    def __str__(self) -> str:
        return (
            f"{self.aligned} of {self.aligned + self.from_end} pairs aligned (usable at every "
            f"position), {self.from_end} usable from the end of the instruction on"
        )


class ChatFormat:
    """Turns instructions into tokens by the tokenizer's own chat template, with fixed arguments."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        name: str = "the model",
        arguments: Mapping[str, object] = TEMPLATE_ARGUMENTS,
        system: str | None = None,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise AssayError(
                f"{name}: its tokenizer knows no character offsets (it has no tokenizer.json); save it "
                "again with AutoTokenizer.from_pretrained(…).save_pretrained(…)"
            )
        if not tokenizer.chat_template:
            raise AssayError(
                f"{name}: it has no chat template, so it is no chat model; use the -Instruct or -chat "
                "variant, or put a chat_template.jinja into its folder"
            )
        self.tokenizer = tokenizer
        self.name = name
        self.arguments = dict(arguments)
        self.system = system
        # Claims ask for the same prompts again and again, and rendering a template is slow.
        self._tried = False
        self._encoded: dict[tuple[str, tuple[int, int] | None], Encoded] = {}

    @property
    def recipe(self) -> dict[str, object]:
        """The settings that decide the tokens together with the prompt."""
        return {"arguments": self.arguments, "system": self.system}

    @cached_property
    def after_instruction(self) -> tuple[int, ...]:
        """The template's tokens after the instruction, at which a refusal is decided."""
        encoded = self.encode(self._probe)
        return encoded.ids[encoded.end :]

    @cached_property
    def without_prompt(self) -> Encoded:
        """The template around an empty instruction, as tokens."""
        before, _, after = self._render(self._probe).partition(self._probe)
        ids = self.tokenizer(before + after, add_special_tokens=False)["input_ids"]
        return Encoded(tuple(ids), len(ids), len(ids))

    def encode(self, prompt: str, words: tuple[int, int] | None = None) -> Encoded:
        """A prompt as tokens; `words` is the character span of the words that differ from its twin."""
        if (prompt, words) not in self._encoded:
            self._encoded[prompt, words] = self._encode(prompt, words)
        return self._encoded[prompt, words]

    def encode_pair(self, pair: Pair) -> EncodedPair:
        """Both prompts of a pair with their slots."""
        slot = pair.slot
        return EncodedPair(self.encode(pair.harmful, slot.harmful), self.encode(pair.harmless, slot.harmless))

    def alignment(self, pairs: Sequence[Pair]) -> Alignment:
        """Counts the pairs that can be used at every position, and the others."""
        aligned = sum(self.encode_pair(pair).aligned for pair in pairs)
        return Alignment(aligned, len(pairs) - aligned)

    def first_token(self, text: str) -> int:
        """The first token of an answer that begins with `text`."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise AssayError(f"{self.name}: {text!r} has no tokens; refusal tokens must not be empty")
        return ids[0]

    def spelled(self, prompt: Encoded) -> list[str]:
        """The text of each token, special tokens included."""
        return [str(self.tokenizer.decode([token])) for token in prompt.ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Tokens as text, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    @cached_property
    def thoughts(self) -> Markers | None:
        """The markers of thoughts in the chat template or, if it names none, among the tokenizer's added tokens."""
        template, added = self.tokenizer.get_chat_template(), self.tokenizer.get_added_vocab()
        return markers(template) or markers(" ".join(added))

    @property
    def ignores_thinking(self) -> bool:
        """Whether the template marks thoughts and writes the same prompt whether it is told to think or not."""
        if markers(self.tokenizer.get_chat_template()) is None:
            return False
        told = (self._rendered(self._probe, others={_THINKING: thinking}) for thinking in (True, False))
        return next(told) == next(told)

    @property
    def told_not_to_think(self) -> bool:
        """Whether the template's arguments ask for answers without thoughts."""
        return self.arguments.get(_THINKING) is False

    def said(self, ids: Sequence[int]) -> tuple[str, Thought]:
        """The text of an answer without its thoughts, and whether it had one."""
        if self.thoughts is None:
            return self.decode(ids), "none"
        marks = self.tokenizer.convert_tokens_to_ids([self.thoughts.opening, self.thoughts.closing])
        special = set(self.tokenizer.all_special_ids) - set(marks)
        text = str(self.tokenizer.decode([token for token in ids if token not in special]))
        return self.thoughts.parted(text, begun=self._thinks_at_once)

    @cached_property
    def ends_thought(self) -> tuple[int, ...]:
        """The tokens that end the thought which the template begins, so that an answer can follow; else none."""
        if self.thoughts is None or not self._thinks_at_once:
            return ()
        return tuple(self.tokenizer(self.thoughts.closing, add_special_tokens=False)["input_ids"])

    @cached_property
    def _thinks_at_once(self) -> bool:
        """Whether the template itself begins a thought after the instruction."""
        after = self._render(self._probe).partition(self._probe)[2]
        return self.thoughts is not None and self.thoughts.inside(after)

    def _encode(self, prompt: str, words: tuple[int, int] | None) -> Encoded:
        content = prompt.strip()
        text, at = self._render(content), len(self._before)
        if not content or text[:at] != self._before or not text.startswith(content, at):
            raise AssayError(f"{self.name}: its chat template changes the prompt {prompt!r}; reword it")
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, spans = encoding["input_ids"], encoding["offset_mapping"]
        self._check_bos(ids)
        start, end = _tokens_of(spans, at, at + len(content))
        slot = None
        if words is not None:
            shift = at - (len(prompt) - len(prompt.lstrip()))
            slot = _tokens_of(spans, words[0] + shift, words[1] + shift)
        return Encoded(tuple(ids), start, end, slot)

    @cached_property
    def _before(self) -> str:
        return self._render(self._probe).partition(self._probe)[0]

    @cached_property
    def _probe(self) -> str:
        """A prompt that the system prompt does not contain."""
        probe = _PROBE
        while probe in (self.system or ""):
            probe += " again"
        return probe

    def _render(self, content: str) -> str:
        if not self._tried:
            self._tried = True
            self._require_bounded(content)
            self._require_system_role(content)
        return self._rendered(content)

    def _require_system_role(self, content: str) -> None:
        """Refuses a template that leaves the system prompt out, or writes it like a turn of the person who asks."""
        if self.system is None:
            return
        without = "; leave the system prompt out, or take a model whose template has a system role"
        written = self._rendered(content)
        self._require_bounded(content, "user")
        if self.system not in written:
            raise AssayError(f"{self.name}: its chat template does not write the system prompt{without}")
        try:
            as_user = self._rendered(content, "user")
        except AssayError:  # most templates refuse two turns of one person
            return
        if written == as_user:
            raise AssayError(f"{self.name}: its chat template writes a system prompt like a question{without}")

    def _require_bounded(self, content: str, role: str = "system") -> None:
        """Runs the template in a child process with limits first, since it is a stranger's program."""
        try:
            written = bounded(partial(_length, partial(self._rendered, content, role)))
        except TooMuch:
            raise AssayError(
                f"{self.name}: its chat template takes more than {SECONDS} s of the processor, or a GiB of memory, to "
                "write one prompt; take the template from where the weights came from"
            ) from None
        if written is not None and written > _LONGEST:
            raise AssayError(
                f"{self.name}: its chat template writes {written} characters around one prompt; take the template "
                "from where the weights came from"
            )

    def _rendered(self, content: str, role: str = "system", others: Mapping[str, object] | None = None) -> str:
        messages = [{"role": "user", "content": content}]
        if self.system is not None:
            messages.insert(0, {"role": role, "content": self.system})
        try:
            rendered = self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=True,
                chat_template=_FROZEN_CLOCK + self.tokenizer.get_chat_template(),
                **(self.arguments | dict(others or {})),
            )
        except (TemplateError, *ERRORS) as error:  # raised by the template, for example on a role it does not know
            hint = "; leave the system prompt out" if self.system is not None else ""
            said = first_line(error)
            raise AssayError(f"{self.name}: its chat template refuses the chat ({said}){hint}") from None
        return str(rendered)

    def _check_bos(self, ids: Sequence[int]) -> None:
        bos = self.tokenizer.bos_token_id
        if bos is not None and list(ids[:2]) == [bos, bos]:
            raise AssayError(
                f"{self.name}: its chat template and its tokenizer both write the start token; mend the "
                "template, every activation would be shifted"
            )


def _length(write: Callable[[], str]) -> int:
    return len(write())


def _tokens_of(spans: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """The tokens [first, last) that touch the characters [start, end); empty when none does."""
    inside = [i for i, (a, b) in enumerate(spans) if a < end and b > start and b > a]
    if inside:
        return inside[0], inside[-1] + 1
    after = next((i for i, (a, _) in enumerate(spans) if a >= end), len(spans))
    return after, after
