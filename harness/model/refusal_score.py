"""Scores how answers begin: log-odds of refusing by the first token or by several, and divergence from a clean run."""

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from harness.inputs.judges.phrases import OPENING
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.measurements.openings import FIRST_TOKEN, LONGEST, MOST, PURE, Opening, Openings, beginnings, chains
from harness.model.chat_model import Batch, ChatModel, Completion, Edit

# A token counts as a refusal's first only if at least this share of refusals begins with it.
_SHARE = 0.05


Refusing = Sequence[int] | Openings
"""What a refusal is told by: the first tokens of refusals, or the openings of refusals and of other answers."""


class Scorer:
    """Log-odds of refusing, and divergence from the clean run, computed on the logits' own device.

    A score may take several runs, each with other tokens given after the prompt: each run adds `parts`, and the score
    is `together` of their sums. The first token's score takes one run, and has one part.
    """

    runs: Sequence[Opening] = FIRST_TOKEN  # the tokens given after the prompt in each run

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

    def parts(self, logits: Float[Tensor, "*row kept vocabulary"], run: int) -> Float[Tensor, "*row part"]:
        """What a run adds to the score, from its logits at the prompt's last token and at each given one."""
        return self.odds(logits[..., 0, :])[..., None]

    def measured(
        self, logits: Float[Tensor, "row variant kept vocabulary"], rows: list[int], run: int
    ) -> tuple[Float[Tensor, "row variant part"], Float[Tensor, "row variant"]]:
        """`parts` and the first token's divergence, on the CPU; overwrites the logits."""
        odds, kl = self(logits[:, :, 0], rows)
        return odds[..., None], kl

    def together(self, parts: Float[Tensor, "*row part"]) -> Float[Tensor, "*row"]:
        """The score, from the parts summed over all runs."""
        return parts[..., 0]

    def _sums(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Log-odds, and the logsumexp of all logits; overwrites the logits."""
        refuse = logits[..., self.tokens].logsumexp(-1)
        rest = logits.index_fill_(-1, self.tokens, -torch.inf).logsumexp(-1)
        return refuse - rest, torch.logaddexp(refuse, rest)


class OpeningScorer(Scorer):
    """Scores log Σ p of refusing openings − log Σ p of answering ones; a part is the log-probability of an opening."""

    def __init__(self, model: ChatModel, openings: Openings) -> None:
        super().__init__(model, sorted({opening[0] for opening in openings.refusing}))
        self.openings, self.runs = openings, openings.runs
        # For each run the place, token and opening of what is read off in it; each token is read off in one run.
        self.read: list[list[tuple[int, int, int]]] = [[] for _ in self.runs]
        for number, opening in enumerate(openings.every):
            for place, token in enumerate(opening):
                run = next(run for run, given in enumerate(self.runs) if given[:place] == opening[:place])
                self.read[run].append((place, token, number))

    def parts(self, logits: Float[Tensor, "*row kept vocabulary"], run: int) -> Float[Tensor, "*row part"]:
        """The log-probabilities of the openings' tokens that are read off in this run."""
        places, tokens, numbers = torch.tensor(self.read[run], device=logits.device).T
        values = logits.float().log_softmax(-1)[..., places, tokens]
        parts: Tensor = values.new_zeros(*values.shape[:-1], len(self.openings.every))
        return parts.index_add(-1, numbers, values)

    def measured(
        self, logits: Float[Tensor, "row variant kept vocabulary"], rows: list[int], run: int
    ) -> tuple[Float[Tensor, "row variant part"], Float[Tensor, "row variant"]]:
        """`parts` and, in the first run, the first token's divergence, on the CPU; overwrites the logits."""
        parts = self.parts(logits, run).cpu()
        return parts, self(logits[:, :, 0], rows)[1] if run == 0 else torch.zeros(logits.shape[:2])

    def together(self, parts: Float[Tensor, "*row part"]) -> Float[Tensor, "*row"]:
        """The log-odds of refusing openings against answering ones."""
        refusing = len(self.openings.refusing)
        return parts[..., :refusing].logsumexp(-1) - parts[..., refusing:].logsumexp(-1)


def scorer_of(model: ChatModel, refusing: Refusing) -> Scorer:
    """The score by openings, or by first tokens."""
    return OpeningScorer(model, refusing) if isinstance(refusing, Openings) else Scorer(model, refusing)


class Contrast(Scorer):
    """Scores log p(a) − log p(b) instead of refusing, with a pair of tokens (a, b) for each row."""

    def _sums(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        ours, theirs = (
            logits.gather(-1, tokens.view(-1, *[1] * (logits.dim() - 1)).expand(*logits.shape[:-1], 1))[..., 0]
            for tokens in self.tokens[rows].T
        )
        return ours - theirs, logits.logsumexp(-1)


def score(model: ChatModel, prompts: Sequence[str], refusing: Refusing) -> Float[np.ndarray, " prompt"]:
    """The unedited model's log-odds of refusing each prompt."""
    if isinstance(refusing, Openings):
        return opening_odds(model, prompts, refusing)
    return np.asarray(Scorer(model, refusing).odds(model.next_token(prompts).to(model.device)).cpu())


def refusal_tokens(model: ChatModel, pairs: PromptSet) -> tuple[int, ...]:
    """The first tokens of refusals: those listed for the model, or else those measured on discovery prompts.

    A measured token begins at least `_SHARE` of the answers whose opening refuses, and more of these than of the
    other answers. Empty for a model that refuses nothing.
    """
    if model.known.refusal_tokens:
        return tuple(dict.fromkeys(model.chat.first_token(text) for text in model.known.refusal_tokens))
    refusals, others = Counter[int](), Counter[int]()
    for answer in _discovery_answers(model, pairs):
        (refusals if OPENING.refuses(answer.text) else others)[answer.ids[0]] += 1
    return tuple(
        token for token, count in refusals.most_common() if count > others[token] and count >= _SHARE * refusals.total()
    )


def openings(model: ChatModel, pairs: PromptSet) -> tuple[list[Opening], list[Opening]]:
    """How the unchanged model's refusals begin on discovery prompts, and its other answers: the most frequent first.

    Empty lists for a model that refuses nothing, or everything.
    """
    return telling([(answer.ids, OPENING.refuses(answer.text)) for answer in _discovery_answers(model, pairs)])


def telling(answers: Sequence[tuple[Opening, bool]]) -> tuple[list[Opening], list[Opening]]:
    """The most frequent openings of refusals and of other answers, given each answer's tokens and whether it refuses.

    An opening is the shortest beginning of an answer such that `PURE` of the answers that begin so are of one kind.
    So no opening is the beginning of another. Of answers that no `LONGEST` tokens tell apart there is none.
    """
    seen, refusing = Counter[Opening](), Counter[Opening]()
    for ids, refuses in answers:
        for beginning in beginnings(ids[:LONGEST]):
            seen[beginning] += 1
            refusing[beginning] += refuses
    kinds = Counter[Opening](), Counter[Opening]()
    for ids, _ in answers:
        for beginning in beginnings(ids[:LONGEST]):
            share = refusing[beginning] / seen[beginning]
            if max(share, 1 - share) >= PURE:
                kinds[share < PURE][beginning] += 1
                break
    refusals, others = ([opening for opening, _ in kind.most_common(MOST)] for kind in kinds)
    return refusals, others


def opening_odds(
    model: ChatModel, prompts: Sequence[str], openings: Openings, *, under: Edit | None = None
) -> Float[np.ndarray, " prompt"]:
    """Log-odds that an answer begins with a refusing opening and not with an answering one: log Σ p − log Σ p."""
    every = openings.every
    chance = model.in_batches(
        model.encode(prompts), lambda batch: list(_chances(model, batch, every, under)), beyond=max(map(len, every))
    )
    return np.asarray(OpeningScorer(model, openings).together(torch.stack(chance)))


@torch.no_grad()
def _chances(
    model: ChatModel, batch: Batch, every: Sequence[Opening], under: Edit | None
) -> Float[Tensor, "row opening"]:
    """The log-probability of each opening, its tokens given one by one as if the model had generated them."""
    following = chains(every)
    with model.hooked([] if under is None else under.hooks(model, batch)):
        cache = DynamicCache(config=model.loaded.hf.config) if following else None
        log: dict[Opening, Tensor] = {(): model.forward(batch, cache=cache)[:, -1].float().log_softmax(-1).cpu()}
        for number, chain in enumerate(following):
            after = cache if number == len(following) - 1 else deepcopy(cache)
            mask = batch.mask.long()
            for place, token in enumerate(chain):
                mask = torch.nn.functional.pad(mask, (0, 1), value=1)
                output = model.loaded.hf(
                    input_ids=torch.full_like(batch.ids[:, :1], token),
                    attention_mask=mask,
                    position_ids=batch.mask.sum(-1, keepdim=True) + place,
                    past_key_values=after,
                    use_cache=True,
                )
                log[chain[: place + 1]] = output.logits[:, -1].float().log_softmax(-1).cpu()
    return torch.stack(
        [sum((log[opening[:at]][:, token] for at, token in enumerate(opening)), torch.zeros(())) for opening in every],
        -1,
    )


def _discovery_answers(model: ChatModel, pairs: PromptSet) -> list[Completion]:
    """The unchanged model's answers to all discovery prompts, without empty ones."""
    prompts = (*pairs.discovery.harmful, *pairs.discovery.harmless)
    answers = model.remembered(("discovery answers", prompts), lambda: model.generate(prompts))
    return [answer for answer in answers if answer.ids]
