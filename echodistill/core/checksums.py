"""Checksums that are stored inside a folder and show whether its files are still those that were
written.

DVC identifies a file by its size and time, so it does not notice a bit that changed on the disk.
``SHA256SUMS`` is written last, and ``sha256sum -c SHA256SUMS`` can check it too.
"""

import hashlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError

SUMS = "SHA256SUMS"
SHOWN_FILES = 5
DIGITS = 64
DIGEST_BYTES = 32


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def with_digest(payload: bytes) -> bytes:
    """Return the content of a file that can be checked for damage by itself: the SHA-256 of
    ``payload`` (32 bytes), then ``payload``.
    """
    return hashlib.sha256(payload).digest() + payload


def payload_of(content: bytes) -> bytes | None:
    """Return the payload that ``with_digest`` was given; ``None`` where ``content`` is damaged."""
    payload = content[DIGEST_BYTES:]
    return payload if with_digest(payload) == content else None


def shown(names: Collection[str]) -> str:
    """Return the first few names in alphabetical order, and the number of the others."""
    first = ", ".join(sorted(names)[:SHOWN_FILES])
    return first + (f" and {len(names) - SHOWN_FILES} more" if len(names) > SHOWN_FILES else "")


def write_checksums(folder: Path) -> None:
    """Write ``SHA256SUMS`` for all files below ``folder``."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != SUMS
    )
    lines = [f"{digest}  {name}\n" for name, digest in _digests(folder, names).items()]
    with atomic_path(folder / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def verify_checksums(
    folder: Path, cure: str, names: Collection[str] | None = None, required: bool = True
) -> None:
    """Raise ``UserError`` with ``cure`` where a file differs from its entry in ``SHA256SUMS``.

    Only ``names`` are read where they are given, so that checking a small file does not require
    hashing the weights beside it. Where ``SHA256SUMS`` is not ``required`` and is missing, nothing
    is verified: models of earlier versions have none.
    """
    if (required or (folder / SUMS).is_file()) and (fault := folder_fault(folder, names)):
        raise UserError(f"{folder} is damaged ({fault}): {cure}")


def folder_fault(folder: Path, names: Collection[str] | None = None) -> str:
    """Return how the files of ``folder``, or ``names`` of them, differ from those that were
    written; an empty string where they do not.
    """
    try:
        recorded = _read_sums(folder / SUMS)
    except FileNotFoundError:
        return f"{SUMS} is missing"
    except (OSError, ValueError) as error:
        return f"{SUMS} cannot be read: {error}"
    wanted = {name: digest for name, digest in recorded.items() if names is None or name in names}
    if lacking := set(names or ()) - wanted.keys():
        return f"{SUMS} does not list {shown(lacking)}"
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        return f"missing: {shown(missing)}"
    try:
        found = _digests(folder, list(wanted))
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    changed = [name for name, digest in wanted.items() if found[name] != digest]
    return f"changed since they were written: {shown(changed)}" if changed else ""


def _read_sums(path: Path) -> dict[str, str]:
    """Return the SHA-256 of each file by its name.

    Raise ``ValueError`` when a line is damaged or there is no line.
    """
    recorded = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        if len(digest) != DIGITS or not separator or not name:
            raise ValueError(f"line {number} is damaged")
        recorded[name] = digest
    if not recorded:
        raise ValueError("it lists no file")
    return recorded


def _digests(folder: Path, names: list[str]) -> dict[str, str]:
    """Return the SHA-256 of each file. Several files are read at once, since hashing releases the
    GIL.
    """
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: sha256_of(folder / name), names), strict=True))
