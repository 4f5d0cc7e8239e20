"""Publishing under content-addressed keys: what is there is not sent twice, and what is damaged is
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
"""Metadata that only ``publish_as`` writes: an object that another client has overwritten is
without it.
"""


@dataclass(frozen=True)
class Present:
    """What the store says about an object without sending it."""

    size: int
    """Bytes."""
    sha256: str | None
    """Of the bytes, as its publisher wrote it and the store verified it."""
    metadata: dict[str, str]


def publish_file(store: Store, kind: str, path: Path, metadata: Mapping[str, str]) -> str:
    """Make sure the bytes of ``path`` are in the store; return their key.

    What is there already is left as it is, with the metadata of its publisher; a damaged object is
    replaced. Raises ``UserError`` when the file or the store cannot be used.
    """
    sha256 = local_sha256(path)
    key = store.place.key(kind, sha256)
    publish_as(store, key, path, sha256, metadata)
    return key


def publish_as(
    store: Store, key: str, path: Path, sha256: str, metadata: Mapping[str, str]
) -> None:
    """``publish_file`` for a file whose hash and key are known."""
    labels = encode_metadata({**metadata, SHA256: sha256})
    with clear_errors(store.place, f"publish {path} as {store.place.url(key)}"):
        present = look(store, key)
        if present is None or not holds(store, key, present, path.stat().st_size, sha256):
            send(store, key, path, sha256, labels)


def look(store: Store, key: str) -> Present | None:
    """Ask about an object; ``None`` when it is not there. Raises boto3's errors."""
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
    """Whether an object has these bytes: by what its publisher wrote where that can tell, else, and
    with ``read``, by reading it.
    """
    if present.size != size:
        return False
    if present.sha256 == sha256 and not read:
        return True
    return remote_sha256(store, key) == sha256


def remote_sha256(store: Store, key: str) -> str | None:
    """Return the hash of an object's bytes as they are now, ``None`` where the store's own checksum
    tells that they are damaged. Raises boto3's errors.
    """
    try:
        return receive(store, key, "verify", lambda _block: None)
    except DamagedObject:
        return None
