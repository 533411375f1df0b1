"""The score of a first token by hand: odds of refusing, and how far a distribution has moved."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.model.refusal_score import Contrast, Scorer

MODEL: Any = SimpleNamespace(device="cpu")
# Four tokens, of which the first two refuse.
CLEAN = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]).log()
PATCHED = torch.tensor([[0.4, 0.2, 0.3, 0.1], [0.05, 0.05, 0.45, 0.45]]).log()


def test_the_odds_are_those_of_all_refusing_tokens_against_all_others() -> None:
    scorer = Scorer(MODEL, [0, 1])
    expected = torch.tensor([0.3 / 0.7, 0.5 / 0.5]).log()
    torch.testing.assert_close(scorer.odds(CLEAN), expected)
    # Whatever is added to all logits of a row changes nothing, and the logits are left as they were.
    lifted = CLEAN + torch.tensor([[5.0], [-7.0]])
    before = lifted.clone()
    torch.testing.assert_close(scorer.odds(lifted), expected)
    assert torch.equal(lifted, before)


@pytest.mark.parametrize("lift", [0.0, 3.0])
def test_divergence_is_from_the_clean_distribution_to_the_patched_one(lift: float) -> None:
    scorer = Scorer(MODEL, [0, 1])
    scorer.clean(CLEAN - lift)
    odds, kl = scorer(torch.stack([PATCHED + lift, CLEAN], 1), [0, 1])
    torch.testing.assert_close(odds[:, 0], torch.tensor([0.6 / 0.4, 0.1 / 0.9]).log())
    expected = (CLEAN.exp() * (CLEAN - PATCHED)).sum(-1)
    torch.testing.assert_close(kl[:, 0], expected, atol=1e-5, rtol=0)
    assert (kl >= 0).all()
    torch.testing.assert_close(kl[:, 1], torch.zeros(2), atol=1e-5, rtol=0)


def test_rows_are_compared_with_their_own_clean_run() -> None:
    scorer = Scorer(MODEL, [0, 1])
    scorer.clean(CLEAN)
    _, kl = scorer(PATCHED[[1]][:, None], [1])
    expected = (CLEAN[1].exp() * (CLEAN[1] - PATCHED[1])).sum()
    torch.testing.assert_close(kl[0, 0], expected, atol=1e-5, rtol=0)


def test_rounding_gives_no_negative_divergence() -> None:
    logits = torch.randn(64, 5000, generator=torch.Generator().manual_seed(0)) * 5
    scorer = Scorer(MODEL, [0])
    scorer.clean(logits)
    _, kl = scorer(logits[:, None], list(range(64)))
    assert (kl >= 0).all()


def test_a_contrast_is_of_one_token_against_another() -> None:
    scorer = Contrast(MODEL, [(0, 3), (2, 1)])
    torch.testing.assert_close(scorer.odds(CLEAN), torch.tensor([0.1 / 0.4, 1.0]).log())
