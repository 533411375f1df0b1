"""Gradients at prompt and twin rank components as patches do. If so, circuits can be searched for cheaply."""

from harness import claim


@claim(
    "gradients",
    source="the research plan; Kramár et al., arXiv 2403.00745 (attribution patching and its failures)",
    holds_on=("reference", "team"),
    fails_on=("saturated", "twofold"),
)
def test_gradients_and_patches_agree(model, pairs):
    """What gradients estimate of heads, and of groups of neurons, correlates with what patches measure: by over 0.70.

    Gradients are taken at prompt and twin and averaged, as searches for circuits take them.
    """
    heads, neurons = model.agreement(pairs.heldout, "head"), model.agreement(pairs.heldout, "neuron")
    assert (heads > 0.70) & (neurons > 0.70)
