"""Check whether published objects still have their hashes, and whether the weights are those that
were registered.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Literal

from echodistill.core.progress import track
from echodistill.lineage.record import Record
from echodistill.models.layout import WEIGHTS
from echodistill.storage.client import Store, in_parallel, open_store
from echodistill.storage.dvc_hashes import FOLDER
from echodistill.storage.objects import State, read_list, verify
from echodistill.storage.place import DVC, endpoint_from_environment, parse_place

WeightsState = Literal["ok", "missing", "damaged", "changed"]


@dataclass(frozen=True)
class Object:
    """One published file, or DVC's list of a folder's files."""

    path: str
    """Path in the workspace; for a list the path of its folder."""
    name: str
    """Path below the output to which the object belongs; ``(list of files)`` for a list."""
    md5: str
    """DVC's hash, which the object should have."""
    state: State
    sha256: str
    """SHA-256 of the bytes that were read."""


def open_published(record: Record) -> Store:
    """Open the DVC remote to which a record's outputs were published, at the endpoint that this
    machine's environment names.

    Raise ``UserError`` where it cannot be used.
    """
    assert record.place is not None
    return open_store(parse_place(record.place, endpoint_from_environment())).at(DVC)


def objects_of(store: Store, path: str, md5: str) -> list[Object]:
    """Read and return all objects of an output: the list of files first, then the files in the
    order of paths.

    Raise ``UserError`` where the store cannot be read.
    """
    is_folder = md5.endswith(FOLDER)
    name = "(list of files)" if is_folder else PurePosixPath(path).name
    whole = Object(path, name, md5, *verify(store, md5))
    if not is_folder or whole.state != "ok":
        return [whole]
    files = read_list(store, md5)
    found = in_parallel(lambda md5: verify(store, md5), files.values())
    states = track(found, len(files), f"verify {path}", "files")
    return [
        whole,
        *(
            Object(f"{path}/{name}", name, md5, *state)
            for (name, md5), state in zip(files.items(), states, strict=True)
        ),
    ]


def weights_hash(objects: Sequence[Object]) -> str | None:
    """Return ``models.layout.content_hash`` of a published model's weights, from the hashes of its
    files.

    Return ``None`` where there are no weights, or some are faulty.
    """
    files = sorted(
        (part for part in objects if "/" not in part.name and fnmatch(part.name, WEIGHTS)),
        key=lambda part: part.name,
    )
    digest = hashlib.sha256()
    for part in files:
        digest.update(part.name.encode() + b"\0" + bytes.fromhex(part.sha256))
    return digest.hexdigest() if files and all(part.state == "ok" for part in files) else None


def weights_state(entered: str | None, kept: str | None, published: str | None) -> WeightsState:
    """Return the state of a version's weights.

    ``entered`` is the hash at registration, ``kept`` that of the files in MLflow now, ``published``
    that of the published student. ``entered`` and ``published`` are ``None`` where they are not
    known, ``kept`` where MLflow has no weights.
    """
    if kept is None:
        return "missing"
    if entered is not None and kept != entered:
        return "damaged"
    return "ok" if published in (None, kept) else "changed"
