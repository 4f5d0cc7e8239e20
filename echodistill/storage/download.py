"""Objects are read as a stream that survives cuts, and their bytes are held against the hash their
key promises.
"""

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, IncompleteReadError

from echodistill.atomic import atomic_path
from echodistill.errors import UserError
from echodistill.progress import bar
from echodistill.storage.client import Store
from echodistill.storage.digests import MIB
from echodistill.storage.faults import UNREACHABLE, clear_errors, is_absent
from echodistill.storage.place import sha256_in

CUTS_IN_A_ROW = 5


class DamagedObject(UserError):
    """The bytes of an object are not those its key promises."""

    def __init__(self, store: Store, key: str) -> None:
        cure = "publish it again from where it was made, that replaces it"
        super().__init__(
            f"{store.place.url(key)} is damaged: its bytes do not have the hash in its name; {cure}"
        )


def fetch_file(store: Store, key: str, path: Path) -> None:
    """Write an object to ``path``, which appears whole and verified or not at all.

    Raises ``DamagedObject`` when the bytes are not what the key promises; ``UserError`` when it is
    not there, the store cannot be read, or ``path`` cannot be written or the disk is full.
    """
    promised, found = sha256_in(key), hashlib.sha256()
    # in this order: some of boto3's network errors are OSErrors too, and must not be taken for a
    # local disk's
    with atomic_path(path) as temporary, clear_errors(store.place, f"fetch {store.place.url(key)}"):
        with temporary.open("wb") as file:
            for block in stream(store, key, f"fetch {path.name}"):
                found.update(block)
                file.write(block)
        if found.hexdigest() != promised:
            raise DamagedObject(store, key)


def read_object(store: Store, key: str) -> bytes:
    """A small object's bytes, verified. Raises as ``fetch_file`` does."""
    with clear_errors(store.place, f"read {store.place.url(key)}"):
        content = b"".join(stream(store, key, "fetch"))
    if hashlib.sha256(content).hexdigest() != sha256_in(key):
        raise DamagedObject(store, key)
    return content


def remote_sha256(store: Store, key: str) -> str | None:
    """Hash of the bytes an object has now, read from the store; ``None`` when there is none."""
    found = hashlib.sha256()
    try:
        for block in stream(store, key, "verify"):
            found.update(block)
    except ClientError as error:
        if is_absent(error):
            return None
        raise
    return found.hexdigest()


def stream(store: Store, key: str, label: str) -> Iterator[bytes]:
    """An object's bytes, at most a MiB at a time. A cut stream goes on at its place; boto3's error
    after five cuts without a byte.
    """
    position, cuts, wanted = 0, 0, {"Bucket": store.place.bucket, "Key": key}
    answer: dict[str, Any] | None = None
    total = -1  # not known yet
    with bar(0, label, "MiB") as shown:
        while total < 0 or position < total:
            try:
                if answer is None:
                    answer = store.client.get_object(**wanted)
                    if total < 0:
                        total = int(answer["ContentLength"])
                        shown.total = -(-total // MIB)
                        # the rest must come from the same object
                        wanted["IfMatch"] = answer["ETag"]
                block = answer["Body"].read(MIB)
                if not block and position < total:
                    raise IncompleteReadError(actual_bytes=position, expected_bytes=total)
            except UNREACHABLE:
                cuts += 1
                if cuts >= CUTS_IN_A_ROW:
                    raise
                time.sleep(random.uniform(0, 0.2 * 2**cuts))
                answer, wanted["Range"] = None, f"bytes={position}-"
                continue
            cuts = 0
            position += len(block)
            yield block
            shown.update(-(-position // MIB) - shown.n)
