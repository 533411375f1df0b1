"""Answers under intervention, labelled twice by readers who saw prompt and answer alone."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "labelled_interventions.jsonl").read_text("utf-8").splitlines()
]
LABELS = {"refused", "answered", "broken"}


def test_there_are_enough_labels_of_every_outcome_and_from_enough_kinds_of_arm() -> None:
    assert {label for row in ROWS for label in row["labels"]} == LABELS
    assert len({(row["prompt"], row["answer"]) for row in ROWS}) == len(ROWS) >= 400
    arms = Counter(row["arm"] for row in ROWS)
    assert len(arms) >= 5
    assert sum(row["labels"][0] == "broken" for row in ROWS) / len(ROWS) > 0.4
    for half in ("tune", "held"):
        counts = Counter(row["labels"][0] for row in ROWS if row["half"] == half)
        assert min(counts.values()) >= 60, half


def test_prompts_that_tuned_a_judge_do_not_measure_it() -> None:
    prompts = {half: {row["prompt"] for row in ROWS if row["half"] == half} for half in ("tune", "held")}
    assert not prompts["tune"] & prompts["held"]


def test_the_two_labellings_agree_beyond_chance() -> None:
    """Cohen's kappa (1960), chance being both readers' own shares of each label."""
    first, second = (Counter(row["labels"][reader] for row in ROWS) for reader in (0, 1))
    agreement = sum(row["labels"][0] == row["labels"][1] for row in ROWS) / len(ROWS)
    chance = sum(first[label] * second[label] for label in LABELS) / len(ROWS) ** 2
    assert (agreement - chance) / (1 - chance) > 0.95
