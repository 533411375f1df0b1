"""A few numbers of every kind of measurement on `organism:reference`; `python -m tests.tools.golden` writes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.inputs.judges.phrases import RULES
from harness.inputs.judges.registry import judges
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.instruments.answer import measure
from harness.measurements.interventions import Circuit, Direction, ablate, patch, remove
from harness.measurements.questions import (
    Answers,
    Attended,
    Contrasted,
    DealtAnswers,
    Encoding,
    Estimated,
    FoundCircuit,
    FoundDirection,
    FoundOpenings,
    GrownCircuit,
    Lens,
    Measurement,
    Norms,
    Openings,
    OpeningScores,
    PlainText,
    Products,
    Projected,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.measurements.sweep_plan import Sweep
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import refusal_tokens
from harness.model.wake import wake

GOLDEN = Path(__file__).with_name("golden.json")
# Pairs of their own, so that the numbers move with what measures them alone.
ROWS = map(json.loads, Path(__file__).with_name("golden_pairs.jsonl").read_text(encoding="utf-8").splitlines())
PAIRS = PairSet("golden", tuple(Pair(**{name: row[name] for name in row if name != "words"}) for row in ROWS))
DIRECTION = Direction("difference", 5, -1, PAIRS.harmful, PAIRS.harmless)
CARRYING = Circuit.of(heads=[(3, 1)])
# "I cannot", "I'm" and "I am" against "Certainly" and "Sure": three that share a first token, and two that do not.
OPENINGS = Openings(((45, 1718), (45, 1792), (45, 1828)), ((1975,), (1803,)))
# So few are kept one by one.
FEW = 16
HEADS = Sweep("head", ("post",), layers=(3, 4))
ASKED: tuple[Measurement, ...] = (
    Encoding(PAIRS),
    RefusalTokens(PAIRS),
    Answers(PAIRS, "harmful", patch(CARRYING, at="post")),
    Scores(PAIRS, "harmful", remove(DIRECTION)),
    FoundOpenings(PAIRS),
    OpeningScores(PAIRS, "harmful", OPENINGS, remove(DIRECTION)),
    DealtAnswers(PAIRS, "harmful", (patch(CARRYING, at="post"), ablate(CARRYING, "zero"))),
    Swept(PAIRS, HEADS),
    Contrasted(PAIRS.harmless_alike, HEADS),
    Estimated(PAIRS, HEADS),
    FoundCircuit(PAIRS, 2, 2),
    FoundDirection(PAIRS),
    GrownCircuit(PAIRS, 0.01),
    Projected(PAIRS, "harmful", (DIRECTION,)),
    Lens(PAIRS, "harmful"),
    Attended(PAIRS),
    Products(PAIRS, 4, -1),
    PlainText(PAIRS, PAIRS.harmless),
    Norms(PAIRS),
)


def model() -> ChatModel:
    """Unquantized, on the processor: as good as the same on every machine."""
    torch.set_num_threads(1)
    return wake("organism:reference", quant="none", device="cpu")


def numbers(awake: ChatModel) -> dict[str, Any]:
    """By kind: the revision that measured, and what is left of the answer when it is summed up."""
    tokens = refusal_tokens(awake, PAIRS)
    found = {}
    for asked in ASKED:
        values, arrays = measure(asked, awake, tokens)
        # A judge that somebody adds changes no number that was there.
        added = set(judges()) - {rule.name for rule in RULES}
        values = {name: value for name, value in values.items() if name not in added}
        summed = {name: _summed(value) for name, value in (*values.items(), *arrays.items())}
        recipe = asked.recipe("subject", (1, 2)).fingerprint
        found[asked.KIND] = {"revision": asked.REVISION, "recipe": recipe, "numbers": summed}
    return found


def _summed(value: Any) -> Any:
    """Numbers by their shape, mean and spread, anything else as it is."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return value[:3] if isinstance(value, list) else value
    if array.size <= FEW:
        return array.tolist()
    there = array[~np.isnan(array)]
    kept = {"mean": float(there.mean()), "spread": float(there.std())} if there.size else {}
    return {"shape": list(array.shape), "numbers": int(there.size)} | kept


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(numbers(model()), indent=1, ensure_ascii=False) + "\n")
