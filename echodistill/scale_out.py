"""Choose where a stage's CPU work is computed: this process, a Dask cluster of this machine's
cores, or one at an address.

The results are the same bytes in the same order everywhere. Workers at an address read no file of
this machine, so each item must contain all that it needs.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from echodistill.workers import ordered_map, worker_count

Item = TypeVar("Item")
Result = TypeVar("Result")
Size = Callable[[Any], int]
"""Function from an item to its size in bytes."""


def no_size(_item: object) -> int:
    """Return 0, for items of a few bytes."""
    return 0


class Pool(Protocol):
    @property
    def shares_files(self) -> bool:
        """Return whether the workers can read this machine's files, so that sending them is not
        needed.
        """
        ...

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], size: Size = no_size
    ) -> Iterator[Result]:
        """Yield the results of ``function`` in the order of ``items``; an exception is raised at
        its item's place.

        ``size`` returns an item's bytes, so that the submitted data stays bounded. ``function``
        must be importable, not a lambda.
        """
        ...


class Serial:
    """A pool that computes one item after another.

    It suits small numpy work, in which threads would only wait for the interpreter's lock.
    """

    shares_files = True

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], size: Size = no_size
    ) -> Iterator[Result]:
        return map(function, items)


class Threads:
    """A pool that computes several items at once, for work that waits or leaves Python for a C
    library.
    """

    shares_files = True

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], size: Size = no_size
    ) -> Iterator[Result]:
        return ordered_map(function, items)


@dataclass(frozen=True)
class ClusterThreshold:
    """The least work for which a cluster of this machine's cores is faster than this process.

    A cluster takes seconds to start.
    """

    items: int
    cores: int


@contextmanager
def open_pool(
    address: str | None, here: Pool, count: int, local: ClusterThreshold, probe: Callable[[], str]
) -> Iterator[Pool]:
    """Yield the pool for ``count`` items of work.

    It is the cluster at ``address``. Without an address it is a cluster of this machine's cores
    where ``local`` is reached, and otherwise ``here``, in this process.

    ``probe`` computes a digest of results that another processor or library could change; a worker
    with another digest is refused. Raise ``UserError`` that names ``workers.address`` if a cluster
    cannot be used.
    """
    if address is None and (count < local.items or worker_count() < local.cores):
        yield here
        return
    # The import takes half a second, which small work should not need.
    from echodistill.cluster import connect, local_cluster

    with connect(address, probe) if address else local_cluster() as pool:
        yield pool
