"""Publish the outputs of ``dvc.lock`` to the team's DVC remote, from the files in the workspace."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.progress import track
from echodistill.lineage.dvc_lock import LOCK, Lock
from echodistill.storage.dvc_hashes import Content, objects_of
from echodistill.storage.place import DVC, Place

PUBLISHED = Path(".echodistill/published_outputs.json")
COMPARISON_PUBLISHED = Path(".echodistill/published_comparison_outputs.json")


def publish_outputs(
    place: Place,
    folder: Path,
    lock: Lock,
    stages: Sequence[str] | None = None,
    again: bool = False,
    graph: Path = Path(),
) -> dict[str, str]:
    """Publish the outputs of ``stages`` (all where ``None``), and return the S3 address by path.

    The address of a folder is that of DVC's list of its files. Published outputs are remembered,
    and no request is made for them. With ``again`` every object is read in the store, and what is
    missing or damaged there is sent. ``lock`` is that of the folder ``graph`` below ``folder``; the
    paths in it are relative to ``folder`` nevertheless. DVC's cache is not used, because it may
    have been cleared.

    Raise ``UserError`` where an output is missing or differs from the lock, or the store cannot be
    used.
    """
    wanted = lock.outputs(stages)
    memory = folder / (PUBLISHED if graph == Path() else COMPARISON_PUBLISHED)
    known = _remembered(place, memory)
    new = {path: md5 for path, md5 in wanted.items() if again or known.get(path) != md5}
    if new:
        from echodistill.storage.client import open_store
        from echodistill.storage.objects import publish

        cure = "echodistill run" if graph == Path() else "echodistill compare"
        # All outputs are checked before the first is sent, so that an inconsistent run publishes
        # nothing.
        checked = {
            path: _checked(folder / path, path, md5, (graph / LOCK).as_posix(), cure)
            for path, md5 in track(new.items(), len(new), "compare with dvc.lock", "outputs")
        }
        store, lasting = open_store(place).at(DVC), lock.outputs()
        for path, objects in checked.items():
            known[path] = publish(store, path, objects, read=again)
            _remember(place, memory, {path: md5 for path, md5 in known.items() if path in lasting})
    return {path: place.at(DVC).object_url(md5) for path, md5 in wanted.items()}


def _checked(target: Path, path: str, md5: str, lock: str, cure: str) -> dict[str, Content]:
    """Return the objects of an output. Raise ``UserError`` where it is not what its stage made."""
    if not target.exists():
        raise UserError(f"{path} is missing, although it is in {lock}: run `{cure}`")
    objects = objects_of(target)
    if [*objects][-1] != md5:
        raise UserError(
            f"{path} differs from {lock} (it was changed since, or a run was interrupted): run"
            f" `{cure}`"
        )
    return objects


def _remembered(place: Place, memory: Path) -> dict[str, str]:
    """Return DVC's hash, by path, of what was published to this place.

    Return nothing where the file is damaged, because checking the store again costs little.
    """
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
        if any(found[name] != value for name, value in _identity(place).items()):
            return {}
        return {str(path): str(md5) for path, md5 in found["outputs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _identity(place: Place) -> dict[str, str]:
    """Return what identifies a store; of the access key, which may lead to another one at the same
    address, only a short hash.
    """
    account = hashlib.sha256(os.environ.get("AWS_ACCESS_KEY_ID", "").encode()).hexdigest()[:16]
    return {"place": place.url(place.prefix), "server": place.server, "account": account}


def _remember(place: Place, memory: Path, known: Mapping[str, str]) -> None:
    with atomic_path(memory) as temporary:
        record = _identity(place) | {"outputs": known}
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
