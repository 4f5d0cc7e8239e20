"""End a process together with its parent, and in order when a signal arrives."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1


def end_with_parent(started_by: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent ends, even by ``kill -9``.

    ``started_by`` is the id of the process that started this one: if that one ended before the
    kernel was asked, this process ends at once. Only Linux supports this; elsewhere the call does
    nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if started_by is not None and os.getppid() != started_by:
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def exit_on(*numbers: signal.Signals) -> Iterator[None]:
    """Turn these signals into ``SystemExit`` while the block runs in the main thread. A signal that
    is ignored, as under nohup, stays ignored.
    """

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    previous = {
        number: signal.signal(number, leave)
        for number in numbers
        if threading.current_thread() is threading.main_thread()
        and signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
