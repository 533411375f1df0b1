"""Work that a stranger's file describes, done first in a process of its own, which ends when it takes too much."""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import psutil

from harness.inputs.model_catalog import GIB

# Of the processor, so that a busy machine refuses nothing; sound files take some hundredths of a second.
SECONDS = 3
# Where the processor's time cannot be limited, and for whatever waits instead of computing.
_WALL_SECONDS = 60 if sys.platform == "linux" else 25
_BYTES = GIB
_TOO_MUCH = 86

T = TypeVar("T")


class TooMuch(Exception):
    """It took more time or memory than it may."""


def bounded(work: Callable[[], T]) -> T | None:
    """What the work comes to; None if it raised there: done again here, it raises here, and in bounds.

    Forked where that is safe, so that nothing is loaded anew; elsewhere the work must be picklable.
    """
    here = "fork" if sys.platform == "linux" else "spawn"
    context: Any = multiprocessing.get_context(here)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_there, args=(work, sender), daemon=True)
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads: nothing here waits for one.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    sender.close()
    try:
        if not receiver.poll(_WALL_SECONDS):
            raise TooMuch
        return receiver.recv()  # type: ignore[no-any-return]
    except EOFError:
        process.join()
        if process.exitcode == 1:
            return None
        raise TooMuch from None
    finally:
        process.kill()
        process.join()
        process.close()
        receiver.close()


def _there(work: Callable[[], object], sender: Connection) -> None:
    # What is raised here is nobody's traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        most = psutil.Process().memory_info().vms + _BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        sender.send(work())
    except MemoryError:
        os._exit(_TOO_MUCH)
    except RuntimeError as error:
        if "allocate" in str(error) or "memory" in str(error):  # torch's way of saying it
            os._exit(_TOO_MUCH)
        raise
