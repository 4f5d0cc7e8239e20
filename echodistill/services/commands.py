"""Define the processes of the platform, in the order in which they start.

The functions are pure: they turn settings into commands and environments.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from echodistill.services.settings import BUCKET, HOST, PREFIX, Settings
from echodistill.tracking.local_store import uri_of

POOLS = ("cpu", "gpu")
NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Service:
    """A service that runs as one process tree."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    """Variables that are added to the caller's environment."""
    ports: tuple[int, ...]
    """Ports on which the service listens. A port that another process uses is an error."""
    health_url: str | None
    """Address that answers with status 200 when the service is ready; ``None`` where the service
    only has to stay alive.
    """
    after: tuple[str, ...] = ()
    """Names of the services that must be ready before this one starts."""


def client_environment(settings: Settings) -> dict[str, str]:
    """Return the variables with which ``prefect``, ``mlflow``, ``dvc`` and ``aws`` clients use the
    services.
    """
    secret = settings.credentials
    return {
        "AWS_ENDPOINT_URL_S3": settings.s3_url,
        "AWS_ACCESS_KEY_ID": secret.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": secret.s3_secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "ECHODISTILL_S3": f"s3://{BUCKET}/{PREFIX}",
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": secret.mlflow_password,
        "PREFECT_API_URL": f"{settings.prefect_url}/api",
        "PREFECT_API_AUTH_STRING": f"admin:{secret.prefect_password}",
        # This configuration has DVC's lowest priority: a remote that the repository names takes
        # precedence.
        "DVC_SYSTEM_CONFIG_DIR": str(settings.folder / "dvc"),
        # Client commands keep their profile and results here, not in the user's home.
        "ECHODISTILL_REPOSITORY": str(settings.folder.parents[1]),
        "PREFECT_HOME": str(settings.folder / "prefect"),
        **NO_TELEMETRY,
    }


def services(settings: Settings) -> list[Service]:
    """Return all services of one machine."""
    workers = [_worker(settings, pool) for pool in POOLS]
    return [_s3(settings), _prefect(settings), _mlflow(settings), *workers]


def s3_config(settings: Settings) -> str:
    """Return SeaweedFS's identities: one, with the generated key."""
    key = {
        "accessKey": settings.credentials.s3_access_key,
        "secretKey": settings.credentials.s3_secret_key,
    }
    identity = {
        "name": "echodistill",
        "credentials": [key],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return json.dumps({"identities": [identity]})


def dvc_config(settings: Settings) -> str:
    """Return DVC's configuration of a remote in the same store."""
    return (
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = s3://{BUCKET}/{PREFIX}/dvc\n"
        f"    verify = true\n    endpointurl = {settings.s3_url}\n"
    )


def mlflow_auth_config(settings: Settings) -> str:
    """Return the configuration of MLflow's own basic authentication.

    A correct password is not hashed again for a minute, because hashing takes longer than the
    request itself.
    """
    return (
        "[mlflow]\n"
        "auth_cache_ttl_seconds = 60\n"
        "default_permission = READ\n"
        f"database_uri = {_database(settings, settings.folder / 'mlflow' / 'auth.db')}\n"
        "admin_username = admin\n"
        f"admin_password = {settings.credentials.mlflow_password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )


def _database(settings: Settings, file: Path) -> str:
    """Return the address of a database for a service, which works in the repository."""
    return uri_of(file, settings.folder.parents[1])


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _s3(settings: Settings) -> Service:
    ports = settings.ports
    names = {
        "master.port": ports.master,
        "master.port.grpc": ports.master_grpc,
        "volume.port": ports.volume,
        "volume.port.grpc": ports.volume_grpc,
        "filer.port": ports.filer,
        "filer.port.grpc": ports.filer_grpc,
        "s3.port": ports.s3,
        "s3.port.grpc": ports.s3_grpc,
        "s3.port.lance": 0,
        "s3.port.iceberg": 0,
        "master.volumeSizeLimitMB": 64,
        "volume.max": 200,
    }
    options = tuple(f"-{name}={value}" for name, value in names.items())
    return Service(
        "s3",
        (
            _program("weed"),
            "server",
            f"-dir={settings.folder / 's3'}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            "-s3",
            f"-s3.config={settings.folder / 's3.json'}",
            "-master.telemetry=false",
            *options,
        ),
        {},
        tuple(value for name, value in names.items() if name.endswith((".port", ".grpc"))),
        f"{settings.s3_url}/healthz",
    )


def _mlflow(settings: Settings) -> Service:
    folder = settings.folder / "mlflow"
    return Service(
        "mlflow",
        (
            *(_program("mlflow"), "server", "--host", HOST, "--port", str(settings.ports.mlflow)),
            *("--backend-store-uri", _database(settings, folder / "mlflow.db")),
            *("--artifacts-destination", f"s3://{BUCKET}/mlflow", "--serve-artifacts"),
            *("--app-name", "basic-auth", "--workers", "1"),
        ),
        client_environment(settings)
        | {
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            # Job execution runs language model judges in eight processes of 270 MB each, and
            # nothing here uses them.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_FLASK_SERVER_SECRET_KEY": settings.credentials.mlflow_secret_key,
        },
        (settings.ports.mlflow,),
        f"{settings.mlflow_url}/health",
        after=("s3",),
    )


def _prefect(settings: Settings) -> Service:
    database = settings.folder / "prefect" / "prefect.db"
    return Service(
        "prefect",
        (
            _program("prefect"),
            "server",
            "start",
            "--host",
            HOST,
            "--port",
            str(settings.ports.prefect),
        ),
        client_environment(settings)
        | {
            "PREFECT_SERVER_API_AUTH_STRING": f"admin:{settings.credentials.prefect_password}",
            "PREFECT_API_DATABASE_CONNECTION_URL": (
                _database(settings, database).replace("sqlite:", "sqlite+aiosqlite:")
            ),
            "PREFECT_UI_API_URL": f"{settings.prefect_url}/api",
        },
        (settings.ports.prefect,),
        f"{settings.prefect_url}/api/health",
    )


def _worker(settings: Settings, pool: str) -> Service:
    one_at_a_time = ("--limit", "1") if pool == "gpu" else ()
    return Service(
        f"worker-{pool}",
        (
            _program("prefect"),
            "worker",
            "start",
            "--pool",
            pool,
            "--type",
            "process",
            "--name",
            f"{pool}-on-this-machine",
            *one_at_a_time,
        ),
        client_environment(settings)
        | {
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        },
        (),
        None,
        after=("prefect",),
    )
