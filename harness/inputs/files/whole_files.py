"""Writes files whole or not at all, and deletes the unfinished files of processes that were killed."""

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

# An unfinished file lies in the folder of the final one; its name holds the machine and the process that writes it.
_ASIDE = ".writing-"
_HOLDER = re.compile(r"\.writing-(?P<machine>\w+)-(?P<process>\d+)-")
# A process of another machine cannot be seen; after this time its file is taken to be abandoned.
_LONGEST_SECONDS = 24 * 3600.0


def write_whole(path: Path, raw: bytes, *, synced: bool = True) -> None:
    """Writes a file whole or not at all. With synced=False it survives a kill, but maybe not a power cut."""
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
        finally:
            with suppress(OSError):  # once it was renamed there is nothing left to delete
                Path(aside).unlink()
    except OSError as error:
        raise AssayError(
            f"{path.parent}: nothing can be written here ({error.strerror}); free some space, or mend the folder's "
            "rights; what was measured before is safe"
        ) from None


def folder_aside(within: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder in `within` for unfinished files; deleted when the block ends, or by `sweep` after a kill."""
    within.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=_prefix(), dir=within)


def sweep(folder: Path) -> None:
    """Deletes unfinished files in this folder and below whose process is gone."""
    for path in list(folder.glob(f"**/{_ASIDE}*")):
        with suppress(OSError):  # its writer finished meanwhile, or the folder is read-only
            if _held(path):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _held(path: Path) -> bool:
    written = path.stat().st_mtime
    holder = _HOLDER.match(path.name)
    if holder is None or holder["machine"] != _machine():  # earlier versions named no process
        return time.time() - written < _LONGEST_SECONDS
    try:
        # A process that began after the file was written merely reuses the number.
        return float(psutil.Process(int(holder["process"])).create_time()) <= written + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _prefix() -> str:
    return f"{_ASIDE}{_machine()}-{os.getpid()}-"


def _machine() -> str:
    return re.sub(r"\W", "", platform.node(), flags=re.ASCII) or "here"
