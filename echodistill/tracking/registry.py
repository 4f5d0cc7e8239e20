"""Complete a training's MLflow run, and register its student as a version of one model.

Versions have two aliases: ``candidate`` is the newest version, ``champion`` the one that
``champion.py`` manages.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echodistill.core.checksums import sha256_of, verify_checksums
from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.models.layout import RUN, files_read, read_run
from echodistill.run_reports import Reports
from echodistill.tracking.champion import (
    MODEL,
    champion_number,
    identity_of,
    make_champion,
    refusal,
)
from echodistill.tracking.client import connected, tracking_uri
from echodistill.tracking.local_store import folder_of
from echodistill.tracking.model_package import ARTIFACTS, save_evaluation, save_model

EVALUATION_TAG = "echodistill.evaluation_sha256"
DESCRIPTION = "MLmodel"
"""Name of the file by which MLflow recognises a model."""
SOURCE = "models:/"
"""Prefix of the logged model's id in a version's source."""


@dataclass(frozen=True)
class RegisteredVersion:
    """The version as which a student was registered."""

    number: str
    is_champion: bool
    refusal: str
    """Why a positive decision did not make the version champion; empty where it did, or where the
    decision was negative.
    """


def register(
    student: Path,
    base: Path,
    promotion: Mapping[str, Any],
    run_id: str,
    metrics: Mapping[str, float],
    reports: Reports | None = None,
) -> RegisteredVersion:
    """Register a student as a version of the model ``echodistill`` and set its aliases.

    A positive decision makes it champion only where the champion is still the one against which the
    decision was made.

    ``base`` is stored as well where the student is an adapter. ``promotion`` is the content of
    ``reports/promotion.json``, ``metrics`` are ``headline`` figures, and the card and all answers
    of ``reports`` are stored with the model. The same student of the same training is registered
    once; after another evaluation it gets the later figures, card and answers. Raise ``UserError``
    where a file or MLflow cannot be used.
    """
    promote, against = promotion.get("promote"), promotion.get("champion")
    if not isinstance(promote, bool) or not isinstance(against, dict) or "version" not in against:
        raise UserError(
            "reports/promotion.json lacks 'promote' (true or false) or 'champion': run `echodistill"
            " run promote`"
        )
    run, identity = read_run(student), identity_of(student)
    artifacts = {"student": student}
    if run["weights"] == "lora":
        verify_checksums(
            base, "run `dvc repro --force base`, then `echodistill run`", required=False
        )
        artifacts["base"] = base
    with connected() as client:
        import mlflow

        # MLflow resolves models:/ URIs with its global tracking URI.
        mlflow.set_tracking_uri(tracking_uri())
        found = _version_of(client, identity)
        if found is None:
            model_id = _log_model(client, run_id, artifacts, identity)
            found = mlflow.register_model(f"{SOURCE}{model_id}", MODEL, tags=identity)
        elif incomplete := _incomplete_model(client, found, artifacts):
            _log_files(client, incomplete, artifacts)
            found.tags.pop(EVALUATION_TAG, None)
        number, evaluated = str(found.version), _evaluation_hash(metrics, reports)
        if found.tags.get(EVALUATION_TAG) != evaluated:
            _store_evaluation(
                client, str(found.source).removeprefix(SOURCE), run_id, student, metrics, reports
            )
            client.set_model_version_tag(MODEL, number, EVALUATION_TAG, evaluated)
        client.set_model_version_tag(MODEL, number, "promotion.promote", str(promote).lower())
        client.update_model_version(MODEL, number, description=_describe(run, promotion))
        client.set_registered_model_alias(MODEL, "candidate", number)
        refused = refusal(client, number, against["version"]) if promote else ""
        if promote and not refused:
            make_champion(client, number)
        return RegisteredVersion(number, champion_number(client) == number, refused)


def _evaluation_hash(metrics: Mapping[str, float], reports: Reports | None) -> str:
    """Return a hash that changes with a model's figures, card and answers."""
    files = [reports.card, *reports.answers] if reports else []
    parts = [
        json.dumps(dict(metrics), sort_keys=True).encode(),
        *(hashlib.sha256(path.read_bytes()).digest() for path in files),
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _version_of(client: Any, identity: Mapping[str, str]) -> Any:
    """Return the version with these tags, or ``None``.

    The registered model is created where it does not exist.
    """
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(
            MODEL, description="Audio language model that keeps understanding in noise."
        )
    for entry in client.search_model_versions(f"name = '{MODEL}'"):
        if all(entry.tags.get(name) == value for name, value in identity.items()):
            return entry
    return None


def _log_model(
    client: Any, run_id: str, artifacts: Mapping[str, Path], identity: Mapping[str, str]
) -> str:
    """Log the model's files under the run, and return the logged model's id.

    ``mlflow.pyfunc.log_model`` would load the model to run its example, which needs more memory
    than a machine without a GPU may have.
    """
    from mlflow.entities import LoggedModelOutput

    logged = client.create_logged_model(
        client.get_run(run_id).info.experiment_id, MODEL, run_id, tags=dict(identity)
    )
    try:
        _log_files(client, logged, artifacts)
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def _log_files(client: Any, logged: Any, artifacts: Mapping[str, Path]) -> None:
    from mlflow.models import Model

    run_id, model_id = logged.source_run_id, logged.model_id
    description = Model(
        artifact_path=logged.artifact_location,
        run_id=run_id,
        model_uuid=model_id,
        model_id=model_id,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        save_model(folder, artifacts, description)
        client.log_model_artifacts(model_id, str(folder))


def _incomplete_model(client: Any, version: Any, artifacts: Mapping[str, Path]) -> Any:
    """Return the logged model of a version where some of its files are missing or damaged.

    Return ``None`` where it is complete, or the version names none. The files that loading the
    model reads are compared with the folders ``artifacts`` from which they were copied: by content
    where they are on this machine, by size where a server has them.
    """
    if not str(version.source).startswith(SOURCE):
        return None
    logged = client.get_logged_model(str(version.source).removeprefix(SOURCE))
    kept = dict(_stored_files(client, logged.model_id, None))
    wanted = {
        f"{ARTIFACTS}/{folder.name}/{path.relative_to(folder).as_posix()}": path
        for folder in artifacts.values()
        for path in [*files_read(folder), *(path for path in [folder / RUN] if path.is_file())]
    }
    if DESCRIPTION not in kept or any(
        kept.get(name) != path.stat().st_size for name, path in wanted.items()
    ):
        return logged
    here = folder_of(logged.artifact_location)
    changed = here is not None and any(
        sha256_of(here / name) != sha256_of(path) for name, path in wanted.items()
    )
    return logged if changed else None


def _stored_files(client: Any, model_id: str, folder: str | None) -> Iterator[tuple[str, int]]:
    """Yield the path and the size in bytes of each file of a logged model."""
    for entry in client.list_logged_model_artifacts(model_id, folder):
        if entry.is_dir:
            yield from _stored_files(client, model_id, entry.path)
        else:
            yield entry.path, entry.file_size


def has_version(number: str, run_id: str) -> bool:
    """Return whether MLflow has this version of the model, made from this run.

    Raise ``UserError`` where MLflow cannot be reached.
    """
    with connected() as client:
        return any(
            str(each.version) == number
            for each in client.search_model_versions(f"name = '{MODEL}' and run_id = '{run_id}'")
        )


def _store_evaluation(
    client: Any,
    model_id: str,
    run_id: str,
    student: Path,
    metrics: Mapping[str, float],
    reports: Reports | None,
) -> None:
    """Store a model's figures, card and answers with it, in place of those of an earlier
    evaluation.
    """
    from mlflow.entities import Metric

    now_ms = round(1000 * time.time())
    if entries := [
        Metric(name, value, now_ms, 0, model_id=model_id, run_id=run_id)
        for name, value in metrics.items()
    ]:
        client.log_batch(run_id, metrics=entries)
    if reports:
        with tempfile.TemporaryDirectory() as scratch:
            save_evaluation(Path(scratch), student.name, reports)
            client.log_model_artifacts(model_id, scratch)


def _describe(run: Mapping[str, Any], promotion: Mapping[str, Any]) -> str:
    """Return the text of a version's page: how it was made and why it was promoted or not."""
    lines = [
        f"Method {run['method']}, {counted(run['steps'], 'step')}, {run['weights']} weights."
        f" Promoted:"
        f" {'yes' if promotion['promote'] else 'no'}."
    ]
    for criterion in promotion.get("criteria", []):
        met = "met" if criterion["met"] else "**not met**"
        interval = f"{criterion['value']:+.3f} [{criterion['low']:+.3f}, {criterion['high']:+.3f}]"
        lines.append(f"- {criterion['name']}: {interval} (bound {criterion['bound']:g}), {met}")
    lines += [f"- **{obstacle}**" for obstacle in promotion.get("obstacles", [])]
    return "\n".join(lines)
