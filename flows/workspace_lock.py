"""Let one run at a time use a workspace.

DVC's own locks would refuse a second run in the middle of its work instead of making it wait.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from echodistill.run_lock import RUN, WORK, open_lock
from flows.stage_process import StageRefused

POLL_S = 1.0


@contextmanager
def workspace_lock(
    workspace: Path, cancelled: Callable[[], bool], log: Callable[[str], None]
) -> Iterator[None]:
    """Wait for the earlier runs in this workspace on this machine, those of `echodistill run` among
    them.

    Raise ``StageRefused`` where this run is cancelled while it waits. The kernel releases the lock
    of a killed run.
    """
    with open_lock(workspace / RUN) as run, open_lock(workspace / WORK) as work:
        logged = False
        for lock in (run, work):
            while not _acquired(lock):
                if cancelled():
                    raise StageRefused("cancelled")
                if not logged:
                    log(f"another run works in {workspace}: waiting for its end")
                logged = True
                time.sleep(POLL_S)
        fcntl.flock(work, fcntl.LOCK_UN)  # The stages of this run take this lock themselves.
        yield


def _acquired(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
