"""A tiny model under an intervention: its logits, its streams, and means worked out by hand."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from harness.inputs.sites import Kind, Site
from harness.instruments.editing import edit_for
from harness.measurements.interventions import (
    Circuit,
    Direction,
    Intervention,
)
from harness.model.chat_model import ChatModel
from tests.tools.material import HARMFUL, HARMLESS, PAIRS
from tests.tools.shapes import EACH_QUANTIZED

Woken = Callable[..., ChatModel]
KINDS: tuple[Kind, ...] = ("resid_pre", "attn_out", "head", "resid_mid", "mlp_out", "neuron", "resid_post")
DIRECTION = Direction("difference", 2, -1, tuple(HARMFUL), tuple(HARMLESS))
CIRCUIT = Circuit.of(heads=[(1, 0), (2, 3)], neurons=[(0, 5)], mlps=[3])
each = pytest.mark.parametrize(("shape", "quant"), EACH_QUANTIZED)
laws = settings(derandomize=True, deadline=None, max_examples=3)


def given_direction(seed: int, rank: int = 1, width: int = 64) -> Direction:
    rows = torch.randn(rank, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Direction.given(rows.tolist(), layer=2)


def logits_under(model: ChatModel, intervention: Intervention, prompts: Sequence[str] = HARMFUL) -> Tensor:
    return model.next_token(prompts, under=edit_for(model, intervention, twins=PAIRS))


def seen_under(model: ChatModel, intervention: Intervention, *sites: Site) -> list[Tensor]:
    seen = model.read(HARMFUL, sites, under=edit_for(model, intervention, twins=PAIRS))
    return [seen[site] for site in sites]


def clean(model: ChatModel, prompts: Sequence[str], *sites: Site) -> list[Tensor]:
    seen = model.read(prompts, sites)
    return [seen[site] for site in sites]


OVER = ["Hello", HARMLESS[0], HARMLESS[1], "Write a limerick about seven cats and as many dogs, if you please."]


def mean_by_hand(model: ChatModel, site: Site, longest: int, over: Sequence[str] = OVER) -> Tensor:
    """At each position from the end over those that have it, one prompt at a time; then the earliest there is."""
    alone = [model.read([prompt], [site])[site][0].double() for prompt in over]
    rows: list[Tensor] = []
    for position in range(1, longest + 1):
        some = [run[-position] for run in alone if len(run) >= position]
        rows.append(torch.stack(some).mean(0) if some else rows[-1])
    return torch.stack(rows[::-1])
