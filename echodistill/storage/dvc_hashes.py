"""Compute DVC's hashes of files and folders, and write and read its lists of a folder's files.

A file's hash is the MD5 of its bytes. A folder's hash is that of the list of its files, with the
ending ``.dir``. DVC stores the list as an object beside the files.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from echodistill.core.errors import UserError

FOLDER = ".dir"
Content = Path | bytes


def objects_of(path: Path) -> dict[str, Content]:
    """Return the objects of a file or folder: their content by DVC's hash.

    The last one stands for the whole; that of a folder is the list of its files. Links are
    followed. Raise ``UserError`` where a file cannot be read.
    """
    if not path.is_dir():
        return {_md5(path): path}
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    hashes = {name: _md5(file) for name, file in files.items()}
    content = list_bytes(hashes)
    return {hashes[name]: file for name, file in files.items()} | {list_md5(content): content}


def dvc_md5(path: Path) -> str | None:
    """Return DVC's hash of a file or folder from its bytes, or ``None`` where it does not exist.

    Links are followed. Raise ``UserError`` where a file cannot be read.
    """
    return [*objects_of(path)][-1] if path.is_file() or path.is_dir() else None


def list_bytes(hashes: Mapping[str, str]) -> bytes:
    """Return DVC's list of a folder's files from their hashes by path below the folder."""
    rows = [{"md5": md5, "relpath": name} for name, md5 in sorted(hashes.items())]
    return json.dumps(rows, sort_keys=True).encode()


def list_md5(content: bytes) -> str:
    """Return DVC's hash of the folder with this list of files."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest() + FOLDER


def parse_list(content: bytes) -> dict[str, str]:
    """Return the hashes of a folder's files by path, from DVC's list.

    Raise ``ValueError`` where the content is not a list, or has a path outside the folder.
    """
    try:
        hashes = {str(row["relpath"]): str(row["md5"]) for row in json.loads(content)}
    except (KeyError, TypeError) as error:
        raise ValueError("not a list of files") from error
    for name in hashes:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            raise ValueError(f"path {name!r} leads out of the folder")
    return hashes


def _md5(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {error.strerror or error}. Make it a readable file")
