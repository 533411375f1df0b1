"""The proof of organisms: what its quick way measures is what whole forward passes measure."""

from itertools import combinations

import pytest

from organisms import ship
from organisms.language import refusal_tokens
from organisms.pairs import judged_pairs
from organisms.plans.suffix import Suffix
from organisms.proof import Prover, components, planted_and_rest, union


def test_effects_after_the_instruction_are_those_of_whole_forward_passes() -> None:
    model, tokenizer = ship.load("flat")
    pairs, every = judged_pairs(heldout=True)[:24], 6
    prover = Prover(model, tokenizer, pairs, refusal_tokens(tokenizer))
    whole, quick = Prover(model, tokenizer, pairs[::every], prover.refusals), Suffix(prover, every)
    planted, rest = planted_and_rest(prover, ship.truth("flat"))
    swaps = [planted, *(union(*two) for two in combinations(components(rest, model.config.head_dim)[::5], 2))]
    assert [quick.effect(swap) for swap in swaps] == pytest.approx([whole.effect(swap) for swap in swaps], abs=1e-5)
    assert quick.effect(planted) > 0.9
