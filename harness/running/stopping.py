"""SIGTERM ends a run as Ctrl-C does: what was judged until then is kept and reported."""

import signal
import threading
from collections.abc import Callable
from types import FrameType


def like_ctrl_c() -> Callable[[], None]:
    """From now on the first SIGTERM interrupts, and further ones change nothing; undone by what it returns."""
    if not _may_listen() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return lambda: None

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # `timeout` sends a second one at once
        raise KeyboardInterrupt("stopped by SIGTERM")

    signal.signal(signal.SIGTERM, stop)

    def undo() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    return undo


def leave_it_to_the_controller() -> None:
    """In a worker: where all processes of a run are told to stop, the controlling one ends it."""
    if _may_listen():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _may_listen() -> bool:
    return threading.current_thread() is threading.main_thread()
