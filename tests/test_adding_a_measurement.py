"""Adding a measurement: what docs/adding-a-measurement.md shows is asked, planned, answered and kept as it says."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from harness.inputs.places import HOME
from harness.instruments.answer import measure
from harness.measurements.evidence import Damaged, Evidence, Store, read
from harness.measurements.questions import KINDS
from harness.model.chat_model import ChatModel
from harness.subjects.dry_run import Awake, Planner, Work
from tests.tools import golden

BLOCKS = re.findall(r"```python\n(.*?)```", (HOME / "docs" / "adding-a-measurement.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def reference() -> ChatModel:
    return golden.model()


@pytest.fixture
def page() -> Iterator[Any]:
    """The page's code as a module, and no trace of it afterwards."""
    module = ModuleType("page")
    sys.modules["page"] = module
    exec("\n".join(BLOCKS), module.__dict__)  # noqa: S102 - the page's own code
    yield module
    del sys.modules["page"]
    KINDS.pop("entropy")


def test_the_measurement_of_the_page_is_planned_answered_and_kept(
    page: Any, reference: ChatModel, tmp_path: Path
) -> None:
    question = page.Entropy(golden.PAIRS, "harmful")
    values, arrays = measure(question, reference, ())
    p = torch.softmax(reference.next_token(golden.PAIRS.harmful).double(), -1)
    by_hand = [-float(sum(x * torch.log(x) for x in row if x > 0)) for row in p]
    assert values["nats"] == pytest.approx(by_hand, abs=1e-5)
    planner = Planner(reference.record, golden.PAIRS, Store(tmp_path / "plan"), lambda: reference, 0.01)
    known = planner.plan(Work(), set())
    assert len(known.seek(question).values["nats"]) == len(golden.PAIRS)
    assert known.work.tokens == Awake(known).tokens(golden.PAIRS.harmful)
    store = Store(tmp_path / "evidence")
    recipe = question.recipe("m", ())
    path = store.path(store.put(Evidence(recipe, values, arrays)).fingerprint)
    assert read(path).values == values
    store.put(Evidence(recipe, {"nats": values["nats"][1:]}))
    with pytest.raises(Damaged, match="values for 12 pairs"):
        read(path)
