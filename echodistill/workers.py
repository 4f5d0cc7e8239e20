"""Compute items in several threads and in order, for work that waits or leaves Python for a C
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
# Number of items for each worker that are submitted before the consumer needs them, so that memory
# stays bounded.
PENDING_PER_WORKER = 4


def worker_count() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield the results of ``function`` in the order of ``items``, which are computed several at a
    time.

    An exception is raised at its item's place.
    """
    count = worker_count()
    with ThreadPoolExecutor(count) as pool:
        submitted = in_order(
            lambda item: pool.submit(function, item), items, lambda: count * PENDING_PER_WORKER
        )
        with closing(submitted) as futures:
            for future in futures:
                yield future.result()


def in_order(
    submit: Callable[[Item], Pending], items: Iterable[Item], capacity: Callable[[], int]
) -> Generator[Pending, None, None]:
    """Submit the items, and yield the result of each submission in order.

    At most ``capacity()`` submissions are pending at once. These are cancelled when the iterator is
    closed.
    """
    remaining, pending = iter(items), deque[Pending]()
    try:
        while True:
            more = max(0, capacity() - len(pending))
            pending.extend(submit(item) for item in islice(remaining, more))
            if not pending:
                return
            yield pending.popleft()
    finally:
        for future in pending:
            future.cancel()
