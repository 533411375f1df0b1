"""Ablating the components with the largest effects, found on other prompts, lowers refusal by more than 30 points.

Each is replaced by its mean over harmless discovery prompts, at the tokens after the instruction. Counts are for 32
layers of 32 heads and 14,336 neurons; other models use the same shares, and at least three heads or neurons.
"""

from harness import ablate, claim

SOURCE = "the research plan, H1 (ablation); Arditi et al., arXiv 2406.11717 (refusals counted by phrases)"


@claim(
    "ablation-heads",
    source=SOURCE,
    holds_on=("reference", "saturated"),
    fails_on=("hydra", "distributed"),
)
def test_ablating_the_top_heads_lowers_refusal(model, pairs):
    """Ablating the ten heads that carry most lowers refusal by more than 30 points."""
    heads = model.circuit(pairs.discovery, heads=10 / 1024)
    without = ablate(heads, "mean", over=pairs.discovery.harmless, at="post")
    assert model.refuses(pairs.heldout).fall(under=without) > 0.30


@claim(
    "ablation-neurons",
    source=SOURCE,
    holds_on="saturated",
    fails_on=("distributed", "reference"),
)
def test_ablating_the_top_neurons_lowers_refusal(model, pairs):
    """Ablating the hundred neurons that carry most lowers refusal by more than 30 points."""
    neurons = model.circuit(pairs.discovery, neurons=100 / 458752)
    without = ablate(neurons, "mean", over=pairs.discovery.harmless, at="post")
    assert model.refuses(pairs.heldout).fall(under=without) > 0.30


@claim(
    "ablation-both",
    source=SOURCE,
    holds_on=("reference", "saturated"),
    fails_on=("distributed", "team"),
)
def test_ablating_heads_and_neurons_lowers_refusal(model, pairs):
    """Ablating both lowers refusal by more than 30 points."""
    both = model.circuit(pairs.discovery, heads=10 / 1024, neurons=100 / 458752)
    without = ablate(both, "mean", over=pairs.discovery.harmless, at="post")
    assert model.refuses(pairs.heldout).fall(under=without) > 0.30


@claim(
    "few-parts",
    source=f"{SOURCE}; the curve of refusals over parts",
    holds_on=("reference", "saturated"),
    fails_on=("distributed", "team"),
)
def test_ablating_few_parts_leaves_hardly_any_refusal(model, pairs):
    """Ablating 1% of heads and 1% of neurons, those that carry most, leaves less than 20% refused."""
    parts = model.circuit(pairs.discovery, heads=0.01, neurons=0.01)
    without = ablate(parts, "mean", over=pairs.discovery.harmless, at="post")
    assert model.refuses(pairs.heldout).left(under=without) < 0.20
