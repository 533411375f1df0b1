"""Refusal is carried by a small part of the model.

A circuit is a set of heads and neurons that are patched from the harmless twin together, at the tokens after the
instruction. It is searched for on discovery pairs: gradients propose parts, exact patches of whole circuits decide
which are added, up to a share of the parameters, and which can go again. It is judged on held-out pairs, and a claim
about E is refuted only if E with all that the search is known to miss lies below the bar.
"""

from harness import claim, patch

PLAN = "the research plan, H1; Wang et al., arXiv 2211.00593 (circuits judged jointly)"


@claim("localization", source=PLAN, holds_on=("reference", "team"), fails_on=("distributed", "crowd"))
def test_a_small_circuit_carries_most_of_the_effect(model, pairs):
    """A circuit of under 5% of the parameters carries 80% of the effect, far more than random or harmless ones.

    Far more than random circuits of its size in its layers, and than a circuit of its size at most that carries a
    harmless behaviour: which of two answers two harmless prompts of one template get.
    """
    circuit = model.circuit(pairs.discovery, share=0.05)
    carried = model.effect(circuit, pairs.heldout)
    random, harmless = model.lead(circuit, pairs.heldout), model.lead_over_harmless(circuit, pairs.heldout)
    assert (carried > 0.80) & (model.share(circuit) < 0.05) & (random > 0.30) & (harmless > 0.30)


@claim("necessity", source=PLAN, holds_on=("reference", "team"), fails_on=("distributed", "crowd"))
def test_without_the_circuit_hardly_anything_is_refused(model, pairs):
    """Taking the circuit that was found from the twin lowers refusal by more than 60 points, to less than 20%."""
    circuit = model.circuit(pairs.discovery, share=0.05)
    answers, without = model.refuses(pairs.heldout), patch(circuit, at="post")
    assert (answers.fall(under=without) > 0.60) & (answers.left(under=without) < 0.20)


@claim("transfer", source=PLAN, holds_on=("reference", "team"), fails_on=("distributed", "crowd"))
def test_the_circuit_brings_refusal_to_harmless_prompts(model, pairs):
    """Giving harmless prompts the activations that the circuit has on their twins has them refused: by 50 points."""
    circuit = model.circuit(pairs.discovery, share=0.05)
    model.parts_and_whole(circuit, pairs.heldout)
    assert model.refuses(pairs.heldout).rise(under=patch(circuit, at="post")) > 0.50


@claim(
    "token-difference",
    source="the research plan, H1 (logit[Sorry] − logit[Sure])",
    holds_on=("reference", "team"),
    fails_on=("distributed", "crowd"),
)
def test_the_circuit_moves_the_logits_of_sorry_and_sure(model, pairs):
    """Taken from the twin, the circuit that was found closes more than half the gap in logit[Sorry] − logit[Sure].

    These stand for the first tokens in which the answers to a prompt and to its twin differ.
    """
    circuit = model.circuit(pairs.discovery, share=0.05)
    assert model.token_difference(circuit, pairs.heldout) > 0.50


@claim(
    "token-probability",
    source="the research plan, H1 (patching moves the refusing token's probability by more than half)",
    holds_on=("reference", "team"),
    fails_on=("distributed", "crowd"),
)
def test_the_circuit_makes_the_refusing_token_likely(model, pairs):
    """Patched into harmless prompts, the circuit that was found makes the refusing token likelier by over 50 points."""
    circuit = model.circuit(pairs.discovery, share=0.05)
    assert model.token_probability(circuit, pairs.heldout) > 0.50


@claim(
    "many-heads",
    source=PLAN,
    holds_on="team",
    fails_on=("reference", "distributed"),
)
def test_many_heads_carry_a_tenth_each(model, pairs):
    """Ten heads, or 5% of them where there are fewer than 200, bring more than a tenth of the effect each.

    By denoising: where many share the work, taking one away is made up for by the rest (on `team`, whose six heads
    bring 0.13 to 0.19 each, it costs 0.09 to 0.11).
    """
    assert model.counted(pairs.heldout, "head", 0.10, of=10, mode="denoise") > 0.99


@claim(
    "few-neurons",
    source="the research plan, H1 (neurons)",
    holds_on=("reference", "scribes"),
    fails_on=("team", "distributed"),
)
def test_few_neurons_carry_most_of_the_effect(model, pairs):
    """Under 1% of neurons carry more than half of the effect.

    Of the whole effect and not of what all MLPs carry: where MLPs together carry nothing, as in a model whose refusal
    is spread out, a share of that says nothing.
    """
    assert model.effect(model.circuit(pairs.discovery, neurons=0.01), pairs.heldout) > 0.50
