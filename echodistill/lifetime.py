"""A process that ends with the one that started it, however that one ended."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(started_by: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends, ``kill -9`` of the parent included.

    ``started_by`` is the process that started this one: where that has ended before the kernel was
    asked, this process ends at once. Only Linux can do this; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if started_by is not None and os.getppid() != started_by:
            os.kill(os.getpid(), signal.SIGKILL)
