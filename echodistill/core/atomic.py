"""Write files that appear whole or not at all: under a temporary name beside the target, then
renamed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from echodistill.core.errors import UserError

TEMPORARY, RETIRED = "tmp", "old"
"""Endings of the names ``.TARGET.TWELVE-HEX-DIGITS.END`` of what is being written, and of a folder
that is renamed while it is replaced.
"""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path. On success it replaces ``target`` (a file or a folder), on any error
    it is removed.

    Raise ``UserError`` when the place cannot be written or the disk is full; ``target`` is then
    unchanged.
    """
    # The process number would not do, because two containers that share a folder may have the same
    # one.
    temporary, retired = (
        target.with_name(f".{target.name}.{uuid4().hex[:12]}.{end}") for end in (TEMPORARY, RETIRED)
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        if target.is_dir() and temporary.is_dir():
            _replace_folder(temporary, target, retired)
        else:
            os.replace(temporary, target)
    except Exception as error:
        if (fault := write_fault(error)) is None:
            raise
        raise UserError(
            f"cannot write {target}: {fault}. Free space or choose a writable place"
        ) from error
    finally:
        remove(temporary)


def write_fault(error: Exception) -> str | None:
    """Return what went wrong when the place or the disk is at fault; ``None`` for any other error.

    Not every writer raises ``OSError``: safetensors and torch raise errors of their own.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error)
    if type(error).__name__ == "SafetensorError" and "I/O error" in text:
        return text.partition("I/O error: ")[2] or text
    if isinstance(error, RuntimeError) and "inline_container" in text:
        return "the disk is full or the place cannot be written"
    return None


def _replace_folder(new: Path, target: Path, retired: Path) -> None:
    """Replace the folder ``target`` by ``new``.

    A folder cannot be renamed over one that is not empty, so the old one is renamed to ``retired``
    first, and renamed back if ``new`` cannot take its place.
    """
    os.replace(target, retired)
    try:
        os.replace(new, target)
    except BaseException:
        os.replace(retired, target)
        raise
    remove(retired)


def remove(path: Path) -> None:
    """Remove a file or a folder where possible. Errors are ignored."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(
        OSError
        # Where nothing could be written, nothing need be removed, and the first error must stay
        # visible.
    ):
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file's or a folder's bytes and names to disk, so that a rename never publishes
    incomplete content after a power cut.
    """
    for part in [*path.rglob("*"), path]:
        if part.is_file():
            _fsync(part)
        elif part.is_dir():
            with suppress(OSError):  # Some file systems cannot sync a folder.
                _fsync(part)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
