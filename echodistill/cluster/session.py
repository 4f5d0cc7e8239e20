"""A Dask cluster to work on: one of this machine's cores for the time of a block, or one that runs
already, at an address.
"""

import logging
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dask
from distributed import Client, LocalCluster
from distributed.security import Security

from echodistill.cluster.agreement import check_package, check_versions
from echodistill.errors import UserError
from echodistill.workers import worker_count

CONNECT_S = 10  # until a scheduler must have answered
WORKERS_S = 30  # until the first worker must be there
TERMINATED = 128 + signal.SIGTERM  # exit status


@dataclass(frozen=True)
class Session:
    client: Client
    name: str
    """What messages call the cluster."""
    foreign: bool
    """Workers may differ from this process: other code, other libraries, another processor."""


@contextmanager
def connect(address: str) -> Iterator[Session]:
    """The cluster at ``address``. Raises ``UserError`` when it does not answer, has no worker or
    other versions than we have.
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
            raise UserError(
                f"{name}: the scheduler has no workers: start some with `dask worker {address}`"
            ) from error
        check_versions(client, name)
        check_package(client, name)
        yield Session(client, name, foreign=True)


@contextmanager
def local_cluster() -> Iterator[Session]:
    """One worker process a core, on loopback and for this process alone. They end with the block,
    and when this process dies.
    """
    _configure()
    with (
        tempfile.TemporaryDirectory(
            prefix="echodistill-workers-", ignore_cleanup_errors=True
        ) as scratch,
        dask.config.set({"temporary-directory": scratch}),
        _ending_on_sigterm(),
        LocalCluster(
            n_workers=worker_count(),
            threads_per_worker=1,
            host="127.0.0.1",
            # another user of this machine could have our workers run anything
            security=Security.temporary(),
            # None would take port 8787 for pages that nobody asked for
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,  # as little a limit as threads have
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield Session(client, "the workers on this machine", foreign=False)


def _configure() -> None:
    """Dask's own defaults and ``DASK_`` variables; what lies in a home directory or in /etc must
    not count.
    """
    dask.config.refresh(paths=[])
    dask.config.set(
        {
            # a batch may hold one large recording
            "distributed.admin.large-graph-warning-threshold": "1 TiB",
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            # nobody looks at it, and it takes turns with the work
            "distributed.worker.profile.enabled": False,
            # without Dask's malloc setting, which hands memory back after every mix and takes half
            # as long again
            "distributed.nanny.pre-spawn-environ": {
                "OMP_NUM_THREADS": 1,
                "MKL_NUM_THREADS": 1,
                "OPENBLAS_NUM_THREADS": 1,
            },
        }
    )
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Make SIGTERM an exception, so that the cluster is closed and its scratch folder removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
