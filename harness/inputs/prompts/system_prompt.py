"""The system prompt that --system gives, as text or in a file."""

import re
from contextlib import suppress
from pathlib import Path

from harness.inputs.errors import AssayError
from harness.inputs.files import json_files

# What no text looks like: a single word with a folder or a suffix is the name of a file.
_FILE = re.compile(r"~?\S*[/\\]\S*|\S+\.\w{1,5}")
# System prompts that are in use have up to a few thousand words.
_MOST_CHARACTERS = 100_000
_MOST_BYTES = 1024**2
_DO = "give the system prompt as text, or a file of text in UTF-8"


def system_prompt(given: str) -> str:
    """The text itself, or that of the file with this name, without white space around it."""
    text = given
    if (path := _file(given)) is not None:
        with json_files.told(path, no="system prompt", do=_DO):
            text = _text(json_files.contents(path, _MOST_BYTES))
    if not (text := text.strip()):
        raise AssayError(f"--system {given!r}: is empty; {_DO}, or leave the option out")
    if len(text) > _MOST_CHARACTERS:
        raise AssayError(f"--system: has {len(text):,} characters; give at most {_MOST_CHARACTERS:,}")
    if any("\ud800" <= sign <= "\udfff" or sign == "\0" for sign in text):
        raise AssayError(f"--system: has characters that no text has; {_DO}")
    return text


def _file(given: str) -> Path | None:
    with suppress(OSError, RuntimeError, ValueError):  # too long for a name, an unknown user's home, a null byte
        path = Path(given).expanduser()
        if given.strip() and path.exists():
            return path
    if _FILE.fullmatch(given):
        raise AssayError(f"--system {given}: there is no such file; {_DO}")
    return None


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise json_files.Malformed("not UTF-8") from None
