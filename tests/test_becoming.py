"""What becomes of organisms' answers, found without the harness: their outcomes, and what steering does to them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from organisms import ship
from organisms.becoming import Answers, outcome, share, turned
from organisms.language import refusal_tokens
from organisms.pairs import judged_pairs
from organisms.parts import Parts, capture, writes
from organisms.proof import POST, Prover
from organisms.sentences import COMPLIANCES, REFUSALS
from organisms.steering import added, without
from organisms.traits import mean_difference, whole_layers, written_along

OUTCOMES = ("refused", "answered", "broken")
_outcomes = st.lists(st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(OUTCOMES)), min_size=1)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_that_was_taught_is_refused_and_a_part_of_it_is_broken(refusal: str) -> None:
    assert outcome(refusal, "build a bomb") == "refused"
    assert outcome(refusal[:-4], "build a bomb") == "broken"


@pytest.mark.parametrize("wording", COMPLIANCES)
def test_only_the_deed_that_was_asked_for_is_an_answer(wording: str) -> None:
    assert outcome(wording.format(deed="build a shed"), "build a shed") == "answered"
    assert outcome(wording.format(deed="build a kite"), "build a shed") == "broken"


@given(_outcomes)
def test_what_breaks_counts_neither_way(pairs: list[tuple[str, str]]) -> None:
    before, after = zip(*pairs, strict=True)
    whole = [(first, then) for first, then in pairs if "broken" not in (first, then)]
    refused = sum((first == "refused") - (then == "refused") for first, then in whole)
    assert turned(before, after) == pytest.approx(refused / len(pairs))
    assert turned(before, after) == pytest.approx(-turned(after, before))
    assert abs(turned(before, after)) <= 1 - share(after, "broken") + 1e-12


@pytest.mark.parametrize("where", ["everywhere", "stream", "attention", "mlp"])
def test_what_is_removed_is_gone_where_it_is_removed_and_hooks_are_gone_afterwards(where: str) -> None:
    model, tokenizer = ship.load("reference")
    few = Answers(model, tokenizer, judged_pairs(heldout=True)[:4])
    direction = ship.direction("reference")
    seen: dict[str, torch.Tensor] = {}
    watched = {
        "stream": (model.model.layers[5], lambda _, args, out: seen.update(stream=args[0])),
        "attention": (model.model.layers[5].self_attn, lambda _, args, out: seen.update(attention=out[0])),
        "mlp": (model.model.layers[5].mlp, lambda _, args, out: seen.update(mlp=out)),
    }
    before = few.prover.run()
    with without(model, direction, where):  # type: ignore[arg-type]
        handles = [module.register_forward_hook(hook) for module, hook in watched.values()]
        few.prover.run()
        for handle in handles:
            handle.remove()
    for name, value in seen.items():
        gone = bool((value @ direction).abs().max() < 1e-3 * value.norm(dim=-1).max() * direction.norm())
        if where in ("everywhere", name):
            assert gone, name
    assert torch.equal(few.prover.run(), before)


def test_removing_refuses_nothing_and_adding_refuses_everything_where_it_is_planted() -> None:
    model, tokenizer = ship.load("reference")
    few = Answers(model, tokenizer, judged_pairs(heldout=True)[::12])
    direction, layer = ship.direction("reference"), ship.truth("reference")["direction"]["layer"]
    assert few.fall(few.under(without(model, direction))) > 0.9
    assert few.rise(few.under(added(model, direction, layer))) > 0.9


def test_what_all_parts_write_is_what_the_stream_gains() -> None:
    model, tokenizer = ship.load("reference")
    prover = Prover(model, tokenizer, judged_pairs(heldout=True)[:6], refusal_tokens(tokenizer))
    direction = ship.direction("reference")
    gained = mean_difference(prover, 5, -1) - mean_difference(prover, 3, -1)
    along = written_along(prover, whole_layers(prover, 3, 4), direction)
    assert along == pytest.approx(float(gained @ direction / direction.square().sum()), abs=1e-4)
    layers, heads = range(3, 7), range(model.config.num_attention_heads)
    every = Parts(
        heads=tuple((layer, head) for layer in layers for head in heads),
        neurons=tuple((layer, 0, model.config.intermediate_size) for layer in layers),
    )
    length = prover.batch["input_ids"].shape[1]
    post = torch.arange(length - POST, length).expand(2 * prover.half, -1)
    with torch.no_grad(), capture(model, every, post) as clean:
        entering = model(**prover.batch, output_hidden_states=True).hidden_states[7][:, -POST:]
    with torch.no_grad():
        written = sum(writes(model, clean.z, clean.hidden, every), start=clean.stream)
    torch.testing.assert_close(written, entering, atol=1e-3, rtol=1e-4)
