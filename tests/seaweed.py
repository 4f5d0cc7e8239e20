"""A real S3 store for tests: SeaweedFS on free loopback ports with generated credentials, its
processes ended at the end.
"""

import ctypes
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Seaweed:
    """A running store and its identities."""

    endpoint: str
    access_key: str
    secret_key: str
    reader_key: str
    """May read and list, not write."""
    reader_secret: str

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use the store."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


def free_ports(count: int) -> list[int]:
    """Free loopback ports below the range that is lent to outgoing connections; the gRPC port of a
    service is its port plus 10,000.
    """
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", 11_000 + secrets.randbelow(10_000)))
                held.append(candidate)
            except OSError:
                candidate.close()
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """Start a store below ``folder``; ready when entered, killed with all it started when left."""
    program = shutil.which("weed") or str(Path(sys.executable).with_name("weed"))
    names = (
        "master",
        "master_grpc",
        "volume",
        "volume_grpc",
        "filer",
        "filer_grpc",
        "s3",
        "s3_grpc",
    )
    port = dict(zip(names, free_ports(len(names)), strict=True))
    store = Seaweed(f"http://127.0.0.1:{port['s3']}", *(secrets.token_hex(16) for _ in range(4)))
    rights = (["Admin", "Read", "Write", "List", "Tagging"], ["Read", "List"])
    pairs = ((store.access_key, store.secret_key), (store.reader_key, store.reader_secret))
    identities = [
        {
            "name": access,
            "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": actions,
        }
        for (access, secret), actions in zip(pairs, rights, strict=True)
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}), encoding="utf-8")
    (folder / "data").mkdir()
    command = [
        program,
        "server",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
        f"-s3.config={config}",
    ]
    command += [
        f"-{name.split('_')[0]}.port{'.grpc' if '_' in name else ''}={number}"
        for name, number in port.items()
    ]
    command += [
        "-s3.port.lance=0",
        "-s3.port.iceberg=0",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=40",
        "-master.telemetry=false",
    ]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    try:
        _wait(store.endpoint, process, folder / "weed.log")
        yield store
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _die_with_parent() -> None:
    """Also when the tests are killed by force: the kernel ends this process when the thread that
    started it ends (Linux only).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


def _wait(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, number = endpoint.removeprefix("http://").split(":")
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            with socket.create_connection((host, int(number)), 1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text(errors="replace")[-3000:])


def ten_ports() -> int:
    """The first of ten consecutive free ports, below those the system gives to clients."""
    while True:
        first = random.randrange(12_000, 32_000, 10)
        with suppress(OSError), ExitStack() as held:
            for port in range(first, first + 10):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
