"""Reads the rows of a file of prompts (.jsonl, .csv, .json, .txt) with their line numbers, and collects all defects."""

import csv
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.inputs.errors import AssayError
from harness.inputs.files.json_files import Malformed, contents

# The most defects that are listed; the rest is counted.
MOST_DEFECTS = 20
# The name of the only field of a row in a file without columns.
PLAIN = ""

# Letters and symbols that are invisible.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")


@dataclass
class Rows:
    """The rows of a file, each with its place such as `line 3`, and their defects."""

    path: Path
    columns: tuple[str, ...] = ()  # empty: a plain prompt a line
    rows: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    defects: list[tuple[int, str]] = field(default_factory=list)  # by line

    def add(self, place: str, defect: str) -> None:
        """Notes a defect of the row at that place."""
        self.defects.append((int(place.split()[1]), f"{self.path}, {place}: {defect}"))

    def check(self) -> None:
        """Raises all defects, a sentence a line, from the top of the file."""
        raise_all([sentence for _, sentence in sorted(self.defects, key=lambda defect: defect[0])])

    def text(self, place: str, row: Mapping[str, object], name: str) -> str | None:
        """A field as text, stripped of white space; None where it is empty, or has a defect, which is noted."""
        value = row.get(name)
        if value is None:
            return None
        of = f"the field {short(name)}" if name else "the prompt"
        if not isinstance(value, str):
            self.add(place, f"{of} must be text, not {shortly(value)}")
        elif any(sign in value for sign in "\x00\ufffd") or any("\ud800" <= sign <= "\udfff" for sign in value):
            self.add(place, f"{of} holds a broken character; save it as UTF-8")
        else:
            return value.strip() or None
        return None

    def prompt(self, place: str, row: Mapping[str, object], name: str, words: str = "prompt") -> str | None:
        """A field that holds a prompt; None, with the defect noted, where it is empty or invisible."""
        before, text = len(self.defects), self.text(place, row, name)
        if text is not None and not any(map(_visible, text)):
            self.add(place, f"the {words} shows nothing: it is made of zero-width, control or combining characters")
            return None
        if text is None and len(self.defects) == before:
            self.add(place, f"the {words} is empty")
        return text


def rows_of(path: Path, suffix: str) -> Rows:
    """Reads a file by its suffix; a file that cannot be read at all is refused in a sentence."""
    file, text = Rows(path), _decoded(path)
    match suffix:
        case ".csv":
            _read_csv(file, text)
        case ".json":
            _read_json(file, text)
        case ".jsonl":
            _read_jsonl(file, text)
        case _:
            lines = enumerate(text.split("\n"), 1)
            file.rows = [(f"line {line}", {PLAIN: prompt}) for line, prompt in lines if prompt.strip()]
    return file


def raise_all(sentences: list[str]) -> None:
    """Raises an AssayError with the first sentences and the number of the others, if there are any."""
    if sentences:
        more = [f"and {len(sentences) - MOST_DEFECTS} more"] if len(sentences) > MOST_DEFECTS else []
        raise AssayError("\n".join(sentences[:MOST_DEFECTS] + more))


def short(text: str) -> str:
    """Text in quotes, cut to 40 characters."""
    return repr(text if len(text) <= 40 else text[:37] + "…")


def shortly(value: object) -> str:
    """A JSON value in a few words."""
    if isinstance(value, str):
        return short(value)
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return short(json.dumps(value)).strip("'")


def _read_csv(file: Rows, text: str) -> None:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        file.columns = tuple(reader.fieldnames or ())
        for row in reader:
            place = f"line {reader.line_num}"
            if None in row or None in row.values():
                file.add(
                    place,
                    f"the row does not have {len(file.columns)} columns; put quotes around prompts that hold a comma",
                )
            else:
                file.rows.append((place, row))
    except csv.Error as error:
        file.add(f"line {max(1, reader.line_num)}", f"not valid CSV ({error})")


def _read_jsonl(file: Rows, text: str) -> None:
    for line, entry in enumerate(text.split("\n"), 1):
        if not entry.strip():
            continue
        try:
            row = _parsed(entry)
        except _NotJson as error:
            file.add(f"line {line}", f"{error}; each line is one object")
            continue
        if isinstance(row, dict):
            file.rows.append((f"line {line}", row))
        else:
            file.add(f"line {line}", "each line is one JSON object, this one is not")
    file.columns = tuple(dict.fromkeys(name for _, row in file.rows for name in row))


def _read_json(file: Rows, text: str) -> None:
    try:
        whole = _parsed(text)
    except _NotJson as error:
        raise AssayError(f"{file.path}: {error}; a .json file is one list of prompts") from None
    if not isinstance(whole, list):
        raise AssayError(f"{file.path}: holds {shortly(whole)}; a .json file is one list, of prompts or of objects")
    plain = all(isinstance(item, str) for item in whole)
    for number, item in enumerate(whole, 1):
        if plain:
            file.rows.append((f"item {number}", {PLAIN: item}))
        elif isinstance(item, dict):
            file.rows.append((f"item {number}", item))
        else:
            file.add(f"item {number}", f"is {shortly(item)}; items are all text or all objects")
    file.columns = () if plain else tuple(dict.fromkeys(name for _, row in file.rows for name in row))


class _NotJson(Exception):
    pass


def _parsed(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_no_repeats)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column" if error.lineno > 1 else "column"
        raise _NotJson(f"not valid JSON ({error.msg} at {at} {error.colno})") from None
    except (RecursionError, ValueError):  # nested too deep, a number too long
        raise _NotJson("not a plain JSON object: nested too deep, or a number too long; fields hold text") from None


def _no_repeats(items: list[tuple[str, object]]) -> dict[str, object]:
    for name, count in Counter(name for name, _ in items).items():
        if count > 1:
            raise _NotJson(f"the field {short(name)} occurs twice")
    return dict(items)


def _visible(sign: str) -> bool:
    return (unicodedata.category(sign)[0] in "LNPS" or unicodedata.category(sign) == "Co") and sign not in _BLANK


def _decoded(path: Path) -> str:
    try:
        raw = contents(path)
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); give a file of yours") from None
    except Malformed as error:
        raise AssayError(f"{path}: cannot be read ({error}); give a file of yours") from None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise AssayError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
