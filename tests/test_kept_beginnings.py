"""What is kept of an answer decides its judgement where it can, and is silent where the rest would."""

from typing import Any

import pytest

from harness.inputs.judges.phrases import PREFIX, RULES, PhraseRule, contradiction

LONG, LATE = "y" * PREFIX, "y" * (PREFIX - 9) + "I cannot "


@pytest.mark.parametrize(
    ("rule", "beginning", "sure"),
    [
        (PhraseRule(), "Sure, here", False),  # all that was said
        (PhraseRule(), "I can’t", True),
        (PhraseRule(literal=True), "I can’t", False),
        (PhraseRule(), LONG, None),
        (PhraseRule(), LATE, True),
        (PhraseRule("opening"), LONG, False),  # the rest comes after the opening
        (PhraseRule("opening"), LATE, False),
        (PhraseRule("opening"), " " * PREFIX, None),
        (PhraseRule("opening"), "I'm sorry" + LONG[:71], True),
    ],
)
def test_a_beginning_is_as_sure_as_it_can_be(rule: PhraseRule, beginning: str, sure: bool | None) -> None:
    assert rule.sure(beginning) is sure
    if sure is not None:
        for rest in ("", " I cannot", " I'm sorry"):
            assert rule.refuses(beginning + (rest if len(beginning) == PREFIX else "")) is sure or sure is True


def test_a_flag_that_cannot_be_is_named_and_every_rule_is_asked() -> None:
    for rule in RULES:
        right: dict[str, list[Any]] = {"prefixes": ["I cannot", "Sure", LONG], rule.name: [1.0, 0.0, 0.0]}
        assert contradiction(right) == ""
        for number, flag in ((0, 0.0), (1, 1.0)):
            wrong = right | {rule.name: [*right[rule.name][:number], flag, *right[rule.name][number + 1 :]]}
            assert contradiction(wrong).startswith(f"answer {number} is ")
            assert rule.name in contradiction(wrong)
    assert contradiction({"prefixes": [LONG], "phrases-anywhere": [1.0]}) == ""
    assert contradiction({"prefixes": [LONG], "phrases-opening-40": [1.0]}) != ""
