"""What a model proves about itself on load, before anything it measures is believed."""

import math
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from harness.inputs.chat_tokens import Encoded
from harness.inputs.model_record import Check, Examination
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.inputs.sites import OUTPUTS, SITE_KINDS, Kind, Site
from harness.model.chat_model import ChatModel, Hook

# Noise above this share of the model's own scale could be mistaken for an effect.
TOLERANCE = 0.05
# Exact by construction: any difference at all means that a hook does not do what it says.
EXACT = 1e-6
# Relative error of gradients: in exact arithmetic, and where activations are rounded (bf16, int8): there the
# differences themselves are off by up to 0.32 on the most curved models tried, a missing branch by 0.3 to 1.2.
GRADIENT, ROUNDED_GRADIENT = 0.02, 0.4
# What of a write may be lost to rounding where it joins the stream.
WRITE, ROUNDED_WRITE = 1e-4, 0.05
_PAIRS = 3
_STEPS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
_DIRECTIONS = 6
_ENDS: tuple[Kind, ...] = ("resid_pre", "resid_post")  # of a block
# Kinds that are written at their own hook.
_KINDS: tuple[Kind, ...] = tuple(kind for kind, row in SITE_KINDS.items() if row.set_through is None)


def sample(pairs: PromptSet) -> tuple[str, ...]:
    """The prompts a model is examined on: harmful discovery prompts of several lengths, each with a harmless one.

    None where there are no discovery prompts.
    """
    found = pairs.discovery
    by_length = sorted(zip(found.harmful, found.harmless, strict=False), key=lambda prompts: len(prompts[0]))
    chosen = by_length[:: max(1, len(by_length) // _PAIRS)][:_PAIRS]
    return tuple(prompt for prompts in chosen for prompt in prompts)


def reference_logits(hf: torch.nn.Module, prompts: Sequence[Encoded]) -> list[Tensor]:
    """What the unwrapped model says of each prompt alone: the truth the wrapped one is held to."""
    device = next(hf.parameters()).device
    with torch.no_grad():
        return [hf(input_ids=torch.tensor([prompt.ids], device=device)).logits[0].float() for prompt in prompts]


def examine(model: ChatModel, prompts: Sequence[Encoded], reference: Sequence[Tensor]) -> Examination:
    """Runs every check; `reference` is `reference_logits` of the same prompts before wrapping."""
    began = time.perf_counter()
    scale, prompt = _scale(reference), prompts[-1]
    alone = [model.forward(model.batch([one]), keep=0)[0].float() for one in prompts]
    last = [logits[-1] for logits in alone]

    def off(name: str, measured: Iterable[Tensor], expected: Iterable[Tensor], allowed: float) -> Check:
        return Check(name, _distance(measured, expected) / scale, allowed)

    noise = (
        off("bridge equals the unwrapped model", alone, reference, TOLERANCE),
        off("padded equals alone", _padded(model, prompts), last, TOLERANCE),
        off("in a batch equals alone", [_in_company(model, prompt)], last[-1:], TOLERANCE),
        off("suffix from recorded K/V equals the full run", [_suffix(model, prompt)], last[-1:], TOLERANCE),
        off("later tokens change nothing earlier", [_other_end(model, prompt)], [alone[-1][:-1]], TOLERANCE),
    )
    smooth = model.loaded.dtype == torch.float32 and model.loaded.quant != "int8"
    exact = (
        off("identity patch changes nothing", [_identity(model, prompt)], alone[-1:], EXACT),
        off("restored residual equals the clean run", [_restored(model, prompt)], alone[-1:], EXACT),
        Check("what is written arrives", _lost_in_writing(model, prompt), WRITE if smooth else ROUNDED_WRITE),
        Check(
            "gradient equals the finite difference",
            _gradient_error(model, prompt),
            GRADIENT if smooth else ROUNDED_GRADIENT,
        ),
        Check("arithmetic equals the CPU's in float64", _arithmetic_error(model), TOLERANCE),
    )
    floor = _worst(check.error for check in noise) * scale
    return Examination(noise + exact, scale, floor, time.perf_counter() - began)


def failure(model: str, examination: Examination) -> str:
    """What failed and by how much, in words."""
    failed = "; ".join(
        f"{check.name}: off by {check.error:.2g}, allowed {check.allowed:g}" for check in examination.failed
    )
    return f"{model}: failed its self-examination ({failed}), so nothing it measures could be trusted"


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
    # Equal logits everywhere leave nothing to measure; against this scale every check still means something.
    return max(sum(gaps) / len(gaps), float(spread), EXACT)


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
    middle = Site(model.sizes.layers // 2, "resid_pre")
    clean = _seen(model, prompt, [middle])[middle]
    hooks: list[Hook] = [
        (Site(0, "resid_pre").hook, lambda activation, hook: activation.flip(-1) * 2),
        (middle.hook, lambda activation, hook: clean),
    ]
    with model.hooked(hooks):
        return model.forward(model.batch([prompt]), keep=0)[0]


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


def _other_end(model: ChatModel, prompt: Encoded) -> Float[Tensor, "position vocabulary"]:
    """All logits but the last, the last token replaced: a model that reads ahead moves them."""
    other = Encoded((*prompt.ids[:-1], prompt.ids[0]), prompt.start, prompt.end)
    return model.forward(model.batch([other]), keep=0)[0, :-1]


def _lost_in_writing(model: ChatModel, prompt: Encoded) -> float:
    """The largest share of a write that does not arrive, over kinds of sites at three depths.

    What a block writes must join the stream whole, and a block whose heads (neurons) are all silenced
    must write the same at every position, since a bias is all that is left to write.
    """
    return _worst(
        error
        for layer in _some_layers(model)
        for error in (
            _lost_in_stream(model, prompt, layer, "attn_out"),
            _lost_in_stream(model, prompt, layer, "mlp_out"),
            _left_of(model, prompt, Site(layer, "head"), Site(layer, "attn_out")),
            _left_of(model, prompt, Site(layer, "neuron"), Site(layer, "mlp_out")),
        )
    )


def _lost_in_stream(model: ChatModel, prompt: Encoded, layer: int, kind: Kind) -> float:
    """The share of what is written at a block's output that its stream does not show."""
    before, after = Site(layer, "resid_pre"), Site(layer, "resid_post")
    outputs = [Site(layer, kind) for kind in OUTPUTS]
    clean = _seen(model, prompt, [Site(layer, kind)])[Site(layer, kind)]
    write: Hook = (Site(layer, kind).hook, lambda activation, hook: clean.flip(1) * 2)
    seen = _seen(model, prompt, [before, after, *outputs], [write])
    # Reading comes after writing, so what is seen at the output is what was written there.
    joined = sum((seen[site].float() for site in outputs), seen[before].float())
    written = clean.float().flip(1) * 2 - clean.float()
    # Where nothing is written nothing may arrive, beside the rounding of what passes by.
    return _relative(seen[after].float() - joined, written if written.any() else seen[after].float())


def _left_of(model: ChatModel, prompt: Encoded, parts: Site, output: Site) -> float:
    """How far an output still varies over positions, all of its parts being silenced."""
    silence: Hook = (parts.hook, lambda activation, hook: activation * 0)
    clean = _seen(model, prompt, [output])[output].float()
    left = _seen(model, prompt, [output], [silence])[output].float()
    return _relative(left - left[:, :1], clean - clean[:, :1])


def _gradient_error(model: ChatModel, prompt: Encoded) -> float:
    """The largest relative error of the gradient through what a block writes, at three depths.

    One block at a time and without its skip path, so that no missing branch hides behind the rest;
    the chain rule makes the whole of it.
    """
    sites = [Site(layer, kind) for layer in _some_layers(model) for kind in _ENDS]
    taken: dict[Site, Tensor] = {}

    def take(site: Site) -> Hook:
        def hook(activation: Tensor, hook: object) -> Tensor:
            # Weights need no gradients, so the graph has to begin at the first stream.
            first = site == sites[0]
            taken[site] = activation.detach().clone().requires_grad_(True) if first else activation
            return taken[site]

        return site.hook, hook

    with model.hooked([take(site) for site in sites]):
        logits = model.forward(model.batch([prompt]), gradients=True)[0, -1].float()
    top = logits.topk(2).values
    gradients = torch.autograd.grad(top[0] - top[1], [taken[site] for site in sites])
    slope = {site: gradient.float() for site, gradient in zip(sites, gradients, strict=True)}
    streams = {site: value.detach() for site, value in taken.items()}
    return _worst(_block_error(model, prompt, layer, streams, slope) for layer in _some_layers(model))


def _block_error(
    model: ChatModel, prompt: Encoded, layer: int, streams: dict[Site, Tensor], slope: dict[Site, Tensor]
) -> float:
    """Error of the gradient through a block's writes along random directions, at the best step length.

    A step too short drowns in rounding, one too long meets curvature; a right gradient is matched along
    all directions at some length in between, a wrong one at none.
    """
    before, after = (Site(layer, kind) for kind in _ENDS)
    outputs = [Site(layer, kind) for kind in OUTPUTS]
    stream = streams[before]
    generator = torch.Generator().manual_seed(layer)
    random = torch.randn((_DIRECTIONS, *stream.shape[1:]), generator=generator).to(stream.device)
    directions = random / random.flatten(1).norm(dim=1).view(-1, 1, 1) * stream.float().norm()
    through = slope[before] - slope[after]  # what is left of the gradient without the skip path
    errors = []
    for step in _STEPS:
        # What counts is the step after rounding to the model's own precision.
        moved = (stream.float() + step * torch.cat([directions, -directions])).to(stream.dtype)
        hooks: list[Hook] = [(before.hook, lambda activation, hook, moved=moved: moved)]
        seen = _seen(model, prompt, outputs, hooks, rows=len(moved))
        written = sum((seen[site].float() * slope[after]).sum((1, 2)) for site in outputs)
        ahead, behind = torch.as_tensor(written).chunk(2)
        there, back = (moved.float() * through).sum((1, 2)).chunk(2)
        errors.append(_relative((ahead - behind) - (there - back), ahead - behind))
    # A step so long that numbers overflow says nothing of shorter ones.
    return min((error for error in errors if not math.isnan(error)), default=math.nan)


def _arithmetic_error(model: ChatModel) -> float:
    """A block's arithmetic on random numbers, where the model computes, against the CPU in float64."""
    width = model.sizes.d_model
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, width, generator=generator)
    weight = torch.randn(width, width, generator=generator) / width**0.5
    # Both sides start from the same rounded numbers.
    x, weight = (value.to(model.loaded.dtype) for value in (x, weight))

    def block(x: Tensor, weight: Tensor, linear: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        queries = linear(x, weight)
        pattern = (queries @ x.T / width**0.5).softmax(-1)
        return functional.silu(linear(pattern @ x, weight)) * x

    measured = block(x.to(model.device), weight.to(model.device), functional.linear)
    expected = block(x.double(), weight.double(), lambda a, w: torch.einsum("pi,oi->po", a, w))
    return _relative(measured.cpu().double() - expected, expected)


def _some_layers(model: ChatModel) -> list[int]:
    """The first, a middle and the last layer."""
    return sorted({0, model.sizes.layers // 2, model.sizes.layers - 1})


def _seen(
    model: ChatModel, prompt: Encoded, sites: Sequence[Site], hooks: Sequence[Hook] = (), rows: int = 1
) -> dict[Site, Tensor]:
    """Activations of the prompt, as often as asked, under the hooks."""
    seen: dict[Site, Tensor] = {}

    def keep(site: Site) -> Hook:
        def hook(activation: Tensor, hook: object) -> None:
            seen[site] = activation.detach()

        return site.hook, hook

    with model.hooked([*hooks, *map(keep, sites)]):
        model.forward(model.batch([prompt] * rows))
    return seen


def _worst(errors: Iterable[float]) -> float:
    """The largest; NaN if any is NaN, which max() lets go when it does not come first."""
    listed = list(errors)
    return math.nan if any(map(math.isnan, listed)) else max(listed)


def _relative(error: Tensor, whole: Tensor) -> float:
    """|error| / |whole|: none of nothing is none, any of nothing passes no check, and NaN passes none."""
    off, of = float(error.norm()), float(whole.norm())
    if of == 0:
        return 0.0 if off == 0 else math.inf
    return off / of
