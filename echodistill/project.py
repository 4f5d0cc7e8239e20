"""Paths of a project's artifacts, relative to the repository's root, in which commands run."""

from pathlib import Path

from echodistill.core.errors import UserError

CORPUS, MIXES = Path("data/corpus"), Path("data/mixes")
BASE, STUDENT = Path("models/base"), Path("models/student")
COMPARED_MODELS = Path("models/compared")
REPORTS = Path("reports")


def in_repository() -> Path:
    """Return the path of the parameters. Raise ``UserError`` outside a repository's root."""
    if not Path("dvc.yaml").is_file():
        raise UserError(f"{Path.cwd()} holds no dvc.yaml: run in the repository's root")
    return Path("params.yaml")
