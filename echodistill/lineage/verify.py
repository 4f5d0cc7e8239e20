"""Check whether published objects still have their hashes, and whether the weights are those that
were registered.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Literal

from echodistill.lineage.record import Record
from echodistill.models.layout import WEIGHTS
from echodistill.storage.client import Store, open_store
from echodistill.storage.folders import SUFFIX, State, verify_file, verify_folder
from echodistill.storage.place import endpoint_from_environment, parse_place, sha256_in

WeightsState = Literal["ok", "missing", "damaged", "changed"]


@dataclass(frozen=True)
class Object:
    """One published file, or the manifest of a folder."""

    path: str
    """Path in the workspace; for a manifest the path of its folder."""
    name: str
    """Path below the output to which the object belongs; ``(manifest)`` for a manifest."""
    key: str
    state: State

    @property
    def sha256(self) -> str:
        """Return the SHA-256 that the object should have."""
        return sha256_in(self.key)


def open_published(record: Record) -> Store:
    """Open the store that a record names, at the endpoint that this machine's environment names.

    Raise ``UserError`` where it cannot be used.
    """
    assert record.place is not None
    return open_store(parse_place(record.place, endpoint_from_environment()))


def key_of(store: Store, url: str) -> str:
    return url.removeprefix(f"s3://{store.place.bucket}/")


def objects_of(store: Store, path: str, url: str) -> list[Object]:
    """Read and return all objects of an output: the manifest first, then its files in the order of
    paths.

    Raise ``UserError`` where the store cannot be read.
    """
    key = key_of(store, url)
    if not key.endswith(SUFFIX):
        return [Object(path, PurePosixPath(path).name, key, verify_file(store, key))]
    found = []
    for part in verify_folder(store, key, read=True):
        is_manifest = part.path == "."
        name = "(manifest)" if is_manifest else part.path
        found.append(
            Object(path if is_manifest else f"{path}/{part.path}", name, part.key, part.state)
        )
    return found


def weights_hash(objects: Sequence[Object]) -> str | None:
    """Return ``models.layout.content_hash`` of a published model's weights, from the hashes of its
    files.

    Return ``None`` where there are no weights.
    """
    files = sorted(
        (part for part in objects if "/" not in part.name and fnmatch(part.name, WEIGHTS)),
        key=lambda part: part.name,
    )
    digest = hashlib.sha256()
    for part in files:
        digest.update(part.name.encode() + b"\0" + bytes.fromhex(part.sha256))
    return digest.hexdigest() if files else None


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
