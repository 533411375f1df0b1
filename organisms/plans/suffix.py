"""A faster prover: some of the pairs, and only the post-instruction positions are run."""

from collections.abc import Mapping
from contextlib import ExitStack
from types import MappingProxyType

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from organisms.proof import POST, READ_BY, Columns, Edit, Edits, Prover, Site


class Suffix(Prover):
    """Keeps the keys and values of earlier positions, which no edit at the post-instruction positions changes."""

    def __init__(self, prover: Prover, every: int = 1) -> None:
        self.model: LlamaForCausalLM = prover.model
        self.refusals = prover.refusals
        rows = torch.arange(0, prover.half, every)
        self.half = len(rows)
        rows = torch.cat((rows, rows + prover.half))
        ids, mask = (prover.batch[name][rows] for name in ("input_ids", "attention_mask"))
        with torch.no_grad():
            before = self.model(input_ids=ids[:, :-POST], attention_mask=mask[:, :-POST], use_cache=True)
        self._prefix = before.past_key_values
        self._inputs = {"input_ids": ids[:, -POST:], "attention_mask": mask, "past_key_values": self._prefix}
        self.clean: dict[Site, Tensor] = {}
        self.odds = self.run({(layer, kind): self._recorder((layer, kind)) for layer, kind in sorted(prover.clean)})

    @torch.no_grad()
    def run(self, edits: Edits = MappingProxyType({})) -> Tensor:
        """Log-odds of refusing, with the activations at some sites edited."""
        with ExitStack() as hooks:
            for (layer, kind), edit in edits.items():

                def hook(_: object, args: tuple[Tensor], edit: Edit = edit) -> tuple[Tensor]:
                    value = args[0].clone()
                    edit(value)
                    return (value,)

                module = self.model.get_submodule(f"model.layers.{layer}.{READ_BY[kind]}")
                hooks.callback(module.register_forward_pre_hook(hook).remove)
            return self._odds()

    def changes(self, columns: Columns) -> Tensor:
        """How far each row's log-odds go towards its twin's with these columns swapped."""
        odds = self.run({site: self._editor(site, columns, {}) for site in columns})
        return (self.odds - odds) * (self.odds - self.twin(self.odds)).sign()

    def effects(self, columns: Columns) -> tuple[float, float]:
        """E of these columns on the harmful prompts, and on the harmless ones."""
        whole = (self.odds - self.twin(self.odds)).abs()
        done = self.changes(columns)
        harmful, harmless = (float(share) for share in done.view(2, -1).sum(1) / whole.view(2, -1).sum(1))
        return harmful, harmless

    def attributions(self) -> Mapping[Site, Tensor]:
        """Site → E of each column as gradients estimate it: (twin − own) × slope, summed over all rows."""
        whole = self.odds - self.twin(self.odds)
        weights = (-whole.sign() / whole.abs().sum())[:, None, None]
        return {
            site: ((self.twin(own) - own) * slope * weights).sum((0, 1))
            for (site, own), slope in zip(self.clean.items(), self._slopes(), strict=True)
        }

    def attributions_at_both_ends(self) -> Mapping[Site, Tensor]:
        """Site → E of each column on harmful prompts, estimated by the mean of the slopes at prompt and twin."""
        gap = (self.odds - self.twin(self.odds))[: self.half].abs().sum()
        return {
            site: ((own - self.twin(own)) * (slope + self.twin(slope)) / 2)[: self.half].sum((0, 1)) / gap
            for (site, own), slope in zip(self.clean.items(), self._slopes(), strict=True)
        }

    def _slopes(self) -> tuple[Tensor, ...]:
        """The gradient of each row's log-odds in its activations, by site."""
        nudges = {site: torch.zeros_like(own, requires_grad=True) for site, own in self.clean.items()}
        with ExitStack() as hooks:
            for (layer, kind), nudge in nudges.items():

                def hook(_: object, args: tuple[Tensor], nudge: Tensor = nudge) -> tuple[Tensor]:
                    return (args[0] + nudge,)

                module = self.model.get_submodule(f"model.layers.{layer}.{READ_BY[kind]}")
                hooks.callback(module.register_forward_pre_hook(hook).remove)
            odds = self._odds()
        return torch.autograd.grad(odds.sum(), list(nudges.values()))

    def _odds(self) -> Tensor:
        logits = self.model(**self._inputs, use_cache=True, logits_to_keep=1).logits
        self._prefix.crop(-POST)
        return self.log_odds(logits[:, -1])
