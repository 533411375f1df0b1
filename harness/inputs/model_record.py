"""What is known of a loaded model without its weights: identity, sizes, and its self-examination."""

from dataclasses import dataclass

from harness.inputs.errors import AssayError
from harness.inputs.sites import Indexed


@dataclass(frozen=True)
class Sizes:
    """What an architecture is made of."""

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

    def whole(self, kind: Indexed) -> int:
        """All heads, or all neurons."""
        return self.layers * (self.heads if kind == "head" else self.d_mlp)

    def asked(self, number: float, kind: Indexed) -> int:
        """So many of them; below 1, that share of all, and at least three."""
        whole = self.whole(kind)
        if not 0 <= number <= whole or (number > 1 and number != int(number)):
            raise AssayError(
                f"{number:g} {kind}s were asked for, of {whole}: give a whole number up to that, or a share below 1"
            )
        return int(number) if number >= 1 or not number else max(3, int(number * whole))


@dataclass(frozen=True)
class Check:
    """One property: how far it is off, and how far it may be; shares of the model's scale or relative."""

    name: str
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the error is within bounds; a NaN is not."""
        return self.error <= self.allowed

    def __str__(self) -> str:
        mark = "ok    " if self.passed else "FAILED"
        return f"{mark} {self.name:<46} {self.error:.1e} (at most {self.allowed:.0e})"


@dataclass(frozen=True)
class Examination:
    """All checks of one load. `scale` and `noise`, the floor below which nothing counts, are in logits."""

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
    """One load of one model. `peak_bytes` is the process's on a CPU, the model's own on a GPU."""

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
