"""Process trees that outlive the command that started them: started once, found again, ended
whole.
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
MARK = "ECHODISTILL_SERVICE"
"""Environment variable that tells which service a process belongs to."""
LOG_LINES = 5


@dataclass(frozen=True)
class Started:
    """A process this folder started; the start time tells it from a later one with the same
    number.
    """

    pid: int
    since_boot_s: float
    """Seconds from the machine's start to the process's: unlike the time of day, nobody sets it
    anew.
    """


def _state_file(settings: Settings) -> Path:
    return settings.folder / "processes.json"


def started(settings: Settings) -> dict[str, psutil.Process]:
    """The living processes by service name."""
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
    """Return an entry of the state file; ``None`` for one of another form, which an earlier version
    or an editor wrote.
    """
    match value:
        case {"pid": int(pid), "since_boot_s": float(since_boot_s)} if pid > 0 and not isinstance(
            pid, bool
        ):
            return Started(pid, since_boot_s)
    return None


def _since_boot_s(process: psutil.Process) -> float:
    # asked first: psutil computes a process's start from the answer it had last
    boot_s = psutil.boot_time()
    return process.create_time() - boot_s


def start(settings: Settings, service: Service) -> None:
    """Start a service in a session of its own, its output appended to a log. Raises ``UserError``
    for a taken port.
    """
    # what a killed service left behind holds them still; a worker's runs may go on
    if service.ports:
        _end(_left_of(settings, service.name))
    for port in service.ports:
        if owner := port_taken(port):
            raise UserError(
                f"port {port} of {service.name} is taken{owner}: free it, or choose with `services"
                " up --first-port N`"
            )
    log = log_file(settings, service.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = (
        without_socks(os.environ) | service.environment | {MARK: _mark(settings, service.name)}
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
    _remember(
        settings, service.name, Started(process.pid, _since_boot_s(psutil.Process(process.pid)))
    )


def _remember(settings: Settings, name: str, entry: Started) -> None:
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
    """Return when it is healthy. Raises ``UserError`` with the end of its log when it dies or takes
    too long.
    """
    end = time.monotonic() + seconds
    while (gone := service.name not in started(settings)) or not healthy(service):
        if gone or time.monotonic() > end:
            state = "ended at once" if gone else f"is not ready after {seconds:.0f} s"
            log = log_file(settings, service.name)
            raise UserError(f"{service.name} {state}; its log {log} ends:\n{_end_of(log)}")
        time.sleep(0.2)


def healthy(service: Service) -> bool:
    """Whether it answers; one without an address counts as healthy while it lives."""
    if service.health_url is None:
        return True
    try:
        with urllib.request.urlopen(service.health_url, timeout=3) as answer:
            return 200 <= answer.status < 300
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # it is up, and asks who we are
    except (urllib.error.URLError, OSError):
        return False


def stop(settings: Settings, name: str) -> bool:
    """End everything a service started, also where it is dead itself; whether there was
    anything.
    """
    tree = {*_left_of(settings, name)}
    if (process := started(settings).get(name)) is not None:
        with suppress(psutil.NoSuchProcess):
            tree |= {process, *process.children(recursive=True)}
    _end(sorted(tree, key=lambda one: one.pid))
    return bool(tree)


def _mark(settings: Settings, name: str) -> str:
    return f"{settings.folder}:{name}"


def _left_of(settings: Settings, name: str) -> list[psutil.Process]:
    """Processes that carry a service's mark in their environment: it and its descendants, whoever
    their parent is now.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == _mark(settings, name):
                found.append(process)
    return found


def _end(processes: Sequence[psutil.Process]) -> None:
    """Ask politely, then kill what is left."""
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    _, left = psutil.wait_procs(processes, timeout=GRACE_S)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=GRACE_S)


def port_taken(port: int) -> str | None:
    """Who listens on a port: `` by NAME (process N)``, an empty string when that cannot be told,
    ``None`` when nobody does.
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
