"""Publish files under content-addressed keys: existing objects are not sent again, damaged ones are
replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from echodistill.storage.client import Store
from echodistill.storage.faults import clear_errors, is_absent
from echodistill.storage.metadata import decode_metadata, encode_metadata
from echodistill.storage.transfer import DamagedObject, local_sha256, receive, send

SHA256 = "sha256"
"""Name of the metadata that only ``publish_as`` writes. An object that another client has
overwritten lacks it.
"""


@dataclass(frozen=True)
class Present:
    """The store's facts about an object, without its bytes."""

    size: int
    """Size in bytes."""
    sha256: str | None
    """SHA-256 of the bytes as the publisher wrote it and the store verified it; ``None`` where it
    is missing.
    """
    metadata: dict[str, str]


def publish_file(store: Store, kind: str, path: Path, metadata: Mapping[str, str]) -> str:
    """Publish the bytes of ``path`` where the store lacks them, and return their key.

    An intact object is kept with the metadata of its publisher; a damaged one is replaced. Raise
    ``UserError`` where the file or the store cannot be used.
    """
    sha256 = local_sha256(path)
    key = store.place.key(kind, sha256)
    publish_as(store, key, path, sha256, metadata)
    return key


def publish_as(
    store: Store, key: str, path: Path, sha256: str, metadata: Mapping[str, str]
) -> None:
    """Publish a file whose hash and key are known, as ``publish_file`` does."""
    labels = encode_metadata({**metadata, SHA256: sha256})
    with clear_errors(store.place, f"publish {path} as {store.place.url(key)}"):
        present = look(store, key)
        if present is None or not holds(store, key, present, path.stat().st_size, sha256):
            send(store, key, path, sha256, labels)


def look(store: Store, key: str) -> Present | None:
    """Return the store's facts about an object, or ``None`` where it does not exist. Raise boto3's
    errors.
    """
    try:
        found: dict[str, Any] = store.client.head_object(Bucket=store.place.bucket, Key=key)
    except ClientError as error:
        if is_absent(error):
            return None
        raise
    metadata = decode_metadata(found["Metadata"])
    return Present(int(found["ContentLength"]), metadata.pop(SHA256, None), metadata)


def holds(
    store: Store, key: str, present: Present, size: int, sha256: str, read: bool = False
) -> bool:
    """Return whether an object has the bytes with this size and hash.

    The publisher's metadata decide where they suffice. Otherwise, and always with ``read``, the
    object is read.
    """
    if present.size != size:
        return False
    if present.sha256 == sha256 and not read:
        return True
    return remote_sha256(store, key) == sha256


def remote_sha256(store: Store, key: str) -> str | None:
    """Return the SHA-256 of an object's present bytes.

    Return ``None`` where the store's own checksum shows that they are damaged. Raise boto3's
    errors.
    """
    try:
        return receive(store, key, "verify", lambda _block: None)
    except DamagedObject:
        return None
