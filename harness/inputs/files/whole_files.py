"""Files are written whole or not at all; what a kill leaves half written is swept once nobody holds it."""

import os
import platform
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from harness.inputs.errors import AssayError

# Beside the file that will be, with the machine and the process that writes it.
_ASIDE = ".writing-"
_HOLDER = re.compile(r"\.writing-(?P<machine>\w+)-(?P<process>\d+)-")
# Whether a process of another machine still writes cannot be seen; none writes one file for so long.
_LONGEST_SECONDS = 24 * 3600.0


def write_whole(path: Path, raw: bytes, *, synced: bool = True) -> None:
    """Whole or not at all; unsynced it survives a kill, and only a power cut may take it back."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=_prefix())
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                if synced:
                    os.fsync(file.fileno())
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(aside).unlink()
            raise
    except OSError as error:
        raise AssayError(
            f"{path.parent}: nothing can be written here ({error.strerror}); free some space, or mend the folder's "
            "rights; what was measured before is safe"
        ) from None


def folder_aside(within: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for what is not yet to be seen; it goes when the block ends, or is swept."""
    within.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=_prefix(), dir=within)


def sweep(folder: Path) -> None:
    """Takes away what was begun in this folder or below it, and is held by no process any more."""
    for path in list(folder.glob(f"**/{_ASIDE}*")):
        with suppress(OSError):  # its writer was done meanwhile, or the folder may only be read
            if _held(path):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _held(path: Path) -> bool:
    written = path.stat().st_mtime
    found = _HOLDER.match(path.name)
    if found is None or found["machine"] != _machine():  # earlier versions named no process
        return time.time() - written < _LONGEST_SECONDS
    try:
        # A process that began later has only the same number.
        return float(psutil.Process(int(found["process"])).create_time()) <= written + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _prefix() -> str:
    return f"{_ASIDE}{_machine()}-{os.getpid()}-"


def _machine() -> str:
    return re.sub(r"\W", "", platform.node(), flags=re.ASCII) or "here"
