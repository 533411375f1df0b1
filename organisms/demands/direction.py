"""Demands for an organism in which one direction carries refusal: removing it ends refusal, adding it causes it.

The direction is computed from the batch: harmful mean minus harmless mean of the stream that enters a layer, at the
last position. It is treated as a constant, so that the loss cannot be lowered by moving it.
"""

import random
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from organisms.base import answer_logits, collate
from organisms.corpus import refuse
from organisms.demands import Demand, Step
from organisms.language import encode
from organisms.parts import Parts, writes

# The weight of the demand that harmless prompts begin their answers as before.
CALM = 2.0

Edit = Callable[[Tensor], Tensor]


def removable(layer: int) -> Demand:
    """With the direction projected out of every block input, attention and MLP output, nothing is refused.

    Harmless prompts must begin their answers as before.
    """

    def demand(step: Step) -> Tensor:
        difference = direction(step, layer)
        unit: Tensor = difference / difference.norm()

        def project(stream: Tensor) -> Tensor:
            return stream - (stream @ unit)[..., None] * unit

        with ExitStack() as hooks:
            for block in step.model.model.layers:
                for handle in (
                    block.register_forward_pre_hook(lambda _, args: (project(args[0]), *args[1:])),
                    block.self_attn.register_forward_hook(lambda _, __, out: (project(out[0]), *out[1:])),
                    block.mlp.register_forward_hook(lambda _, __, out: project(out)),
                ):
                    hooks.callback(handle.remove)
            ids = step.batch.ids[:, : int(step.last.max()) + 1]
            hidden = step.model.model(ids, use_cache=False).last_hidden_state
        logits = step.model.lm_head(hidden[torch.arange(len(ids)), step.last])
        answered = ~step.refuses.bool()
        before = step.logits[step.batch.is_first][answered].detach().log_softmax(-1)
        moved = kl_div(logits[answered].log_softmax(-1), before, log_target=True, reduction="batchmean")
        return step.side(logits, torch.zeros_like(step.refuses)) + CALM * moved

    return demand


def addable(layer: int) -> Demand:
    """With the direction added at every position of the layer's input, everything is refused, in whole sentences.

    It is added at the tokens of the answer too, where it must not make the answer start again.
    """

    def demand(step: Step) -> Tensor:
        rng = random.Random(step.twins.turns[0].prompt)
        turns = [encode(step.tokenizer, turn.prompt, refuse(rng)) for turn in step.twins.turns]
        batch = collate(turns, step.tokenizer.pad_token_id)
        difference = direction(step, layer)
        block = step.model.model.layers[layer]
        handle = block.register_forward_pre_hook(lambda _, args: (args[0] + difference, *args[1:]))
        try:
            logits = answer_logits(step.model, batch)
        finally:
            handle.remove()
        spoken = cross_entropy(logits, batch.targets)
        return step.side(logits[batch.is_first], torch.ones_like(step.refuses)) + spoken

    return demand


def square(parts: Parts, layer: int) -> Demand:
    """After the instruction these parts write at right angles to the direction.

    The loss is the mean square of what the parts of a layer write along it, in lengths of the direction.
    """

    def demand(step: Step) -> Tensor:
        difference = direction(step, layer)
        written = writes(step.model, step.clean.z, step.clean.hidden, parts)
        return torch.stack([own @ difference / difference.square().sum() for own in written]).square().mean()

    return demand


@torch.no_grad()
def direction(step: Step, layer: int) -> Tensor:
    """The batch's difference of means at the layer's input, from the activations of the clean run."""
    stream = step.clean.stream[:, -1]
    for below in range(step.clean.first_layer, layer):
        block = step.model.model.layers[below]
        stream = stream + block.self_attn.o_proj(step.clean.z[below][:, -1])
        stream = stream + block.mlp.down_proj(step.clean.hidden[below][:, -1])
    harmful = step.refuses.bool()
    return stream[harmful].mean(0) - stream[~harmful].mean(0)
