"""Divide long work into parts."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield ``items`` in parts of ``size``; the last part may be smaller."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
