"""Publishing under content-addressed keys: what is there is never sent twice and never overwritten
by somebody else's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from echodistill.errors import UserError
from echodistill.storage.client import Store
from echodistill.storage.digests import FileDigest, digest_file, encoded
from echodistill.storage.download import remote_sha256
from echodistill.storage.faults import clear_errors, code_of, is_absent
from echodistill.storage.metadata import decode_metadata, encode_metadata
from echodistill.storage.multipart import CONTESTED, Contested, upload_parts

ROUNDS = 4


@dataclass(frozen=True)
class Present:
    """What the store says about an object without sending it."""

    size: int
    """Bytes."""
    checksum: str | None
    """SHA256 checksum as S3 writes it; ``None`` where the object was written without."""
    etag: str
    metadata: dict[str, str]


def publish_file(store: Store, kind: str, path: Path, metadata: Mapping[str, str]) -> str:
    """Make sure the bytes of ``path`` are in the store; their key.

    What is there already is left as it is, with the metadata of its first publisher; a damaged
    object is replaced. An upload that was cut goes on with the parts that are there. Raises
    ``UserError`` when the file or the store cannot be used.
    """
    digest = digest_file(path, store.part_bytes)
    key = store.place.key(kind, digest.sha256)
    publish_digested(store, key, path, digest, metadata)
    return key


def publish_digested(
    store: Store, key: str, path: Path, digest: FileDigest, metadata: Mapping[str, str]
) -> None:
    """``publish_file`` for a file whose hashes are known."""
    labels = encode_metadata(metadata)
    with clear_errors(store.place, f"publish {path} as {store.place.url(key)}"):
        for attempt in range(ROUNDS):
            present = look(store, key)
            if present is not None and _holds(store, key, present, digest):
                return
            # nobody's object is overwritten: either there is none, or it is still the damaged one
            # just seen
            condition = {"IfNoneMatch": "*"} if present is None else {"IfMatch": present.etag}
            try:
                if len(digest.parts) > 1:
                    upload_parts(store, key, path, digest, labels, condition, resume=attempt == 0)
                else:
                    _put(store, key, path, digest, labels, condition)
                return
            except Contested:
                continue
    raise UserError(
        f"cannot publish {path}: {store.place.url(key)} keeps changing under several publishers."
        " Try again"
    )


def look(store: Store, key: str) -> Present | None:
    """Ask about an object; ``None`` when it is not there. Raises boto3's errors."""
    try:
        found: dict[str, Any] = store.client.head_object(
            Bucket=store.place.bucket, Key=key, ChecksumMode="ENABLED"
        )
    except ClientError as error:
        if is_absent(error):
            return None
        raise
    return Present(
        int(found["ContentLength"]),
        found.get("ChecksumSHA256"),
        found["ETag"],
        decode_metadata(found["Metadata"]),
    )


def _holds(store: Store, key: str, present: Present, digest: FileDigest) -> bool:
    """Whether the object is the file: by the server's checksum where that can tell, else by reading
    it.
    """
    if present.size != digest.size:
        return False
    return present.checksum == digest.checksum or remote_sha256(store, key) == digest.sha256


def _put(
    store: Store,
    key: str,
    path: Path,
    digest: FileDigest,
    labels: Mapping[str, str],
    condition: Mapping[str, str],
) -> None:
    checksum = encoded(bytes.fromhex(digest.sha256))
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}. Make it a readable file"
        ) from error
    with file:
        try:
            store.client.put_object(
                Bucket=store.place.bucket,
                Key=key,
                Body=file,
                ChecksumSHA256=checksum,
                Metadata=dict(labels),
                **condition,
            )
        except ClientError as error:
            if code_of(error) in CONTESTED:
                raise Contested from error
            if code_of(error) in ("BadDigest", "XAmzContentChecksumMismatch"):
                raise UserError(
                    f"{path} changed while it was published: publish it again when it is complete"
                ) from error
            raise
