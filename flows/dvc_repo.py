"""Open DVC's view of a workspace.

DVC does not write ``dvc.lock`` atomically, so it is read only while no other process writes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from echodistill.core.errors import UserError
from flows.hash_database import damaged_databases_removed


@contextmanager
def locked(workspace: Path) -> Iterator[Any]:
    """Yield DVC's ``Repo`` with the repository's lock held, after waiting for the process that
    holds it.

    Raise ``UserError`` in place of any error that DVC raises inside the block.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with (
            damaged_databases_removed(),
            Repo(str(workspace), _wait_for_lock=True) as repo,
            repo.lock,
        ):
            yield repo
    except DvcException as error:
        raise UserError(f"DVC cannot read {workspace}: {error}") from error
