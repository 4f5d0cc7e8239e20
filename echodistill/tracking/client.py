"""Connect to MLflow and log trainings: one run for each training, which is found by its
fingerprint.

``registry.py`` and ``model_package.py`` register the results. A tag of the run has the hash of the
training's inputs, so a resumed or cached training continues in the same run, and no artifact
contains a run id. While training runs, nothing here blocks or raises: ``metrics.jsonl`` is written
first, and ``log_missing_metrics`` later logs what an outage lost. Training imports this module, so
what is logged after training is in ``registry.py``.
"""

import logging
import math
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from echodistill.core.batches import batches
from echodistill.core.errors import UserError
from echodistill.core.extras import missing_extra_named
from echodistill.tracking import local_store

FINGERPRINT_TAG = "echodistill.fingerprint"
EXPERIMENT = "echodistill"
DRAIN_S = 5.0
"""Time in seconds that the end of a training waits for metrics that are still being sent."""
CREATE_STORE_S = 60.0
"""Time in seconds that it waits for the creation of a local store, so that the store contains the
first training.
"""
MAX_QUEUED = 10_000  # Number of steps; a slower store gets the rest from metrics.jsonl.
BATCH = 1000  # MLflow's limit of metrics in one request.

logger = logging.getLogger(__name__)


def tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, or the address of ``mlflow.db`` in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local_store.uri_of(
        Path.cwd() / local_store.NAME
    )


def without_credentials(text: str) -> str:
    """Return ``text`` with user names, passwords and query strings removed from URIs."""
    return re.sub(r"\?\S+", "?...", re.sub(r"://\S*@", "://", text))


def _reason(error: Exception) -> str:
    """Return an error's first line without credentials."""
    return without_credentials((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]


def _client() -> Any:
    # Only the user may switch on usage statistics; MLflow reads this variable when it is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow prints the server's address, with credentials, when a run ends.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with missing_extra_named():
        from mlflow import MlflowClient

    uri = tracking_uri()
    if local_store.is_in_memory(uri):
        raise UserError(
            "MLFLOW_TRACKING_URI names a store in memory, which ends with the command: name a file,"
            " or unset it to use mlflow.db"
        )
    if database := local_store.database_of(uri):
        if database.exists():
            local_store.update_artifact_locations(database)
        else:
            local_store.create_atomically(database, lambda path: _make(local_store.uri_of(path)))
    return MlflowClient(tracking_uri=uri)


def _make(uri: str) -> None:
    """Create a store with its tables."""
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=uri).search_experiments(max_results=1)


@contextmanager
def _http_limits(**limits: int) -> Iterator[None]:
    """Shorten MLflow's HTTP limits while the block runs, where the user set none.

    MLflow would otherwise retry for minutes.
    """
    names = {f"MLFLOW_HTTP_REQUEST_{name.upper()}": str(value) for name, value in limits.items()}
    added = {name: value for name, value in names.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def connected() -> Iterator[Any]:
    """Yield an MLflow client, and raise one ``UserError`` for any error of the client."""
    with _http_limits(max_retries=2):
        try:
            client = _client()
        except (
            Exception
        ) as error:  # Drivers, migrations and stores of other kinds raise errors of any kind.
            raise _unusable(error) from error
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield client
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise _unusable(error) from error


def _unusable(error: Exception) -> UserError:
    """Return an error of one line that states what is wrong with the store, and the cure."""
    if isinstance(error, UserError):
        return error
    database = local_store.database_of(tracking_uri())
    found = local_store.fault_of(database) if database else None
    missing = (
        f"Install {error.name}, check" if isinstance(error, ImportError) and error.name else "Check"
    )
    reason, cure = found or (
        _reason(error),
        f"{missing} MLFLOW_TRACKING_URI, or unset it to use mlflow.db here",
    )
    return UserError(
        f"MLflow at {without_credentials(tracking_uri())} failed: {reason.rstrip('.')}. {cure}"
    )


def _experiment_id(client: Any) -> str:
    """Return the experiment's id, and create the experiment where it does not exist.

    Raise ``UserError`` where it was deleted.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # A server's configuration decides where its artifacts are; without a server they are in the
        # folder of the database.
        local = not tracking_uri().startswith(("http://", "https://", "databricks"))
        beside = local_store.database_of(tracking_uri()) or Path.cwd() / local_store.NAME
        return client.create_experiment(name, local_store.artifacts_of(beside) if local else None)
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"MLflow's experiment {name!r} was deleted: run `mlflow experiments restore -x"
            f" {experiment.experiment_id}`"
        )
    return experiment.experiment_id


def _find_or_create(
    client: Any, fingerprint: str, name: str, tags: Mapping[str, str] | None
) -> str:
    experiment = _experiment_id(client)
    # Where two processes created a run at the same time, all use the older one.
    found = client.search_runs(
        [experiment],
        f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}'",
        1,
        1,
        ["attributes.start_time ASC"],
    )
    if found:
        for key, value in (tags or {}).items():
            client.set_tag(found[0].info.run_id, key, value)
        return found[0].info.run_id
    return client.create_run(
        experiment, tags={**(tags or {}), FINGERPRINT_TAG: fingerprint}, run_name=name
    ).info.run_id


def find_or_create_run(fingerprint: str, name: str, tags: Mapping[str, str] | None = None) -> str:
    """Return the id of the run of the training with this fingerprint, and create the run where
    needed.

    Raise ``UserError`` where MLflow cannot be reached.
    """
    with connected() as client:
        return _find_or_create(client, fingerprint, name, tags)


def make_store() -> None:
    """Create the store and the experiment before trainings that run at the same time use them.

    Several processes that create a local store at once would break it. Raise ``UserError`` where
    the store cannot be used.
    """
    with connected() as client:
        _experiment_id(client)


def run_page(run_id: str) -> str:
    """Return the address of a run in a tracking server's UI; empty for a local store, which has no
    UI.

    Raise ``UserError`` where MLflow cannot be reached.
    """
    if not tracking_uri().startswith(("http://", "https://")):
        return ""
    with connected() as client:
        experiment = client.get_run(run_id).info.experiment_id
    server = without_credentials(tracking_uri()).rstrip("/")
    return f"{server}/#/experiments/{experiment}/runs/{run_id}"


class _Recorder:
    """Logger of metrics that logs each metric only once for each step."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._known = set(client.get_run(run_id).data.metrics)
        self._steps: dict[str, set[int]] = {}

    def log(self, rows: Sequence[tuple[int, int, Mapping[str, float]]]) -> int:
        """Log rows of (milliseconds since 1970, step, metrics), and return the number of new
        values.
        """
        from mlflow.entities import Metric

        metrics = []
        for time_ms, step, values in rows:
            for raw, value in values.items():
                name = re.sub(r"[^\w\-. :/]", "_", raw)
                if math.isfinite(value) and step not in (steps := self._logged(name)):
                    steps.add(step)
                    metrics.append(Metric(name, float(value), time_ms, step))
        for part in batches(metrics, BATCH):
            self._client.log_batch(self._run_id, metrics=part)
        return len(metrics)

    def _logged(self, name: str) -> set[int]:
        if name not in self._steps:
            history = (
                self._client.get_metric_history(self._run_id, name) if name in self._known else []
            )
            self._steps[name] = {metric.step for metric in history}
        return self._steps[name]


class MetricStream:
    """Send training metrics to MLflow from a thread: ``with MetricStream(...) as stream:
    stream(step, metrics)``.

    A call never blocks and never raises. The first tracking error causes one warning and ends the
    attempts; training continues.
    """

    def __init__(self, fingerprint: str, name: str, tags: Mapping[str, str] | None = None) -> None:
        self.run_id: str | None = None
        """Id of the MLflow run; ``None`` until MLflow has answered."""
        self._run = (fingerprint, name, tags)
        self._queue: SimpleQueue[tuple[int, int, Mapping[str, float]] | None] = SimpleQueue()
        self._stopped = threading.Event()
        self._status = "FINISHED"
        self._thread = threading.Thread(target=self._work, name="mlflow-metrics", daemon=True)
        self._limits = _http_limits(max_retries=1, timeout=5)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        if not self._stopped.is_set() and self._queue.qsize() < MAX_QUEUED:
            self._queue.put((round(time.time() * 1000), step, dict(metrics)))

    def __enter__(self) -> "MetricStream":
        self._limits.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._status = "FAILED" if issubclass(kind, Exception) else "KILLED"
        self._queue.put(None)
        if self.run_id is None and tracking_uri().startswith("sqlite:"):
            deadline = time.monotonic() + CREATE_STORE_S
            while self.run_id is None and self._thread.is_alive() and time.monotonic() < deadline:
                self._thread.join(0.1)
        self._thread.join(DRAIN_S)
        if self._thread.is_alive():
            self._warn("it did not take the last steps in time")
        self._limits.__exit__(None, None, None)

    def _work(self) -> None:
        try:
            client = _client()
            run_id = _find_or_create(client, *self._run)
            client.update_run(run_id, status="RUNNING")
            self.run_id = run_id
            recorder = _Recorder(client, run_id)
            while not self._stopped.is_set() and (rows := self._next_rows()):
                recorder.log(rows)
            if not self._stopped.is_set():
                client.set_terminated(run_id, self._status)
        except Exception as error:  # No error of tracking may end the training.
            self._warn(_reason(error))

    def _next_rows(self) -> list[tuple[int, int, Mapping[str, float]]]:
        """Wait for a step, and return it with all others in the queue; return no row at the end."""
        rows = []
        row = self._queue.get()
        while row is not None:
            rows.append(row)
            try:
                row = self._queue.get_nowait()
            except Empty:
                return rows
        if rows:
            self._queue.put(None)  # The next call must find the end again.
        return rows

    def _warn(self, reason: str) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            logger.warning(
                "MLflow tracking stopped: %s. Training is not affected; `echodistill register` logs"
                " what is missing",
                reason,
            )


def log_missing_metrics(run_id: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """Log the rows of ``metrics.jsonl`` that the run lacks, and return the number of missing
    values.
    """
    now = round(time.time() * 1000)
    numbers = [
        {
            name: value
            for name, value in row.items()
            if name != "step" and isinstance(value, int | float)
        }
        for row in rows
    ]
    with connected() as client:
        return _Recorder(client, run_id).log(
            [(now, int(row["step"]), values) for row, values in zip(rows, numbers, strict=True)]
        )
