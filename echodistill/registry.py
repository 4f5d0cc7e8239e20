"""The MLflow registry: complete a training's run, and enter its student as a version of one model.

Versions have two aliases: ``candidate`` is the newest entered, ``champion`` the one that
``champion.py`` keeps.
"""

import hashlib
import json
import posixpath
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from echodistill.batches import batches
from echodistill.champion import (
    MODEL,
    WEIGHTS_TAG,
    champion_number,
    identity_of,
    make_champion,
    refusal,
)
from echodistill.champion_folder import BASE, STUDENT, ChampionFacts, fault_of_files, files_hash
from echodistill.checksums import sha256_of, verify_checksums
from echodistill.errors import UserError
from echodistill.lineage import Lineage, headline
from echodistill.local_store import folder_of
from echodistill.model_package import ARTIFACTS, save_evaluation, save_model
from echodistill.models.layout import RUN, files_read, read_run
from echodistill.params import load_params
from echodistill.revision import revision_tags
from echodistill.run_reports import Reports
from echodistill.tracking import connected, tracking_uri, without_credentials

EVALUATION_TAG = "echodistill.evaluation_sha256"
DESCRIPTION = "MLmodel"
"""The file by which MLflow knows a model."""
SOURCE = "models:/"
"""Before a logged model's id, where a version says what it was made from."""
METRICS_BATCH = 1000  # metrics a request, MLflow's limit
PARAMS_BATCH = 100  # parameters or tags a request, MLflow's limit
TAG_NAME_LENGTH = 250  # characters, MLflow's limit


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return flat


def log_run(run_id: str, params: Path, origin: Lineage, reports: Reports) -> None:
    """Complete a run: parameters, origin, headline metrics, and the files themselves.

    ``params`` is ``params.yaml``. Doing it again adds only what is new. MLflow's parameters cannot
    change: one that drifted becomes a tag ``drift.NAME``. Raises ``UserError``.
    """
    wanted = _flat(load_params(params).model_dump(mode="json"))
    numbers = headline(json.loads(reports.metrics.read_text(encoding="utf-8")))
    tags = {"dvc.lock": origin.lock_sha256, **origin.tags}
    tags |= {tag_name("input", path): digest for path, digest in origin.inputs.items()}
    with connected() as client:
        _log_params(client, run_id, wanted)
        for name, value in tags.items():
            client.set_tag(run_id, name, value)
        # a training says itself which revision it was; only one that MLflow did not hear of gets
        # the present one
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
        # a killed or cut off training left its run open; there is a student, so it did end
        if client.get_run(run_id).info.status != "FINISHED":
            client.set_terminated(run_id, "FINISHED")


def log_figures(run_id: str, figures: Mapping[str, float], files: Sequence[Path]) -> None:
    """Metrics and files of a run that is no training's own record; what is known already is not
    logged again. Raises ``UserError``.
    """
    with connected() as client:
        from mlflow.entities import Metric

        known = client.get_run(run_id).data.metrics
        now_ms = round(1000 * time.time())  # of two values MLflow shows the later one
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


@dataclass(frozen=True)
class Entered:
    """A version that a student was entered as."""

    number: str
    is_champion: bool
    refusal: str
    """Why a positive decision did not make it champion; empty where it did, or where the decision
    was negative.
    """


def register(
    student: Path,
    base: Path,
    promotion: Mapping[str, Any],
    run_id: str,
    metrics: Mapping[str, float],
    reports: Reports | None = None,
) -> Entered:
    """Enter a student as a version of the model ``echodistill`` and set its aliases.

    A positive decision makes it champion only where the champion is still the one that it was
    decided against.

    ``base`` goes along where the student is an adapter. ``promotion`` is
    ``reports/promotion.json``, ``metrics`` are ``headline`` figures; of ``reports`` the card and
    all answers are kept with the model. The same student of the same training is entered once;
    evaluated anew, it keeps the later figures, card and answers. Raises ``UserError``.
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

        mlflow.set_tracking_uri(tracking_uri())  # models:/ URIs are resolved with the global one
        found = _version_of(client, identity)
        if found is None:
            model_id = _log_model(client, run_id, artifacts, identity)
            found = mlflow.register_model(f"{SOURCE}{model_id}", MODEL, tags=identity)
        elif lost := _lost_files(client, found, artifacts):
            _log_files(client, lost, artifacts)
            found.tags.pop(EVALUATION_TAG, None)
        number, evaluated = str(found.version), _mark(metrics, reports)
        if found.tags.get(EVALUATION_TAG) != evaluated:
            _keep_evaluation(
                client, str(found.source).removeprefix(SOURCE), run_id, student, metrics, reports
            )
            client.set_model_version_tag(MODEL, number, EVALUATION_TAG, evaluated)
        client.set_model_version_tag(MODEL, number, "promotion.promote", str(promote).lower())
        client.update_model_version(MODEL, number, description=_describe(run, promotion))
        client.set_registered_model_alias(MODEL, "candidate", number)
        refused = refusal(client, number, against["version"]) if promote else ""
        if promote and not refused:
            make_champion(client, number)
        return Entered(number, champion_number(client) == number, refused)


def _mark(metrics: Mapping[str, float], reports: Reports | None) -> str:
    """Changes with what a model came to."""
    files = [reports.card, *reports.answers] if reports else []
    parts = [
        json.dumps(dict(metrics), sort_keys=True).encode(),
        *(hashlib.sha256(path.read_bytes()).digest() for path in files),
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _version_of(client: Any, identity: Mapping[str, str]) -> Any:
    """The version with these tags, if any; makes the registered model if needed."""
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
    """Log the model's files under the run; the logged model's id.

    ``mlflow.pyfunc.log_model`` would load the model to try its example: too much for a machine
    without the memory of a GPU node.
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


def _lost_files(client: Any, version: Any, artifacts: Mapping[str, Path]) -> Any:
    """Return the logged model of a version where files of it are gone or damaged; ``None`` where it
    is whole, or names none.

    What loading the model reads is compared with the folders ``artifacts`` that it was copied from:
    by content where it lies on this machine, by size where a server has it.
    """
    if not str(version.source).startswith(SOURCE):
        return None
    logged = client.get_logged_model(str(version.source).removeprefix(SOURCE))
    kept = dict(_kept_files(client, logged.model_id, None))
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


def _kept_files(client: Any, model_id: str, folder: str | None) -> Iterator[tuple[str, int]]:
    """Yield the path and the size in bytes of each file of a logged model."""
    for entry in client.list_logged_model_artifacts(model_id, folder):
        if entry.is_dir:
            yield from _kept_files(client, model_id, entry.path)
        else:
            yield entry.path, entry.file_size


def has_version(number: str, run_id: str) -> bool:
    """Return whether MLflow has this version of the model, made from this run. Raises ``UserError``
    where it cannot be asked.
    """
    with connected() as client:
        return any(
            str(each.version) == number
            for each in client.search_model_versions(f"name = '{MODEL}' and run_id = '{run_id}'")
        )


def _keep_evaluation(
    client: Any,
    model_id: str,
    run_id: str,
    student: Path,
    metrics: Mapping[str, float],
    reports: Reports | None,
) -> None:
    """Put what a model came to beside it, over what an evaluation of before left."""
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
    """A version's page: how it was made and why it was promoted or not."""
    lines = [
        f"Method {run['method']}, {run['steps']} steps, {run['weights']} weights. Promoted:"
        f" {'yes' if promotion['promote'] else 'no'}."
    ]
    for criterion in promotion.get("criteria", []):
        met = "met" if criterion["met"] else "**not met**"
        interval = f"{criterion['value']:+.3f} [{criterion['low']:+.3f}, {criterion['high']:+.3f}]"
        lines.append(f"- {criterion['name']}: {interval} (bound {criterion['bound']:g}), {met}")
    lines += [f"- **{obstacle}**" for obstacle in promotion.get("obstacles", [])]
    return "\n".join(lines)


def tag_name(prefix: str, path: str) -> str:
    """A tag's name for a path. Where MLflow would not take the path as it is, a hash keeps names of
    different paths apart.
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


def log_lineage(run_id: str, file: str, text: str, locations: Mapping[str, str]) -> None:
    """Keep a lineage record as artifact ``file`` of a run, and S3 addresses by path as tags
    ``s3.PATH``. Raises ``UserError``.
    """
    with connected() as client:
        from mlflow.entities import RunTag

        for part in batches(
            [RunTag(tag_name("s3", path), url) for path, url in locations.items()], PARAMS_BATCH
        ):
            client.log_batch(run_id, tags=part)
        client.log_text(run_id, text, file)


def run_tags(run_id: str) -> dict[str, str]:
    """All tags of a run. Raises ``UserError``."""
    with connected() as client:
        return dict(client.get_run(run_id).data.tags)


def read_run_file(run_id: str, file: str) -> bytes | None:
    """An artifact at the top of a run; ``None`` when it has none of this name. Raises
    ``UserError``.
    """
    with connected() as client, tempfile.TemporaryDirectory() as scratch:
        if file not in {found.path for found in client.list_artifacts(run_id)}:
            return None
        return Path(client.download_artifacts(run_id, file, scratch)).read_bytes()


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    model: str
    number: str
    aliases: tuple[str, ...]
    run_id: str
    """Of its training."""
    weights_sha256: str | None
    """``models.layout.content_hash`` of its weights when it was entered."""


def find_version(model: str, alias: str | None, number: str | None) -> Version:
    """A version by its alias or number. Raises ``UserError`` that says what there is."""
    with connected() as client:
        models = sorted(found.name for found in client.search_registered_models(max_results=1000))
        if model not in models:
            there = (
                f"there is {', '.join(models)}"
                if models
                else "there is none: enter one with `echodistill register`"
            )
            raise UserError(
                f"MLflow at {without_credentials(tracking_uri())} has no registered model"
                f" {model!r}; {there}"
            )
        aliases = {name: str(of) for name, of in client.get_registered_model(model).aliases.items()}
        versions = {
            str(found.version): found
            for found in client.search_model_versions(f"name = '{model}'", max_results=10_000)
        }
        known = sorted(versions, key=int)
        if alias is not None and alias not in aliases:
            there = f"it has {', '.join(sorted(aliases))}" if aliases else "it has none"
            raise UserError(
                f"model {model!r} has no alias {alias!r}; {there}. Its versions:"
                f" {', '.join(known) or 'none'}"
            )
        chosen = aliases[alias] if alias is not None else str(number)
        if chosen not in versions:
            raise UserError(
                f"model {model!r} has no version {chosen}; it has {', '.join(known) or 'none'}"
            )
        found = versions[chosen]
        if not found.run_id:
            raise UserError(
                f"version {chosen} of {model!r} names no MLflow run: it was not entered by"
                " `echodistill register`"
            )
        names = tuple(sorted(name for name, of in aliases.items() if of == chosen))
        return Version(model, chosen, names, str(found.run_id), found.tags.get(WEIGHTS_TAG))


def weights_of(version: Version, name: str) -> str | None:
    """``content_hash`` of the weights that MLflow keeps of a version now; ``None`` when there are
    none. ``name`` is that of the student's folder. Raises ``UserError``.
    """
    from echodistill.models.layout import WEIGHTS, content_hash

    with connected(), tempfile.TemporaryDirectory() as scratch:
        from mlflow.artifacts import download_artifacts, list_artifacts

        uris = {"tracking_uri": tracking_uri()}
        top = f"models:/{version.model}/{version.number}"
        if not [
            found
            for found in list_artifacts(f"{top}/artifacts/{name}", **uris)
            if found.path.endswith(".safetensors")
        ]:
            return None
        folder = download_artifacts(
            f"{top}/artifacts/{name}", dst_path=scratch, registry_uri=tracking_uri(), **uris
        )
        return content_hash(Path(folder), WEIGHTS)


def fetch_model(wanted: ChampionFacts, folder: Path) -> ChampionFacts:
    """Download the model files of a version into ``folder``; its facts, with the reason where
    MLflow has none that can be used.

    What an evaluation left beside the weights is left out: it changes, and the model does not.
    Raises ``UserError``.
    """
    top = f"{SOURCE}{MODEL}/{wanted.version}"
    for part, place in _model_parts(top).items():
        with connected():
            from mlflow.artifacts import download_artifacts

            found = Path(
                download_artifacts(
                    f"{top}/{place}",
                    dst_path=str(folder),
                    tracking_uri=tracking_uri(),
                    registry_uri=tracking_uri(),
                )
            )
        if found != folder / part:
            found.rename(folder / part)
        (folder / part / "README.md").unlink(missing_ok=True)
    fault = fault_of_files(folder, wanted.weights_sha256)
    for each in list(folder.iterdir()):
        if fault or each.name not in (STUDENT, BASE):
            shutil.rmtree(each)
    if fault:
        return replace(wanted, reason=fault)
    return replace(wanted, content_sha256=files_hash(folder))


def _model_parts(top: str) -> dict[str, str]:
    """Return where the files of student and base stand in a logged model, by name; nothing where it
    is none of ours.
    """
    with connected(), tempfile.TemporaryDirectory() as scratch:
        from mlflow.artifacts import download_artifacts, list_artifacts

        uris = {"tracking_uri": tracking_uri(), "registry_uri": tracking_uri()}
        if "MLmodel" not in [
            posixpath.basename(found.path)
            for found in list_artifacts(top, tracking_uri=tracking_uri())
        ]:
            return {}
        description = yaml.safe_load(
            Path(download_artifacts(f"{top}/MLmodel", dst_path=scratch, **uris)).read_text(
                encoding="utf-8"
            )
        )
        artifacts = description.get("flavors", {}).get("python_function", {}).get("artifacts", {})
        places = {
            part: str(artifacts[part]["path"]) for part in (STUDENT, BASE) if part in artifacts
        }
        return {
            part: place
            for part, place in places.items()
            if list_artifacts(f"{top}/{place}", tracking_uri=tracking_uri())
        }
