"""Hash parts of an object in one reading, without storing it.

The hashes show which clips of a shard are unchanged.
"""

import hashlib
from collections.abc import Sequence

from botocore.exceptions import ClientError

from echodistill.storage.client import Store
from echodistill.storage.faults import clear_errors, is_absent
from echodistill.storage.transfer import receive

Range = tuple[int, int]
"""Offset and size in bytes."""


class RangeHashes:
    """SHA-256 of each range of a stream. The part of a range after the stream's end adds nothing to
    its hash.
    """

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._ranges = ranges
        self._hashes = [hashlib.sha256() for _ in ranges]
        self._waiting = sorted(range(len(ranges)), key=lambda index: ranges[index], reverse=True)
        self._begun: list[int] = []
        self._position = 0

    def take(self, block: bytes) -> None:
        """Add the next bytes of the stream."""
        start, end = self._position, self._position + len(block)
        while self._waiting and self._ranges[self._waiting[-1]][0] < end:
            self._begun.append(self._waiting.pop())
        for index in self._begun:
            offset, size = self._ranges[index]
            part = block[max(0, offset - start) : max(0, offset + size - start)]
            self._hashes[index].update(part)
        self._begun = [index for index in self._begun if sum(self._ranges[index]) > end]
        self._position = end

    def hexdigests(self) -> list[str]:
        """Return the hashes, in the order in which the ranges were given."""
        return [found.hexdigest() for found in self._hashes]


def remote_range_hashes(store: Store, key: str, ranges: Sequence[Range]) -> list[str] | None:
    """Return the hashes of ranges of an object's present bytes, or ``None`` where it does not
    exist.

    Raise ``UserError`` where the store cannot be read.
    """
    hashes = RangeHashes(ranges)
    with clear_errors(store.place, f"read {store.place.url(key)}"):
        try:
            receive(store, key, "verify clips", hashes.take)
        except ClientError as error:
            if is_absent(error):
                return None
            raise
    return hashes.hexdigests()
