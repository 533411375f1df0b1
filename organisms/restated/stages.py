"""Where harmful words are read, weighed up and turned into a refusal, by exchanging activations with the twin's run.

A layer belongs to the third of the depth in which its middle lies.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from organisms.proof import POST, Prover


def stages(prover: Prover) -> dict[str, float]:
    """The shares of the effect that the stages of the claims have, on all pairs together."""
    layers = range(len(prover.model.model.layers))
    first, middle, last = ([n for n in layers if int(3 * (n + 0.5) / len(layers)) == third] for third in range(3))
    run = _Exchanged(prover)
    return {
        "reading: share that left the words in the first third": 1 - run.stream(len(first), run.at_words),
        "accumulation: by MLPs of the middle less all others": run.mlps(middle) - run.mlps([*first, *last]),
        "execution: written into the logits by the last third": run.written(last, ("self_attn", "mlp")),
        "half way up, after the instruction": run.stream(len(layers) // 2, run.after, harmless=True),
        "half way up, before its end": run.stream(len(layers) // 2, ~run.after, harmless=True),
    }


class _Exchanged:
    """Runs in which streams or outputs are the twin's at some tokens, or in what is read by the logits alone."""

    def __init__(self, prover: Prover) -> None:
        self.prover, self.blocks = prover, prover.model.model.layers
        ids = prover.batch["input_ids"]
        self.at_words = ids != prover.twin(ids)
        self.later = self.at_words.cumsum(-1).bool() & ~self.at_words
        self.after = (torch.arange(ids.shape[1]) >= ids.shape[1] - POST).expand_as(ids)
        self.entered: list[Tensor] = []
        self.outputs: dict[tuple[int, str], Tensor] = {}
        self.final: list[Tensor] = []
        with ExitStack() as hooks:
            for number, block in enumerate(self.blocks):
                hooks.callback(block.register_forward_pre_hook(lambda _, args: self.entered.append(args[0])).remove)
                for name in ("self_attn", "mlp"):
                    hooks.callback(block.get_submodule(name).register_forward_hook(self._keeper(number, name)).remove)
            norm = prover.model.model.norm
            hooks.callback(norm.register_forward_pre_hook(lambda _, args: self.final.append(args[0][:, -1])).remove)
            prover.run()

    def stream(self, layer: int, tokens: Tensor, *, harmless: bool = False) -> float:
        """E of the twin's stream entering a layer, at some tokens; on harmless prompts alone, or on both sides."""

        def patched(_: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (torch.where(tokens[..., None], self.prover.twin(self.entered[layer]), args[0]), *args[1:])

        handle = self.blocks[layer].register_forward_pre_hook(patched)
        return self._share([handle.remove], harmless)

    def mlps(self, layers: Sequence[int]) -> float:
        """E of these layers' MLP outputs after the words, less what they write into the logits."""
        removers = [self._swap(layer) for layer in layers]
        return self._share(removers, False) - self.written(layers, ("mlp",))

    @torch.no_grad()
    def written(self, layers: Sequence[int], names: Sequence[str]) -> float:
        """E of what these outputs add to the last token's stream, read by the logits and by no later block."""
        outputs = [self.outputs[layer, name][:, -1] for layer in layers for name in names]
        change = sum((self.prover.twin(output) - output for output in outputs), torch.zeros(()))
        model = self.prover.model
        return self.prover.share(self.prover.log_odds(model.lm_head(model.model.norm(self.final[0] + change))))

    def _swap(self, layer: int) -> Callable[[], None]:
        twin = self.prover.twin(self.outputs[layer, "mlp"])

        def patched(_: object, __: object, out: Tensor) -> Tensor:
            return torch.where(self.later[..., None], twin, out)

        remove: Callable[[], None] = self.blocks[layer].mlp.register_forward_hook(patched).remove
        return remove

    def _share(self, removers: Sequence[Callable[[], None]], harmless: bool) -> float:
        try:
            odds = self.prover.run()
        finally:
            for remove in removers:
                remove()
        if not harmless:
            return self.prover.share(odds)
        rows = slice(self.prover.half, None)
        whole = self.prover.twin(self.prover.odds) - self.prover.odds
        return float((odds - self.prover.odds)[rows].sum() / whole[rows].sum())

    def _keeper(self, layer: int, name: str) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
        def keep(_: nn.Module, __: object, out: Tensor | tuple[Tensor, ...]) -> None:
            self.outputs[layer, name] = out[0] if isinstance(out, tuple) else out

        return keep
