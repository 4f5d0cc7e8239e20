"""Log parameters, figures, files and origin in an MLflow run."""

import hashlib
import json
import posixpath
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from echodistill.core.batches import batches
from echodistill.lineage.facts import Lineage, headline
from echodistill.params.whole import load_params
from echodistill.revision import revision_tags
from echodistill.run_reports import Reports
from echodistill.tracking.client import connected

METRICS_BATCH = 1000  # MLflow's limit of metrics in one request.


PARAMS_BATCH = 100  # MLflow's limit of parameters or tags in one request.


TAG_NAME_LENGTH = 250  # MLflow's limit of characters in a tag's name.


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return flat


def log_run(run_id: str, params: Path, origin: Lineage, reports: Reports) -> None:
    """Complete a run with parameters, origin, headline metrics and the files themselves.

    ``params`` is the path of ``params.yaml``. A repeated call adds only what is new. MLflow's
    parameters cannot change, so a parameter with a new value becomes a tag ``drift.NAME``. Raise
    ``UserError`` where MLflow cannot be used.
    """
    wanted = _flat(load_params(params).model_dump(mode="json"))
    numbers = headline(json.loads(reports.metrics.read_text(encoding="utf-8")))
    tags = {"dvc.lock": origin.lock_sha256, **origin.tags}
    tags |= {tag_name("input", path): digest for path, digest in origin.inputs.items()}
    with connected() as client:
        _log_params(client, run_id, wanted)
        for name, value in tags.items():
            client.set_tag(run_id, name, value)
        # A training logs its own revision; only one that did not reach MLflow gets the present
        # revision.
        if "git.rev" not in client.get_run(run_id).data.tags:
            for name, value in revision_tags(Path()).items():
                client.set_tag(run_id, name, value)
        known = client.get_run(run_id).data.metrics
        for name, number in numbers.items():
            if known.get(name) != number:
                client.log_metric(run_id, name, number, step=0)
        for file in (params, reports.metrics, reports.card):
            client.log_artifact(run_id, str(file))
        client.log_artifact(run_id, str(reports.curves), "figures")
        # A killed or disconnected training left its run open; a student exists, so the training did
        # end.
        if client.get_run(run_id).info.status != "FINISHED":
            client.set_terminated(run_id, "FINISHED")


def log_figures(run_id: str, figures: Mapping[str, float], files: Sequence[Path]) -> None:
    """Log metrics and files of a run that is not a training's own record.

    Metrics that the run has with the same value are not logged again. Raise ``UserError`` where
    MLflow cannot be used.
    """
    with connected() as client:
        from mlflow.entities import Metric

        known = client.get_run(run_id).data.metrics
        now_ms = round(1000 * time.time())  # MLflow shows the later one of two values.
        new = [
            Metric(name, value, now_ms, 0)
            for name, value in figures.items()
            if known.get(name) != value
        ]
        for part in batches(new, METRICS_BATCH):
            client.log_batch(run_id, metrics=part)
        for file in files:
            client.log_artifact(run_id, str(file))
        if client.get_run(run_id).info.status != "FINISHED":
            client.set_terminated(run_id, "FINISHED")


def _log_params(client: Any, run_id: str, wanted: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    data = client.get_run(run_id).data
    new = [Param(name, value) for name, value in wanted.items() if name not in data.params]
    for part in batches(new, PARAMS_BATCH):
        client.log_batch(run_id, params=part)
    for name, logged in data.params.items():
        tag, value = f"drift.{name}", wanted.get(name, "(gone)")
        if value != logged:
            client.set_tag(run_id, tag, value)
        elif tag in data.tags:
            client.delete_tag(run_id, tag)


def tag_name(prefix: str, path: str) -> str:
    """Return a tag's name for a path.

    Where MLflow does not accept the path, the name has a hash, so that different paths have
    different names.
    """
    name = f"{prefix}.{path}"
    if (
        re.fullmatch(r"[\w\-. :/]+", name)
        and posixpath.normpath(name) == name
        and len(name) <= TAG_NAME_LENGTH
    ):
        return name
    plain = re.sub(r"[^\w\-. ]", "_", path)[: TAG_NAME_LENGTH // 2]
    return f"{prefix}.{plain}.{hashlib.sha256(path.encode()).hexdigest()[:12]}"


def log_lineage(run_id: str, files: Mapping[str, str], locations: Mapping[str, str]) -> None:
    """Store texts by name as artifacts of a run, and S3 addresses by path as tags ``s3.PATH``.

    Raise ``UserError`` where MLflow cannot be used.
    """
    with connected() as client:
        from mlflow.entities import RunTag

        for part in batches(
            [RunTag(tag_name("s3", path), url) for path, url in locations.items()], PARAMS_BATCH
        ):
            client.log_batch(run_id, tags=part)
        for name, text in files.items():
            client.log_text(run_id, text, name)


def run_tags(run_id: str) -> dict[str, str]:
    """Return all tags of a run. Raise ``UserError`` where MLflow cannot be used."""
    with connected() as client:
        return dict(client.get_run(run_id).data.tags)


def read_run_file(run_id: str, file: str) -> bytes | None:
    """Return the content of an artifact at the top level of a run, or ``None`` where the run has
    none of this name.

    Raise ``UserError`` where MLflow cannot be used.
    """
    with connected() as client, tempfile.TemporaryDirectory() as scratch:
        if file not in {found.path for found in client.list_artifacts(run_id)}:
            return None
        return Path(client.download_artifacts(run_id, file, scratch)).read_bytes()
