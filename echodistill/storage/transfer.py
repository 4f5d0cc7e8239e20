"""Send and receive bytes by boto3's transfer manager.

Several parts are transferred at a time; each part is sent with its SHA-256, and again after a
fault. The MD5 of the whole is computed during the transfer.
"""

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import FlexibleChecksumError
from tqdm import tqdm

from echodistill.core.errors import UserError
from echodistill.core.progress import bar
from echodistill.storage.client import TRANSFERS, Store
from echodistill.storage.dvc_hashes import Content, unreadable
from echodistill.storage.faults import clear_errors

MIB = 2**20
ABANDONED = timedelta(days=1)
"""Age after which an unfinished upload is considered abandoned."""


class _Hashed:
    """A stream for the transfer manager. It is not seekable, so that the bytes are transferred in
    order.
    """

    def __init__(self, shown: tqdm) -> None:
        self._shown, self._size = shown, 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def passed(self, block: bytes) -> bytes:
        """Add ``block`` to the hash and the progress bar, and return it."""
        self._md5.update(block)
        self._size += len(block)
        self._shown.update(self._size // MIB - self._shown.n)
        return block

    def hexdigest(self) -> str:
        return self._md5.hexdigest()


class _Source(_Hashed):
    def __init__(self, shown: tqdm, read: Callable[[int], bytes]) -> None:
        super().__init__(shown)
        self._read = read

    def read(self, amount: int = -1) -> bytes:
        return self.passed(self._read(amount))


class _Sink(_Hashed):
    def __init__(self, shown: tqdm, take: Callable[[bytes], object]) -> None:
        super().__init__(shown)
        self._take = take

    def write(self, block: bytes) -> None:
        self._take(self.passed(block))


def size_of(content: Content) -> int:
    """Return the size in bytes. Raise ``UserError`` where the file cannot be read."""
    if isinstance(content, bytes):
        return len(content)
    try:
        return content.stat().st_size
    except OSError as error:
        raise unreadable(content, error) from error


def send(store: Store, key: str, content: Content, md5: str, label: str) -> None:
    """Write ``content``, whose hash is ``md5``, to ``key``. ``label`` is for messages.

    Raise boto3's errors, and ``UserError`` where the file cannot be read or changes meanwhile; no
    object is left then.
    """
    try:
        with (
            io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file,
            bar(size_of(content) // MIB, f"publish {Path(label).name}", "MiB") as shown,
        ):
            source = _Source(shown, file.read)
            store.client.upload_fileobj(
                source,
                Bucket=store.place.bucket,
                Key=key,
                ExtraArgs={"ChecksumAlgorithm": "SHA256"},
                Config=_config(store),
            )
    except FileNotFoundError as error:
        raise unreadable(Path(label), error) from error
    if source.hexdigest() != md5:
        store.client.delete_object(Bucket=store.place.bucket, Key=key)
        raise UserError(
            f"{label} changed while it was published: publish it again when it is complete"
        )


def receive(store: Store, key: str, label: str, take: Callable[[bytes], object]) -> str | None:
    """Pass an object's bytes to ``take`` in order, and return their MD5.

    Return ``None`` where the store's own checksum shows damage. Raise boto3's errors.
    """
    with bar(0, label, "MiB") as shown:
        sink = _Sink(shown, take)
        try:
            store.client.download_fileobj(
                Bucket=store.place.bucket,
                Key=key,
                Fileobj=sink,
                ExtraArgs={"ChecksumMode": "ENABLED"},
                Config=_config(store),
            )
        except FlexibleChecksumError:
            return None
    return sink.hexdigest()


def remove_abandoned(store: Store) -> None:
    """Remove the parts that killed uploads have left below the prefix.

    Nothing else removes them, and they take space. Raise ``UserError`` where the store cannot be
    used.
    """
    bucket, until = store.place.bucket, datetime.now(UTC) - ABANDONED
    folder = store.place.below("")
    with clear_errors(store.place, f"remove abandoned uploads to {store.place.url(folder)}"):
        pages = store.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, Prefix=folder
        )
        for upload in [row for page in pages for row in page.get("Uploads", [])]:
            if upload["Initiated"] < until:
                store.client.abort_multipart_upload(
                    Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )


def _config(store: Store) -> TransferConfig:
    return TransferConfig(
        multipart_threshold=store.part_bytes,
        multipart_chunksize=store.part_bytes,
        max_concurrency=TRANSFERS,
        # The other client, which boto3 prefers where it is installed, reads ahead of failures.
        preferred_transfer_client="classic",
    )
