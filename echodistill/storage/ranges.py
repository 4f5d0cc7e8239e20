"""Hashes of parts of an object, in one reading and without keeping it: what says which clips of a
shard are still as they were.
"""

import hashlib
from collections.abc import Iterable, Sequence

from botocore.exceptions import ClientError

from echodistill.storage.client import Store
from echodistill.storage.download import stream
from echodistill.storage.faults import clear_errors, is_absent

Range = tuple[int, int]
"""Offset and size in bytes."""


def hash_ranges(blocks: Iterable[bytes], ranges: Sequence[Range]) -> list[str]:
    """sha256 of each range of a stream, in the order given. What lies behind the end adds nothing
    to its hash.
    """
    hashes = [hashlib.sha256() for _ in ranges]
    waiting = sorted(range(len(ranges)), key=lambda index: ranges[index], reverse=True)
    begun: list[int] = []
    position = 0
    for block in blocks:
        end = position + len(block)
        while waiting and ranges[waiting[-1]][0] < end:
            begun.append(waiting.pop())
        for index in begun:
            offset, size = ranges[index]
            hashes[index].update(
                block[max(0, offset - position) : max(0, offset + size - position)]
            )
        begun = [index for index in begun if sum(ranges[index]) > end]
        position = end
    return [found.hexdigest() for found in hashes]


def remote_range_hashes(store: Store, key: str, ranges: Sequence[Range]) -> list[str] | None:
    """``hash_ranges`` of an object as it is now; ``None`` when it is not there. Raises
    ``UserError`` when the store cannot be read.
    """
    with clear_errors(store.place, f"read {store.place.url(key)}"):
        try:
            return hash_ranges(stream(store, key, "verify clips"), ranges)
        except ClientError as error:
            if is_absent(error):
                return None
            raise
