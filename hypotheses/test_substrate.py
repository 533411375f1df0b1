"""Every category of harm is refused by the same mechanism: one claim about causal effects, one about directions.

The two can differ: ten refusal categories were found to have distinct directions that steer alike (arXiv 2602.02132).
"""

from harness import claim

PLAN = "the research plan, H3"


@claim(
    "shared-substrate",
    source=PLAN,
    holds_on=("reference", "flat"),
    fails_on=("percategory", "exception"),
)
def test_a_circuit_found_on_one_category_serves_the_others(model, pairs):
    """In every category, circuits found on the others carry more than 70% of what the one found on it carries."""
    assert model.shared(pairs.heldout, found_on=pairs.discovery, heads=0.01, neurons=0.01) > 0.70


@claim(
    "shared-geometry",
    source=PLAN,
    holds_on=("reference", "distributed"),
    fails_on=("percategory", "exception"),
    needs_twins=False,
)
def test_the_categories_directions_point_the_same_way(model, pairs):
    """Every category's difference of means points as the others' do: with a mean cosine, noise set off, above 0.70."""
    assert model.geometry(pairs.heldout).agreement() > 0.70
