"""SIGTERM ends a run as Ctrl-C does: verdicts reached so far are kept and reported."""

import signal
import threading
from collections.abc import Callable
from types import FrameType


def like_ctrl_c() -> Callable[[], None]:
    """Makes the first SIGTERM a KeyboardInterrupt and ignores later ones; returns a function that undoes this."""
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
    """Ignores SIGTERM in a worker, since the controlling process ends the run."""
    if _may_listen():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _may_listen() -> bool:
    return threading.current_thread() is threading.main_thread()
