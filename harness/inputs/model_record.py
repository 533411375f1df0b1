"""The facts about a loaded model that outlive its weights (identity, sizes, self-examination), and how it answers."""

import re
from dataclasses import dataclass

from harness.inputs.errors import AssayError
from harness.inputs.judges.thoughts import Markers

# The most tokens of an answer: organisms refuse or answer in a sentence, as the published pipelines' answers are cut.
SHORT_ANSWER = 24
# Other models say more before they answer, and may refuse later.
LONG_ANSWER = 64
# Longer answers would cost more than any claim asks for.
MOST_TOKENS = 4096
# More answers to each prompt would cost more than they tell, and at higher temperatures hardly any answer is language.
MOST_SAMPLES, HOTTEST = 100, 10.0


@dataclass(frozen=True)
class Sample:
    """One of several answers drawn to each prompt, by its number from 0 on: the seed of its random numbers."""

    number: int
    temperature: float


@dataclass(frozen=True)
class Sampling:
    """So many answers to each prompt, drawn at a temperature from the whole vocabulary."""

    number: int
    temperature: float

    def __str__(self) -> str:
        """As `--answers` takes it."""
        return f"sampled:{self.number}@{self.temperature!r}"

    @property
    def in_words(self) -> str:
        """Such as `5 answers to each prompt, drawn at temperature 0.7`."""
        several = "1 answer" if self.number == 1 else f"{self.number} answers"
        return f"{several} to each prompt, drawn at temperature {self.temperature:g}"

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Each of the answers to a prompt."""
        return tuple(Sample(number, self.temperature) for number in range(self.number))


def sampling(given: str) -> Sampling | None:
    """How answers are drawn, from `sampled:K@T`; None for `greedy`."""
    if given == "greedy":
        return None
    form = re.fullmatch(r"sampled:(\d{1,9})@(\d+\.?\d*(?:[eE]-?\d{1,3})?)", given, re.ASCII)
    if form is None:
        raise AssayError(
            f"--answers {given!r}: give greedy or sampled:K@T, such as sampled:5@0.7 for 5 answers to each prompt at "
            "temperature 0.7"
        )
    number, temperature = int(form[1]), float(form[2])
    if not 1 <= number <= MOST_SAMPLES:
        raise AssayError(f"--answers {given}: give from 1 to {MOST_SAMPLES} answers to each prompt")
    if temperature == 0:
        raise AssayError(f"--answers {given}: at temperature 0 all answers are the same; give greedy")
    if not temperature <= HOTTEST:
        raise AssayError(f"--answers {given}: give a temperature of at most {HOTTEST:g}")
    return Sampling(number, temperature)


@dataclass(frozen=True)
class Sizes:
    """The dimensions of an architecture."""

    layers: int
    heads: int
    kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    mlp_matrices: int  # 3 where the MLP is gated, else 2
    vocabulary: int
    parameters: int
    context: int | None  # the longest prompt and answer it was made for, in tokens

    @property
    def per_block(self) -> int:
        """Multiplications with weights for one token in one block."""
        attention = 2 * (self.heads + self.kv_heads) * self.d_head
        return self.d_model * (attention + self.mlp_matrices * self.d_mlp)


@dataclass(frozen=True)
class Check:
    """A check of the self-examination, with its error and the largest error allowed.

    Errors are relative, or shares of the model's scale.
    """

    name: str
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the error is within its limit; a NaN is not."""
        return self.error <= self.allowed

    def __str__(self) -> str:
        mark = "ok    " if self.passed else "FAILED"
        return f"{mark} {self.name:<46} {self.error:.1e} (at most {self.allowed:.0e})"


@dataclass(frozen=True)
class Examination:
    """All checks made on loading, and remarks. `scale`, and `noise` below which no effect counts, are in logits."""

    checks: tuple[Check, ...]
    scale: float
    noise: float
    seconds: float
    remarks: tuple[str, ...] = ()  # sentences on what is no reason to refuse the model, such as that it thinks

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def __str__(self) -> str:
        head = f"scale {self.scale:.3g} logits, noise {self.noise:.1e} logits, {self.seconds:.1f} s"
        return "\n".join([head, *map(str, self.checks), *(f"note: {remark}" for remark in self.remarks)])


@dataclass(frozen=True)
class ModelRecord:
    """A model as it was loaded. `peak_bytes` is the process's peak on a CPU, the model's own on a GPU."""

    name: str
    revision: str
    fingerprint: str
    quant: str
    dtype: str
    device: str
    sizes: Sizes
    examination: Examination
    seconds: float
    weight_bytes: int
    peak_bytes: int
    system: str | None = None  # the system prompt of all chats
    answer_tokens: int = SHORT_ANSWER  # the most tokens of an answer, as the run asked for it
    thoughts: Markers | None = None  # the markers of thoughts, if its chat template knows any
    sampling: Sampling | None = None  # how the run asked for answers to be drawn; None: greedily
