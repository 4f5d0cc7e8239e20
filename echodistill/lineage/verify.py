"""Whether what was published is still as it was: objects by their hashes, and the weights that were
registered.
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
    """In the workspace; for a manifest that of its folder."""
    name: str
    """Below the output it belongs to; ``(manifest)`` for a manifest."""
    key: str
    state: State

    @property
    def sha256(self) -> str:
        """What it should have."""
        return sha256_in(self.key)


def open_published(record: Record) -> Store:
    """The store a record speaks of, at the endpoint that this machine's environment names. Raises
    ``UserError``.
    """
    assert record.place is not None
    return open_store(parse_place(record.place, endpoint_from_environment()))


def key_of(store: Store, url: str) -> str:
    return url.removeprefix(f"s3://{store.place.bucket}/")


def objects_of(store: Store, path: str, url: str) -> list[Object]:
    """All objects of an output, each read: the manifest first, then its files in the order of
    paths. Raises ``UserError``.
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
    """``models.layout.content_hash`` of a published model's weights, from the hashes of its files;
    ``None`` when there are none.
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
    """Of a version's weights. ``entered`` is the hash from its registration, ``kept`` that of the
    files in MLflow now, ``published`` that of the published student; the first and the last are
    ``None`` where not known, ``kept`` where MLflow has no weights.
    """
    if kept is None:
        return "missing"
    if entered is not None and kept != entered:
        return "damaged"
    return "ok" if published in (None, kept) else "changed"
