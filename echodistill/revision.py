"""Read the git repository of a folder, and the revision from which a training is started."""

import os
import re
import subprocess
from pathlib import Path

NO_SCM = re.compile(r"^\s*no_scm\s*=\s*true\s*$", re.MULTILINE | re.IGNORECASE)
"""Pattern of DVC's setting for work without git."""


def git_facts(folder: Path) -> dict[str, str]:
    """Return ``rev`` and ``dirty`` (``true``, ``false``) of a work tree; both are ``unknown``
    outside git.

    ``dvc.lock`` does not make a tree dirty, because every pipeline run changes it and it has a tag
    of its own.
    """
    try:
        rev = _git(folder, "rev-parse", "HEAD").strip()
        changes = _git(folder, "status", "--porcelain", "--", ".", ":(exclude,glob)**/dvc.lock")
    except (OSError, subprocess.CalledProcessError):
        return {"rev": "unknown", "dirty": "unknown"}
    return {"rev": rev, "dirty": str(bool(changes.strip())).lower()}


def git_cure(folder: Path) -> str:
    """Return what to do where ``folder`` is in no git repository, which DVC needs.

    Return an empty string where nothing is wrong, or git is not installed.
    """
    try:
        _git(folder, "rev-parse", "--git-dir")
        return ""
    except OSError:
        return ""
    except subprocess.CalledProcessError as error:
        configs = [folder / ".dvc" / name for name in ("config", "config.local")]
        if any(
            NO_SCM.search(config.read_text(encoding="utf-8"))
            for config in configs
            if config.is_file()
        ):
            return ""
        if "not a git repository" in error.stderr:
            return (
                "this is no git repository, and a downloaded archive is none: run `git init` here,"
                " or clone the repository"
            )
        return f"git cannot read this repository: {' '.join(error.stderr.split())}"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    english = os.environ | {"LC_ALL": "C"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60, env=english
    ).stdout


def revision_tags(folder: Path) -> dict[str, str]:
    """Return ``git_facts`` as tags of an MLflow run."""
    return {f"git.{name}": value for name, value in git_facts(folder).items()}
