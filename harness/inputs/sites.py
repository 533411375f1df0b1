"""Where in a model something is read or written. Never touches a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from harness.inputs.errors import AssayError

Kind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "head", "neuron"]

Indexed = Literal["head", "neuron"]
"""The kinds of which a layer holds several, by number."""

At = Literal["all", "post", "slot", "later", "before"] | tuple[int, ...]
"""Positions of a prompt: all; those after the instruction; the words that differ from the twin's; those after
these words; those before the instruction's end; or given ones, counted from the end."""


def check_at(*places: At) -> None:
    """Refuses positions that are not counted from the end."""
    for at in places:
        if not isinstance(at, str) and any(position >= 0 for position in at):
            raise AssayError(f"position {max(at)} is none: positions count from the end, and -1 is the last token")


# The names under which TransformerLens offers each kind, on every architecture alike.
_HOOKS: dict[str, str] = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "head": "attn.hook_z",
    "neuron": "mlp.hook_post",
}


@dataclass(frozen=True, order=True)
class Site:
    """A layer, a kind, one head or neuron (or all of them), and a position from the end (or all)."""

    layer: int
    kind: Kind
    index: int | None = None  # which head or neuron; None is all of them
    position: int | None = None  # −1 is the last token of the prompt; None is every position
    # The prompts on which a search came upon it: no part of what it is, and carried along wherever it goes.
    found_on: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __post_init__(self) -> None:
        """While a claim runs, what a search of its own came upon keeps its origin, however it is made again."""
        if (known := _come_upon.get()) is None:
            return
        place = self.layer, self.kind, self.index
        if self.found_on:
            known[place] = known.get(place, self.found_on) | self.found_on
        elif place in known:
            object.__setattr__(self, "found_on", known[place])

    @property
    def hook(self) -> str:
        """The hook at which TransformerLens shows this site's activations."""
        return f"blocks.{self.layer}.{_HOOKS[self.kind]}"

    def __str__(self) -> str:
        index = "" if self.index is None else f".{self.index}"
        position = "" if self.position is None else f"@{self.position}"
        return f"{self.layer}.{self.kind}{index}{position}"


@contextmanager
def origins_kept() -> Iterator[None]:
    """While the block runs, sites that a search comes upon are known by their place."""
    token = _come_upon.set({})
    try:
        yield
    finally:
        _come_upon.reset(token)


_come_upon: ContextVar[dict[tuple[int, Kind, int | None], frozenset[str]] | None] = ContextVar("sites", default=None)
