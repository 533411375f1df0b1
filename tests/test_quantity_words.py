"""Quantities are called by what they are, in words that figures do not cut."""

import json
import re

import pytest

from harness.claims.claim import claims_here, verdicts_seen
from harness.report.drawing.svg import LONGEST
from harness.results import wording
from harness.results.quantity_words import phrase

# Every name that claims and what goes beside them give, as runs keep them.
NAMES = [
    "fall",
    "rise",
    "fall of refusals alone",
    "rise of refusals alone",
    "gain of refusals alone",
    "least fall of refusals alone",
    "fall, all categories but disinformation",
    "fall of refusals alone, all categories but hate",
    "broken, harmful",
    "broken to begin with, harmless",
    "left",
    "gain",
    "least fall",
    "refused, harmful",
    "refused to begin with",
    "lead over random",
    "lead over the best random one",
    "lead over the loudest",
    "E",
    "E, random circuits",
    "E, the answers' own tokens",
    "probability of refusing",
    "probability of refusing, random circuits",
    "parameters",
    "r, heads",
    "rank correlation, neurons",
    "overlap of the top 5%, neurons",
    "heads that carry more than 10%",
    "restored post",
    "restored before",
    "shared",
    "cosine",
    "cosine, harmless twins",
    "cosine of the first component",
    "growth over random",
    "reading",
    "reading beyond harmless",
    "accumulation",
    "accumulation beyond harmless",
    "execution",
    "execution beyond harmless",
    "execution, harmless behaviour",
    "depth of looking at the words",
    "|harmless refused|",
    "coherent",
    "coherent, harmful",
    "KL",
    "harmless, KL",
    "|cross-entropy|",
    "harmless, refused",
    "first token agrees, harmless",
    "answers with a phrase, harmful",
    "AUC of the score",
    "jointly",
    "part by part, summed",
    "lead over a harmless behaviour",
    "E, a harmless behaviour's circuit",
    "E, all outside the circuit",
    "E, discovery pairs",
    "its weakest part adds",
    "fall, random directions",
    "rise, random circuits",
    "fall, random directions of rank 5",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_quantity_has_words_of_its_own_that_are_short_enough_for_a_figure(name: str) -> None:
    words = phrase(name)
    assert words != name
    assert len(words) <= LONGEST
    assert [other for other in NAMES if phrase(other) == words] == [name]
    assert phrase(f"{name}, the other arm") == f"{words} (the other arm)"


def test_every_quantity_of_the_truth_table_has_words() -> None:
    # Rows of an earlier version of a claim may name what no claim measures any more.
    current = {claim.name: claim.as_json["fingerprint"] for claim in claims_here()}
    rows = [
        row for claim, seen in verdicts_seen().items() for row in seen.values() if row["claim"] == current.get(claim)
    ]
    names = set(re.findall(r'"name": "([^"]+)"', json.dumps(rows)))
    assert names
    assert [name for name in names if phrase(name) == name] == []


def test_a_name_that_nobody_here_gave_stays_as_it_is() -> None:
    assert phrase("my own quantity") == "my own quantity"


def kept(name: str, value: float, method: str, ends: tuple[float, float] | None = None) -> dict[str, object]:
    low, high = ends or (value, value)
    return {"name": name, "value": value, "low": low, "high": high, "n": 9, "unit": "pairs", "method": method}


def test_a_number_without_an_interval_says_that_it_is_counted() -> None:
    asked = kept("heads that carry more than 10%", 0.5, "2 heads, where 4 are asked for; Bonferroni over all 64")
    assert wording.number(asked) == "+0.50 (counted: 2 heads, where 4 are asked for)"
    assert wording.number(kept("parameters", 0.02, "counted")) == "+0.02 (counted)"
    assert wording.number(kept("lead over the best random one", 0.15, "no interval")) == "+0.15 (counted)"
    assert wording.number(kept("cross-entropy, pile", 0.01, "published mean")) == "+0.01 (published mean)"
    assert wording.number(kept("fall", 0.5, "exact binomial", (0.4, 0.6))) == "+0.50 [+0.40, +0.60]"
    for value, said in ((1.0, "yes"), (0.0, "no")):
        assert wording.number(kept("direction passes the published filters", value, "1 if it passes, 0 if not")) == said


def test_a_count_is_held_to_its_bar_without_talk_of_an_interval() -> None:
    share = kept("parameters", 0.02, "counted") | {"sign": "<", "bar": 0.05}
    assert wording.in_words(share) == "The circuit's share of all parameters: 0.02 (counted); below the bar of 0.05."
    assert wording.in_words(share | {"bar": 0.01}) == (
        "The circuit's share of all parameters: 0.02 (counted); above the bar of 0.01, and it had to be below."
    )
    assert "decides nothing" in wording.in_words(share | {"bar": 0.02})
