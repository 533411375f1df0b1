"""Kills runs of claims at moments drawn over their length, goes on, and says what was measured twice.

`python -m tests.tools.soak KILLS` exits with 1 where a verdict changed, or more than one part was measured again.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.inputs.places import DATA
from harness.inputs.prompts.pairs import side_of
from harness.instruments import answer, sweep
from harness.measurements import sweep_plan
from harness.measurements.effects import Effects
from harness.measurements.evidence import Store
from harness.measurements.questions import Measurement, Swept, described
from harness.measurements.recipe import digest
from harness.measurements.sweep_plan import AnySweep, Part
from harness.model import wake
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import Scorer
from harness.results.run_list import latest
from harness.results.run_record import Run

ROOT = DATA.parent
MODEL = "organism:reference"
# Of each side of the split so many.
SIDES, PAIRS = ("discovery", "heldout"), 6
CLAIMS = """
from harness.claims.claim import claim
from harness.measurements.interventions import ablate
from harness.measurements.sweep_plan import Sweep

@claim("swept", source="a test", holds_on="reference", fails_on="compliant", level=0.01)
def test_swept(model, pairs):
    '''Neurons carry it.'''
    model.effects(pairs.heldout, Sweep("neuron", ("post",), layers=(3,)))
    assert model.refuses(pairs.heldout).rate("harmful") > 0.10

@claim("circuit", source="a test", holds_on="reference", fails_on="compliant", level=0.01)
def test_circuit(model, pairs):
    '''A circuit carries it.'''
    heads = model.circuit(pairs.discovery, heads=3, neurons=5)
    without = ablate(heads, "mean", over=pairs.discovery.harmless, at="post")
    assert model.refuses(pairs.heldout).fall(under=without) > 0.10

@claim("answers", source="a test", holds_on="reference", fails_on="compliant", level=0.01)
def test_answers(model, pairs):
    '''Twins are answered.'''
    assert model.refuses(pairs.heldout).rate("harmless") < 0.95
"""


def main(kills: int) -> int:
    """Twenty kills take some minutes."""
    torch.set_num_threads(1)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they would take longer to load than the claims to judge
    sweep_plan.PART_OPERATIONS = 2e8  # parts of a few pairs
    draw, awake = random.Random(kills), wake.wake(MODEL)  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="assay-soak-") as name:
        folder = Path(name)
        lines = (DATA / "organisms" / "pairs.jsonl").read_text().splitlines(keepends=True)
        first = {side: [line for line in lines if side_of(json.loads(line)["frame"]) == side][:PAIRS] for side in SIDES}
        (folder / "pairs.jsonl").write_text("".join(line for some in first.values() for line in some))
        (folder / "test_three.py").write_text(CLAIMS)
        began = time.monotonic()
        run(awake, folder, "whole")
        whole = time.monotonic() - began
        expected = told(folder / "whole")
        words = [verdict["word"] for verdict in expected]
        print(f"undisturbed: {', '.join(words)}; {Counter(log(folder / 'whole')).total()} parts measured")
        # Claims that are broken come to the same after every kill, and say nothing of what was kept.
        wrong = int(len(words) < 3 or not set(words) <= {"SUPPORTED", "REFUTED", "INCONCLUSIVE"})
        for number in range(kills):
            # In each third of the run as often, so that three kills meet three claims.
            after = whole * (number % 3 + draw.random()) / 3
            wrong += not survives(awake, folder, f"kill-{number}", after, expected)
    return int(wrong > 0)


def survives(awake: ChatModel, folder: Path, name: str, after: float, expected: list[Any]) -> bool:
    """Whether a run that is killed and started again comes to the same, nothing but one part measured twice."""
    run(awake, folder, name, kill_after=after)
    before = {evidence.fingerprint for evidence in Store(folder / name / "evidence") if evidence.recipe.kind != "part"}
    started = len(log(folder / name))
    run(awake, folder, name)
    lost = before - {kept_evidence.fingerprint for kept_evidence in Store(folder / name / "evidence")}
    twice = [what for what, count in Counter(log(folder / name)).items() if count > 1]
    kinds = Counter(what.partition(" ")[0] for what in twice)
    same = told(folder / name) == expected
    fine = same and not lost and all(count == 1 for count in kinds.values())
    print(
        f"{'ok    ' if fine else 'FAILED'} killed after {after:.1f} s with {started} started and {len(before)} kept; "
        f"measured twice: {', '.join(what[:40] for what in twice) or 'nothing'}; "
        f"verdicts {'the same' if same else 'DIFFER'}"
    )
    return fine


def run(awake: ChatModel, folder: Path, name: str, kill_after: float | None = None) -> None:
    """A process group of its own, in which torch and the model are loaded already."""
    (folder / name).mkdir(exist_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.setsid()
        with (folder / name / "output").open("a") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        listen(folder / name)
        wake.awaken = lambda *_, **__: awake
        os.chdir(ROOT)
        arguments = ["-c", "pytest.ini", "--rootdir", ".", "-p", "conftest", "-p", "no:cacheprovider", str(folder)]
        arguments += ["--model", MODEL, "--pairs", str(folder / "pairs.jsonl")]
        os._exit(pytest.main([*arguments, "--evidence", str(folder / name / "evidence")]))
    if kill_after is not None:
        time.sleep(kill_after)
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def listen(folder: Path) -> None:
    """Each part of a sweep, and each other measurement, is written down as it begins."""
    measured, observed = sweep._measured, answer.observed

    def note(what: str) -> None:
        with (folder / "log").open("a") as file:
            file.write(what + "\n")

    def begun(
        model: ChatModel, part: Part, swept: AnySweep, scorer: Scorer, axes: Mapping[str, tuple[str, ...]]
    ) -> Effects:
        note(f"part of {type(swept).__name__} {digest(described(swept))[:8]} {'+'.join(part.names)}")
        return measured(model, part, swept, scorer, axes)

    def asked(question: Measurement, model: ChatModel, *rest: Any) -> Any:
        if not isinstance(question, Swept):
            note(f"measurement {question.KIND} {question.recipe('', ()).fingerprint}")
        return observed(question, model, *rest)

    sweep._measured = begun
    vars(answer)["observed"] = asked


def log(folder: Path) -> list[str]:
    """What began to be measured there."""
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def told(folder: Path) -> list[Any]:
    """The verdicts of the last run there, all but their time."""
    verdicts = Run.load(latest(folder / "runs")).verdicts
    return [{name: value for name, value in verdict.items() if name != "seconds"} for verdict in verdicts]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
