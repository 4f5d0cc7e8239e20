"""Find a version of the registered model and fetch its weights."""

import posixpath
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from echodistill.champion_folder import BASE, STUDENT, ChampionFacts, fault_of_files, files_hash
from echodistill.core.errors import UserError
from echodistill.tracking.champion import (
    MODEL,
    WEIGHTS_TAG,
)
from echodistill.tracking.client import connected, tracking_uri, without_credentials


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    model: str
    number: str
    aliases: tuple[str, ...]
    run_id: str
    """Id of the run of the version's training."""
    weights_sha256: str | None
    """``models.layout.content_hash`` of the weights at the time of registration."""


def find_version(model: str, alias: str | None, number: str | None) -> Version:
    """Return a version by its alias or number.

    Raise ``UserError`` that lists the existing ones where there is no such version.
    """
    with connected() as client:
        models = sorted(found.name for found in client.search_registered_models(max_results=1000))
        if model not in models:
            known_names = (
                f"there is {', '.join(models)}"
                if models
                else "there is none: register one with `echodistill register`"
            )
            raise UserError(
                f"MLflow at {without_credentials(tracking_uri())} has no registered model"
                f" {model!r}; {known_names}"
            )
        aliases = {name: str(of) for name, of in client.get_registered_model(model).aliases.items()}
        versions = {
            str(found.version): found
            for found in client.search_model_versions(f"name = '{model}'", max_results=10_000)
        }
        known = sorted(versions, key=int)
        if alias is not None and alias not in aliases:
            known_names = f"it has {', '.join(sorted(aliases))}" if aliases else "it has none"
            raise UserError(
                f"model {model!r} has no alias {alias!r}; {known_names}. Its versions:"
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
                f"version {chosen} of {model!r} names no MLflow run: it was not registered by"
                " `echodistill register`"
            )
        names = tuple(sorted(name for name, of in aliases.items() if of == chosen))
        return Version(model, chosen, names, str(found.run_id), found.tags.get(WEIGHTS_TAG))


def weights_of(version: Version, name: str) -> str | None:
    """Return the ``content_hash`` of a version's weights as MLflow has them now, or ``None`` where
    there are none.

    ``name`` is the name of the student's folder. Raise ``UserError`` where MLflow cannot be used.
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
    """Download a version's model files into ``folder`` and return its facts.

    The facts have the reason where MLflow has no usable files. The files of an evaluation are left
    out, because they change while the model does not. Raise ``UserError`` where MLflow cannot be
    used.
    """
    top = f"models:/{MODEL}/{wanted.version}"
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
    """Return the paths of the student's and the base's files in a logged model, by name.

    Return nothing where this project did not log the model.
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
