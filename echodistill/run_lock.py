"""Lock a folder for one run at a time, and keep a run from starting while a stage of another is
running.

The kernel releases a lock when the last process that holds it has ended, however it ended.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from echodistill.core.errors import UserError

RUN = Path(".echodistill/run.lock")
"""Path of the lock that a run and its process tree hold."""
WORK = Path(".echodistill/work.lock")
"""Path of the shared lock that each stage and every other writer to this folder holds, also those
that ``dvc repro`` started.
"""
EXIT_WAIT_S = 8.0
"""Time in seconds, longer than the processes of a killed run take to end
(``flows/supervisor.py``).
"""


@contextmanager
def exclusive_run() -> Iterator[IO[str]]:
    """Lock this folder while the block runs, and yield the lock's file.

    A child process that inherits the file holds the lock too. The processes of a killed run end
    within seconds, which is waited for. Raise ``UserError`` where another run or a stage is
    running.
    """
    with _opened(RUN) as run, _opened(WORK) as work:
        _wait(
            run,
            "another `echodistill run` is running in this folder: wait for its end, or use"
            " another clone",
        )
        _wait(
            work,
            "a stage or a registration is running in this folder, as `dvc repro` starts one: wait"
            " for its end",
        )
        fcntl.flock(work, fcntl.LOCK_UN)  # The stages of this run take this lock themselves.
        yield run


@contextmanager
def exclude_runs() -> Iterator[None]:
    """Keep runs from starting while the block runs.

    Where files cannot be locked, nothing is locked.
    """
    try:
        file = open_lock(WORK)
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:  # Any later write that fails here has its own message.
        yield
        return
    with file:
        yield


def open_lock(path: Path) -> IO[str]:
    """Open the file of a lock, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


def _opened(path: Path) -> IO[str]:
    try:
        return open_lock(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): make this folder writable, or use"
            " another clone"
        ) from error


def _wait(file: IO[str], otherwise: str) -> None:
    until = time.monotonic() + EXIT_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if time.monotonic() > until:
                raise UserError(otherwise) from error
        time.sleep(0.1)
