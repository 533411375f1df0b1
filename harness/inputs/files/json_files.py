"""Reads JSON with limits on size and depth, without repeated members or odd numbers, and checks its types."""

import json
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from harness.inputs.errors import AssayError

# Larger than any run or measurement of a real model. As Python objects it takes about twenty times as much memory.
MOST_BYTES = 32 * 1024**2
# Assay's own files nest ten levels.
MOST_LEVELS = 64

Finite = Annotated[float, msgspec.Meta(ge=-1.7e308, le=1.7e308)]
"""A number that is neither NaN nor infinite."""

Count = Annotated[int, msgspec.Meta(ge=0)]
"""A whole number from 0."""

Key = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,64}$")]
"""The fingerprint of evidence."""

_T = TypeVar("_T")


class Malformed(Exception):
    """A defect of a file's content; the caller that knows the file's name makes a sentence of it."""


class Later(Malformed):
    """The file was written by a later version of Assay."""


def read(path: Path, of: type[_T], *, no: str, do: str, newest: int = 1, nan: frozenset[str] = frozenset()) -> _T:
    """The file's content as the given type; a defect is one sentence, as `told` makes it."""
    with told(path, no=no, do=do):
        return typed(parsed(contents(path), nan=nan), of, newest=newest)


@contextmanager
def told(path: Path, *, no: str, do: str) -> Iterator[None]:
    """Turns a defect of the file into a sentence: `no` names the kind of file it fails to be, `do` the remedy."""
    try:
        yield
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); {do}") from None
    except Later as error:
        raise AssayError(f"{path}: {error}") from None
    except Malformed as error:
        raise AssayError(f"{path}: is no {no} ({error}); {do}") from None


def contents(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file of at most `most` bytes."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise Malformed("no regular file")
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise Malformed(f"larger than {most // 1024**2} MiB")
    return raw


def parsed(raw: bytes, *, nan: frozenset[str] = frozenset()) -> Any:
    """The bytes as JSON; NaN and infinity are allowed only beneath members named in `nan`."""
    try:
        whole = json.loads(raw.decode(), object_pairs_hook=_object)
    except RecursionError:
        raise Malformed(f"nested deeper than {MOST_LEVELS} levels") from None
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error.msg.lower()} in line {error.lineno}") from None
    except ValueError:
        raise Malformed("a number of thousands of digits") from None
    for place, wrong in _defects(whole, nan):
        raise Malformed(f"{place}: {wrong}")
    return whole


def typed(value: Any, of: type[_T], *, newest: int = 1) -> _T:
    """The value as the given type, without any conversion; a `schema` above `newest` is refused as Later."""
    schema = value.get("schema", 1) if isinstance(value, dict) else 1
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise Malformed("$.schema: must be a whole number from 1")
    if schema > newest:
        raise Later(f"made by a later Assay (schema {schema}; this one reads up to {newest}): update Assay")
    return fitting(value, of)


def fitting(value: Any, of: type[_T], place: str = "$") -> _T:
    """A part of a file as the given type; `place` is its path within the file, for messages."""
    try:
        return msgspec.convert(value, of)
    except msgspec.ValidationError as error:
        said, _, within = str(error).replace("`", "").partition(" - at ")
        raise Malformed(f"{place}{within.removeprefix('$')}: {said[:1].lower()}{said[1:]}") from None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(members)
    if len(whole) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"the member {twice!r} stands twice")
    return whole


def _defects(whole: Any, nan: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Values that JSON allows and Assay's files never hold, each with its place."""
    waiting: list[tuple[Any, tuple[Any, ...], bool]] = [({"$": whole}, (), False)]
    while waiting:
        holder, place, any_number = waiting.pop()
        if len(place) > MOST_LEVELS:
            yield _path(place[:3]), f"nested deeper than {MOST_LEVELS} levels"
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(value, dict | list):
                waiting.append((value, (*place, key), any_number or key in nan))
            elif wrong := _wrong(value, any_number or key in nan):
                yield _path((*place, key)), wrong
            if isinstance(key, str) and not _is_text(key):
                yield _path(place), "half a character in a name"


def _wrong(value: Any, any_number: bool) -> str:
    """The defect of a value that is no object or list; empty if it has none."""
    if isinstance(value, str):
        return "" if _is_text(value) else "half a character"
    if isinstance(value, float):
        return "" if any_number or math.isfinite(value) else f"{value} is no number here"
    return "" if value is None or abs(value) < 2**63 else "a number beyond 64 bits"


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text)


def _path(place: tuple[Any, ...]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".")
