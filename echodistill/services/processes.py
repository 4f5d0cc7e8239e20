"""Start process trees that outlive the command that started them, find them again, and end them
completely.
"""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.services.commands import Service
from echodistill.services.loopback import without_socks
from echodistill.services.settings import HOST, Settings

GRACE_S = 10.0
LABEL_VARIABLE = "ECHODISTILL_SERVICE"
"""Environment variable that names the service to which a process belongs."""
LOG_LINES = 5


@dataclass(frozen=True)
class Started:
    """A process that this folder started.

    The start time distinguishes it from a later process with the same number.
    """

    pid: int
    since_boot_s: float
    """Seconds from the machine's start to the process's start. Unlike the time of day, this value
    is not changed by setting the clock.
    """


def _state_file(settings: Settings) -> Path:
    return settings.folder / "processes.json"


def started(settings: Settings) -> dict[str, psutil.Process]:
    """Return the living processes by service name."""
    try:
        known = json.loads(_state_file(settings).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    found = {}
    for name, value in known.items() if isinstance(known, dict) else ():
        entry = _started_of(value)
        with suppress(psutil.NoSuchProcess):
            if entry is None:
                continue
            process = psutil.Process(entry.pid)
            alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
            if alive and abs(_since_boot_s(process) - entry.since_boot_s) < 1.0:
                found[name] = process
    return found


def _started_of(value: object) -> Started | None:
    """Return an entry of the state file, or ``None`` where it has another form.

    An earlier version or an editor may have written such an entry.
    """
    match value:
        case {"pid": int(pid), "since_boot_s": float(since_boot_s)} if pid > 0 and not isinstance(
            pid, bool
        ):
            return Started(pid, since_boot_s)
    return None


def _since_boot_s(process: psutil.Process) -> float:
    # The boot time is read first: psutil computes a process's start from its last value.
    boot_s = psutil.boot_time()
    return process.create_time() - boot_s


def start(settings: Settings, service: Service) -> None:
    """Start a service in a session of its own, with its output appended to a log.

    Raise ``UserError`` where a port is taken.
    """
    # Processes that a killed service left still hold its ports. A worker has none, and its runs may
    # continue.
    if service.ports:
        _end(_descendants(settings, service.name))
    for port in service.ports:
        if owner := port_taken(port):
            raise UserError(
                f"port {port} of {service.name} is taken{owner}: free it, or choose with `services"
                " up --first-port N`"
            )
    log = log_file(settings, service.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = (
        without_socks(os.environ)
        | service.environment
        | {LABEL_VARIABLE: _label(settings, service.name)}
    )
    with log.open("ab") as output:
        process = subprocess.Popen(
            service.command,
            env=environment,
            cwd=settings.folder.parents[1],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _record(
        settings, service.name, Started(process.pid, _since_boot_s(psutil.Process(process.pid)))
    )


def _record(settings: Settings, name: str, entry: Started) -> None:
    living = {
        other: Started(process.pid, _since_boot_s(process))
        for other, process in started(settings).items()
    }
    with atomic_path(_state_file(settings)) as temporary:
        temporary.write_text(
            json.dumps({key: asdict(value) for key, value in (living | {name: entry}).items()}),
            encoding="utf-8",
        )


def wait_ready(settings: Settings, service: Service, seconds: float) -> None:
    """Return when the service is healthy.

    Raise ``UserError`` with the end of its log where it ends or takes too long.
    """
    end = time.monotonic() + seconds
    while (gone := service.name not in started(settings)) or not healthy(service):
        if gone or time.monotonic() > end:
            state = "ended at once" if gone else f"is not ready after {seconds:.0f} s"
            log = log_file(settings, service.name)
            raise UserError(f"{service.name} {state}; its log {log} ends:\n{_end_of(log)}")
        time.sleep(0.2)


def healthy(service: Service) -> bool:
    """Return whether the service answers; one without an address counts as healthy."""
    if service.health_url is None:
        return True
    try:
        with urllib.request.urlopen(service.health_url, timeout=3) as answer:
            return 200 <= answer.status < 300
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # The service is up and requires authentication.
    except (urllib.error.URLError, OSError):
        return False


def stop(settings: Settings, name: str) -> bool:
    """End every process that a service started, even if the service itself has ended.

    Return whether there was any process.
    """
    tree = {*_descendants(settings, name)}
    if (process := started(settings).get(name)) is not None:
        with suppress(psutil.NoSuchProcess):
            tree |= {process, *process.children(recursive=True)}
    _end(sorted(tree, key=lambda one: one.pid))
    return bool(tree)


def _label(settings: Settings, name: str) -> str:
    return f"{settings.folder}:{name}"


def _descendants(settings: Settings, name: str) -> list[psutil.Process]:
    """Return the processes with a service's mark in their environment.

    These are the service and its descendants, whatever their parent is now.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(LABEL_VARIABLE) == _label(settings, name):
                found.append(process)
    return found


def _end(processes: Sequence[psutil.Process]) -> None:
    """Terminate the processes, then kill those that are left after ``GRACE_S`` seconds."""
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    _, left = psutil.wait_procs(processes, timeout=GRACE_S)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=GRACE_S)


def port_taken(port: int) -> str | None:
    """Return the process that uses a port as `` by NAME (process N)``, or ``None`` where the port
    is free.

    Return an empty string where the process cannot be found out.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            with suppress(psutil.Error):
                for entry in psutil.net_connections("tcp"):
                    if (
                        entry.laddr
                        and entry.laddr.port == port
                        and entry.status == psutil.CONN_LISTEN
                        and entry.pid
                    ):
                        return f" by {psutil.Process(entry.pid).name()} (process {entry.pid})"
            return ""
    return None


def log_file(settings: Settings, name: str) -> Path:
    return settings.folder / "logs" / f"{name}.log"


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-LOG_LINES:]) or "(it is empty)"
