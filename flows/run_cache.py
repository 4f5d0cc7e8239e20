"""Remove what a killed DVC left in its run cache, and damaged objects of its cache, and print each
removal.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

ENTRY_LENGTH = 64
"""Number of characters in the name of a run cache entry, which is a SHA-256 hash."""
OBJECTS_LOGGER = "dvc_data.hashfile.db"
"""Name of the logger with which DVC reports damaged objects."""
DAMAGED = "corrupted cache file"
CLEARED = re.compile(r"of DVC's (run )?cache was ")
"""Pattern that matches every line that this module prints."""


def clear_run_cache(repo: Any) -> list[str]:
    """Remove from the run cache everything that is not an entry.

    Return one sentence for each cleared folder. DVC fails at a folder without an entry whenever it
    is to run that stage with those inputs. ``repo`` must be locked.
    """
    messages = []
    for folder in Path(repo.stage_cache.cache_dir).glob("*/*"):
        if not folder.is_dir():
            continue
        entries = list(folder.iterdir())
        good = [entry for entry in entries if _is_entry(entry)]
        for entry in set(entries) - set(good):
            _remove(entry)
        if not good:
            folder.rmdir()
        if len(good) < max(1, len(entries)):
            messages.append(
                f"{folder} of DVC's run cache was {_state(entries)}, as a killed process leaves it:"
                " cleared"
            )
    return messages


def _state(entries: list[Path]) -> str:
    return "damaged" if entries else "empty"


def _is_entry(path: Path) -> bool:
    """Return whether DVC can read ``path`` as text.

    Whether the content is what DVC wrote is checked when the entry is used
    (``report_damaged_objects``).
    """
    if len(path.name) != ENTRY_LENGTH or not path.is_file():
        return False
    try:
        return bool(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def report_damaged_objects() -> Iterator[None]:
    """Print a line for each damaged object that DVC finds in its cache and removes, while the block
    runs.

    DVC itself prints nothing. Read-only objects are checked as well, which DVC would use unchecked;
    an object that was not changed since it was hashed is not read again. A run cache entry is used
    only if its name is the hash of its content, as DVC wrote it.
    """
    from dvc.stage.cache import StageCache
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.db.local import LocalHashFileDB

    logger = logging.getLogger(OBJECTS_LOGGER)
    load_checked = _checked_load(StageCache._load_cache)
    level, propagates = logger.level, logger.propagate
    handler = _DamageHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        with (
            patch.object(LocalHashFileDB, "check", HashFileDB.check),
            patch.object(StageCache, "_load_cache", load_checked),
        ):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def _checked_load(
    load: Callable[[Any, str, str], dict[str, Any] | None],
) -> Callable[[Any, str, str], dict[str, Any] | None]:
    """Return DVC's function ``load`` changed so that it removes and skips altered run cache
    entries.
    """
    from dvc.stage.cache import _get_cache_hash

    def load_checked(cache: Any, key: str, value: str) -> dict[str, Any] | None:
        entry = load(cache, key, value)
        if entry is None or _get_cache_hash(entry) == value:
            return entry
        path = Path(cache._get_cache_path(key, value))
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):  # DVC fails at a folder without an entry.
            path.parent.rmdir()
        print(f"{path} of DVC's run cache was damaged: removed; the stage runs again", flush=True)
        return None

    return load_checked


class _DamageHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith(DAMAGED) and record.args:
            path = record.args[0] if isinstance(record.args, tuple) else record.args
            print(
                f"{path} of DVC's cache was damaged: removed; what it held is fetched or computed"
                " again",
                flush=True,
            )
