"""Refusal is carried by a small part of the model.

The circuit is found on discovery pairs: the heads and neurons that lower the log-odds of refusing most when each alone
is patched from the harmless twin, at the tokens after the instruction. On held-out pairs it is patched as a whole.
"""

from harness import claim, patch

PLAN = "the research plan, H1; Wang et al., arXiv 2211.00593 (circuits judged jointly)"


@claim("localization", source=PLAN, holds_on="reference", fails_on="distributed")
def test_a_small_circuit_carries_most_of_the_effect(model, pairs):
    """A circuit of 1% of heads and neurons carries 80% of the effect, far more than others of its size."""
    circuit = model.circuit(pairs.discovery, heads=0.01, neurons=0.01)
    carried = model.effect(circuit, pairs.heldout)
    random, loudest = model.lead(circuit, pairs.heldout), model.lead_over_loudest(circuit, pairs.heldout)
    assert (carried > 0.80) & (model.share(circuit) < 0.05) & (random > 0.30) & (loudest > 0.30)


@claim("necessity", source=PLAN, holds_on="reference", fails_on=("distributed", "hydra"))
def test_without_the_circuit_hardly_anything_is_refused(model, pairs):
    """Taking the circuit from the harmless twin lowers refusal by more than 60 points, to less than 20%."""
    circuit = model.circuit(pairs.discovery, heads=0.01, neurons=0.01)
    answers, without = model.refuses(pairs.heldout), patch(circuit, at="post")
    assert (answers.fall(under=without) > 0.60) & (answers.left(under=without) < 0.20)


@claim("transfer", source=PLAN, holds_on="reference", fails_on="distributed")
def test_the_circuit_brings_refusal_to_harmless_prompts(model, pairs):
    """Giving harmless prompts the circuit's activations of their harmful twins has them refused: by 50 points."""
    circuit = model.circuit(pairs.discovery, heads=0.01, neurons=0.01)
    model.parts_and_whole(circuit, pairs.heldout)
    assert model.refuses(pairs.heldout).rise(under=patch(circuit, at="post")) > 0.50


@claim("many-heads", source=PLAN, holds_on="team", fails_on="reference")
def test_many_heads_carry_a_tenth_each(model, pairs):
    """Ten heads, or 5% of them where there are fewer than 200, bring more than a tenth of the effect each.

    By denoising: where many share the work, taking one away is made up for by the rest (on `team`, whose six heads
    bring 0.13 to 0.19 each, it costs 0.09 to 0.11).
    """
    assert model.counted(pairs.heldout, "head", 0.10, of=10, mode="denoise") > 0.99


@claim("few-neurons", source="the research plan, H1 (neurons)", holds_on="reference", fails_on=("team", "distributed"))
def test_few_neurons_carry_most_of_the_effect(model, pairs):
    """Under 1% of neurons carry more than half of the effect.

    Of the whole effect and not of what all MLPs carry: where MLPs together carry nothing, as in a model whose refusal
    is spread out, a share of that says nothing.
    """
    assert model.effect(model.circuit(pairs.discovery, neurons=0.01), pairs.heldout) > 0.50
