"""Compute on a Dask cluster: a temporary one on this machine's cores, or a running one at an
address.

Items are sent in batches, and results are returned in order.
"""

import logging
import math
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, get_worker
from distributed.security import Security

from echodistill.code_hash import code_hash
from echodistill.core.errors import UserError
from echodistill.core.lifetime import exit_on
from echodistill.scale_out import Size, no_size
from echodistill.workers import in_order, worker_count

Item = TypeVar("Item")
Result = TypeVar("Result")
Probe = Callable[[], str]
CONNECT_S = 10  # Time in seconds until a scheduler must have answered.
WORKERS_S = 30  # Time in seconds until the first worker must be connected.
POLL_S = 5.0  # Time in seconds between two checks of the number of workers.
WITHOUT_WORKERS_S = 60.0  # Time in seconds; replaced workers are connected again sooner.
BATCH_ITEMS = 64  # Number of items with about 100 ms of work; Dask needs a few ms for a task.
BATCH_BYTES = 4 * 1024 * 1024
# Number of batches for each worker thread that are submitted before the consumer needs them: one is
# computed while the next is being sent.
PENDING_PER_THREAD = 3
PACKAGES = ("numpy", "soundfile", "soxr", "dask", "distributed", "cloudpickle")
SCHEDULER_PACKAGES = ("dask", "distributed")
DASK = {
    # A batch may contain one large recording.
    "distributed.admin.large-graph-warning-threshold": "1 TiB",
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # Nobody reads the profile, and profiling takes time from the work.
    "distributed.worker.profile.enabled": False,
    # Dask's malloc setting is left out: it returns memory after every mix, and the work takes half
    # as long again.
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1
    ),
}


@contextmanager
def connect(address: str, probe: Probe) -> Iterator["ClusterPool"]:
    """Yield the pool at ``address``.

    Raise ``UserError`` if no scheduler answers, if it has no worker, or if a worker has other
    versions than this machine.
    """
    _configure()
    name = f"workers.address {address}"
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, RuntimeError, ValueError, TypeError) as error:
        cure = (
            "start `dask scheduler` there, correct the address, or set it to null for this"
            " machine's cores"
        )
        raise UserError(f"{name}: no Dask scheduler answers: {cure}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError as error:
            cure = f"start some with `dask worker {address}`"
            raise UserError(f"{name}: the scheduler has no workers: {cure}") from error
        _check_versions(client, name)
        try:
            # The function can be called only where this module is installed.
            client.run(_identity, None)
        except Exception as error:  # Dask wraps the worker's error in a plain exception.
            cure = "install this version of echodistill there"
            raise UserError(f"{name}: a worker cannot load {__name__}: {cure}") from error
        yield ClusterPool(client, name, probe)


@contextmanager
def local_cluster() -> Iterator["ClusterPool"]:
    """Yield a pool with one worker process for each core, on loopback and for this process alone.

    The workers end with the block, and when this process ends.
    """
    _configure()
    with (
        tempfile.TemporaryDirectory(
            prefix="echodistill-workers-", ignore_cleanup_errors=True
        ) as scratch,
        dask.config.set({"temporary-directory": scratch}),
        exit_on(signal.SIGTERM),  # SIGTERM then closes the cluster and removes the scratch folder.
        LocalCluster(
            n_workers=worker_count(),
            threads_per_worker=1,
            host="127.0.0.1",
            # Without it, another user of this machine could run any code on the workers.
            security=Security.temporary(),
            # None would use port 8787 for pages that nobody needs.
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,  # Workers have no memory limit, as threads have none.
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield ClusterPool(client, "the workers on this machine", None)


def _configure() -> None:
    """Set Dask's own defaults, ``DASK_`` variables and ``DASK``.

    Configuration files in a home directory or in /etc are ignored.
    """
    dask.config.refresh(paths=[])
    dask.config.set(DASK)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


def _check_versions(client: Client, name: str) -> None:
    """Raise ``UserError`` naming the first package with another version on the scheduler or a
    worker.

    Dask's own check only warns, and counts patch releases of Python as different.
    """
    found = cast(dict[str, Any], client.get_versions(packages=PACKAGES))
    expected = _versions(found["client"], PACKAGES)
    theirs = {"the scheduler": _versions(found["scheduler"], SCHEDULER_PACKAGES)}
    for worker, facts in sorted(found["workers"].items()):
        theirs[f"worker {worker}"] = _versions(facts, PACKAGES)
    for member, versions in theirs.items():
        for package, version in versions.items():
            if version != expected[package]:
                raise UserError(
                    f"{name}: {member} has {package} {version or 'not installed'}, this machine"
                    f" {expected[package]}: results could differ. Install requirements.lock there"
                )


def _versions(facts: dict[str, Any], packages: tuple[str, ...]) -> dict[str, str | None]:
    versions = facts["packages"]
    python = ".".join(versions["python"].split(".")[:2])  # A patch release changes no result.
    return {"python": python} | {package: versions.get(package) for package in packages}


@dataclass(frozen=True)
class ClusterPool:
    """A ``scale_out.Pool`` on a Dask cluster. Another worker computes the batches of a lost one."""

    client: Client
    name: str
    """Name of the cluster in messages."""
    probe: Probe | None
    """Function whose result every worker must compute as this process does, with the same code.
    Workers that connect later are checked too. ``None`` for workers of this machine.
    """

    @property
    def shares_files(self) -> bool:
        return self.probe is None

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], size: Size = no_size
    ) -> Iterator[Result]:
        expected = _fingerprint(function.__module__, self.probe) if self.probe else None
        # The function is a task of its own, so that it is sent to each worker once, and again where
        # a worker that had it was lost.
        shared = self.client.submit(_identity, function, pure=False)

        def submit(batch: list[Item]) -> Future:
            return self.client.submit(_run, shared, batch, self.probe, expected, pure=False)

        with closing(in_order(submit, _batches(items, size), self._capacity())) as futures:
            for future in futures:
                results, error = self._outcome(future)
                yield from results
                if error is not None:
                    raise error

    def _capacity(self) -> Callable[[], int]:
        """Return a function that returns how many batches may be submitted at once.

        It counts the workers again every ``POLL_S`` seconds.
        """
        capacity, checked = 0, -math.inf

        def current() -> int:
            nonlocal capacity, checked
            if time.monotonic() - checked > POLL_S:
                capacity, checked = PENDING_PER_THREAD * max(1, self._threads()), time.monotonic()
            return capacity

        return current

    def _threads(self) -> int:
        """Return the number of threads of all workers together."""
        return sum(self.client.nthreads().values())

    def _outcome(self, future: Future) -> tuple[list[Any], Exception | None]:
        """Wait for a batch and return its results and error.

        Raise ``UserError`` if the cluster is gone or the batch ends its workers.
        """
        seen = time.monotonic()
        try:
            while True:
                with suppress(TimeoutError):
                    outcome: tuple[list[Any], Exception | None] = future.result(timeout=POLL_S)
                    return outcome
                if self._threads():
                    seen = time.monotonic()
                elif time.monotonic() - seen > WITHOUT_WORKERS_S:
                    raise UserError(f"{self.name}: no worker is left: start some and run again")
        except KilledWorker as error:
            raise UserError(
                f"{self.name}: one batch ended several workers, most likely for lack of memory:"
                " give them more and run again"
            ) from error
        except (CancelledError, OSError) as error:
            raise UserError(
                f"{self.name}: the connection to the scheduler was lost: start it and run again"
            ) from error


def _batches(items: Iterable[Item], size: Size) -> Iterator[list[Item]]:
    """Yield batches of up to ``BATCH_ITEMS`` items and ``BATCH_BYTES`` bytes; a larger item is a
    batch alone.
    """
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


def _identity(value: Item) -> Item:
    return value


def _run(
    function: Callable[[Item], Result],
    batch: list[Item],
    probe: Probe | None,
    expected: tuple[str, str] | None,
) -> tuple[list[Result], Exception | None]:
    """Compute a batch on a worker, and return its results up to the first exception, and that
    exception.
    """
    if probe and expected:
        _verify(function, probe, *expected)
    results: list[Result] = []
    for item in batch:
        try:
            results.append(function(item))
        except Exception as error:
            return results, _portable(error)
    return results, None


def _verify(function: Callable, probe: Probe, code: str, results: str) -> None:
    """Raise ``UserError`` on a worker whose code or arithmetic differs from this machine's."""
    worker = f"workers.address: worker {get_worker().address}"
    found = _fingerprint(function.__module__, probe)
    if found[0] != code:
        raise UserError(
            f"{worker} has other code of echodistill than this machine: install this version there"
            " and restart its workers"
        )
    if found[1] != results:
        raise UserError(
            f"{worker} does not compute the same bytes as this machine: its processor or a library"
            " differs. Use workers of this machine's kind"
        )


# The result is cached, because a file that changes after its import is not what the worker runs.
@cache
def _fingerprint(module: str, probe: Probe) -> tuple[str, str]:
    """Return the hash of the code of ``module`` and all it imports, and the result of ``probe``."""
    return code_hash(module), probe()


def _portable(error: Exception) -> Exception:
    """Return the exception with the worker's traceback as a note.

    Where it cannot be pickled, return a ``RuntimeError`` with its text.
    """
    error.add_note(f"on a worker:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
