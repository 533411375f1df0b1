"""Turns an exception from a claim file into a sentence with file and line, and names bugs of Assay as such."""

import builtins
import re
import sys
import traceback
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType, ModuleType

import harness
from harness.inputs.arguments import did_you_mean, listed, noun
from harness.inputs.errors import AssayError
from harness.inputs.files.terminal import shown

_HERE = Path(__file__).parents[1]
# Faults of the machine, nobody's bug. torch's out-of-memory error is matched by name: torch is not imported here.
_MACHINE = (OSError, MemoryError)
_LONGEST = 300

# Exceptions that a mistake in a claim, or a bug of Assay, can raise.
RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)


def sentence(error: BaseException, file: Path) -> str:
    """A sentence for an error raised by a claim of this file: the claim's mistake, or a bug of Assay, with place."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [number for number, (frame, _) in enumerate(frames) if _file(frame) == file.absolute()]
    last = own[-1] if own else -1  # -1: raised before the claim began
    begins = f"{file.name}:{frames[last][1]}: " if own else ""
    # A missing attribute is the claim's mistake, even where a `__getattr__` of Assay raises it.
    deeper = [(frame, line) for frame, line in frames[last + 1 :] if frame.f_code.co_name != "__getattr__"]
    ours = [(frame, line) for frame, line in deeper if _HERE in _file(frame).parents]
    if isinstance(error, AssayError) or _is_pytests(error) or not ours:
        return begins + (_said(error, frames[last][0]) if own else _plain(error))
    frame, line = ours[-1]
    where = f"in {frame.f_code.co_name}, harness/{_file(frame).relative_to(_HERE).as_posix()}:{line}"
    if isinstance(error, _MACHINE) or type(error).__name__ == "OutOfMemoryError":
        return f"{begins}{_plain(error)} ({where})"
    return f"{begins}{_plain(error)}, {where}: a bug of Assay and not of the claim; please report it"


def on_import(error: BaseException, file: Path) -> str:
    """A sentence for an error raised while a claim file was imported."""
    if isinstance(error, SyntaxError):
        text = f": {shown(error.text.strip())}" if error.text and error.text.strip() else ""
        name = Path(error.filename).name if error.filename else file.name
        return f"{name}:{error.lineno or 1}: {error.msg}{text}"
    said = sentence(error, file)
    return said if said.startswith(f"{file.name}:") else f"{file.name}: {said}"


def _file(frame: FrameType) -> Path:
    return Path(frame.f_code.co_filename).absolute()


def _is_pytests(error: BaseException) -> bool:
    """Whether the error is pytest's own, as pytest.fail raises."""
    return type(error).__module__.startswith("_pytest")


def _said(error: BaseException, frame: FrameType) -> str:
    match error:
        case AssayError():
            return str(error)
        case AttributeError(name=str(name)) if error.obj is not None:
            return _attribute(error.obj, name)
        case NameError(name=str(name)) if name:
            return _name(name, frame)
        case ImportError():
            return _imported(error)
    return _plain(error)


def _attribute(value: object, name: str) -> str:
    kind = value if isinstance(value, type) else type(value)
    names = {member for member in dir(value) if not member.startswith("_")}
    if is_dataclass(kind):
        names |= {field.name for field in fields(kind)}
    whose = f"the module {value.__name__}" if isinstance(value, ModuleType) else noun(kind)
    rest = f"; it has {listed(sorted(names))}" if names else ""
    return f"{whose} has no `{name}`{did_you_mean(name, names) or rest}"


def _name(name: str, frame: FrameType) -> str:
    if name in harness.__all__:
        return f"`{name}` is not imported; write from harness import {name}"
    known = {*frame.f_locals, *frame.f_globals, *vars(builtins), *harness.__all__}
    return f"there is no `{name}`{did_you_mean(name, [word for word in known if not word.startswith('_')])}"


def _imported(error: ImportError) -> str:
    if match := re.match(r"cannot import name '(\w+)' from '([\w.]+)'", error.msg):
        name, module = match.groups()
        return f"{module} has no `{name}`{did_you_mean(name, dir(sys.modules.get(module)))}"
    name = error.name or ""
    known = _modules() if name.startswith("harness") else []
    return f"there is no module `{name}`{did_you_mean(name, known)}" if name else _plain(error)


def _modules() -> list[str]:
    """Every module of the harness by its whole name."""
    files = (path.relative_to(_HERE).with_suffix("") for path in _HERE.rglob("*.py") if path.stem != "__init__")
    return [".".join(("harness", *file.parts)) for file in files]


def _plain(error: BaseException) -> str:
    """The error's type and message in one line; of pytest's own failures the message alone."""
    words = shown(" ".join(str(error).split()))
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST]}…"
    if isinstance(error, AssayError) or _is_pytests(error):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
