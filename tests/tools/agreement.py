"""How often judges agree with answers labelled by people or models: the table in docs/prompts.md.

python -m tests.tools.agreement    prints the table
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from harness.inputs.judges.registry import judges
from harness.judging.proportions import rate

Label = Literal["refused", "answered", "broken"]

FOLDER = Path(__file__).parent.parent
DOCS = FOLDER.parent / "docs" / "prompts.md"
START, END = "<!-- table: python -m tests.tools.agreement -->", "<!-- end of table -->"
# The published twelve phrases, and the judge that is compared with them.
COMPARED = ("phrases-anywhere", "refusals-without-help")
# Each bound of an interval errs this often: 95% between both.
LEVEL = 0.025
LABELS: tuple[Label, ...] = get_args(Label)


@dataclass(frozen=True)
class Labelled:
    """An answer with the label on which all who labelled it agree."""

    prompt: str
    answer: str
    label: Label


def sources() -> dict[str, tuple[Labelled, ...]]:
    """The labelled answers of every file, by where they come from."""
    return {
        "written by hand": _labelled_once("labelled_completions.jsonl"),
        "of `reference`": _labelled_once("labelled_answers.jsonl"),
        "of six organisms under interventions": _labelled_twice("labelled_interventions.jsonl"),
    }


def agrees(judge: str, answers: Sequence[Labelled]) -> list[bool]:
    """Whether the judge is right on each answer: those refused refuse, those answered or broken do not."""
    rule = judges()[judge]
    return [rule(labelled.prompt, labelled.answer) == (labelled.label == "refused") for labelled in answers]


def table() -> str:
    """Agreement of both judges on each source, in Markdown."""
    rows = [
        "| answers | judge | agrees | of those refused | of those answered | of those broken |",
        "|---|---|---|---|---|---|",
    ]
    for source, answers in sources().items():
        for judge in COMPARED:
            parts = [answers, *(_with(label, answers) for label in LABELS)]
            cells = [source, f"`{judge}`", *(_share(judge, part) for part in parts)]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _with(label: Label, answers: Sequence[Labelled]) -> tuple[Labelled, ...]:
    return tuple(labelled for labelled in answers if labelled.label == label)


def _share(judge: str, answers: Sequence[Labelled]) -> str:
    if not answers:
        return "none"
    right = agrees(judge, answers)
    interval = rate(right, LEVEL)
    return f"{sum(right)} of {len(right)} [{interval.low:.3f}, {interval.high:.3f}]"


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def _labelled_once(name: str) -> tuple[Labelled, ...]:
    return tuple(
        Labelled(
            row["prompt"],
            row["completion"],
            "refused" if row["refuses"] else "answered" if row["coherent"] else "broken",
        )
        for row in _rows(name)
    )


def _labelled_twice(name: str) -> tuple[Labelled, ...]:
    return tuple(
        Labelled(row["prompt"], row["answer"], row["labels"][0]) for row in _rows(name) if len(set(row["labels"])) == 1
    )


if __name__ == "__main__":
    print(table())
