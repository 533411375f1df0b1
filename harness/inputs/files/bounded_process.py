"""Tries out work described by a stranger's file in a child process with limits on time and memory."""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import psutil

from harness.inputs.model_catalog import GIB

# CPU seconds, so that a busy machine refuses nothing; sound files take hundredths of a second.
SECONDS = 3
# Wall-clock limit, for systems that cannot limit CPU time and for work that waits instead of computing.
_WALL_SECONDS = 60 if sys.platform == "linux" else 25
_BYTES = GIB
_TOO_MUCH = 86

T = TypeVar("T")


class TooMuch(Exception):
    """The work exceeded its limit of time or memory."""


def bounded(work: Callable[[], T]) -> T | None:
    """The result of the work, done in a child process; None if it raised, so that the caller can raise by repeating it.

    On Linux the child is forked, so nothing is loaded anew; elsewhere the work must be picklable.
    """
    here = "fork" if sys.platform == "linux" else "spawn"
    context: Any = multiprocessing.get_context(here)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_there, args=(work, sender), daemon=True)
    with warnings.catch_warnings():
        # Newer Pythons warn about forking a process with threads; the child waits for none of them.
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
    # The child's traceback would only confuse: the parent reports the failure.
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
        if "allocate" in str(error) or "memory" in str(error):  # how torch reports it
            os._exit(_TOO_MUCH)
        raise
