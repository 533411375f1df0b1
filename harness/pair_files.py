"""Files of prompt pairs: read, checked line by line, whole or not at all. Never touches a model."""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import AssayError
from harness.pairs import Pair, PairSet, PromptLists, side_of

# With none of a category on one side, nothing found there could be judged there.
FEWEST_PER_SIDE = 1
REQUIRED = ("harmful", "harmless")
OPTIONAL = ("id", "category", "words", "template", "novel")


def load(path: str | Path) -> PairSet | PromptLists:
    """Reads pairs (.jsonl, .csv) or a folder with harmful.txt and harmless.txt, whole or not at all."""
    path = Path(path)
    if not path.exists():
        raise AssayError(f"{path}: there is no such file; give --pairs a .jsonl, a .csv or a folder")
    if path.is_dir():
        return _load_lists(path)
    if path.suffix.lower() == ".jsonl":
        return load_pairs(path)
    if path.suffix.lower() == ".csv":
        return load_pairs(path)
    raise AssayError(
        f"{path}: prompt pairs are read from .jsonl or .csv files, or from a folder that holds "
        "harmful.txt and harmless.txt; rename the file to what it is"
    )


def load_pairs(path: str | Path) -> PairSet:
    """Reads a .jsonl or .csv file of pairs; any defect is one sentence with file and line."""
    path = Path(path)
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _jsonl_rows(path)
    reader = _Reader(path)
    pairs = tuple(reader.pair(line, row) for line, row in rows)
    reader.check_categories(pairs)
    return PairSet(path.stem, pairs)


@dataclass
class _Reader:
    """Turns rows of one file into pairs and remembers what must not come twice."""

    path: Path
    lines: dict[str, int] = field(default_factory=dict)
    prompts: dict[str, int] = field(default_factory=dict)

    def pair(self, line: int, row: Mapping[str, object]) -> Pair:
        self._check_fields(line, row)
        harmful, harmless = (self._prompt(line, row, name) for name in REQUIRED)
        if harmful.split() == harmless.split():
            raise self._defect(line, "the harmless prompt equals the harmful one; give a real twin")
        pair = Pair(
            id=self._text(line, row, "id") or _default_id(harmful, harmless),
            category=self._text(line, row, "category") or "all",
            harmful=harmful,
            harmless=harmless,
            template=self._text(line, row, "template"),
            novel=self._text(line, row, "novel"),
        )
        if (first := self.lines.setdefault(pair.id, line)) != line:
            raise self._defect(line, f"id {pair.id!r} was used on line {first} already; ids are unique")
        for prompt in (harmful, harmless):
            if (first := self.prompts.setdefault(prompt, line)) != line:
                raise self._defect(line, f"the prompt {_short(prompt)} stands on line {first} already")
        self._check_words(line, row, pair)
        return pair

    def check_categories(self, pairs: Sequence[Pair]) -> None:
        if not pairs:
            raise AssayError(f"{self.path}: holds no pairs; each line is one pair with {_list(REQUIRED)}")
        sides = Counter((pair.category, pair.side) for pair in pairs)
        for category in dict.fromkeys(pair.category for pair in pairs):
            for side in ("discovery", "heldout"):
                if (n := sides[category, side]) < FEWEST_PER_SIDE:
                    raise AssayError(
                        f"{self.path}: category {category!r} has {n} of its pairs in {side}, at least "
                        f"{FEWEST_PER_SIDE} is needed (a hash of the id decides); add pairs or change an id"
                    )

    def _check_fields(self, line: int, row: Mapping[str, object]) -> None:
        for name in row:
            if name not in REQUIRED + OPTIONAL:
                raise self._defect(line, f"unknown field {name!r}; the fields are {_list(REQUIRED + OPTIONAL)}")
        for name in REQUIRED:
            if name not in row:
                raise self._defect(line, f"the field {name!r} is missing")

    def _prompt(self, line: int, row: Mapping[str, object], name: str) -> str:
        text = self._text(line, row, name)
        if not text:
            raise self._defect(line, f"the {name} prompt is empty")
        return text

    def _text(self, line: int, row: Mapping[str, object], name: str) -> str | None:
        value = row.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._defect(line, f"the field {name!r} must be text, not {json.dumps(value)}")
        if any(sign in value for sign in "\x00\ufffd") or any("\ud800" <= sign <= "\udfff" for sign in value):
            raise self._defect(line, f"the field {name!r} holds a broken character; save it as UTF-8")
        return value.strip() or None

    def _check_words(self, line: int, row: Mapping[str, object], pair: Pair) -> None:
        if (given := row.get("words")) in (None, ""):
            return
        if given != pair.words:
            raise self._defect(
                line,
                f"the field 'words' says {json.dumps(given, ensure_ascii=False)}, but the prompts "
                f"differ in {json.dumps(pair.words, ensure_ascii=False)}; correct it or leave it out",
            )

    def _defect(self, line: int, what: str) -> AssayError:
        return AssayError(f"{self.path}, line {line}: {what}")


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    for line, text in enumerate(_decoded(path).split("\n"), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text, object_pairs_hook=_no_repeats)
        except json.JSONDecodeError as error:
            raise AssayError(
                f"{path}, line {line}: not valid JSON ({error.msg} at column {error.colno}); each line is one object"
            ) from None
        except _RepeatedField as error:
            raise AssayError(f"{path}, line {line}: the field {error} stands twice") from None
        except (RecursionError, ValueError):  # nested too deep, a number too long
            raise AssayError(f"{path}, line {line}: not a plain JSON object; fields hold text") from None
        if not isinstance(row, dict):
            raise AssayError(f"{path}, line {line}: each line is one JSON object, this one is not")
        yield line, row


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.DictReader(io.StringIO(_decoded(path), newline=""), strict=True)
    try:
        columns = reader.fieldnames or []
    except csv.Error as error:
        raise AssayError(f"{path}, line 1: not valid CSV ({error})") from None
    for name in columns:
        if name not in REQUIRED + OPTIONAL or name == "words":
            allowed = _list(tuple(n for n in REQUIRED + OPTIONAL if n != "words"))
            raise AssayError(f"{path}, line 1: unknown column {name!r}; the columns are {allowed}")
        if columns.count(name) > 1:
            raise AssayError(f"{path}, line 1: the column {name!r} stands twice")
    try:
        for row in reader:
            if None in row or None in row.values():
                raise AssayError(
                    f"{path}, line {reader.line_num}: the row does not have {len(columns)} columns; "
                    "put quotes around prompts that hold a comma"
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise AssayError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from None


def _load_lists(folder: Path) -> PromptLists:
    lists = []
    for name in REQUIRED:
        path = folder / f"{name}.txt"
        if not path.is_file():
            raise AssayError(f"{folder}: holds no {name}.txt; a folder of unpaired prompts has both lists")
        lines: dict[str, int] = {}
        for line, text in enumerate(_decoded(path).split("\n"), 1):
            if not (prompt := text.strip()):
                continue
            if (first := lines.setdefault(prompt, line)) != line:
                raise AssayError(f"{path}, line {line}: the prompt stands on line {first} already")
        for side in ("discovery", "heldout"):
            if (n := sum(side_of(prompt) == side for prompt in lines)) < FEWEST_PER_SIDE:
                raise AssayError(
                    f"{path}: {n} of its prompts fall into {side}, at least {FEWEST_PER_SIDE} is "
                    "needed (a hash of the prompt decides); add prompts"
                )
        lists.append(tuple(lines))
    if both := set(lists[0]) & set(lists[1]):
        raise AssayError(f"{folder}: {_short(sorted(both)[0])} is in harmful.txt and in harmless.txt")
    return PromptLists(folder.name, *lists)


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); give a file of yours") from None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise AssayError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None


def _default_id(harmful: str, harmless: str) -> str:
    return hashlib.sha256(f"{harmful}\n{harmless}".encode()).hexdigest()[:12]


class _RepeatedField(Exception):
    pass


def _no_repeats(items: list[tuple[str, object]]) -> dict[str, object]:
    for name, count in Counter(name for name, _ in items).items():
        if count > 1:
            raise _RepeatedField(repr(name))
    return dict(items)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "…")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
