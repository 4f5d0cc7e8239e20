"""Send and receive bytes by boto3's transfer manager.

Several parts are transferred at a time; each part is sent with its SHA-256, and again after a
fault. The SHA-256 of the whole is computed during the transfer.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import FlexibleChecksumError
from tqdm import tqdm

from echodistill.core.atomic import atomic_path
from echodistill.core.checksums import sha256_of
from echodistill.core.errors import UserError
from echodistill.core.progress import bar
from echodistill.storage.client import TRANSFERS, Store
from echodistill.storage.faults import clear_errors
from echodistill.storage.place import sha256_in

MIB = 2**20
ABANDONED = timedelta(days=1)
"""Age after which an unfinished upload is considered abandoned."""


class DamagedObject(UserError):
    """The bytes of an object do not have the hash in its key."""

    def __init__(self, store: Store, key: str) -> None:
        cure = "publish it again from where it was made, that replaces it"
        super().__init__(
            f"{store.place.url(key)} is damaged: its bytes do not have the hash in its name; {cure}"
        )


class _Hashed:
    """A stream for the transfer manager. It is not seekable, so that the bytes are transferred in
    order.
    """

    def __init__(self, shown: tqdm) -> None:
        self._shown, self._sha256, self._size = shown, hashlib.sha256(), 0

    def passed(self, block: bytes) -> bytes:
        """Add ``block`` to the hash and the progress bar, and return it."""
        self._sha256.update(block)
        self._size += len(block)
        self._shown.update(self._size // MIB - self._shown.n)
        return block

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


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


def local_sha256(path: Path) -> str:
    """Return the SHA-256 of a file. Raise ``UserError`` where it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def send(store: Store, key: str, path: Path, sha256: str, metadata: Mapping[str, str]) -> None:
    """Write the file ``path``, whose hash is ``sha256``, to ``key``.

    Raise boto3's errors, and ``UserError`` where the file cannot be read or changes meanwhile; no
    object is left then.
    """
    try:
        with path.open("rb") as file, bar(_mib(path), f"publish {path.name}", "MiB") as shown:
            source = _Source(shown, file.read)
            store.client.upload_fileobj(
                source,
                Bucket=store.place.bucket,
                Key=key,
                ExtraArgs={"ChecksumAlgorithm": "SHA256", "Metadata": dict(metadata)},
                Config=_config(store),
            )
    except FileNotFoundError as error:
        raise _unreadable(path, error) from error
    if source.hexdigest() != sha256:
        store.client.delete_object(Bucket=store.place.bucket, Key=key)
        raise UserError(
            f"{path} changed while it was published: publish it again when it is complete"
        )


def receive(store: Store, key: str, label: str, take: Callable[[bytes], object]) -> str:
    """Pass an object's bytes to ``take`` in order, and return their SHA-256.

    Raise boto3's errors, and ``DamagedObject`` where the store's own checksum shows damage.
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
        except FlexibleChecksumError as error:
            raise DamagedObject(store, key) from error
    return sink.hexdigest()


def fetch_file(store: Store, key: str, path: Path) -> None:
    """Write an object to ``path``, which is created complete and verified or not at all.

    Raise ``DamagedObject`` where the bytes do not have the hash in the key, and ``UserError`` where
    the object does not exist, the store cannot be read, ``path`` cannot be written, or the disk is
    full.
    """
    promised = sha256_in(key)
    # The order matters: some of boto3's network errors are OSErrors too, and must not be taken for
    # errors of the local disk.
    with atomic_path(path) as temporary, clear_errors(store.place, f"fetch {store.place.url(key)}"):
        with temporary.open("wb") as file:
            found = receive(store, key, f"fetch {path.name}", file.write)
        if found != promised:
            raise DamagedObject(store, key)


def read_object(store: Store, key: str) -> bytes:
    """Return a small object's bytes, verified. Raise the errors of ``fetch_file``."""
    promised, content = sha256_in(key), bytearray()
    with clear_errors(store.place, f"read {store.place.url(key)}"):
        found = receive(store, key, "fetch", content.extend)
    if found != promised:
        raise DamagedObject(store, key)
    return bytes(content)


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


def _mib(path: Path) -> int:
    return path.stat().st_size // MIB


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read: {error.strerror or error}. Make it a readable file")
