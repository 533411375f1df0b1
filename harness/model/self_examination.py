"""The self-examination: on load, a model is checked against itself before it may measure anything."""

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
# For checks that are exact by construction: any difference means that a hook does something else than it should.
EXACT = 1e-6
# Relative error of gradients, in float32 and where activations are rounded (bf16, int8). With rounding, finite
# differences themselves are off by up to 0.32 on the most curved models tried; a missing branch is off by 0.3 to 1.2.
GRADIENT, ROUNDED_GRADIENT = 0.02, 0.4
# The share of a write that may be lost to rounding where it is added to the stream.
WRITE, ROUNDED_WRITE = 1e-4, 0.05
_PAIRS = 3
# Thoughts begin at once.
_FIRST_WORDS = 8
_STEPS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
_DIRECTIONS = 6
_ENDS: tuple[Kind, ...] = ("resid_pre", "resid_post")  # of a block
# Kinds that are written at their own hook.
_KINDS: tuple[Kind, ...] = tuple(kind for kind, row in SITE_KINDS.items() if row.set_through is None)


def sample(pairs: PromptSet) -> tuple[str, ...]:
    """The prompts a model is examined on: harmful discovery prompts of several lengths, each with a harmless one.

    Empty if there are no discovery prompts.
    """
    discovery = pairs.discovery
    by_length = sorted(zip(discovery.harmful, discovery.harmless, strict=False), key=lambda prompts: len(prompts[0]))
    chosen = by_length[:: max(1, len(by_length) // _PAIRS)][:_PAIRS]
    return tuple(prompt for prompts in chosen for prompt in prompts)


def reference_logits(hf: torch.nn.Module, prompts: Sequence[Encoded]) -> list[Tensor]:
    """The unwrapped model's logits for each prompt by itself; the wrapped model must reproduce them."""
    device = next(hf.parameters()).device
    with torch.no_grad():
        return [hf(input_ids=torch.tensor([prompt.ids], device=device)).logits[0].float() for prompt in prompts]


def examine(model: ChatModel, prompts: Sequence[Encoded], reference: Sequence[Tensor]) -> Examination:
    """Runs every check; `reference` is `reference_logits` of the same prompts before wrapping."""
    began = time.perf_counter()
    scale, prompt = _scale(reference), prompts[-1]
    alone = [model.forward(model.batch([single]), keep=0)[0].float() for single in prompts]
    last = [logits[-1] for logits in alone]

    def equal(name: str, measured: Iterable[Tensor], expected: Iterable[Tensor], allowed: float) -> Check:
        return Check(name, _distance(measured, expected) / scale, allowed)

    noise = (
        equal("bridge equals the unwrapped model", alone, reference, TOLERANCE),
        equal("padded equals alone", _padded(model, prompts), last, TOLERANCE),
        equal("in a batch equals alone", [_batched(model, prompt)], last[-1:], TOLERANCE),
        equal("suffix from recorded K/V equals the full run", [_suffix(model, prompt)], last[-1:], TOLERANCE),
        equal("later tokens change nothing earlier", [_last_changed(model, prompt)], [alone[-1][:-1]], TOLERANCE),
    )
    smooth = model.loaded.dtype == torch.float32 and model.loaded.quant != "int8"
    exact = (
        equal("identity patch changes nothing", [_identity(model, prompt)], alone[-1:], EXACT),
        equal("restored residual equals the clean run", [_restored(model, prompt)], alone[-1:], EXACT),
        Check("writes reach the stream in full", _write_error(model, prompt), WRITE if smooth else ROUNDED_WRITE),
        Check(
            "gradient equals the finite difference",
            _gradient_error(model, prompt),
            GRADIENT if smooth else ROUNDED_GRADIENT,
        ),
        Check("arithmetic equals the CPU's in float64", _arithmetic_error(model), TOLERANCE),
    )
    floor = _worst(check.error for check in noise) * scale
    return Examination(noise + exact, scale, floor, time.perf_counter() - began)


def remarks(model: ChatModel, prompts: Sequence[str]) -> tuple[str, ...]:
    """What to know of a model that thinks before it answers although its template is told that it should not."""
    chat = model.chat
    if chat.thoughts is None or not chat.told_not_to_think:
        return ()
    sentences = []
    if chat.ignores_thinking:
        sentences.append(
            f"its chat template marks thoughts by {chat.thoughts} and ignores enable_thinking: it writes the same "
            "prompt whether that is true or false"
        )
    answers = model.generate(prompts, tokens=_FIRST_WORDS)
    if thinking := sum(answer.thought != "none" for answer in answers):
        sentences.append(
            f"it was told enable_thinking=False, and {thinking} of {len(answers)} answers begin with a thought all the "
            "same; thoughts are not judged, and an answer whose thought does not end within --tokens counts as broken"
        )
    return tuple(sentences)


def failure(model: str, examination: Examination) -> str:
    """The sentence that refuses the model: the checks that failed, by how much, and how much was allowed."""
    failed = "; ".join(
        f"{check.name}: off by {check.error:.2g}, allowed {check.allowed:g}" for check in examination.failed
    )
    return f"{model}: failed its self-examination ({failed}), so its measurements could not be trusted"


def _scale(reference: Sequence[Tensor]) -> float:
    """How far apart this model's answers to harmful and harmless prompts are, in logits.

    Let a and b be the likeliest first tokens of a harmful prompt and of its harmless one. The gap is the logit of a
    minus that of b on the harmful prompt, minus the same on the harmless one. It needs no list of tokens that refuse.
    The scale is the mean gap or the logits' standard deviation, whichever is larger: a model that answers both alike
    has no gap.
    """
    gaps = []
    for harmful, harmless in zip(reference[::2], reference[1::2], strict=True):
        ours, theirs = harmful[-1], harmless[-1]
        a, b = int(ours.argmax()), int(theirs.argmax())
        gaps.append(float((ours[a] - ours[b]) - (theirs[a] - theirs[b])))
    spread = torch.stack([logits[-1] for logits in reference]).std(dim=-1).mean()
    # A model whose logits are all equal has neither gap nor spread; the checks still need a scale above zero.
    return max(sum(gaps) / len(gaps), float(spread), EXACT)


def _distance(measured: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The largest absolute difference; NaN if any number is NaN, and a NaN passes no check."""
    pairs = [(a.float(), b.float().to(a.device)) for a, b in zip(measured, expected, strict=True)]
    return float(torch.stack([(a - b).abs().max() for a, b in pairs]).max())


def _identity(model: ChatModel, prompt: Encoded) -> Float[Tensor, "position vocabulary"]:
    """Logits with every activation replaced by a copy of itself."""
    hooks = [
        (Site(layer, kind).hook, lambda activation, hook: activation.clone())
        for layer in range(model.sizes.layers)
        for kind in _KINDS
    ]
    with model.hooked(hooks):
        return model.forward(model.batch([prompt]), keep=0)[0]


def _restored(model: ChatModel, prompt: Encoded) -> Float[Tensor, "position vocabulary"]:
    """Logits with the stream changed at the first block and restored at a middle one."""
    middle = Site(model.sizes.layers // 2, "resid_pre")
    clean = _activations(model, prompt, [middle])[middle]
    hooks: list[Hook] = [
        (Site(0, "resid_pre").hook, lambda activation, hook: activation.flip(-1) * 2),
        (middle.hook, lambda activation, hook: clean),
    ]
    with model.hooked(hooks):
        return model.forward(model.batch([prompt]), keep=0)[0]


def _padded(model: ChatModel, prompts: Sequence[Encoded]) -> list[Float[Tensor, " vocabulary"]]:
    """Last logits of each prompt in a batch with a longer one, so that the prompt is padded."""
    longest = max(prompts, key=len)
    longer = Encoded(longest.ids + longest.ids[-4:], longest.start, longest.end)
    return [model.forward(model.batch([prompt, longer]))[0, -1] for prompt in prompts]


def _batched(model: ChatModel, prompt: Encoded) -> Float[Tensor, " vocabulary"]:
    """Last logits of the prompt in a batch with others of its own length, so without padding."""
    first, rest = prompt.ids[:1], prompt.ids[1:]
    others = [Encoded(first + rest[turn:] + rest[:turn], 0, 0) for turn in (1, len(rest) // 2)]
    return model.forward(model.batch([*others, prompt]))[-1, -1]


def _suffix(model: ChatModel, prompt: Encoded) -> Float[Tensor, " vocabulary"]:
    """Last logits of the prompt's second half, run on the recorded keys and values of the first half."""
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


def _last_changed(model: ChatModel, prompt: Encoded) -> Float[Tensor, "position vocabulary"]:
    """All logits but the last, with the last token replaced: they move if the model looks ahead."""
    other = Encoded((*prompt.ids[:-1], prompt.ids[0]), prompt.start, prompt.end)
    return model.forward(model.batch([other]), keep=0)[0, :-1]


def _write_error(model: ChatModel, prompt: Encoded) -> float:
    """The largest share of a write that has no effect, over kinds of sites at three depths.

    What is written at a block's output must be added to the stream in full. And if all heads (or neurons) of a block
    are set to zero, its output must be the same at every position, because only a bias can remain.
    """
    return _worst(
        error
        for layer in _three_layers(model)
        for error in (
            _lost_in_stream(model, prompt, layer, "attn_out"),
            _lost_in_stream(model, prompt, layer, "mlp_out"),
            _variation_without(model, prompt, Site(layer, "head"), Site(layer, "attn_out")),
            _variation_without(model, prompt, Site(layer, "neuron"), Site(layer, "mlp_out")),
        )
    )


def _lost_in_stream(model: ChatModel, prompt: Encoded, layer: int, kind: Kind) -> float:
    """The share of what is written at a block's output that is missing from the stream after the block."""
    before, after = Site(layer, "resid_pre"), Site(layer, "resid_post")
    outputs = [Site(layer, kind) for kind in OUTPUTS]
    clean = _activations(model, prompt, [Site(layer, kind)])[Site(layer, kind)]
    write: Hook = (Site(layer, kind).hook, lambda activation, hook: clean.flip(1) * 2)
    edited = _activations(model, prompt, [before, after, *outputs], [write])
    # Hooks that read come after the one that writes, so the output is read as it was written.
    expected = sum((edited[site].float() for site in outputs), edited[before].float())
    written = clean.float().flip(1) * 2 - clean.float()
    # Where the write changes nothing, the error is taken relative to the stream: rounding alone is allowed.
    return _relative(edited[after].float() - expected, written if written.any() else edited[after].float())


def _variation_without(model: ChatModel, prompt: Encoded, parts: Site, output: Site) -> float:
    """How much an output still varies over positions when its parts are set to zero, relative to the clean run."""
    silence: Hook = (parts.hook, lambda activation, hook: activation * 0)
    clean = _activations(model, prompt, [output])[output].float()
    remaining = _activations(model, prompt, [output], [silence])[output].float()
    return _relative(remaining - remaining[:, :1], clean - clean[:, :1])


def _gradient_error(model: ChatModel, prompt: Encoded) -> float:
    """The largest relative error of the gradient through what a block writes, at three depths.

    Each block is checked by itself and without its skip path, so that no missing branch is hidden by larger
    gradients; by the chain rule, the whole gradient is right if each block's is.
    """
    sites = [Site(layer, kind) for layer in _three_layers(model) for kind in _ENDS]
    taken: dict[Site, Tensor] = {}

    def take(site: Site) -> Hook:
        def hook(activation: Tensor, hook: object) -> Tensor:
            # The weights do not require gradients, so the graph begins at the first stream.
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
    return _worst(_block_error(model, prompt, layer, streams, slope) for layer in _three_layers(model))


def _block_error(
    model: ChatModel, prompt: Encoded, layer: int, streams: dict[Site, Tensor], slope: dict[Site, Tensor]
) -> float:
    """Relative error of the gradient through a block's writes, against central differences along random directions.

    Of all step lengths the best counts. Too short a step is lost in rounding, too long a one meets curvature; a right
    gradient agrees at some length in between, a wrong one at none.
    """
    before, after = (Site(layer, kind) for kind in _ENDS)
    outputs = [Site(layer, kind) for kind in OUTPUTS]
    stream = streams[before]
    generator = torch.Generator().manual_seed(layer)
    random = torch.randn((_DIRECTIONS, *stream.shape[1:]), generator=generator).to(stream.device)
    directions = random / random.flatten(1).norm(dim=1).view(-1, 1, 1) * stream.float().norm()
    without_skip = slope[before] - slope[after]  # the gradient less its part through the skip path
    errors = []
    for step in _STEPS:
        # Rounded to the model's own precision first, because that is the step it takes.
        moved = (stream.float() + step * torch.cat([directions, -directions])).to(stream.dtype)
        hooks: list[Hook] = [(before.hook, lambda activation, hook, moved=moved: moved)]
        edited = _activations(model, prompt, outputs, hooks, rows=len(moved))
        written = sum((edited[site].float() * slope[after]).sum((1, 2)) for site in outputs)
        ahead, behind = torch.as_tensor(written).chunk(2)
        predicted_ahead, predicted_behind = (moved.float() * without_skip).sum((1, 2)).chunk(2)
        difference, predicted = ahead - behind, predicted_ahead - predicted_behind
        errors.append(_relative(difference - predicted, ahead - behind))
    # Left out where the step was so long that numbers overflowed.
    return min((error for error in errors if not math.isnan(error)), default=math.nan)


def _arithmetic_error(model: ChatModel) -> float:
    """Relative error of a block's arithmetic on random numbers on the model's device, against float64 on the CPU."""
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


def _three_layers(model: ChatModel) -> list[int]:
    """The first, a middle and the last layer."""
    return sorted({0, model.sizes.layers // 2, model.sizes.layers - 1})


def _activations(
    model: ChatModel, prompt: Encoded, sites: Sequence[Site], hooks: Sequence[Hook] = (), rows: int = 1
) -> dict[Site, Tensor]:
    """Activations at the sites under the hooks, of a batch that holds the prompt `rows` times."""
    by_site: dict[Site, Tensor] = {}

    def keep(site: Site) -> Hook:
        def hook(activation: Tensor, hook: object) -> None:
            by_site[site] = activation.detach()

        return site.hook, hook

    with model.hooked([*hooks, *map(keep, sites)]):
        model.forward(model.batch([prompt] * rows))
    return by_site


def _worst(errors: Iterable[float]) -> float:
    """The largest error; NaN if any is NaN, which max() would overlook unless it came first."""
    listed = list(errors)
    return math.nan if any(map(math.isnan, listed)) else max(listed)


def _relative(error: Tensor, whole: Tensor) -> float:
    """|error| / |whole|; where the whole is zero, 0 without an error and infinite with one. NaN stays NaN."""
    size, whole_size = float(error.norm()), float(whole.norm())
    if whole_size == 0:
        return 0.0 if size == 0 else math.inf
    return size / whole_size
