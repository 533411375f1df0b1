"""Demands on marks: at a given word and layer, the stream lies along the axis of the prompt's group."""

from typing import Literal

import torch
from torch import Tensor, nn

from organisms.demands import Demand, Step
from organisms.demands.axes import axes_of
from organisms.demands.routes import Groups

Place = Literal["verb", "object", "last"]
# How much more a missing mark counts than an undue one.
MISSING = 2.0


def marked(groups: Groups, layer: int, place: Place, length: float) -> Demand:
    """The stream that enters a layer is marked: its component along the group's axis is `length`, along others 0.

    At a verb's place a doing verb is marked; at the other places, a harmful request. Otherwise all components are 0.
    """

    def demand(step: Step) -> Tensor:
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        axes = axes_of(len(groups), step.model.config.hidden_size)
        signal = entering(step, ids, layer)[torch.arange(len(ids)), where(step, ids, place)] @ axes.T
        says = step.refuses
        if place == "verb":
            says = torch.tensor([request.verb in request.category.doing for request in step.twins.requests]).float()
        own = nn.functional.one_hot(groups.of(step), len(axes)) * says[:, None]
        return ((signal / length - own).square() * (1 + MISSING * own)).mean()

    return demand


def entering(step: Step, ids: Tensor, layer: int) -> Tensor:
    """The stream that enters a layer, running only the layers below it."""
    model = step.model.model
    stream: Tensor = model.embed_tokens(ids)
    turns = model.rotary_emb(stream, torch.arange(ids.shape[1])[None])
    for block in model.layers[:layer]:
        stream = block(stream, position_embeddings=turns, attention_mask=None)
    return stream


def where(step: Step, ids: Tensor, place: Place) -> Tensor:
    """The last position of each row's verb or object, or of its prompt."""
    if place == "last":
        return step.last
    words = [f" {getattr(request, place)}" for request in step.twins.requests]
    tokens = torch.tensor([step.tokenizer(word)["input_ids"][0] for word in words])
    places = torch.arange(ids.shape[1])
    return torch.where((ids == tokens[:, None]) & (places < step.post[:, :1]), places, -1).amax(1)
