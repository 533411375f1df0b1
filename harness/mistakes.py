"""What went wrong in a claim's file, in one sentence with file and line; a bug of Assay is called one."""

import builtins
import re
import sys
import traceback
from dataclasses import fields, is_dataclass
from pathlib import Path
from pkgutil import iter_modules
from types import FrameType, ModuleType

from harness import interventions
from harness.arguments import did_you_mean, listed, noun
from harness.errors import AssayError

_HERE = Path(__file__).parent
# Nobody's bug, wherever they are raised; torch's own is known by its name, since nothing here loads torch.
_MACHINE = (OSError, MemoryError)
_LONGEST = 300


def sentence(error: BaseException, file: Path) -> str:
    """What a claim of this file did wrong, where; or that Assay did, with what its maintainers need to see."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [number for number, (frame, _) in enumerate(frames) if Path(frame.f_code.co_filename) == file]
    last = own[-1] if own else -1  # none: raised before the claim began
    begins = f"{file.name}:{frames[last][1]}: " if own else ""
    # An attribute that is not there is asked for by the claim, whoever says so.
    inner = [(one, at) for one, at in frames[last + 1 :] if one.f_code.co_name != "__getattr__"]
    ours = [(one, at) for one, at in inner if _HERE in Path(one.f_code.co_filename).parents]
    if isinstance(error, AssayError) or type(error).__module__.startswith("_pytest") or not ours:
        return begins + (_said(error, frames[last][0]) if own else _plain(error))
    place, at = ours[-1]
    where = f"in {place.f_code.co_name}, harness/{Path(place.f_code.co_filename).name}:{at}"
    if isinstance(error, _MACHINE) or type(error).__name__ == "OutOfMemoryError":
        return f"{begins}{_plain(error)} ({where})"
    return f"{begins}{_plain(error)}, {where}: a bug of Assay and not of the claim; please report it"


def on_import(error: BaseException, file: Path) -> str:
    """Why a claim's file cannot be read, and where."""
    if isinstance(error, SyntaxError):
        text = f": {error.text.strip()}" if error.text and error.text.strip() else ""
        name = Path(error.filename).name if error.filename else file.name
        return f"{name}:{error.lineno or 1}: {error.msg}{text}"
    return sentence(error, file) if _touches(error, file) else f"{file.name}: {_plain(error)}"


def _touches(error: BaseException, file: Path) -> bool:
    return any(Path(frame.f_code.co_filename) == file for frame, _ in traceback.walk_tb(error.__traceback__))


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
    names = {one for one in dir(value) if not one.startswith("_")}
    if is_dataclass(kind):
        names |= {one.name for one in fields(kind)}
    whose = f"the module {value.__name__}" if isinstance(value, ModuleType) else noun(kind)
    rest = f"; it has {listed(sorted(names))}" if names else ""
    return f"{whose} has no `{name}`{did_you_mean(name, names) or rest}"


def _name(name: str, frame: FrameType) -> str:
    if callable(getattr(interventions, name, None)):
        return f"`{name}` is not imported; write from harness.interventions import {name}"
    known = {*frame.f_locals, *frame.f_globals, *vars(builtins), "patch", "ablate", "remove", "add"}
    return f"there is no `{name}`{did_you_mean(name, [one for one in known if not one.startswith('_')])}"


def _imported(error: ImportError) -> str:
    if found := re.match(r"cannot import name '(\w+)' from '([\w.]+)'", error.msg):
        module = sys.modules.get(found[2])
        return f"{found[2]} has no `{found[1]}`{did_you_mean(found[1], dir(module))}"
    name = error.name or ""
    known = [f"harness.{one.name}" for one in iter_modules([str(_HERE)])] if name.startswith("harness") else []
    return f"there is no module `{name}`{did_you_mean(name, known)}" if name else _plain(error)


def _plain(error: BaseException) -> str:
    """Its type and its words, in one line; of pytest's own failures the words alone."""
    words = " ".join(str(error).split())
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST]}…"
    if isinstance(error, AssayError) or type(error).__module__.startswith("_pytest"):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
