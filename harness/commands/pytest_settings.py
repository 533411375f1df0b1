"""Adds to a repository's pytest settings the line that loads Assay; every other line stays as it is."""

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import iniconfig

from harness.inputs.errors import AssayError

PLUGIN = "-p harness.plugin"
LINE = f"addopts = {PLUGIN}"
# pytest prefers _FIRST to pytest.ini and pyproject.toml, and reads _LAST if neither of those has settings.
_FIRST, _LAST = ("pytest.toml", ".pytest.toml"), (("tox.ini", "[pytest]"), ("setup.cfg", "[tool:pytest]"))
_TABLE = "tool.pytest.ini_options"

Sections = dict[str, dict[str, Any]]


def set_up(folder: Path) -> str:
    """Adds the line to the settings that pytest reads in this folder, or writes a pytest.ini; returns what was done."""
    for name in _FIRST:
        if (folder / name).is_file():
            raise _yourself(folder / name)
    for name in ("pytest.ini", ".pytest.ini"):
        if (path := folder / name).is_file():
            return _added(path, "pytest", _ini)
    path = folder / "pyproject.toml"
    if path.is_file():
        tool = _toml(path, _text(path)).get("tool", {})
        if isinstance(tool.get("pytest"), dict):
            if set(tool["pytest"]) != {"ini_options"}:
                raise _yourself(path)
            return _added(path, _TABLE, _toml)
    for name, section in _LAST:
        if (path := folder / name).is_file() and section in _text(path).splitlines():
            raise _yourself(path)
    path = folder / "pytest.ini"
    _write(path, f"[pytest]\n{LINE}\n")
    return f"{path}: written; its line `{LINE}` makes pytest load Assay"


def _added(path: Path, section: str, parsed: Callable[[Path, str], dict[str, Any]]) -> str:
    text = _text(path)
    before = parsed(path, text)
    options, others = _apart(path, before, section)
    if PLUGIN in " ".join(options):
        return f"{path}: loads Assay already; nothing was changed"
    after = _with_plugin(text, section)
    try:
        right = _apart(path, parsed(path, after), section) == ([*PLUGIN.split(), *options], others)
    except AssayError:
        right = False
    if not right:
        raise _yourself(path)
    _write(path, after)
    return f"{path}: {PLUGIN} added to addopts, which makes pytest load Assay"


def _with_plugin(text: str, section: str) -> str:
    """The text with the plugin as the first of `addopts`; `addopts` is added if it is missing."""
    header = re.search(rf"^\[{re.escape(section)}\].*$", text, re.MULTILINE)
    if header is None:
        return f"{text.rstrip()}\n\n[{section}]\n{LINE}\n".lstrip()
    before, after = text[: header.end()], text[header.end() :]
    body = re.split(r"^(?=\[)", after, maxsplit=1, flags=re.MULTILINE)[0]
    quote, line = (r'(?:"""|"|\')', f'addopts = "{PLUGIN}"') if section == _TABLE else ("", LINE)
    there = re.search(rf"^addopts[ \t]*[=:][ \t]*{quote}", body, re.MULTILINE)
    if there is None:
        return f"{before}\n{line}{after}"
    begin, rest = there[0] if quote else there[0].rstrip() + " ", body[there.end() :]
    space = "" if rest.startswith("\n") else " "
    return f"{before}{body[: there.start()]}{begin}{PLUGIN}{space}{rest}{after[len(body) :]}"


def _apart(path: Path, whole: dict[str, Any], section: str) -> tuple[list[str], Any]:
    """The words of `addopts`, and everything else in the file."""
    names = section.split(".")
    table = whole
    for name in names:
        table = table.setdefault(name, {})
    options = table.pop("addopts", "")
    if not isinstance(options, str):
        raise _yourself(path)
    try:
        return shlex.split(options), whole
    except ValueError as error:
        raise AssayError(f"{path}: addopts cannot be read ({error}); correct it, then call init again") from None


def _ini(path: Path, text: str) -> dict[str, Any]:
    try:
        return {section.name: dict(section.items()) for section in iniconfig.IniConfig(path, data=text)}
    except iniconfig.ParseError as error:
        raise AssayError(f"{path}, line {error.lineno + 1}: {error.msg}; correct it, then call init again") from None


def _toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AssayError(f"{path}: {error}; correct it, then call init again") from None


def _yourself(path: Path) -> AssayError:
    return AssayError(
        f"{path}: pytest takes its settings from here, and they cannot be added to safely; write {PLUGIN} "
        "into its addopts yourself"
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AssayError(f"{path}: cannot be read ({error})") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AssayError(f"{path}: cannot be written ({error.strerror})") from None
