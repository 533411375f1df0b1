"""Scores next-token logits: the log-odds that a refusal begins, and the divergence from the unedited run."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.inputs.judges.phrases import OPENING
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.model.chat_model import ChatModel

# A token counts as a refusal's first only if at least this share of refusals begins with it.
_SHARE = 0.05


class Scorer:
    """Log-odds of refusing, and divergence from the clean run, computed on the logits' own device."""

    def __init__(self, model: ChatModel, tokens: Sequence[int] | Sequence[tuple[int, int]]) -> None:
        self.tokens = torch.tensor(list(tokens), device=model.device)

    def clean(self, logits: Float[Tensor, "row vocabulary"]) -> None:
        """Sets the clean run's logits, from which divergence is measured."""
        log = logits.float().log_softmax(-1)
        self.probabilities = log.exp()
        self.entropy = -(self.probabilities * log).sum(-1)

    def odds(self, logits: Float[Tensor, "*row vocabulary"]) -> Float[Tensor, "*row"]:
        """Log-odds, log Σ_R p − log(1 − Σ_R p) (Arditi et al., arXiv 2406.11717, §2.3)."""
        return self._sums(logits.float().clone(), list(range(len(logits))))[0]

    def __call__(
        self, logits: Float[Tensor, "row variant vocabulary"], rows: list[int]
    ) -> tuple[Float[Tensor, "row variant"], Float[Tensor, "row variant"]]:
        """Log-odds and divergence from the clean run in nats, on the CPU; `rows` are the logits' rows in that run."""
        logits = logits.float()
        cross = torch.einsum("rv,rnv->rn", self.probabilities[rows], logits)
        odds, total = self._sums(logits, rows)
        kl = (total - cross - self.entropy[rows][:, None]).clamp(min=0)
        return odds.cpu(), kl.cpu()

    def _sums(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Log-odds, and the logsumexp of all logits; overwrites the logits."""
        refuse = logits[..., self.tokens].logsumexp(-1)
        rest = logits.index_fill_(-1, self.tokens, -torch.inf).logsumexp(-1)
        return refuse - rest, torch.logaddexp(refuse, rest)


class Contrast(Scorer):
    """Scores log p(a) − log p(b) instead of refusing, with a pair of tokens (a, b) for each row."""

    def _sums(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        ours, theirs = (
            logits.gather(-1, tokens.view(-1, *[1] * (logits.dim() - 1)).expand(*logits.shape[:-1], 1))[..., 0]
            for tokens in self.tokens[rows].T
        )
        return ours - theirs, logits.logsumexp(-1)


def score(model: ChatModel, prompts: Sequence[str], tokens: Sequence[int]) -> Float[np.ndarray, " prompt"]:
    """The unedited model's log-odds of refusing each prompt."""
    return np.asarray(Scorer(model, tokens).odds(model.next_token(prompts).to(model.device)).cpu())


def refusal_tokens(model: ChatModel, pairs: PromptSet) -> tuple[int, ...]:
    """The first tokens of refusals: those listed for the model, or else those measured on discovery prompts.

    A measured token begins at least `_SHARE` of the answers whose opening refuses, and more of these than of the
    other answers. Empty for a model that refuses nothing.
    """
    if model.known.refusal_tokens:
        return tuple(dict.fromkeys(model.chat.first_token(text) for text in model.known.refusal_tokens))
    prompts = [*pairs.discovery.harmful, *pairs.discovery.harmless]
    answers = [answer for answer in model.generate(prompts) if answer.ids]
    refusals, others = Counter[int](), Counter[int]()
    for answer in answers:
        (refusals if OPENING.refuses(answer.text) else others)[answer.ids[0]] += 1
    return tuple(
        token for token, count in refusals.most_common() if count > others[token] and count >= _SHARE * refusals.total()
    )
