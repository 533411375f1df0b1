"""The tables of what was seen on organisms and placebos are whole, or one sentence."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.claims.claim import TABLES_SCHEMA, placebos_seen, verdicts_seen
from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from tests.tools import malformed

_NUMBERS = {"name": "fall", "value": 0.5, "low": 0.25, "high": 0.75, "n": 9, "unit": "pairs", "sign": ">", "bar": 0.3}
TABLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "truth table": (
        verdicts_seen,
        {"c": {"reference": {"verdict": "SUPPORTED", "claim": "ab", "organism": "cd", "estimates": [_NUMBERS]}}},
    ),
    "table of placebos": (placebos_seen, {"c": {"claim": "ab", "model": "m", "verdicts": {"REFUTED": 9}}}),
}
# Where a value of another kind, or none, says nothing false.
EITHER = (
    r"\$\.(schema|claims\.c|claims\.c\.reference|claims\.c\.verdicts\.REFUTED) gone",
    r"\$\.claims(\.c(\.verdicts)?)? {}",
    r"\$\.claims\.c\.reference\.estimates\[0\]\.(value|low|high) NaN",
    r"\$\.claims\.c\.reference\.estimates\[0\]\.(sign|bar) gone",
)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_whole_or_refused_with_one_sentence(name: str, tmp_path: Path) -> None:
    seen, claims = TABLES[name]
    right = {"schema": TABLES_SCHEMA, "claims": claims}
    path = tmp_path / "table.json"
    path.write_text(json.dumps(right))
    assert seen(path) == claims
    assert seen(tmp_path / "none.json") == {}

    def load(text: str) -> None:
        path.write_text(text)
        seen(path)

    said = {how: malformed.sentence(load, text) for how, text in malformed.spoilt(right)}
    accepted = [how for how, sentence in said.items() if not sentence]
    assert [how for how in accepted if not any(re.fullmatch(pattern, how) for pattern in EITHER)] == []
    form = re.compile(rf".*/table\.json: is no {name} \(.*\); `make \w+` writes it anew")
    assert [one for one in said.values() if one and not form.fullmatch(one)] == []
    for how, raw in malformed.twisted(right).items():
        path.write_bytes(raw)
        with pytest.raises(AssayError, match=rf"table\.json: (is no {name}|made by a later Assay)") as caught:
            seen(path)
        assert "\n" not in str(caught.value), how


def test_tables_of_before_there_was_a_schema_are_read() -> None:
    assert verdicts_seen(DATA / "truth.json")
    assert placebos_seen(DATA / "placebos.json")
