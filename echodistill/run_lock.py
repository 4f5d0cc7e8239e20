"""Who works in a folder: one run at a time, and no run starts while a stage of another is still at
work.

The kernel lets go of a lock when the last process that holds it has ended, however it ended.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from echodistill.core.errors import UserError

RUN = Path(".echodistill/run.lock")
"""Held by a run and the tree of processes it starts."""
WORK = Path(".echodistill/work.lock")
"""Held, together with others, by each stage and whatever else writes to this folder, also what
``dvc repro`` started.
"""
ENDING_S = 8.0
"""More than what a killed run started takes to end (``flows/supervisor.py``)."""


@contextmanager
def only_run_here() -> Iterator[IO[str]]:
    """Hold this folder while the block runs; yield the lock, which a child that is given it holds
    too.

    What a killed run started ends within seconds and is waited for. Raises ``UserError`` when
    another run, or a stage, is at work.
    """
    with _opened(RUN) as run, _opened(WORK) as work:
        _wait(
            run,
            "another `echodistill run` is under way in this folder: wait for its end, or use"
            " another clone",
        )
        _wait(
            work,
            "a stage or a registration is at work in this folder, as `dvc repro` starts one: wait"
            " for its end",
        )
        fcntl.flock(work, fcntl.LOCK_UN)  # for the stages of this run
        yield run


@contextmanager
def at_work() -> Iterator[None]:
    """Keep runs from starting while the block runs. Where files cannot be locked, nothing
    happens.
    """
    try:
        file = _open(WORK)
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:  # what cannot be written here fails with its own message
        yield
        return
    with file:
        yield


def _open(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


def _opened(path: Path) -> IO[str]:
    try:
        return _open(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): make this folder writable, or use"
            " another clone"
        ) from error


def _wait(file: IO[str], otherwise: str) -> None:
    until = time.monotonic() + ENDING_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if time.monotonic() > until:
                raise UserError(otherwise) from error
        time.sleep(0.1)
