"""Check the name of a model before the model libraries are imported or the hub is asked, both of
which take long. This module imports nothing heavy.
"""

from collections.abc import Sequence
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.core.similar import meant
from echodistill.models.layout import read_run
from echodistill.project import BASE, STUDENT, in_repository

OWN = ("student", "base")
"""Names of the pipeline's own models."""
PATH_STARTS = ("/", "./", "../", "~", f"{BASE.parent}/")
"""Beginnings that a path has, and no hub id. The pipeline's models are below the last one."""
FORMS = "a model folder, or a hub id (owner/name)"


def path_fault(name: str) -> str:
    """Return the fault of a ``name`` that can only be a path but is no folder; empty if there is
    none.
    """
    is_path = name in (".", "..") or name.startswith(PATH_STARTS) or name.count("/") > 1
    return f"there is no folder {name}" if is_path and not Path(name).is_dir() else ""


def name_fault(name: str, own: Sequence[str]) -> str:
    """Return the fault of a ``name`` that is neither one of the names ``own``, nor a folder, nor of
    the form of a hub id; empty if there is none.
    """
    if name in own or Path(name).is_dir():
        return ""
    if "/" in name:
        return path_fault(name)
    if suggestion := meant(name, own):
        return f"there is no model {name!r}{suggestion}"
    return f"there is no model {name!r}: give {', '.join((*own, FORMS))}"


def check_named(names: Sequence[str], option: str) -> None:
    """Raise ``UserError`` where one of the models ``names`` is missing, or can be no model.

    ``option`` is the one by which another model can be named; empty if there is none.
    """
    for name in names:
        if fault := name_fault(name, OWN):
            raise UserError(f"{option} {name}: {fault}")
    if not set(names) & set(OWN):
        return
    try:
        in_repository()
    except UserError as error:
        other = f", or name {FORMS} with {option}" if option else ""
        raise UserError(f"{error}{other}") from error
    needs_base = "base" in names
    if "student" in names:
        needs_base |= read_run(STUDENT).get("weights") == "lora"
    if needs_base and not BASE.is_dir():
        raise UserError(base_missing(BASE))


def base_missing(folder: Path) -> str:
    """Return the message that there is no base in ``folder``, with the cure."""
    return f"{folder} is missing: make it with `echodistill run base`"
