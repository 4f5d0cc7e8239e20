"""DVC's ``rwlock`` file, which names the paths that processes read and write: no killed process
blocks the next one by it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psutil


def is_running(pid: int) -> bool:
    """Return whether a process runs: one that has ended and that its parent has not asked about (a
    zombie) does not.
    """
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


@contextmanager
def zombies_ignored() -> Iterator[None]:
    """While the block runs, DVC takes no zombie for a process that still holds one of the paths in
    its ``rwlock`` file.

    DVC asks only whether there is a process of that number. Where nobody asks about ended
    processes, as in many containers, a killed DVC's number stays for ever, and with it whatever it
    had locked.
    """
    with patch("dvc.rwlock.psutil.pid_exists", is_running):
        yield


def clear_damaged_rwlock(repo: Any) -> list[str]:
    """Remove DVC's ``rwlock`` file where it cannot be read; return the sentence that tells of it,
    if so. ``repo`` must be locked.

    DVC writes the file anew at each change: a process that was killed meanwhile, or a full disk,
    leaves it cut, and DVC then refuses every command. Whoever holds a path in it is not known any
    more; an own process would hold the repository's lock, too.
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
        except (ValueError, Invalid):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            os.unlink(path)
            return [f"{path} was damaged, as a killed process leaves it: removed"]
    return []
