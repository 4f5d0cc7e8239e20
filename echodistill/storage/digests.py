"""The hashes of a file: its address in the store, and the checksums the store is asked to
verify.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from echodistill.errors import UserError

MAX_PARTS = 10_000
MIB = 2**20


@dataclass(frozen=True)
class FileDigest:
    """Size and hashes of one file, taken in one reading."""

    size: int
    """Bytes."""
    sha256: str
    """Of the whole, hexadecimal."""
    part_bytes: int
    """Of every part but the last."""
    parts: tuple[bytes, ...]
    """SHA-256 of each part, at least one."""

    @property
    def checksum(self) -> str:
        """What S3 reports as SHA256 checksum: base64 of the hash, or for N parts of the hash of
        hashes, then ``-N``.
        """
        if len(self.parts) == 1:
            return encoded(self.parts[0])
        return f"{encoded(hashlib.sha256(b''.join(self.parts)).digest())}-{len(self.parts)}"

    def length_of(self, part: int) -> int:
        """Bytes of part number ``part``, counted from 1."""
        return min(self.part_bytes, self.size - (part - 1) * self.part_bytes)


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def part_bytes_for(size: int, wanted: int) -> int:
    """The part size for a file: ``wanted``, or more whole MiB where S3's 10,000 parts would not
    do.
    """
    least = -(-size // MAX_PARTS)
    return wanted if least <= wanted else -(-least // MIB) * MIB


def digest_file(path: Path, part_bytes: int) -> FileDigest:
    """Hash a file and its parts. Raises ``UserError`` when it cannot be read."""
    whole = hashlib.sha256()
    parts: list[bytes] = []
    try:
        size = path.stat().st_size
        length = part_bytes_for(size, part_bytes)
        with path.open("rb") as file:
            while not parts or file.tell() < size:
                part, remaining = hashlib.sha256(), length
                while remaining and (block := file.read(min(MIB, remaining))):
                    part.update(block)
                    whole.update(block)
                    remaining -= len(block)
                parts.append(part.digest())
                if remaining:  # the end, also where the file has shrunk since
                    break
            size = file.tell()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}. Make it a readable file"
        ) from error
    return FileDigest(size, whole.hexdigest(), length, tuple(parts))


def read_part(path: Path, digest: FileDigest, part: int) -> bytes:
    """The bytes of part number ``part``. Raises ``UserError`` when the file cannot be read any
    more.
    """
    try:
        with path.open("rb") as file:
            file.seek((part - 1) * digest.part_bytes)
            return file.read(digest.length_of(part))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}. Make it a readable file"
        ) from error
