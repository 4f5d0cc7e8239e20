"""Publish to S3 every output of ``dvc.lock`` under the address of its content, and the lock
itself.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.progress import track
from echodistill.lineage.dvc_lock import LOCK, Lock, dvc_md5, read_lock
from echodistill.storage.place import KINDS, Place, sha256_in

PUBLISHED = Path(".echodistill/published.json")
COMPARISON_PUBLISHED = Path(".echodistill/published_comparison.json")

Known = dict[str, dict[str, str]]
"""Published outputs by path, each with ``md5`` (DVC's hash) and ``key``."""


def publish_outputs(
    place: Place,
    folder: Path,
    metadata: Mapping[str, str],
    stages: Sequence[str] | None = None,
    again: bool = False,
    graph: Path = Path(),
) -> dict[str, str]:
    """Publish the outputs of ``stages`` (all where ``None``) and ``dvc.lock``, and return the S3
    key by path.

    The key of a folder is that of its manifest. Published outputs are remembered in
    ``.echodistill/published.json``, and no request is made for them. With ``again`` every output is
    checked in the store, and what is missing or damaged there is sent. ``graph`` is the folder
    below ``folder`` whose ``dvc.lock`` is used; the paths in it are relative to ``folder``
    nevertheless. Objects are addressed by content and shared by all runs, so an existing object
    keeps the ``metadata`` of its first publisher.

    Raise ``UserError`` where an output is missing or differs from ``dvc.lock``, or the store cannot
    be used.
    """
    lock = read_lock(folder / graph)
    of_lock = (graph / LOCK).as_posix()
    wanted = lock.outputs(stages) | {
        of_lock: hashlib.md5(lock.content, usedforsecurity=False).hexdigest()
    }
    memory = folder / (PUBLISHED if graph == Path() else COMPARISON_PUBLISHED)
    known = _remembered(place, memory)
    new = {path: md5 for path, md5 in wanted.items() if again or not _is_known(known, path, md5)}
    if new:
        from echodistill.storage.client import open_store

        # All outputs are checked before the first is sent, so that an inconsistent run publishes
        # nothing.
        for path, md5 in track(new.items(), len(new), "compare with dvc.lock", "outputs"):
            _check(
                folder,
                path,
                md5,
                of_lock,
                "echodistill run" if graph == Path() else "echodistill compare",
            )
        store = open_store(place)
        lasting = lock.outputs() | wanted
        for path, md5 in new.items():
            known[path] = {"md5": md5, "key": _publish(store, folder, path, lock, metadata)}
            _remember(place, memory, {path: row for path, row in known.items() if path in lasting})
    return {path: known[path]["key"] for path in wanted}


def kind_of(path: str) -> str:
    """Return the kind that a path names (``data/references``, ``models/base``, ``reports/…``), else
    ``datasets``.
    """
    return next((part for part in path.split("/") if part in KINDS), "datasets")


def _is_known(known: Known, path: str, md5: str) -> bool:
    return path in known and known[path]["md5"] == md5


def _check(folder: Path, path: str, md5: str, lock: str, cure: str) -> None:
    found = dvc_md5(folder / path)
    if found is None:
        raise UserError(f"{path} is missing, though {lock} says that it was made: run `{cure}`")
    if found != md5:
        raise UserError(
            f"{path} is not what {lock} says (changed since, or by a run that was cut): run"
            f" `{cure}`"
        )


def _publish(store: Any, folder: Path, path: str, lock: Lock, metadata: Mapping[str, str]) -> str:
    from echodistill.storage.folders import publish_folder
    from echodistill.storage.objects import publish_file

    target = folder / path
    if target.is_dir():
        return publish_folder(store, kind_of(path), target, metadata)
    is_lock = target.name == LOCK
    key = publish_file(store, "locks" if is_lock else kind_of(path), target, metadata)
    if is_lock and sha256_in(key) != lock.sha256:
        raise UserError(
            f"{path} changed while it was published: wait for the run that is under way, then do it"
            " again"
        )
    return key


def _remembered(place: Place, memory: Path) -> Known:
    """Return what was published to this place.

    Return nothing where the file is damaged, because checking the store again costs little.
    """
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
        if (found["place"], found["server"], found["account"]) != (
            place.url(place.prefix),
            place.server,
            _account(),
        ):
            return {}
        return {
            str(path): {"md5": str(row["md5"]), "key": str(row["key"])}
            for path, row in found["outputs"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _account() -> str:
    """Return a short hash of the access key: another account's store at the same address has
    nothing yet.
    """
    return hashlib.sha256(os.environ.get("AWS_ACCESS_KEY_ID", "").encode()).hexdigest()[:16]


def _remember(place: Place, memory: Path, known: Known) -> None:
    record = {
        "place": place.url(place.prefix),
        "server": place.server,
        "account": _account(),
        "outputs": known,
    }
    with atomic_path(memory) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
