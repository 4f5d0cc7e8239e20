"""Upload of a large file in parts, each verified by the server; goes on with the parts that an
upload cut before has left there.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from echodistill.errors import UserError
from echodistill.progress import bar
from echodistill.storage.client import Store, in_parallel
from echodistill.storage.digests import FileDigest, encoded, read_part
from echodistill.storage.faults import code_of

IDLE_S = 30.0
"""An upload that has received no part for so long belongs to nobody alive. Two publishers must not
feed one upload: some stores drop the data of a part that is sent twice while they put the object
together.
"""

CONTESTED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchUpload", "412", "409")
UNFIT = ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "InvalidRequest", "BadDigest")


class Contested(Exception):
    """Somebody else wrote the same key, or ended this upload, at the same moment."""


@dataclass(frozen=True)
class _Upload:
    upload_id: str
    etags: Mapping[int, str]
    """Of the parts that are there and fit, by part number from 1."""
    idle_s: float
    """Since the last part came, by the server's clock."""


def upload_parts(
    store: Store,
    key: str,
    path: Path,
    digest: FileDigest,
    metadata: Mapping[str, str],
    condition: Mapping[str, str],
    resume: bool,
) -> None:
    """Send what is missing of ``path`` and put it together under ``key`` if ``condition`` holds
    (``IfNoneMatch`` or ``IfMatch``).

    Raises ``Contested`` when it does not, ``UserError`` when the file changes meanwhile, boto3's
    errors otherwise.
    """
    found = _abandoned_by_its_publisher(store, key, path, digest) if resume else None
    upload_id, etags = (
        (found.upload_id, dict(found.etags)) if found else (_start(store, key, metadata), {})
    )

    def send(part: int) -> tuple[int, str]:
        return part, _send(store, key, upload_id, path, digest, part)

    missing = [part for part in range(1, len(digest.parts) + 1) if part not in etags]
    try:
        with bar(len(missing), f"publish {path.name}", "parts") as shown:
            for part, etag in in_parallel(send, missing):
                etags[part] = etag
                shown.update()
        _complete(store, key, upload_id, etags, digest, condition)
    except ClientError as error:
        if code_of(error) not in CONTESTED:
            raise
        _abandon(store, key, upload_id)
        raise Contested from error
    for other in _uploads_of(store, key):
        _abandon(store, key, other)


def _start(store: Store, key: str, metadata: Mapping[str, str]) -> str:
    place = {"Bucket": store.place.bucket, "Key": key}
    return str(
        store.client.create_multipart_upload(
            **place, ChecksumAlgorithm="SHA256", Metadata=dict(metadata)
        )["UploadId"]
    )


def _send(store: Store, key: str, upload_id: str, path: Path, digest: FileDigest, part: int) -> str:
    content, promised = read_part(path, digest, part), digest.parts[part - 1]
    if hashlib.sha256(content).digest() != promised:
        raise UserError(
            f"{path} changed while it was published: publish it again when it is complete"
        )
    answer = store.client.upload_part(
        Bucket=store.place.bucket,
        Key=key,
        UploadId=upload_id,
        PartNumber=part,
        Body=content,
        ChecksumSHA256=encoded(promised),
    )
    return str(answer["ETag"])


def _complete(
    store: Store,
    key: str,
    upload_id: str,
    etags: Mapping[int, str],
    digest: FileDigest,
    condition: Mapping[str, str],
) -> None:
    parts = [
        {"PartNumber": part, "ETag": etags[part], "ChecksumSHA256": encoded(digest.parts[part - 1])}
        for part in sorted(etags)
    ]
    place = {"Bucket": store.place.bucket, "Key": key, "UploadId": upload_id}
    try:
        store.client.complete_multipart_upload(
            **place, MultipartUpload={"Parts": parts}, **condition
        )
    except ClientError as error:
        if code_of(error) not in UNFIT:
            raise
        # what is there is not what was promised: this upload can never become the object
        _abandon(store, key, upload_id)
        raise Contested from error


def _abandoned_by_its_publisher(
    store: Store, key: str, path: Path, digest: FileDigest
) -> _Upload | None:
    """The upload of this key with most fitting parts. Raises ``Contested`` when another publisher
    is busy with it.
    """
    uploads = [
        found
        for upload_id in _uploads_of(store, key)
        if (found := _look(store, key, upload_id, path, digest))
    ]
    if not uploads:
        return None
    best = max(uploads, key=lambda upload: len(upload.etags))
    if best.idle_s < IDLE_S:
        # killed and started again, most likely; a few seconds tell whether somebody is alive and
        # still sending
        time.sleep(IDLE_S - best.idle_s)
        again = _look(store, key, best.upload_id, path, digest)
        if again is None or again.etags != best.etags:
            raise Contested  # look first whether the other has finished meanwhile
        return again
    return best


def _uploads_of(store: Store, key: str) -> list[str]:
    pages = store.client.get_paginator("list_multipart_uploads").paginate(
        Bucket=store.place.bucket, Prefix=key
    )
    return [
        upload["UploadId"]
        for page in pages
        for upload in page.get("Uploads", [])
        if upload["Key"] == key
    ]


def _look(store: Store, key: str, upload_id: str, path: Path, digest: FileDigest) -> _Upload | None:
    """What an upload holds; ``None`` when that is nothing, or anything that does not fit this file
    cut into these parts.
    """
    etags, newest, now = {}, datetime.min.replace(tzinfo=UTC), datetime.now(UTC)
    try:
        for page in store.client.get_paginator("list_parts").paginate(
            Bucket=store.place.bucket, Key=key, UploadId=upload_id
        ):
            now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
            for part in page.get("Parts", []):
                if not _fits(part, path, digest):
                    return None
                etags[int(part["PartNumber"])] = str(part["ETag"])
                newest = max(newest, part["LastModified"])
    except ClientError as error:
        if code_of(error) == "NoSuchUpload":
            return None
        raise
    return _Upload(upload_id, etags, (now - newest).total_seconds()) if etags else None


def _fits(part: Mapping[str, Any], path: Path, digest: FileDigest) -> bool:
    number = int(part["PartNumber"])
    if number > len(digest.parts) or part["Size"] != digest.length_of(number):
        return False
    if "ChecksumSHA256" in part:
        return bool(part["ChecksumSHA256"] == encoded(digest.parts[number - 1]))
    # a store that lists no checksums still gives the MD5 as ETag; completing the upload compares
    # the SHA-256 in any case
    return (
        str(part["ETag"]).strip('"')
        == hashlib.md5(read_part(path, digest, number), usedforsecurity=False).hexdigest()
    )


def _abandon(store: Store, key: str, upload_id: str) -> None:
    """End an upload of a key whose object is there: nobody needs it, and its parts cost space."""
    try:
        store.client.abort_multipart_upload(Bucket=store.place.bucket, Key=key, UploadId=upload_id)
    except ClientError as error:
        if code_of(error) != "NoSuchUpload":
            raise
