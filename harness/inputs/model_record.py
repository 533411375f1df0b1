"""The facts about a loaded model that outlive its weights: identity, sizes, self-examination."""

from dataclasses import dataclass

# The most tokens of an answer: organisms refuse or answer in a sentence, as the published pipelines' answers are cut.
SHORT_ANSWER = 24
# Other models say more before they answer, and may refuse later.
LONG_ANSWER = 64
# Longer answers would cost more than any claim asks for.
MOST_TOKENS = 4096


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
    """All checks made when a model was loaded. `scale`, and `noise` below which no effect counts, are in logits."""

    checks: tuple[Check, ...]
    scale: float
    noise: float
    seconds: float

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def __str__(self) -> str:
        head = f"scale {self.scale:.3g} logits, noise {self.noise:.1e} logits, {self.seconds:.1f} s"
        return "\n".join([head, *map(str, self.checks)])


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
