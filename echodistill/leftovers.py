"""Temporary files and folders that killed writers left (``atomic.atomic_path``), removed before
anything else is written.
"""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from echodistill.core.atomic import RETIRED, TEMPORARY, remove
from echodistill.core.errors import UserError

WRITTEN = ("data", "models", "reports", ".echodistill", "comparison", "evaluation", "build")
"""Folders of a repository below which something is written; and the repository itself, without what
else is below it.
"""
OTHERS = ("workspaces", "remote", "elsewhere", "cache", "services")
"""Folders in ``.echodistill`` that others write to while this repository is locked: clones, the
reference cache, services.
"""
OWN = re.compile(rf"\.(?P<target>.+)\.[0-9a-f]{{12}}\.(?P<end>{TEMPORARY}|{RETIRED})")
DVC_OWN = re.compile(r"\.[\w-]{22}\.tmp")
ABANDONED_S = 24 * 3600.0
"""Where others may be writing now, what nobody has touched for so long was left by a killed
writer.
"""


def remove_leftovers(repository: Path, cache: Path) -> list[str]:
    """Remove what killed writers left in a repository that is locked, and what is old in the
    reference cache and DVC's cache.

    A folder that had stepped aside for a new one which never took its place comes back. Return a
    sentence for each that was there.
    """
    said = [_cleared(path) for path in _own(repository)]
    for folder, pattern in ((cache, OWN), (repository / ".dvc/cache", DVC_OWN)):
        said += [_cleared(path) for path in _matching(folder, pattern) if _is_abandoned(path)]
    return said


def _own(repository: Path) -> list[Path]:
    found = [path for path in repository.iterdir() if OWN.fullmatch(path.name)]
    for name in WRITTEN:
        found += _matching(repository / name, OWN)
    # the old one comes back before the new one beside it is removed
    return sorted(found, key=lambda path: path.suffix != f".{RETIRED}")


def _matching(folder: Path, pattern: re.Pattern[str]) -> Iterator[Path]:
    """Files and folders below ``folder`` with such a name; what is inside one of them goes with
    it.
    """
    for parent, folders, files in os.walk(folder):
        if Path(parent).name == ".echodistill":
            folders[:] = [name for name in folders if name not in OTHERS]
        yield from (Path(parent, name) for name in [*folders, *files] if pattern.fullmatch(name))
        folders[:] = [name for name in folders if not pattern.fullmatch(name)]


def _is_abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except OSError:  # its writer has just removed it
        return False


def _cleared(path: Path) -> str:
    """Raises ``UserError`` when it cannot be removed."""
    own = OWN.fullmatch(path.name)
    if (
        own
        and own["end"] == RETIRED
        and not os.path.lexists(target := path.with_name(own["target"]))
    ):
        path.rename(target)
        return f"{target} is back: a killed process had moved it aside as {path.name}"
    remove(path)
    if os.path.lexists(path):
        raise UserError(
            f"{path}, which a killed process left, cannot be removed: remove it by hand"
        )
    return f"{path} was left by a killed process: removed"
