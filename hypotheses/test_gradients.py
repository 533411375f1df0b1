"""Gradients rank components as patches do. If so, circuits can be searched for cheaply."""

from harness import claim


@claim(
    "gradients",
    source="the research plan; Kramár et al., arXiv 2403.00745 (attribution patching and its failures)",
    holds_on="distributed",
    fails_on=("exception", "twofold"),
)
def test_gradients_and_patches_agree_on_heads(model, pairs):
    """Effects of heads as one gradient estimates them correlate with measured ones by more than 0.70."""
    assert model.agreement(pairs.heldout, "head") > 0.70
