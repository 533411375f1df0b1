"""How much of a refusal next-token logits are, where they lie: the score of sweeps, discovery and placebos."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.model.chat_model import ChatModel


class Scorer:
    """Log-odds of refusing and divergence from the clean run, of logits where they are."""

    def __init__(self, model: ChatModel, tokens: Sequence[int] | Sequence[tuple[int, int]]) -> None:
        self.tokens = torch.tensor(list(tokens), device=model.device)

    def clean(self, logits: Float[Tensor, "row vocabulary"]) -> None:
        """What divergence is measured from."""
        log = logits.float().log_softmax(-1)
        self.probabilities = log.exp()
        self.entropy = -(self.probabilities * log).sum(-1)

    def odds(self, logits: Float[Tensor, "*row vocabulary"]) -> Float[Tensor, "*row"]:
        """Log-odds, log Σ_R p − log(1 − Σ_R p) (Arditi et al., arXiv 2406.11717, §2.3)."""
        return self._sums(logits.float().clone(), list(range(len(logits))))[0]

    def __call__(
        self, logits: Float[Tensor, "row variant vocabulary"], rows: list[int]
    ) -> tuple[Float[Tensor, "row variant"], Float[Tensor, "row variant"]]:
        """Both, on the CPU."""
        logits = logits.float()
        cross = torch.einsum("rv,rnv->rn", self.probabilities[rows], logits)
        odds, whole = self._sums(logits, rows)
        kl = (whole - cross - self.entropy[rows][:, None]).clamp(min=0)
        return odds.cpu(), kl.cpu()

    def _sums(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Log-odds, and the log of the sum of all, of these rows; the logits are spent."""
        refuse = logits[..., self.tokens].logsumexp(-1)
        rest = logits.index_fill_(-1, self.tokens, -torch.inf).logsumexp(-1)
        return refuse - rest, torch.logaddexp(refuse, rest)


class Contrast(Scorer):
    """Log-odds of one token against another, each row with its own two, in place of refusing."""

    def _sums(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        ours, theirs = (
            logits.gather(-1, tokens.view(-1, *[1] * (logits.dim() - 1)).expand(*logits.shape[:-1], 1))[..., 0]
            for tokens in self.tokens[rows].T
        )
        return ours - theirs, logits.logsumexp(-1)


def score(model: ChatModel, prompts: Sequence[str], tokens: Sequence[int]) -> Float[np.ndarray, " prompt"]:
    """Log-odds of refusing, of unedited prompts."""
    return np.asarray(Scorer(model, tokens).odds(model.next_token(prompts).to(model.device)).cpu())
