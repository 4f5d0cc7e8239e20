"""Make a separate workspace for a run with overrides.

The workspace is a clone that shares DVC's cache, and ends as a DVC experiment of the repository.
"""

import os
import re
import shutil
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.yaml12 import dump_yaml, load_yaml
from echodistill.overrides import apply_overrides, own_params
from echodistill.params.whole import validate_params
from echodistill.tracking.local_store import NAME, uri_of
from flows.commands import DVC, output_of
from flows.dvc_repo import locked
from flows.graph import PIPELINE, inputs_of_graph
from flows.remote import share_cache

WORKSPACES = Path(".echodistill/workspaces")
EXPERIMENTS = Path(".echodistill/experiments")


def experiment_name(flow_run_name: str) -> str:
    """Return ``flow_run_name`` as a name that git and DVC accept."""
    return re.sub(r"[^a-zA-Z0-9-]+", "-", flow_run_name).strip("-") or "run"


def open_workspace(repository: Path, name: str, overrides: list[str]) -> Path:
    """Clone ``repository`` at its present commit, write the overridden parameters there, and return
    the clone's folder.

    An interrupted run uses its clone again, unless something was committed since. Raise
    ``UserError`` for overrides that do not fit.
    """
    raw = load_yaml(own_params(repository))
    changed = apply_overrides(raw, overrides)
    validate_params(changed, "params.yaml", overrides)
    workspace = (repository / WORKSPACES / name).resolve()
    if not _is_current_clone(workspace, repository):
        shutil.rmtree(workspace, ignore_errors=True)
        workspace.parent.mkdir(parents=True, exist_ok=True)
        output_of(
            "git",
            "clone",
            "--quiet",
            "--local",
            str(repository.resolve()),
            str(workspace),
            cwd=repository,
        )
        share_cache(repository, workspace)
    with locked(repository):
        for lock in [repository / "dvc.lock", *repository.glob("*/dvc.lock")]:
            copy = workspace / lock.relative_to(repository)
            if lock.is_file() and not copy.exists():
                shutil.copy(lock, copy)
    (workspace / "params.yaml").write_text(dump_yaml(changed), encoding="utf-8")
    _bring_inputs(repository.resolve(), workspace)
    return workspace


def _is_current_clone(workspace: Path, repository: Path) -> bool:
    if not (workspace / ".dvc" / "config.local").is_file():
        return False
    of_clone, of_repository = (
        output_of("git", "rev-parse", "HEAD", cwd=folder) for folder in (workspace, repository)
    )
    return of_clone == of_repository


def _bring_inputs(repository: Path, workspace: Path) -> None:
    """Link the graph's inputs that are not in git into the workspace, as the overridden parameters
    name them.

    Raise ``UserError`` for a relative path that is outside the repository, because it names
    another place from the workspace.
    """
    for target in inputs_of_graph(workspace):
        if not target.is_relative_to(workspace):
            if not target.exists():
                named = os.path.relpath(target, workspace)
                raise UserError(
                    f"{named} is outside the repository: a run with overrides works in a clone,"
                    " so give an absolute path"
                )
            continue
        path = repository / target.relative_to(workspace)
        if path.is_dir():
            shutil.copytree(path, target, copy_function=_link_if_absent, dirs_exist_ok=True)
        elif path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_if_absent(str(path), str(target))


def _link_if_absent(source: str, target: str) -> str:
    if not os.path.lexists(target):
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
    return target


def environment(repository: Path, workspace: Path) -> dict[str, str]:
    """Return the environment variables with which a workspace shares its repository's stores.

    These are the cache of references and the MLflow store, both of which are addressed by content.
    """
    repository = repository.resolve()
    return {
        "ECHODISTILL_CACHE": (
            os.environ.get("ECHODISTILL_CACHE") or str(repository / ".echodistill" / "cache")
        ),
        "MLFLOW_TRACKING_URI": (
            os.environ.get("MLFLOW_TRACKING_URI") or uri_of(repository / NAME, workspace.resolve())
        ),
    }


def keep_reports(repository: Path, workspace: Path, name: str) -> Path:
    """Copy a workspace's reports, with the Data Docs, to a folder that outlives the workspace, and
    return it.
    """
    kept = (repository / EXPERIMENTS / name / "reports").resolve()
    with atomic_path(kept) as temporary:
        shutil.copytree(workspace / "reports", temporary)
    return kept


def save_experiment(repository: Path, workspace: Path, name: str, pipeline: str = PIPELINE) -> None:
    """Save the workspace's state as an experiment of the repository, and remove the workspace.

    ``dvc exp show`` then shows it and ``dvc exp apply`` applies it.
    """
    # Without these options DVC saves only the root's lock, and shows no figure of another graph.
    lock = str(Path(pipeline).with_name("dvc.lock"))
    output_of(
        *DVC,
        "exp",
        "save",
        "--force",
        "--name",
        name,
        "--include-untracked",
        lock,
        pipeline,
        cwd=workspace,
    )
    output_of(*DVC, "exp", "push", "--no-cache", "--force", "origin", name, cwd=workspace)
    shutil.rmtree(workspace)
