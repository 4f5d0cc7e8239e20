"""Keep DVC's ``rwlock`` file, which lists the paths that processes read and write, from blocking.

A killed process must not block the next one.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psutil


def is_running(pid: int) -> bool:
    """Return whether a process runs.

    A zombie, which has ended and whose parent has not waited for it, does not run.
    """
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


@contextmanager
def zombies_ignored() -> Iterator[None]:
    """Make DVC ignore the locks that zombies hold in its ``rwlock`` file, while the block runs.

    DVC checks only whether a process of that number exists. Where nothing waits for ended
    processes, as in many containers, the number of a killed DVC stays in use, and the paths that it
    locked stay locked.
    """
    with patch("dvc.rwlock.psutil.pid_exists", is_running):
        yield


def clear_damaged_rwlock(repo: Any) -> list[str]:
    """Remove DVC's ``rwlock`` file where it cannot be read. Return a sentence about it where it was
    removed.

    ``repo`` must be locked. DVC rewrites the file at each change, so a killed process or a full
    disk leaves it cut off, and DVC then refuses every command. Which process holds a path in the
    file is unknown then, but a process of this project would hold the repository's lock as well.
    """
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA
    from voluptuous import Invalid

    path = os.path.join(repo.tmp_dir, RWLOCK_FILE)
    with make_lock(os.path.join(repo.tmp_dir, RWLOCK_LOCK), tmp_dir=repo.tmp_dir, wait=True):
        try:
            with open(path, encoding="utf-8") as file:
                SCHEMA(json.load(file))
        except FileNotFoundError:
            return []
        except (ValueError, Invalid):  # UnicodeDecodeError and JSONDecodeError are ValueErrors.
            os.unlink(path)
            return [f"{path} was damaged, as a killed process leaves it: removed"]
    return []
