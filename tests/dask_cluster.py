"""A Dask cluster as on other machines: a scheduler and workers as processes of their own, started
in another folder.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from distributed import Client

from echodistill.import_graph import ROOT


class DaskCluster:
    """Everything it starts lies below ``folder`` and listens on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._file = folder / "scheduler.json"
        self._start("dask_scheduler", ROOT, "--port", "0", "--scheduler-file", str(self._file))
        self._wait_for(self._file.exists)
        self.client = Client(scheduler_file=str(self._file), set_as_default=False, timeout=30)
        self.address = str(self.client.scheduler_info()["address"])

    def start_workers(self, count: int, code: Path = ROOT) -> list[subprocess.Popen[bytes]]:
        """Workers of one thread that run the package found in ``code``; no nanny starts a killed
        one again.
        """
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder))
        there = len(self.client.nthreads())
        started = [self._start("dask_worker", code, self.address, *options) for _ in range(count)]
        self._wait_for(lambda: len(self.client.nthreads()) >= there + count)
        return started

    def end_workers(self) -> None:
        for process in self._processes[1:]:
            process.kill()
            process.wait()
        del self._processes[1:]
        self._wait_for(lambda: not self.client.nthreads())

    def close(self) -> None:
        self.client.close()
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def _start(self, program: str, code: Path, *arguments: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            f"distributed.cli.{program}",
            *arguments,
            "--host",
            "127.0.0.1",
            "--no-dashboard",
        ]
        # in its own folder: a relative path of ours leads nowhere there
        with (self.folder / f"{program}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(code)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def _wait_for(self, done: object, seconds: float = 60.0) -> None:
        assert callable(done)
        end = time.monotonic() + seconds
        while not done():
            logs = "".join(path.read_text() for path in self.folder.glob("*.log"))
            assert time.monotonic() < end, f"the Dask cluster does not come up:\n{logs[-2000:]}"
            time.sleep(0.05)


@contextmanager
def dask_cluster(folder: Path) -> Iterator[DaskCluster]:
    cluster = DaskCluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def worker_processes() -> list[psutil.Process]:
    """The worker processes of a local cluster that this process has started."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def square(number: int) -> int:
    """Work that fails on 6, and on 7 with an exception that cannot be sent."""
    if number == 6:
        raise ValueError("six")
    if number == 7:

        class LocalError(Exception):
            pass

        raise LocalError("seven")
    return number * number
