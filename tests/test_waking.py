"""A model's record is believed while it is true of this machine; for judging alone it is enough by itself."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.inputs import machine
from harness.inputs.errors import NotMeasured
from harness.measurements.evidence import Evidence, Store
from harness.model.chat_model import ChatModel
from harness.subjects.sleeper import Sleeper

OLDER = machine.libraries() | {"torch": "1.0"}


@pytest.mark.parametrize(
    ("versions", "judge_only", "wakes"),
    [(machine.libraries(), False, False), (OLDER, False, True), (OLDER, True, False)],
    ids=["as-here", "others", "others-judging"],
)
def test_a_record_made_with_other_versions_is_made_again(
    awake: Callable[..., ChatModel], tmp_path: Path, versions: dict[str, str], judge_only: bool, wakes: bool
) -> None:
    woken = []
    record = awake("llama").record

    class Counted(Sleeper):
        def __call__(self) -> ChatModel:
            woken.append(self.name)
            return cast(ChatModel, SimpleNamespace(record=record))

    sleeper = Counted("organism:compliant", "nf4", "auto", Store(tmp_path), judge_only)
    sleeper.store.put(Evidence(sleeper.recipe, asdict(record), environment={"libraries": versions}))
    assert sleeper.record == record
    assert bool(woken) == wakes
    kept = Store(tmp_path).get(sleeper.recipe)
    assert kept is not None
    assert kept.environment["libraries"] == (machine.libraries() if wakes else versions)


def test_without_a_record_judging_alone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="no record of this model"):
        _ = Sleeper("organism:compliant", "nf4", "auto", Store(tmp_path), judge_only=True).record
