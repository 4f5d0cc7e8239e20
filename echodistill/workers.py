"""Ordered work on several threads: for work that waits on other processes, or leaves Python for a C
library.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


Pending = TypeVar("Pending", bound=_Cancellable)
AHEAD = 4  # items a worker may be ahead of the consumer, so that memory stays bounded


def worker_count() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map``, several items at once, results in the order of ``items``. An exception is raised at
    its item's place.
    """
    count = worker_count()
    with ThreadPoolExecutor(count) as pool:
        submitted = in_order(lambda item: pool.submit(function, item), items, lambda: count * AHEAD)
        with closing(submitted) as futures:
            for future in futures:
                yield future.result()


def in_order(
    submit: Callable[[Item], Pending], items: Iterable[Item], room: Callable[[], int]
) -> Generator[Pending, None, None]:
    """Submit the items; yield what each submission gave, in order. At most ``room()`` of them are
    under way at once, and those are cancelled when the iterator is closed.
    """
    remaining, pending = iter(items), deque[Pending]()
    try:
        while True:
            more = max(0, room() - len(pending))
            pending.extend(submit(item) for item in islice(remaining, more))
            if not pending:
                return
            yield pending.popleft()
    finally:
        for future in pending:
            future.cancel()
