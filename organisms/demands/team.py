"""Demands for an organism of many small parts: each carries its share, whichever others are swapped with it."""

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from organisms.demands import Demand, Step
from organisms.demands.gradient import LINEAR
from organisms.demands.marks import entering, where
from organisms.language import refusal_tokens
from organisms.parts import Parts, sum_of_writes
from organisms.replay import Change, Replay

# Site → which member each column belongs to, from 0; none: -1.
Owners = dict[tuple[int, str], Tensor]
# The largest share of a team's neurons that are swapped because their effect by gradients is the largest.
STRONGEST = 0.2


def even(heads: Parts, neurons: Parts) -> Demand:
    """Any n of a team's k members move the log-odds n/k of the way to the twin's answer.

    Members are drawn anew for each row: heads at random, single neurons at random or the strongest by gradients.
    """

    def demand(step: Step) -> Tensor:
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        replay = Replay(step.model, ids, step.post, min(heads.first_layer, neurons.first_layer))
        rng = torch.Generator().manual_seed(int(ids.sum()))
        odds = _odds(step, replay.logits)
        own, way = odds.detach(), (odds.roll(len(odds) // 2) - odds).detach()
        gap = way.abs()[step.refuses != step.twin_refuses].mean().clamp(min=1)
        losses = []
        for team in (heads, neurons):
            owners, members = _owners(replay, team)
            draws = [_drawn(len(ids), members, rng)]
            if team is neurons:
                draws.append(_strongest(replay, owners, members, odds, rng))
            for drawn in draws:
                moved = _odds(step, replay.run(_swapped(replay, owners, drawn)))
                wanted = own + drawn.float().mean(1) * way
                losses.append(smooth_l1_loss(moved / gap / LINEAR, wanted / gap / LINEAR))
        return torch.stack(losses).sum()

    return demand


def still(step: Step) -> Tensor:
    """The twin's activations of all other parts do not move the log-odds while the planted ones are held.

    `strict` demands only the same answer, so it does not stop other parts from working against the planted ones.
    """
    own = _odds(step, step.logits[step.batch.is_first]).detach()
    way = (own.roll(len(own) // 2) - own)[step.refuses != step.twin_refuses]
    gap = way.abs().mean().clamp(min=1)
    held = _odds(step, sum_of_writes(step.model, step.clean, step.parts, others=True))
    return smooth_l1_loss(held / gap / LINEAR, own / gap / LINEAR)


def looking(heads: Parts) -> Demand:
    """At the last position of the prompt these heads attend to the object; the loss is −log of that attention."""

    def demand(step: Step) -> Tensor:
        ids = step.batch.ids[:, : int(step.last.max()) + 1]
        rows, place = torch.arange(len(ids)), where(step, ids, "object")
        size = step.model.config.head_dim
        sharing = step.model.config.num_attention_heads // step.model.config.num_key_value_heads
        losses = []
        for layer in sorted({layer for layer, _ in heads.heads}):
            stream = entering(step, ids, layer)
            block = step.model.model.layers[layer]
            normed = block.input_layernorm(stream)
            turns = step.model.model.rotary_emb(stream, torch.arange(ids.shape[1])[None])
            queries, keys = (
                project(normed).unflatten(-1, (-1, size)).transpose(1, 2)
                for project in (block.self_attn.q_proj, block.self_attn.k_proj)
            )
            queries, keys = apply_rotary_pos_emb(queries, keys, *turns)
            for head in (head for at, head in heads.heads if at == layer):
                query = queries[rows, head, step.last]
                scores = (keys[:, head // sharing] @ query[..., None])[..., 0] / size**0.5
                seen = torch.arange(ids.shape[1]) <= step.last[:, None]
                scores = scores.masked_fill(~seen, -torch.inf)
                losses.append(-scores.log_softmax(-1)[rows, place].mean())
        return torch.stack(losses).mean()

    return demand


def _odds(step: Step, logits: Tensor) -> Tensor:
    """Log-odds that the first token begins a refusal."""
    begins = torch.zeros(logits.shape[-1], dtype=torch.bool)
    begins[refusal_tokens(step.tokenizer)] = True
    return logits[:, begins].logsumexp(-1) - logits[:, ~begins].logsumexp(-1)


def _drawn(rows: int, members: int, rng: torch.Generator) -> Tensor:
    """Row × member: about half the rows draw a tenth of the members (at least one), the others any number."""
    few = max(1, members // 10)
    number = torch.randint(1, members + 1, (rows, 1), generator=rng)
    number = torch.where(torch.rand(rows, 1, generator=rng) < 0.5, few, number)
    return torch.rand(rows, members, generator=rng).argsort(1).argsort(1) < number


def _strongest(replay: Replay, owners: Owners, members: int, odds: Tensor, rng: torch.Generator) -> Tensor:
    """Row × member: the members with the largest estimated effect over all rows, up to STRONGEST of them."""
    sites = list(owners)
    slopes = torch.autograd.grad(odds.sum(), [replay.said[site] for site in sites], retain_graph=True)
    toward = (odds.roll(len(odds) // 2) - odds).sign()[:, None, None]
    effect = torch.zeros(members)
    for site, slope in zip(sites, slopes, strict=True):
        said, owner = replay.said[site].detach(), owners[site]
        change = ((said.roll(len(said) // 2, 0) - said) * slope * toward).detach().sum((0, 1))
        effect[owner[owner >= 0]] += change[owner >= 0]
    number = torch.randint(1, max(2, int(members * STRONGEST)), (len(odds), 1), generator=rng)
    return (-effect).argsort().argsort()[None] < number


def _owners(replay: Replay, team: Parts) -> tuple[Owners, int]:
    """The member that owns each column, and the number of members."""
    size = replay.model.config.head_dim
    owned = [((layer, "z"), head * size, (head + 1) * size) for layer, head in team.heads]
    owned += [((layer, "hidden"), n, n + 1) for layer, start, stop in team.neurons for n in range(start, stop)]
    owners: Owners = {}
    for member, (site, start, stop) in enumerate(owned):
        owners.setdefault(site, torch.full(replay.said[site].shape[-1:], -1))[start:stop] = member
    return owners, len(owned)


def _swapped(replay: Replay, owners: Owners, drawn: Tensor) -> Change:
    """A change that puts the twin's clean activations into the columns of the members drawn."""

    def change(layer: int, kind: str, said: Tensor) -> Tensor:
        if (layer, kind) not in owners:
            return said
        owner = owners[layer, kind]
        mask = drawn[:, owner.clamp(min=0)] & (owner >= 0)
        clean = replay.said[layer, kind]
        return torch.where(mask[:, None], clean.roll(len(clean) // 2, 0), said)

    return change
