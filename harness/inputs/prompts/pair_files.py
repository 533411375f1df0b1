"""Reads files of prompts, in pairs or in lists; reports every defect with its line."""

import hashlib
import json
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.inputs.errors import AssayError
from harness.inputs.prompts.pairs import NO_CATEGORY, Pair, PairSet, grouped, side_of
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet
from harness.inputs.prompts.prompt_rows import PLAIN, Rows, raise_all, rows_of, short, shortly
from harness.inputs.prompts.prompt_text import normalised

# A category needs prompts to search on and prompts to judge on.
FEWEST_PER_SIDE = 1
REQUIRED = ("harmful", "harmless")
OPTIONAL = ("id", "category", "words", "frame", "template", "novel")
SUFFIXES = (".jsonl", ".csv", ".json", ".txt")
# Names of the column that holds unpaired prompts, in order of precedence and in any case: AdvBench and JailbreakBench
# (whose `Behavior` is a title), HarmBench, StrongREJECT, and lists of harmless prompts.
PROMPTS = ("goal", "behavior", "forbidden_prompt", "prompt", "instruction")
CATEGORIES = ("category", "semanticcategory")
# HarmBench's column of text that precedes some prompts.
CONTEXTS = ("contextstring",)
# Messages list at most so many columns.
MOST_COLUMNS = 12


def load(*paths: str | Path, columns: Sequence[str] = ()) -> PromptSet:
    """Reads a file of pairs, a folder with a harmful and a harmless list, or these two lists, harmful prompts first.

    A single list is read as harmful prompts; the result then has no harmless ones. `columns` are the names of the
    columns that hold the lists' prompts.
    """
    files_given = [Path(path) for path in paths]
    if len(files_given) > 2:
        raise AssayError(f"--pairs was given {len(files_given)} times; give one file or folder, or two lists")
    name = files_given[0].resolve().stem
    if len(files_given) == 1 and _is_folder(files_given[0]):
        files_given = [_list_in(files_given[0], side) for side in REQUIRED]
    files = [_opened(path) for path in files_given]
    if len(files) == 1 and _holds_pairs(files[0]):
        if columns:
            raise AssayError(f"{files_given[0]}: holds pairs; --column is for lists of prompts without twins")
        return _paired(files[0])
    return _lists(name, files, columns)


def load_pairs(path: str | Path) -> PairSet:
    """Reads a file of pairs; AssayError names every defect with file and line."""
    return _paired(_opened(Path(path)))


def _paired(file: Rows) -> PairSet:
    if file.path.suffix.lower() == ".csv":
        allowed = tuple(name for name in REQUIRED + OPTIONAL if name != "words")
        for name in file.columns:
            if name not in allowed:
                raise AssayError(f"{file.path}, line 1: unknown column {name!r}; the columns are {', '.join(allowed)}")
            _once(file, name)
    reader = _Reader(file)
    pairs = [pair for place, row in file.rows if (pair := reader.pair(place, row)) is not None]
    file.check()
    if not pairs:
        raise AssayError(f"{file.path}: holds no pairs; each line is one pair with {', '.join(REQUIRED)}")
    in_groups = grouped(pairs)
    read = PairSet(file.path.stem, in_groups)
    sides = Counter((pair.category, read.side(pair)) for pair in read)
    defects: list[str] = []
    for category in dict.fromkeys(pair.category for pair in in_groups):
        for side in ("discovery", "heldout"):
            if (n := sides[category, side]) < FEWEST_PER_SIDE:
                defects.append(
                    f"{file.path}: category {category!r} has {n} of its pairs in {side}, at least {FEWEST_PER_SIDE} is "
                    "needed (a hash of the frame decides, without one of the id, and pairs that share a prompt stay "
                    "together); add pairs in other frames"
                )
    raise_all(defects)
    return read


@dataclass
class _Reader:
    """Turns the rows of a file into pairs; notes as defects what is missing, wrong or repeated."""

    file: Rows
    ids: dict[str, str] = field(default_factory=dict)
    pairs: dict[tuple[str, str], str] = field(default_factory=dict)
    sides: dict[str, tuple[str, str]] = field(default_factory=dict)

    def pair(self, place: str, row: Mapping[str, object]) -> Pair | None:
        """The pair in a row; None, with its defects noted, if anything is wrong with it."""
        before = len(self.file.defects)
        for name in row:
            if name not in REQUIRED + OPTIONAL:
                known = ", ".join(REQUIRED + OPTIONAL)
                self.file.add(place, f"unknown field {short(name)}; the fields are {known}")
        for name in (name for name in REQUIRED if name not in row):
            self.file.add(place, f"the field {name!r} is missing")
        harmful, harmless = (
            self.file.prompt(place, row, name, f"{name} prompt") if name in row else None for name in REQUIRED
        )
        other = {name: self.file.text(place, row, name) for name in OPTIONAL if name != "words"}
        if harmful is None or harmless is None or len(self.file.defects) > before:
            return None
        if other["frame"] and other["template"]:
            self.file.add(place, "the fields 'frame' and 'template' mean the same; give one of them")
        key, frame = other["id"] or _default_id(harmful, harmless), other["frame"] or other["template"]
        pair = Pair(key, other["category"] or NO_CATEGORY, harmful, harmless, frame, other["novel"])
        self._check_repeats(place, pair)
        self._check_words(place, row, pair)
        return pair

    def _check_repeats(self, place: str, pair: Pair) -> None:
        both = normalised(pair.harmful), normalised(pair.harmless)
        if both[0] == both[1]:
            self.file.add(place, "the harmless prompt equals the harmful one; give a real twin")
        elif (first := self.pairs.setdefault(both, place)) != place:
            self.file.add(place, f"the same pair is on {first} already; keep one of them")
        elif (first := self.ids.setdefault(pair.id, place)) != place:
            self.file.add(place, f"id {short(pair.id)} is used on {first} already; give each pair an id of its own")
        for side, text, plain in zip(REQUIRED, (pair.harmful, pair.harmless), both, strict=True):
            other, first = self.sides.setdefault(plain, (side, place))
            if other != side and first != place:
                self.file.add(place, f"the prompt {short(text)} is {side} here and {other} on {first}")

    def _check_words(self, place: str, row: Mapping[str, object], pair: Pair) -> None:
        given = row.get("words")
        if given not in (None, "") and given != pair.words:
            self.file.add(
                place,
                f"the field 'words' says {shortly(given)}, but the prompts differ in "
                f"{json.dumps(pair.words, ensure_ascii=False)}; correct it or leave it out",
            )


def _lists(name: str, files: Sequence[Rows], columns: Sequence[str]) -> PromptLists:
    if len(columns) > len(files):
        raise AssayError(
            f"--column was given {len(columns)} times, for {len(files)} lists; give it at most once for each list"
        )
    if columns and not any(file.columns for file in files):
        raise AssayError(f"{files[0].path}: has no columns; leave out --column {columns[0]}")
    seen: dict[str, tuple[int, str]] = {}
    read = []
    for number, file in enumerate(files):
        if _holds_pairs(file):
            raise AssayError(
                f"{file.path}: holds pairs (a column {' or '.join(map(repr, REQUIRED))}); a list of prompts without "
                f"twins has them in a column such as {PROMPTS[0]!r} or {PROMPTS[3]!r}"
            )
        column = columns[number] if len(columns) == len(files) else columns[0] if columns and file.columns else None
        read.append(_list(file, column, number, seen))
    harmful, harmless = read[0], read[1] if len(read) > 1 else ((), (), "")
    taken = "; ".join(part[2] for part in read)
    return PromptLists(name, harmful[0], harmless[0], (harmful[1], harmless[1]), taken)


def _list(
    file: Rows, asked: str | None, number: int, seen: dict[str, tuple[int, str]]
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The prompts of a list, their categories, and a description of their source.

    `seen` maps each prompt of the lists read so far to its list and place; this list's are added.
    """
    column, category, context = _column(file, asked), _named(file, CATEGORIES), _named(file, CONTEXTS)
    prompts, kinds, repeated, with_context = [], [], 0, 0
    for place, row in file.rows:
        prompt = file.prompt(place, row, column)
        kind, before = (None if name is None else file.text(place, row, name) for name in (category, context))
        if prompt is None:
            continue
        if before is not None:  # the form in which HarmBench puts context and prompt together
            prompt, with_context = f"{before}\n\n---\n\n{prompt}", with_context + 1
        first = seen.setdefault(normalised(prompt), (number, place))
        if first[0] != number:
            file.add(place, f"the prompt {short(prompt)} is on {first[1]} of the harmful list; remove it from one list")
        elif first != (number, place):
            repeated += 1
        else:
            prompts.append(prompt)
            kinds.append(kind or NO_CATEGORY)
    file.check()
    _require_both_sides(file, prompts)
    remarks = [f"column {short(column)}"] if file.columns else []
    remarks += [f"{with_context} after their {short(context)}"] if context is not None and with_context else []
    remarks += [f"{repeated} repeated prompts left out"] if repeated else []
    return tuple(prompts), tuple(kinds) if category is not None else (), ", ".join([file.path.name, *remarks])


def _require_both_sides(file: Rows, prompts: Sequence[str]) -> None:
    if not prompts:
        raise AssayError(f"{file.path}: holds no pairs and no prompts; give a file with prompts")
    for side in ("discovery", "heldout"):
        if (n := sum(side_of(prompt) == side for prompt in prompts)) < FEWEST_PER_SIDE:
            raise AssayError(
                f"{file.path}: {n} of its prompts fall into {side}, at least {FEWEST_PER_SIDE} is needed (a hash of "
                "the prompt decides); add prompts"
            )


def _named(file: Rows, names: Sequence[str]) -> str | None:
    """The first of the file's columns with that name, in upper or lower case."""
    return next((name for wanted in names for name in file.columns if name.strip().casefold() == wanted), None)


def _column(file: Rows, asked: str | None) -> str:
    """The column that holds the prompts: the requested column, or a known name."""
    if not file.columns:
        if asked is not None:
            raise AssayError(f"{file.path}: has no columns; leave out --column {asked}")
        return PLAIN
    name = asked if asked is not None else _named(file, PROMPTS)
    shown = ", ".join(map(short, file.columns[:MOST_COLUMNS]))
    more = len(file.columns) - MOST_COLUMNS
    columns = shown + (f" and {more} more" if more > 0 else "")
    if name is None:
        raise AssayError(f"{file.path}: which column holds the prompts? give --column NAME; the columns are {columns}")
    if name not in file.columns:
        raise AssayError(
            f"{file.path}: has no column {short(name)}; the columns are {columns} (for two lists with different "
            "columns, give --column twice, the harmful list's first)"
        )
    _once(file, name)
    return name


def _holds_pairs(file: Rows) -> bool:
    """Whether any column is called harmful or harmless."""
    return not set(REQUIRED).isdisjoint(file.columns)


def _once(file: Rows, name: str) -> None:
    if file.columns.count(name) > 1:
        raise AssayError(f"{file.path}, line 1: there are two columns {short(name)}; rename or remove one")


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        raise AssayError(
            f"{path}: there is no such file; give --pairs a file ({', '.join(SUFFIXES)}) or a folder"
        ) from None
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); give a file of yours") from None


def _list_in(folder: Path, side: str) -> Path:
    lists = [path for suffix in SUFFIXES if (path := folder / f"{side}{suffix}").exists()]
    if not lists:
        raise AssayError(
            f"{folder}: has no list of {side} prompts; a folder must hold one file called harmful and one called "
            f"harmless, each a {', '.join(SUFFIXES)}"
        )
    if len(lists) > 1:
        raise AssayError(f"{folder}: holds {lists[0].name} and {lists[1].name}; keep one of them")
    return lists[0]


def _opened(path: Path) -> Rows:
    if path.suffix.lower() not in SUFFIXES:
        raise AssayError(f"{path}: prompts are read from {', '.join(SUFFIXES)} files; rename the file to what it is")
    return rows_of(path, path.suffix.lower())


def _default_id(harmful: str, harmless: str) -> str:
    return hashlib.sha256(f"{harmful}\n{harmless}".encode()).hexdigest()[:12]
