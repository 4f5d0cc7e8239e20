"""Where a stage's CPU work is computed: this process, a Dask cluster of this machine's cores, or
one at an address.

The results are the same bytes in the same order everywhere. Workers at an address read no file of
ours: what goes there holds all it needs.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from echodistill.workers import ordered_map, worker_count

Item = TypeVar("Item")
Result = TypeVar("Result")
Size = Callable[[Any], int]
"""An item's bytes."""


def no_size(_item: object) -> int:
    """Of items of a few bytes."""
    return 0


class Pool(Protocol):
    @property
    def shares_files(self) -> bool:
        """Whether the workers can read this machine's files. Sending them is then a waste."""
        ...

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], size: Size = no_size
    ) -> Iterator[Result]:
        """``map`` with results in the order of ``items``; an exception is raised at its item's
        place.

        ``size`` gives an item's bytes, so that what is under way stays bounded. ``function`` must
        be importable, not a lambda.
        """
        ...


class Serial:
    """One item after another: for small numpy work, where threads only take the interpreter from
    each other.
    """

    shares_files = True

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], size: Size = no_size
    ) -> Iterator[Result]:
        return map(function, items)


class Threads:
    """Several items at once: for work that waits, or leaves Python for a C library."""

    shares_files = True

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], size: Size = no_size
    ) -> Iterator[Result]:
        return ordered_map(function, items)


@dataclass(frozen=True)
class ClusterThreshold:
    """From where on a cluster of this machine's cores is faster than this process, though it takes
    seconds to start.
    """

    items: int
    cores: int


@contextmanager
def open_pool(
    address: str | None, here: Pool, count: int, local: ClusterThreshold, probe: Callable[[], str]
) -> Iterator[Pool]:
    """Give the pool for ``count`` items of work: the cluster at ``address``, or without one a
    cluster of this machine's cores where that pays, and ``here``, in this process, where it does
    not.

    ``probe`` computes a digest of results that another processor or library could change; a worker
    whose digest is not ours is refused. Raise ``UserError`` naming ``workers.address`` if a cluster
    cannot be used.
    """
    if address is None and (count < local.items or worker_count() < local.cores):
        yield here
        return
    # imported here: it takes half a second, which small work should not pay
    from echodistill.cluster import connect, local_cluster

    with connect(address, probe) if address else local_cluster() as pool:
        yield pool
