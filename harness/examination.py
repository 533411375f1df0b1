"""What a model proves about itself on load, before anything it measures is believed."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from harness.chat import ChatModel, Hook
from harness.errors import Refused
from harness.pairs import PairSet
from harness.sites import Kind, Site
from harness.tokens import Encoded

# Noise above this share of the model's own scale could be mistaken for an effect.
TOLERANCE = 0.05
# Exact by construction: any difference at all means a hook is not where it says it is.
EXACT = 1e-6
# Where activations are rounded, finite differences themselves are off by up to a quarter on the most
# curved models tried; a wrong gradient is off by its whole length.
ROUNDED = 0.5
_PAIRS = 3
_STEPS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_KINDS: tuple[Kind, ...] = ("resid_pre", "attn_out", "mlp_out", "head", "neuron", "resid_post")


@dataclass(frozen=True)
class Check:
    """One property: how far it is off, and how far it may be, as shares of the model's scale."""

    name: str
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the error is within bounds; a NaN is not."""
        return self.error <= self.allowed

    def __str__(self) -> str:
        mark = "ok    " if self.passed else "FAILED"
        return f"{mark} {self.name:<44} {self.error:.2e} (at most {self.allowed:.0e})"


@dataclass(frozen=True)
class Examination:
    """All checks of one load. `scale` is in logits; `noise` is the floor below which nothing counts."""

    checks: tuple[Check, ...]
    scale: float
    seconds: float

    @property
    def noise(self) -> float:
        """The largest difference, in logits, that batching, padding or caching alone can make."""
        relevant = ("padded", "in a batch", "suffix", "bridge")
        errors = [c.error for c in self.checks if c.name.startswith(relevant)]
        return max(errors) * self.scale

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        head = f"scale {self.scale:.3g} logits, noise {self.noise:.1e} logits, {self.seconds:.1f} s"
        return "\n".join([head, *map(str, self.checks)])


def sample(pairs: PairSet) -> tuple[str, ...]:
    """The prompts a model is examined on: harmful discovery prompts of several lengths, and their twins."""
    pairs = pairs.discovery
    chosen = sorted(pairs, key=lambda pair: len(pair.harmful))[:: len(pairs) // _PAIRS][:_PAIRS]
    return tuple(prompt for pair in chosen for prompt in (pair.harmful, pair.harmless))


def reference_logits(hf: torch.nn.Module, prompts: Sequence[Encoded]) -> list[Tensor]:
    """What the unwrapped model says of each prompt alone: the truth the wrapped one is held to."""
    device = next(hf.parameters()).device
    with torch.no_grad():
        return [hf(input_ids=torch.tensor([prompt.ids], device=device)).logits[0].float() for prompt in prompts]


def examine(model: ChatModel, prompts: Sequence[Encoded], reference: Sequence[Tensor]) -> Examination:
    """Runs every check; `reference` is `reference_logits` of the same prompts before wrapping."""
    began = time.perf_counter()
    scale = _scale(reference)
    smooth = model.loaded.dtype == torch.float32 and model.loaded.quant != "int8"
    slack = TOLERANCE if smooth else ROUNDED
    alone = [model.forward(model.batch([prompt]), keep=0)[0].float() for prompt in prompts]

    def off(name: str, measured: Iterable[Tensor], expected: Iterable[Tensor], allowed: float) -> Check:
        return Check(name, _distance(measured, expected) / scale, allowed)

    last = [logits[-1] for logits in alone]
    suffix = [_suffix(model, prompts[-1])]
    checks = (
        off("bridge equals the unwrapped model", alone, reference, TOLERANCE),
        off("identity patch changes nothing", [_identity(model, prompts[-1])], alone[-1:], EXACT),
        off("restored residual equals the clean run", [_restored(model, prompts[-1])], alone[-1:], EXACT),
        off("padded equals alone", _padded(model, prompts), last, TOLERANCE),
        off("in a batch equals alone", [_in_company(model, prompts[-1])], last[-1:], TOLERANCE),
        off("suffix from recorded K/V equals the full run", suffix, last[-1:], TOLERANCE),
        Check("gradient equals the finite difference", _gradient_error(model, prompts[-1]), slack),
    )
    return Examination(checks, scale, time.perf_counter() - began)


def require(model: str, examination: Examination) -> None:
    """Refuses a model that failed, with what failed and by how much."""
    failed = [check for check in examination.checks if not check.passed]
    if failed:
        what = "; ".join(f"{c.name}: off by {c.error:.2g} of its scale, allowed {c.allowed:g}" for c in failed)
        raise Refused(
            f"{model}: failed its self-examination ({what}), so nothing it measures could be trusted; try "
            "another --quant or --device"
        )


def _scale(reference: Sequence[Tensor]) -> float:
    """How far apart this model's answers to harmful and harmless prompts are, in logits.

    The gap in log-odds between each harmful prompt's likeliest token and its twin's, as either sees
    them: defined without knowing which tokens refuse. A model that treats both alike has no gap; then
    the spread of its logits is the yardstick.
    """
    gaps = []
    for harmful, harmless in zip(reference[::2], reference[1::2], strict=True):
        ours, theirs = harmful[-1], harmless[-1]
        a, b = int(ours.argmax()), int(theirs.argmax())
        gaps.append(float((ours[a] - ours[b]) - (theirs[a] - theirs[b])))
    spread = torch.stack([logits[-1] for logits in reference]).std(dim=-1).mean()
    return max(sum(gaps) / len(gaps), float(spread))


def _distance(measured: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The largest difference; NaN if anything is NaN, so that it can pass no check."""
    pairs = [(a.float(), b.float().to(a.device)) for a, b in zip(measured, expected, strict=True)]
    return float(torch.stack([(a - b).abs().max() for a, b in pairs]).max())


def _identity(model: ChatModel, prompt: Encoded) -> Float[Tensor, "position vocabulary"]:
    hooks = [
        (Site(layer, kind).hook, lambda activation, hook: activation.clone())
        for layer in range(model.sizes.layers)
        for kind in _KINDS
    ]
    with model.hooked(hooks):
        return model.forward(model.batch([prompt]), keep=0)[0]


def _restored(model: ChatModel, prompt: Encoded) -> Float[Tensor, "position vocabulary"]:
    """Breaks the stream at the first block and mends it in the middle; the end must not notice."""
    batch = model.batch([prompt])
    middle = Site(model.sizes.layers // 2, "resid_pre").hook
    kept: list[Tensor] = []

    def keep(activation: Tensor, hook: object) -> None:
        kept.append(activation.clone())

    def shake(activation: Tensor, hook: object) -> Tensor:
        return activation.flip(-1) * 2

    def mend(activation: Tensor, hook: object) -> Tensor:
        return kept[0]

    with model.hooked([(middle, keep)]):
        model.forward(batch)
    with model.hooked([(Site(0, "resid_pre").hook, shake), (middle, mend)]):
        return model.forward(batch, keep=0)[0]


def _padded(model: ChatModel, prompts: Sequence[Encoded]) -> list[Float[Tensor, " vocabulary"]]:
    """Each prompt beside one made longer, so that every one of them is padded."""
    longest = max(prompts, key=len)
    longer = Encoded(longest.ids + longest.ids[-4:], longest.start, longest.end)
    return [model.forward(model.batch([prompt, longer]))[0, -1] for prompt in prompts]


def _in_company(model: ChatModel, prompt: Encoded) -> Float[Tensor, " vocabulary"]:
    """The prompt among others of its own length: no padding, only company."""
    first, rest = prompt.ids[:1], prompt.ids[1:]
    others = [Encoded(first + rest[turn:] + rest[:turn], 0, 0) for turn in (1, len(rest) // 2)]
    return model.forward(model.batch([*others, prompt]))[-1, -1]


def _suffix(model: ChatModel, prompt: Encoded) -> Float[Tensor, " vocabulary"]:
    """The prompt's second half alone, given the recorded keys and values of the first."""
    batch, half = model.batch([prompt]), len(prompt) // 2
    cache = DynamicCache()
    hf = model.loaded.hf
    with torch.no_grad():
        hf(input_ids=batch.ids[:, :half], past_key_values=cache, use_cache=True)
        output = hf(
            input_ids=batch.ids[:, half:],
            attention_mask=batch.mask.long(),
            position_ids=batch.position_ids[:, half:],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return output.logits[0, -1]  # type: ignore[no-any-return]


def _gradient_error(model: ChatModel, prompt: Encoded) -> float:
    """The largest relative error of the gradient through the first, a middle and the last block.

    One block at a time, because through all of them a step that rounding does not drown (bf16, int8)
    meets more curvature than gradient; the chain rule makes the rest of it.
    """
    batch = model.batch([prompt])
    layers = sorted({0, model.sizes.layers // 2, model.sizes.layers - 1})
    sites = [Site(layer, kind) for layer in layers for kind in ("resid_pre", "resid_post")]
    taken: dict[str, Tensor] = {}

    def take(name: str, cut: bool) -> Hook:
        def hook(activation: Tensor, hook: object) -> Tensor:
            # Weights need no gradients, so the graph has to begin at the first stream.
            taken[name] = activation.detach().clone().requires_grad_(True) if cut else activation
            return taken[name]

        return name, hook

    with model.hooked([take(site.hook, cut=site == sites[0]) for site in sites]):
        logits = model.forward(batch, gradients=True)[0, -1].float()
    first, second = logits.topk(2).values
    gradients = torch.autograd.grad(first - second, [taken[site.hook] for site in sites])
    errors = [
        _block_error(model, prompt, before, after, taken[before.hook].detach(), inward, outward)
        for before, after, inward, outward in zip(sites[::2], sites[1::2], gradients[::2], gradients[1::2], strict=True)
    ]
    return max(errors)


def _block_error(
    model: ChatModel,
    prompt: Encoded,
    before: Site,
    after: Site,
    stream: Float[Tensor, "1 position d_model"],
    inward: Float[Tensor, "1 position d_model"],
    outward: Float[Tensor, "1 position d_model"],
) -> float:
    """How far the gradient entering a block is from differences across it, best of some lengths.

    A length too short drowns in rounding, one too long meets curvature; a right gradient is matched at
    two neighbouring lengths in between, a wrong one at none.
    """
    inward, outward = inward.float(), outward.float()
    lengths = torch.tensor(_STEPS, device=model.device) * stream.float().norm() / inward.norm()
    shifts = torch.cat([lengths, -lengths]).view(-1, 1, 1) * inward
    # What counts is the step after rounding to the model's own precision.
    moved = (stream.float() + shifts).to(stream.dtype)
    seen: list[Tensor] = []
    hooks: list[Hook] = [
        (before.hook, lambda activation, hook: moved),
        (after.hook, lambda activation, hook: seen.append(activation.float())),
    ]
    with model.hooked(hooks):
        model.forward(model.batch([prompt] * len(shifts)))
    ahead, behind = (seen[0] * outward).sum((1, 2)).chunk(2)
    there, back = (moved.float() * inward).sum((1, 2)).chunk(2)
    errors = ((ahead - behind) / (there - back) - 1).abs()
    return float(torch.maximum(errors[1:], errors[:-1]).nan_to_num(torch.inf).min())
