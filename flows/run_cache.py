"""What a killed DVC left in its run cache, and objects of its cache that were damaged: cleared, and said."""

import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from echodistill.yaml12 import load_yaml

ENTRY_LENGTH = 64
"""Characters in the name of an entry, a sha256."""
OBJECTS = "dvc_data.hashfile.db"
"""DVC's logger of damaged objects."""
DAMAGED = "corrupted cache file"
CLEARED = re.compile(r"of DVC's (run )?cache was ")
"""In each line that this module prints."""


def clear_run_cache(repo: Any) -> list[str]:
    """Remove what stands in the run cache and is no entry; return a sentence for each stage's folder that was cleared.

    DVC fails at a folder without an entry whenever it is to run that stage with those inputs. ``repo`` must be locked.
    """
    said = []
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
            said.append(f"{folder} of DVC's run cache was {_state(entries)}, as a killed process leaves it: cleared")
    return said


def _state(entries: list[Path]) -> str:
    return "damaged" if entries else "empty"


def _is_entry(path: Path) -> bool:
    """Return whether it is an entry as DVC wrote it: it is called by the hash of its content."""
    from dvc.stage.cache import _get_cache_hash

    if len(path.name) != ENTRY_LENGTH or not path.is_file():
        return False
    try:
        entry = load_yaml(path.read_bytes())
        return isinstance(entry, dict) and _get_cache_hash(entry) == path.name
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def damage_said() -> Iterator[None]:
    """While the block runs, print a line for each damaged object that DVC finds in its cache and removes: DVC itself says nothing.

    It also looks at objects that nobody may write, which DVC hands out unseen; one that was not changed since it was hashed is not
    read for it.
    """
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.db.local import LocalHashFileDB

    logger = logging.getLogger(OBJECTS)
    level, propagates = logger.level, logger.propagate
    handler = _Said()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        with patch.object(LocalHashFileDB, "check", HashFileDB.check):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith(DAMAGED) and record.args:
            path = record.args[0] if isinstance(record.args, tuple) else record.args
            print(f"{path} of DVC's cache was damaged: removed; what it held is fetched or computed again", flush=True)
