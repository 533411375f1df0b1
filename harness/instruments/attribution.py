"""Gradients and attention of a prompt: cheap and fallible estimates of effects, which never decide a verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from harness.inputs.chat_tokens import EncodedPair
from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import Pair
from harness.inputs.sites import SITE_KINDS, Site
from harness.instruments.suffix_run import logits_of
from harness.instruments.sweep import LOGITS, budget_of
from harness.measurements.effects import Effects, joined
from harness.measurements.sweep_plan import AnySweep, Mode, Part, parts, set_apart
from harness.model.architecture import pattern_hook
from harness.model.chat_model import Batch, ChatModel, Hook
from harness.model.refusal_score import Refusing, Scorer, scorer_of

Ends = Literal["base", "both"]
"""Which run's gradient is taken: that of the run to be patched, or the mean of that and of the twin's."""


def estimate(
    model: ChatModel,
    pairs: Iterable[Pair],
    swept: AnySweep,
    refusing: Refusing,
    *,
    mode: Mode = "noise",
    ends: Ends = "base",
) -> Effects:
    """Attribution patching: (source − base) · gradient for every variant of a sweep, from one backward pass a prompt.

    A first-order estimate: where later layers saturate it can be wrong by any factor, or in sign (Nanda 2023;
    Kramár et al., arXiv 2403.00745).
    """
    encoded = {pair.id: model.chat.encode_pair(pair) for pair in pairs}
    score = scorer_of(model, refusing)
    return estimates_on(model, encoded, swept, lambda _: score, mode=mode, ends=ends)


def estimates_on(
    model: ChatModel,
    encoded: Mapping[str, EncodedPair],
    swept: AnySweep,
    scorer: Callable[[Sequence[str]], Scorer],
    *,
    mode: Mode = "noise",
    ends: Ends = "base",
) -> Effects:
    """Estimates on any score of the last logits; `encoded` is by pair id, `scorer` makes the score of a part's ids."""
    used, aside = set_apart(encoded, swept)
    axes = swept.axes(model.sizes, [encoded[name] for name in used])
    estimates, runs = [], scorer(used[:1]).runs
    for part in parts({name: encoded[name] for name in used}, swept, model.sizes, budget_of(model), mode, runs):
        hooks, score = part.hooks, scorer(part.names)
        base_odds, base, base_slopes = gradients(model, model.batch(part.prompts), hooks, score)
        sources = model.batch(part.sources)
        if ends == "both":
            source_odds, source, source_slopes = gradients(model, sources, hooks, score)
        else:
            source_odds, source = _without_gradients(model, sources, hooks, score)
            source_slopes = base_slopes
        sums = []
        for run, given in enumerate(runs):
            products = {}
            for hook in hooks:
                width = min(base[run][hook].shape[1], source[run][hook].shape[1])
                slope = (base_slopes[run][hook][:, -width:] + source_slopes[run][hook][:, -width:]) / 2
                products[hook] = (source[run][hook][:, -width:] - base[run][hook][:, -width:]) * slope
            sums.append(_sums(replace(part, run=run), products, len(given)))
        changes = torch.stack(sums).sum(0)
        patched = (base_odds[:, None] + changes).view(len(part.names), *map(len, axes.values()))
        estimates.append(
            Effects(
                part.names,
                (),
                axes,
                patched.numpy(),
                patched.mul(torch.nan).numpy(),
                base_odds.numpy(),
                source_odds.numpy(),
            )
        )
    whole = joined(estimates, used)
    return Effects(whole.pairs, tuple(aside), axes, whole.patched, whole.kl, whole.clean, whole.source)


def gradients(
    model: ChatModel, batch: Batch, hooks: Sequence[str], scorer: Scorer
) -> tuple[Float[Tensor, " row"], list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Log-odds of refusing; for each run, activations at the hooks and the gradient of the log-odds; on the CPU.

    A score of several runs has a backward pass in each, through what that run adds to the score.
    """
    total = None if len(scorer.runs) == 1 else _in_all_runs(model, batch, (), scorer)[0]
    values, slopes = [], []
    for run, given in enumerate(scorer.runs):
        parts, activations = _forward_with_gradients(model, batch.followed_by(given), hooks, scorer, run)
        total = parts.detach() if total is None else total
        steep = torch.autograd.grad(parts, [activations[hook] for hook in hooks], _slopes_of_parts(scorer, total))
        values.append({hook: activations[hook].detach().float().cpu() for hook in hooks})
        slopes.append({hook: slope.float().cpu() for hook, slope in zip(hooks, steep, strict=True)})
    return scorer.together(torch.as_tensor(total)).cpu(), values, slopes


def _forward_with_gradients(
    model: ChatModel, batch: Batch, hooks: Sequence[str], scorer: Scorer, run: int
) -> tuple[Float[Tensor, "row part"], dict[str, Tensor]]:
    """What a run adds to the score, and the activations at the hooks, in the graph of the run."""
    activations: dict[str, Tensor] = {}

    def begin(activation: Tensor, hook: object) -> Tensor:
        # The weights do not require gradients, so the graph begins at the first stream.
        return activation.detach().clone().requires_grad_(True)

    def keep(name: str) -> Hook:
        def hook(activation: Tensor, hook: object) -> Tensor:
            activations[name] = activation
            return activation

        return name, hook

    with model.hooked([(Site(0, "resid_pre").hook, begin), *map(keep, hooks)]):
        logits = model.forward(batch, keep=batch.given + 1, gradients=True)
        return scorer.parts(logits[:, -batch.given - 1 :], run), activations


def _slopes_of_parts(scorer: Scorer, total: Float[Tensor, "row part"]) -> Float[Tensor, "row part"]:
    """The gradient of the score in the parts of which it is put together."""
    parts = total.detach().clone().requires_grad_(True)
    scorer.together(parts).sum().backward()
    return torch.as_tensor(parts.grad)


def _without_gradients(
    model: ChatModel, batch: Batch, hooks: Sequence[str], scorer: Scorer
) -> tuple[Float[Tensor, " row"], list[dict[str, Tensor]]]:
    """Log-odds of refusing and, for each run, activations at the hooks; on the CPU."""
    total, values = _in_all_runs(model, batch, hooks, scorer)
    return scorer.together(total).cpu(), values


@torch.no_grad()
def _in_all_runs(
    model: ChatModel, batch: Batch, hooks: Sequence[str], scorer: Scorer
) -> tuple[Float[Tensor, "row part"], list[dict[str, Tensor]]]:
    """The parts of the score, summed over the runs, and each run's activations at the hooks, which are on the CPU."""
    total, values = [], []
    for run, given in enumerate(scorer.runs):
        activations, logits = model.activations(batch.followed_by(given), hooks)
        total.append(scorer.parts(logits, run))
        values.append({hook: activation.float().cpu() for hook, activation in activations.items()})
    return torch.stack(total).sum(0), values


def saliency(model: ChatModel, prompts: Sequence[str], tokens: Sequence[int]) -> list[Float[Tensor, " position"]]:
    """For each token of each prompt, the length of the gradient of the log-odds in the token's embedding."""
    hook, scorer = Site(0, "resid_pre").hook, Scorer(model, tokens)

    def work(batch: Batch) -> list[Tensor]:
        _, _, slopes = gradients(model, batch, [hook], scorer)
        return [slopes[0][hook][row, -len(prompt) :].norm(dim=-1) for row, prompt in enumerate(batch.encoded)]

    return model.in_batches(model.encode(prompts), work)


def integrated_gradients(
    model: ChatModel, pair: Pair, tokens: Sequence[int], *, steps: int = 64
) -> Float[Tensor, " position"]:
    """Each token's share of the difference in log-odds between a harmful prompt and its twin.

    Integrated gradients (Sundararajan et al., arXiv 1703.01365): gradients are averaged along the straight line
    between the two prompts' embeddings, by the midpoint rule. The shares add up to the difference as `steps` grows.
    """
    encoded, scorer = model.chat.encode_pair(pair), Scorer(model, tokens)
    if not encoded.aligned:
        raise AssayError(
            f"pair {pair.id}: is not aligned, so its prompts' embeddings cannot be interpolated; give an aligned pair"
        )
    start = Site(0, "resid_pre").hook
    embeddings, _ = model.activations(model.batch([encoded.harmful, encoded.harmless]), [start])
    harmful, harmless = embeddings[start]
    total = torch.zeros_like(harmful)
    rows = max(1, model.budget // len(encoded.harmful))
    shares = ((torch.arange(steps, device=harmful.device) + 0.5) / steps).to(harmful.dtype)
    for start_at in range(0, steps, rows):
        share = shares[start_at : start_at + rows, None, None]
        points = (harmless + share * (harmful - harmless)).detach().requires_grad_(True)
        batch = model.batch([encoded.harmful] * len(points))
        with model.hooked([(start, lambda activation, hook, points=points: points)]):
            odds = scorer.odds(model.forward(batch, gradients=True)[:, -1])
        total += torch.autograd.grad(odds.sum(), [points])[0].sum(0)
    return torch.sum((harmful - harmless) * total / steps, -1).float().cpu()


def attention(model: ChatModel, prompt: str) -> Float[Tensor, "layer head query key"]:
    """The attention patterns: for each head and query token, the weight of each key token."""
    hooks = [pattern_hook(layer) for layer in range(model.sizes.layers)]
    patterns, _ = model.activations(model.batch(model.encode([prompt])), hooks)
    return torch.stack([patterns[hook][0] for hook in hooks]).float().cpu()


def entropy(patterns: Float[Tensor, "... key"]) -> Float[Tensor, "..."]:
    """The entropy of attention patterns in nats: 0 for attention to one token, log n for n tokens alike."""
    terms: Tensor = torch.special.entr(patterns)
    return terms.sum(-1)


def attention_flow(model: ChatModel, prompt: str, tokens: Sequence[int]) -> Float[Tensor, "layer head query key"]:
    """Attention patterns times the gradient of the log-odds in them: each weight's contribution, to first order."""
    hooks = [pattern_hook(layer) for layer in range(model.sizes.layers)]
    batch = model.batch(model.encode([prompt]))
    _, patterns, slopes = gradients(model, batch, hooks, Scorer(model, tokens))
    return torch.stack([patterns[0][hook][0] * slopes[0][hook][0] for hook in hooks])


@torch.inference_mode()
def lens(
    model: ChatModel, prompts: Sequence[str], tokens: Sequence[int], position: int = -1
) -> Float[Tensor, "prompt layer"]:
    """The logit lens: log-odds of refusing if each layer's input, or the last layer's output, were read out at once."""
    last = model.sizes.layers - 1
    sites = [Site(layer, "resid_pre", position=position) for layer in range(last + 1)]
    streams = torch.stack([*model.read(prompts, [*sites, Site(last, "resid_post", position=position)]).values()], 1)
    scorer = Scorer(model, tokens)
    portions = torch.split(streams.flatten(0, 1), max(1, LOGITS // model.sizes.vocabulary))
    odds = [scorer.odds(logits_of(model, rows.to(model.device, model.loaded.dtype))).cpu() for rows in portions]
    return torch.cat(odds).view(streams.shape[:2])


def _sums(part: Part, products: dict[str, Tensor], given: int) -> Float[Tensor, "row variant"]:
    """For each variant, the sum of the products over its sites; NaN for a variant without sites.

    Products are counted from the end of what was read, with so many given tokens after the prompt.
    """
    by_hook: dict[str, list[tuple[int, Site]]] = {}
    for number, sites in enumerate(part.variants):
        for site in sites:
            by_hook.setdefault(site.hook, []).append((number, site))
    total = torch.full((len(part.names), len(part.variants)), torch.nan)
    total[:, [number for number, sites in enumerate(part.variants) if sites]] = 0
    for hook, writes in by_hook.items():
        first_site = writes[0][1]
        product = products[hook] if SITE_KINDS[first_site.kind].scalar else products[hook].sum(-1)
        at: list[Any] = [torch.tensor([(site.position or 0) - given for _, site in writes])]
        if first_site.index is not None:
            at.append(torch.tensor([site.index for _, site in writes]))
        elif product.dim() > 2:
            product = product.flatten(2).sum(-1)
        total.index_add_(1, torch.tensor([number for number, _ in writes]), product[(slice(None), *at)])
    return total
