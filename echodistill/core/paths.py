"""Check a path below a folder of recordings: the file must be readable, and DVC must be able to
hash it and notice its changes.
"""

import errno
import os
import shlex
import stat
from pathlib import Path

from echodistill.core.errors import UserError

MISSING = "no such audio file"
_NOT_HASHED = {".git", ".hg", ".dvc"}
"""Folders that DVC leaves out at any depth."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_KINDS = (
    (stat.S_ISDIR, "a folder, not a recording"),
    (stat.S_ISFIFO, "a named pipe (FIFO), not a recording"),
    (stat.S_ISSOCK, "a socket, not a recording"),
)


def fault_of_path(path: Path) -> str:
    """Return why ``path`` is not a file that can be read; an empty string where it is one."""
    try:
        mode = os.stat(path).st_mode
    except ValueError:  # No file has a name with a null character.
        return MISSING
    except OSError as error:
        if os.path.islink(path):
            return f"a broken link to {os.readlink(path)}"
        return MISSING if error.errno in _ABSENT else f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(mode):
        return next(
            (what for is_kind, what in _KINDS if is_kind(mode)), "a device, not a recording"
        )
    return "" if os.access(path, os.R_OK) else "cannot be read: Permission denied"


def check_hashable(key: str, folder: Path) -> None:
    """Raise ``UserError`` naming the first file below ``folder`` that DVC cannot hash, before DVC
    tries.

    DVC hashes all files of a folder that a stage reads. It waits forever for the end of a pipe or a
    device, and at a name that it cannot store it stops without naming the file.
    """
    for place, folders, files in os.walk(folder, onerror=lambda error: _refuse_folder(key, error)):
        folders[:] = sorted(set(folders) - _NOT_HASHED)
        for name in [*folders, *sorted(files)]:
            path = Path(place, name)
            if name != name.encode("utf-8", "ignore").decode("utf-8"):
                shown = os.fsencode(path).decode("utf-8", "backslashreplace")
                raise UserError(
                    f"{key}: the name {shown} is not UTF-8, which DVC needs: rename it, or move it"
                    f" out of {folder}"
                )
            if name in files and (fault := fault_of_path(path)):
                raise UserError(
                    f"{key}: {path}: {fault}: DVC hashes all of {folder}: put a file there, or"
                    " remove it"
                )


def _refuse_folder(key: str, error: OSError) -> None:
    raise UserError(
        f"{key}: {error.filename}: {error.strerror}: make it readable, or move it away"
    ) from error


def linked_folder_fault(path: Path, root: Path) -> str:
    """Return why DVC notices no change of ``path``, with the cure; an empty string where it does.

    DVC follows ``root`` itself and links to files, but ignores the content of a linked folder below
    ``root``.
    """
    behind = [
        folder
        for folder in path.parents
        if folder != root and folder.is_relative_to(root) and folder.is_symlink()
    ]
    if not behind:
        return ""
    link, target = shlex.quote(str(behind[-1])), shlex.quote(str(behind[-1].resolve()))
    return (
        f"it lies behind {behind[-1]}, a link to a folder, and DVC would notice no change there:"
        f" put a folder of links to its files in its place (rm {link} && cp -rs {target} {link}),"
        " or the files themselves"
    )
