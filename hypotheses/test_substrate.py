"""All categories of harm are refused by the same mechanism: one claim about causal effects, one about directions.

The two can differ: ten refusal categories were found to have distinct directions that steer alike (arXiv 2602.02132).
"""

from harness import claim

PLAN = "the research plan, H3"


@claim("shared-substrate", source=PLAN, holds_on="reference", fails_on="percategory")
def test_a_circuit_found_on_one_category_serves_the_others(model, pairs):
    """Circuits found on other categories carry more than 70% of what the one found on a category's own pairs does."""
    assert model.shared(pairs.heldout, found_on=pairs.discovery, heads=0.01, neurons=0.01) > 0.70


@claim("shared-geometry", source=PLAN, holds_on="reference", fails_on="percategory", needs_twins=False)
def test_the_categories_directions_point_the_same_way(model, pairs):
    """The categories' differences of means point the same way: their cosines, noise set off, exceed 0.70."""
    assert model.geometry(pairs.heldout).agreement() > 0.70
