"""A file that is right, and all the ways in which one place of it can be wrong."""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from harness.inputs.errors import AssayError

OTHERS: tuple[Any, ...] = (None, True, 3, 0.5, math.nan, "x", [], {})


def spoilt(whole: Any) -> Iterator[tuple[str, str]]:
    """Where it is wrong and how, and the text: each place once with a value of every other kind, and without it."""
    for place in places(whole):
        right = at(whole, place)
        for other in OTHERS:
            if kind(other) != kind(right) and not (kind(right) == "float" and other == 3):
                yield f"{path(place)} {json.dumps(other)}", json.dumps(put(whole, place, other))
        if place and isinstance(place[-1], str):
            yield f"{path(place)} gone", json.dumps(put(whole, place, GONE))


GONE = object()


def places(whole: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value; of a list's the first alone."""
    yield place
    if isinstance(whole, dict):
        for key, value in whole.items():
            yield from places(value, (*place, key))
    elif isinstance(whole, list) and whole:
        yield from places(whole[0], (*place, 0))


def at(whole: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        whole = whole[key]
    return whole


def put(whole: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = dict(whole) if isinstance(whole, dict) else list(whole)
    if value is GONE and len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = put(whole[place[0]], place[1:], value) if len(place) > 1 else value
    return copy


def path(place: tuple[Any, ...]) -> str:
    return "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)


def kind(value: Any) -> str:
    return "nan" if isinstance(value, float) and math.isnan(value) else type(value).__name__


def twisted(whole: dict[str, Any]) -> dict[str, bytes]:
    """Texts that are wrong as a whole."""
    text = json.dumps(whole)
    name = next(iter(whole))
    return {
        "empty": b"",
        "cut": text[: len(text) // 2].encode(),
        "not UTF-8": text.encode()[:-1] + b',"x":"\xff"}',
        "BOM": b"\xef\xbb\xbf" + text.encode(),
        "twice": f"{text[:-1]}, {json.dumps(name)}: {json.dumps(whole[name])}}}".encode(),
        "deep": f'{text[:-1]}, "x": {"[" * 990}{"]" * 990}}}'.encode(),
        "deeper": b"[" * 200_000,
        "half a character": f'{text[:-1]}, "x": "\\ud800"}}'.encode(),
        "infinite": f'{text[:-1]}, "x": 1e999}}'.encode(),
        "long number": f'{text[:-1]}, "x": {"9" * 5000}}}'.encode(),
        "beyond 64 bits": f'{text[:-1]}, "x": {"9" * 30}}}'.encode(),
        "schema 0": json.dumps(whole | {"schema": 0}).encode(),
        "schema true": json.dumps(whole | {"schema": True}).encode(),
        "later": json.dumps({"schema": 99}).encode(),
    }


def sentence(load: Callable[[str], object], text: str) -> str:
    """What is said of it; nothing where it is taken for right."""
    try:
        load(text)
    except AssayError as error:
        return str(error)
    return ""
