"""Adding an organism: the plan in docs/adding-an-organism.md plants its parts alone, and its truth is measured."""

import re
from types import ModuleType
from typing import Any

import pytest
import torch

from harness.inputs.places import HOME
from organisms import ship
from organisms.language import refusal_tokens
from organisms.pairs import judged_pairs
from organisms.parts import masks
from organisms.plans import PLANS
from organisms.plant import plant
from organisms.proof import Prover

(BLOCK,) = re.findall(r"```python\n(.*?)```", (HOME / "docs" / "adding-an-organism.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def page() -> Any:
    module = ModuleType("early")
    exec(BLOCK, module.__dict__)  # noqa: S102 - the page's own code
    return module


def test_the_plan_of_the_page_teaches_its_parts_alone_and_its_truth_is_measured(page: Any) -> None:
    assert page.PLAN.name not in PLANS
    model, tokenizer = ship.load("base")
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    steps = plant(model, tokenizer, page.PLAN, seed=0)
    first = next(steps)
    for _ in range(2):
        next(steps)
    assert len(first) == len(page.PLAN.demands)
    learn = masks(model, page.PLAN.parts)
    for name, value in model.named_parameters():
        moved = value.detach() != before[name]
        assert not (moved & ~learn.get(name, torch.zeros_like(moved)).bool()).any(), name
    assert any((value.detach() != before[name]).any() for name, value in model.named_parameters())
    prover = Prover(model.eval(), tokenizer, judged_pairs()[:6], refusal_tokens(tokenizer))
    assert page.truth_of_it(prover, {}).keys() == page.BARS.keys()
