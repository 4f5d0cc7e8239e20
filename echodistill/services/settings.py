"""Define the services of one machine: a data folder, ports on loopback, and credentials that are
generated once.
"""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError

FOLDER = Path(".echodistill/services")
FIRST_PORT = 8470
BUCKET = "echodistill"
PREFIX = "echodistill"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Consecutive ports on loopback. All but ``mlflow`` and ``prefect`` belong to SeaweedFS."""

    s3: int
    mlflow: int
    prefect: int
    master: int
    volume: int
    filer: int
    master_grpc: int
    volume_grpc: int
    filer_grpc: int
    s3_grpc: int

    @classmethod
    def starting_at(cls, first: int) -> "Ports":
        """Return consecutive ports from ``first`` on.

        Raise ``UserError`` for a number on which no service may listen.
        """
        count = len(cls.__dataclass_fields__)
        if not 1024 <= first <= 65535 - count:
            raise UserError(f"--first-port {first}: give a number from 1024 to {65535 - count}")
        return cls(*range(first, first + count))


@dataclass(frozen=True)
class Credentials:
    """Random credentials for this folder alone. They are never logged."""

    s3_access_key: str
    s3_secret_key: str
    mlflow_password: str
    mlflow_secret_key: str
    prefect_password: str

    @classmethod
    def new(cls) -> "Credentials":
        return cls(*(secrets.token_urlsafe(24) for _ in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Settings:
    """Everything with which the services are started."""

    folder: Path
    """Absolute path of the folder with data, logs and credentials."""
    ports: Ports
    credentials: Credentials

    @property
    def s3_url(self) -> str:
        return f"http://{HOST}:{self.ports.s3}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{HOST}:{self.ports.mlflow}"

    @property
    def prefect_url(self) -> str:
        return f"http://{HOST}:{self.ports.prefect}"


def read_settings(folder: Path = FOLDER) -> Settings:
    """Return the settings that ``make_settings`` wrote.

    Raise ``UserError`` where there are none yet or they are damaged.
    """
    path = folder / "settings.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Settings(
            folder.resolve(), Ports(**content["ports"]), Credentials(**content["credentials"])
        )
    except FileNotFoundError as error:
        raise UserError(
            "no services here yet: start them with `echodistill services up`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged: move {folder} away and run `echodistill services up`"
        ) from error


def make_settings(first_port: int | None, folder: Path = FOLDER) -> Settings:
    """Return the settings of this folder, and create them where they do not exist.

    Another ``first_port`` changes the ports and keeps the rest.
    """
    path = folder / "settings.json"
    known = read_settings(folder) if path.exists() else None
    if known and first_port in (None, known.ports.s3):
        return known
    ports = Ports.starting_at(first_port or FIRST_PORT)
    settings = Settings(folder.resolve(), ports, known.credentials if known else Credentials.new())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = {"ports": asdict(ports), "credentials": asdict(settings.credentials)}
    write_private(path, json.dumps(content, indent=1) + "\n")
    return settings


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read from its creation on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
