"""One run at a time in a workspace: DVC's own locks refuse a second one in the middle of its work
instead of letting it wait.
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
    """Wait for the runs before this one, on this machine, those of `echodistill run` among them.

    Raises ``StageRefused`` when this run is cancelled meanwhile.

    A run that was killed lets go of its turn.
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
        fcntl.flock(work, fcntl.LOCK_UN)  # for the stages of this run
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
