"""Long work in parts."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """``items`` in parts of ``size``; the last may be smaller."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
