"""What is known of a loaded model without its weights: identity, sizes, and its self-examination."""

from dataclasses import dataclass


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
