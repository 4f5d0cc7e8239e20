"""DVC's own view of a workspace. ``dvc.lock`` is not written in one go, so it is read only while
nobody writes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from echodistill.core.errors import UserError
from flows.hash_database import damaged_databases_removed


@contextmanager
def locked(workspace: Path) -> Iterator[Any]:
    """DVC's ``Repo``, with the repository's lock held: waits for whoever has it. What DVC raises
    inside becomes a ``UserError``.
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
