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


def other_code() -> str:
    """Return a message where this folder is a clone with code of its own, and the running code is
    another one's; empty otherwise.

    Two clones that share a ``.venv`` have one installation, which is of one of them. The stages
    would use the code of this folder, and the command that starts them the other's.
    """
    own, running = Path("echodistill").resolve(), Path(__file__).resolve().parent
    if not (own / "project.py").is_file() or own == running:
        return ""
    return (
        f"this command is of the clone {running.parent}, and {own.parent} has code of its own: give"
        " this clone its own .venv (remove a linked one, then `make setup`)"
    )
