"""A demand on the effect that gradients estimate for a part, independent of what swapping it does."""

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import smooth_l1_loss

from organisms.demands import WHOLE, Demand, Step
from organisms.language import refusal_tokens
from organisms.nudges import nudged
from organisms.parts import Parts

# Pairs of a batch whose gradients are differentiated a second time.
PAIRS = 8
# Errors above this share of WHOLE count linearly.
LINEAR = 0.1


def estimated(parts: Parts, share: float) -> Demand:
    """By attribution, each of these parts moves the log-odds this share of the way to the twin's answer.

    Attribution is the gradient of the log-odds of refusing, times the twin's activation minus the own.
    """

    def demand(step: Step) -> Tensor:
        half = len(step.refuses) // 2
        rows = torch.cat((torch.arange(PAIRS), torch.arange(PAIRS) + half))
        toward = (step.twin_refuses - step.refuses)[rows]
        shares = torch.stack(_attributions(step, parts, rows)) * toward / WHOLE
        shares = shares[:, toward != 0]
        return smooth_l1_loss(shares / LINEAR, torch.full_like(shares, share / LINEAR))

    return demand


def _attributions(step: Step, parts: Parts, rows: Tensor) -> list[Tensor]:
    """The attribution of each head and run of neurons, for each row, in log-odds; can be differentiated again."""
    post, last = step.post[rows], step.last[rows]
    ids = step.batch.ids[rows, : int(last.max()) + 1]
    layers = range(parts.first_layer, len(step.model.model.layers))
    # The fused attention of the CPU cannot be differentiated twice.
    with nudged(step.model, post, layers) as nudges, sdpa_kernel(SDPBackend.MATH):
        hidden = step.model.model(ids, use_cache=False).last_hidden_state
        logits = step.model.lm_head(hidden[torch.arange(len(last)), last])
        begins = torch.zeros(logits.shape[-1], dtype=torch.bool)
        begins[refusal_tokens(step.tokenizer)] = True
        odds = logits[:, begins].logsumexp(-1) - logits[:, ~begins].logsumexp(-1)
        size = step.model.config.head_dim
        columns = [((layer, "z"), head * size, (head + 1) * size) for layer, head in parts.heads]
        columns += [((layer, "hidden"), start, stop) for layer, start, stop in parts.neurons]
        sites = list(dict.fromkeys(site for site, _, _ in columns))
        grads = torch.autograd.grad(odds.sum(), [nudges[site] for site in sites], create_graph=True)
    slopes = dict(zip(sites, grads, strict=True))
    attributions = []
    for (layer, kind), start, stop in columns:
        own = (step.clean.z if kind == "z" else step.clean.hidden)[layer]
        change = (own.roll(len(own) // 2, 0) - own)[rows]
        attributions.append((slopes[layer, kind] * change)[..., start:stop].sum((1, 2)))
    return attributions
