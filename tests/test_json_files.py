"""JSON that is read back is plain, bounded and typed; whatever else it is, is said in one sentence."""

import math
import os
from pathlib import Path
from typing import TypedDict

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.files.json_files import MOST_BYTES, Count, Finite, Later, Malformed, parsed, read, typed
from harness.inputs.files.terminal import shown


class Row(TypedDict):
    name: str
    many: Count
    share: Finite


class Table(TypedDict):
    rows: list[Row]


GOOD = b'{"rows": [{"name": "a", "many": 1, "share": 0.5}]}'

MALFORMED = {
    b"": "not JSON",
    b"{": "not JSON",
    b"\xff{}": "not UTF-8",
    b"\xef\xbb\xbf{}": "not JSON",
    b"null": "$: expected object, got null",
    b"[]": "$: expected object, got array",
    b"{}": "$: object missing required field rows",
    b'{"rows": {}}': "$.rows: expected array, got object",
    b'{"rows": null}': "$.rows: expected array, got null",
    b'{"rows": [], "rows": []}': "the member 'rows' stands twice",
    b'{"rows": [{"name": 3, "many": 1, "share": 1}]}': "$.rows[0].name: expected str, got int",
    b'{"rows": [{"name": "a", "many": true, "share": 1}]}': "$.rows[0].many: expected int, got bool",
    b'{"rows": [{"name": "a", "many": 1.0, "share": 1}]}': "$.rows[0].many: expected int, got float",
    b'{"rows": [{"name": "a", "many": -1, "share": 1}]}': "$.rows[0].many: expected int >= 0",
    b'{"rows": [{"name": "a", "many": 1, "share": NaN}]}': "$.rows[0].share: nan is no number here",
    b'{"rows": [{"name": "a", "many": 1, "share": -Infinity}]}': "$.rows[0].share: -inf is no number here",
    b'{"rows": [{"name": "a", "many": 1, "share": 1e999}]}': "$.rows[0].share: inf is no number here",
    b'{"rows": [{"name": "a", "many": 1}]}': "$.rows[0]: object missing required field share",
    b'{"rows": [], "x": 99999999999999999999}': "$.x: a number beyond 64 bits",
    b'{"rows": ' + b"9" * 5000 + b"}": "a number of thousands of digits",
    b'{"rows": ["\\ud800"]}': "$.rows[0]: half a character",
    b'{"rows": [], "\\udfff": 1}': "$: half a character in a name",
    b'{"rows": ' + b"[" * 65 + b"]" * 65 + b"}": "nested deeper than 64 levels",
    b"[" * 990 + b"]" * 990: "nested deeper than 64 levels",
    b"[" * 200_000: "nested deeper than 64 levels",
    b'{"schema": 0, "rows": []}': "$.schema: must be a whole number from 1",
    b'{"schema": true, "rows": []}': "$.schema: must be a whole number from 1",
    b'{"schema": "1", "rows": []}': "$.schema: must be a whole number from 1",
}


@pytest.mark.parametrize(("raw", "said"), MALFORMED.items(), ids=range(len(MALFORMED)))
def test_what_is_malformed_is_said_with_its_place(raw: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_bytes(raw)
    with pytest.raises(AssayError) as caught:
        read(tmp_path / "table.json", Table, no="table", do="make it anew")
    sentence = str(caught.value)
    assert sentence.startswith(f"{tmp_path}/table.json: is no table (")
    assert sentence.endswith("); make it anew")
    assert said in sentence
    assert "\n" not in sentence


def test_what_is_whole_is_read_and_no_number_becomes_another_kind() -> None:
    assert typed(parsed(GOOD), Table) == {"rows": [{"name": "a", "many": 1, "share": 0.5}]}
    assert typed(parsed(b'{"schema": 2, "rows": []}'), Table, newest=2) == {"rows": []}


def test_a_later_file_is_said_to_be_one_whatever_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"schema": 3, "lines": []}')
    with pytest.raises(AssayError) as caught:
        read(tmp_path / "t.json", Table, no="table", do="make it anew", newest=2)
    assert str(caught.value) == (
        f"{tmp_path}/t.json: made by a later Assay (schema 3; this one reads up to 2): update Assay"
    )
    assert issubclass(Later, Malformed)


def test_nan_may_stand_where_it_is_told_to_alone() -> None:
    told = frozenset({"values"})
    assert math.isnan(parsed(b'{"values": {"a": [[NaN]]}}', nan=told)["values"]["a"][0][0])
    with pytest.raises(Malformed, match=r"\$\.b: nan is no number here"):
        parsed(b'{"values": [NaN], "b": NaN}', nan=told)


def test_what_is_too_large_or_no_file_is_said_and_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    os.mkfifo(tmp_path / "pipe.json")
    for name, said in (
        ("large.json", r"is no table \(larger than 32 MiB\); x"),
        ("pipe.json", r"is no table \(no regular file\); x"),
        ("none.json", r"cannot be read \(No such file or directory\); x"),
    ):
        with pytest.raises(AssayError, match=f"{name}: {said}"):
            read(tmp_path / name, Table, no="table", do="x")


def test_commands_to_a_terminal_are_shown_and_letters_of_any_script_stay() -> None:
    assert shown("a\x1b[31mb\r\n\tc\x00\x9b2J\u202egpj\u2066\ufeff\ud800") == (
        r"a\x1b[31mb\r\n\tc\x00\x9b2J\u202egpj\u2066\ufeff\ud800"
    )
    for plain in ("naïve", "نمی\u200cخواهم", "👩\u200d🔬", "模型", "a\u00a0b", "∣"):
        assert shown(plain) == plain


def test_a_sentence_about_a_strangers_file_obeys_nothing_in_it() -> None:
    assert str(AssayError("of\x1b]0;owned\x07 it")) == r"of\x1b]0;owned\x07 it"
    assert str(AssayError("two\nlines")) == "two\nlines"
