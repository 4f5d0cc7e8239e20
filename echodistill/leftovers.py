"""Remove temporary files and folders that killed writers left (``atomic.atomic_path``), before
anything is written.
"""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from echodistill.core.atomic import RETIRED, TEMPORARY, remove
from echodistill.core.errors import UserError

WRITTEN_FOLDERS = ("data", "models", "reports", ".echodistill", "comparison", "evaluation", "build")
"""Folders of a repository below which files are written. The repository itself is searched too,
without its other folders.
"""
SKIPPED_FOLDERS = ("workspaces", "remote", "elsewhere", "cache", "services")
"""Folders in ``.echodistill`` to which other processes write while this repository is locked:
clones, the reference cache, services.
"""
OWN_TEMPORARY = re.compile(rf"\.(?P<target>.+)\.[0-9a-f]{{12}}\.(?P<end>{TEMPORARY}|{RETIRED})")
DVC_TEMPORARY = re.compile(r"\.[\w-]{22}\.tmp")
ABANDONED_S = 24 * 3600.0
"""Age in seconds after which a file that another process might be writing counts as left by a
killed writer.
"""


def remove_leftovers(repository: Path, cache: Path) -> list[str]:
    """Remove what killed writers left in a locked repository, and old leftovers in the reference
    cache and DVC's cache.

    A folder that was renamed for a replacement that never arrived is renamed back. Return a
    sentence for each leftover.
    """
    messages = [_cleared(path) for path in _own_leftovers(repository)]
    for folder, pattern in ((cache, OWN_TEMPORARY), (repository / ".dvc/cache", DVC_TEMPORARY)):
        messages += [_cleared(path) for path in _matching(folder, pattern) if _is_abandoned(path)]
    return messages


def _own_leftovers(repository: Path) -> list[Path]:
    found = [path for path in repository.iterdir() if OWN_TEMPORARY.fullmatch(path.name)]
    for name in WRITTEN_FOLDERS:
        found += _matching(repository / name, OWN_TEMPORARY)
    # Old folders are restored before new ones next to them are removed.
    return sorted(found, key=lambda path: path.suffix != f".{RETIRED}")


def _matching(folder: Path, pattern: re.Pattern[str]) -> Iterator[Path]:
    """Yield files and folders below ``folder`` whose names match, without searching inside matching
    folders.
    """
    for parent, folders, files in os.walk(folder):
        if Path(parent).name == ".echodistill":
            folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        yield from (Path(parent, name) for name in [*folders, *files] if pattern.fullmatch(name))
        folders[:] = [name for name in folders if not pattern.fullmatch(name)]


def _is_abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except OSError:  # The writer has just removed the file.
        return False


def _cleared(path: Path) -> str:
    """Restore or remove a leftover, and return a sentence about it.

    Raise ``UserError`` where it cannot be removed.
    """
    temporary = OWN_TEMPORARY.fullmatch(path.name)
    if (
        temporary
        and temporary["end"] == RETIRED
        and not os.path.lexists(target := path.with_name(temporary["target"]))
    ):
        path.rename(target)
        return f"{target} was restored: a killed process had renamed it to {path.name}"
    remove(path)
    if os.path.lexists(path):
        raise UserError(
            f"{path}, which a killed process left, cannot be removed: remove it by hand"
        )
    return f"{path} was left by a killed process: removed"
