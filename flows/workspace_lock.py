"""Let one run at a time use a workspace.

DVC's own locks would refuse a second run in the middle of its work instead of making it wait.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from echodistill.run_lock import RUN, WORK
from flows.stage_process import StageRefused

SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def workspace_lock(
    workspace: Path, cancelled: Callable[[], bool], log: Callable[[str], None]
) -> Iterator[None]:
    """Wait for the earlier runs in this workspace on this machine, those of `echodistill run` among
    them.

    Raise ``StageRefused`` where this run is cancelled while it waits. The kernel releases the lock
    of a killed run.
    """
    with _opened(workspace / RUN) as run, _opened(workspace / WORK) as work:
        told = False
        for held in (run, work):
            while not _has(held):
                if cancelled():
                    raise StageRefused("cancelled")
                if not told:
                    log(f"another run works in {workspace}: waiting for its end")
                told = True
                time.sleep(SECONDS_BETWEEN_LOOKS)
        fcntl.flock(work, fcntl.LOCK_UN)  # The stages of this run take this lock themselves.
        yield


def _opened(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


def _has(held: IO[str]) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
