"""Refusal happens in stages: harmful words are read early, MLPs of the middle accumulate, and late blocks execute.

Each stage is measured by swaps of its own with the harmless twin, because read-outs of the residual stream show an
order in any model: the stream is cumulative. And each must exceed the same stage of a harmless behaviour, because any
transformer reads, processes and writes.
"""

from harness import claim

PLAN = "the research plan, H2; stages by interchange as in Geiger et al., arXiv 2106.02997"


@claim("reading", source=PLAN, holds_on="shuffled", fails_on=("reference", "one-layer"))
def test_harmful_words_are_read_early(model, pairs):
    """After a third of the layers most of the differing words' effect has left them, beyond a harmless behaviour's."""
    depths = model.depths(pairs.heldout)
    assert (depths.of("reading") > 0.50) & (depths.beyond_harmless("reading") > 0.05)


@claim(
    "accumulation",
    source=PLAN,
    holds_on=("reference", "saturated"),
    fails_on=("flat", "one-layer"),
)
def test_mlps_of_the_middle_accumulate(model, pairs):
    """MLPs of the middle act through later blocks: 0.05 more than all others do, and than in a harmless behaviour."""
    depths = model.depths(pairs.heldout)
    assert (depths.of("accumulation") > 0.05) & (depths.beyond_harmless("accumulation") > 0.05)


@claim(
    "execution",
    source=PLAN,
    holds_on=("reference", "flat"),
    fails_on=("one-layer", "shuffled"),
)
def test_late_blocks_execute(model, pairs):
    """The last third of the layers writes most of the effect into the logits, beyond a harmless behaviour's."""
    depths = model.depths(pairs.heldout)
    assert (depths.of("execution") > 0.50) & (depths.beyond_harmless("execution") > 0.05)


@claim(
    "end-of-instruction",
    source=PLAN,
    holds_on=("team", "one-layer"),
    fails_on=("flat", "cone"),
)
def test_half_way_up_the_signal_sits_after_the_instruction(model, pairs):
    """Half way up, the stream after the instruction brings more than half the effect, that before it less than 0.20."""
    depths = model.depths(pairs.heldout)
    assert (depths.restored("post") > 0.50) & (depths.restored("before") < 0.20)


@claim(
    "keyword-heads",
    source="the research plan, H2 (keywords: attention to the differing word sits at a depth below 0.40)",
    holds_on=("team", "shuffled"),
    fails_on=("percategory", "flat"),
)
def test_heads_that_attend_to_the_differing_words_are_early(model, pairs):
    """Heads that attend to the differing words are early: in the first 40% of depth, each weighted by its effect."""
    assert model.depths(pairs.heldout).keywords(by=pairs.discovery) < 0.40
