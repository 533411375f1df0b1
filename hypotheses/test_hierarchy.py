"""Refusal happens in stages: harmful words are detected early, assessed in the middle, and acted upon late.

Depth runs from 0, the first layer, to 1, the last, and each layer is weighted by its effect. Each stage is measured by
its own swap with the harmless twin. Read-outs of the residual stream would show this order in any model, because the
stream is cumulative.
"""

from harness import beside, claim

PLAN = "the research plan, H2; stages by interchange as in Geiger et al., arXiv 2106.02997"


@claim("hierarchy", source=PLAN, holds_on="reference", fails_on="flat")
def test_detection_assessment_and_execution_lie_one_below_the_other(model, pairs):
    """What blocks write at the differing words, at later ones, and into the logits acts ever deeper: by 0.05 each."""
    depths = model.depths(pairs.heldout)
    beside(depths.of("detect"), depths.of("assess"), depths.of("execute"))
    assert (depths.gap("detect", "assess") > 0.05) & (depths.gap("assess", "execute") > 0.05)


@claim("accumulation", source=PLAN, holds_on="saturated", fails_on=("flat", "percategory"))
def test_the_middle_third_of_mlps_carries_more_than_the_outer_ones(model, pairs):
    """MLP outputs of the middle third carry more of the effect than those of both outer thirds: by 0.05."""
    assert model.depths(pairs.heldout).middle_over_outer() > 0.05


@claim("end-of-instruction", source=PLAN, holds_on="team", fails_on=("flat", "cone"))
def test_half_way_up_the_signal_sits_after_the_instruction(model, pairs):
    """Half way up, the stream after the instruction brings more than half the effect, that before it less than 0.20."""
    depths = model.depths(pairs.heldout)
    assert (depths.restored("post") > 0.50) & (depths.restored("before") < 0.20)
