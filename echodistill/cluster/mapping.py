"""``map`` over a Dask cluster: batches of items go out, results come back in order, a bounded
number is under way.
"""

import pickle
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker

from echodistill.cluster.agreement import WorkerCheck, worker_check
from echodistill.cluster.session import Session
from echodistill.errors import UserError
from echodistill.scale_out import no_size

Item = TypeVar("Item")
Result = TypeVar("Result")
BATCH_ITEMS = 64  # about 100 ms of work, against some ms that Dask takes for a task
BATCH_BYTES = 4 * 1024 * 1024
# batches a worker thread may be ahead of the consumer: one is computed while the next is on its way
AHEAD = 3
LOOK_S = 5.0  # between looks at how many workers there are
WITHOUT_WORKERS_S = 60.0  # workers that are replaced come back sooner


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: the results up to its first exception."""

    results: list[Any]
    error: Exception | None


class ClusterPool:
    """A ``scale_out.Pool`` on a Dask cluster. A lost worker's batches are computed again by
    another.
    """

    def __init__(self, session: Session, probe: Callable[[], str]) -> None:
        self.shares_files = not session.foreign
        self._session = session
        self._probe = probe

    def map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        size: Callable[[Item], int] = no_size,
    ) -> Iterator[Result]:
        client = self._session.client
        check = worker_check(function, self._probe) if self._session.foreign else None
        # a task of its own, so that the function goes to each worker once, and again where a lost
        # worker held it
        shared = client.submit(_itself, function, pure=False)
        remaining = _batches(items, size)
        pending: deque[Future] = deque()
        threads, looked = _threads(client), time.monotonic()
        try:
            while True:
                if time.monotonic() - looked > LOOK_S:
                    threads, looked = _threads(client), time.monotonic()
                room = max(0, AHEAD * max(1, threads) - len(pending))
                pending.extend(
                    client.submit(_run, shared, batch, check, pure=False)
                    for batch in islice(remaining, room)
                )
                if not pending:
                    return
                outcome = self._outcome(pending.popleft())
                yield from outcome.results
                if outcome.error is not None:
                    raise outcome.error
        finally:
            for future in pending:
                future.cancel()

    def _outcome(self, future: Future) -> Outcome:
        """Wait for a batch. Raises ``UserError`` when the cluster is gone or the batch kills its
        workers.
        """
        name, seen = self._session.name, time.monotonic()
        while True:
            try:
                found: Outcome = future.result(timeout=LOOK_S)
                return found
            except TimeoutError as error:
                if _threads(self._session.client):
                    seen = time.monotonic()
                elif time.monotonic() - seen > WITHOUT_WORKERS_S:
                    raise UserError(
                        f"{name}: no worker is left: start some and run again"
                    ) from error
            except KilledWorker as error:
                raise UserError(
                    f"{name}: one batch ended several workers, most likely for lack of memory: give"
                    " them more and run again"
                ) from error
            except (CancelledError, OSError) as error:
                raise UserError(
                    f"{name}: the scheduler went away: start it and run again"
                ) from error


def _threads(client: Client) -> int:
    """Of all workers together."""
    return sum(client.nthreads().values())


def _batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Up to ``BATCH_ITEMS`` items and, but for a single larger one, ``BATCH_BYTES`` bytes."""
    batch: list[Item] = []
    held = 0
    for item in items:
        more = size(item)
        if batch and (len(batch) == BATCH_ITEMS or held + more > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += more
    if batch:
        yield batch


def _itself(function: Callable) -> Callable:
    return function


def _run(
    function: Callable[[Item], Result], batch: list[Item], check: WorkerCheck | None
) -> Outcome:
    """On a worker: compute a batch up to its first exception."""
    if check is not None:
        check.verify()
    results = []
    for item in batch:
        try:
            results.append(function(item))
        except Exception as error:
            return Outcome(results, _portable(error))
    return Outcome(results, None)


def _portable(error: Exception) -> Exception:
    """The exception with the worker's traceback as a note; its text alone where it cannot be
    sent.
    """
    error.add_note(f"on a worker:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
