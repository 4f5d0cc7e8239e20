"""Send files and folders to the store and get them back, as objects in the layout of DVC's remotes.

A file is one object; a folder is one for each file, and the list of them, which is sent last. DVC
pushes and pulls the same objects. A store ``open_store(place).at(DVC)`` is the team's DVC remote.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from botocore.exceptions import ClientError

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.progress import track
from echodistill.storage.client import Store, in_parallel
from echodistill.storage.dvc_hashes import FOLDER, Content, parse_list
from echodistill.storage.faults import clear_errors, is_absent
from echodistill.storage.place import VARIABLE, Place
from echodistill.storage.transfer import receive, send, size_of

State = Literal["ok", "missing", "damaged"]


class FaultyObject(UserError):
    """An object does not exist, or its bytes do not have the hash in its key."""

    def __init__(self, place: Place, md5: str, state: Literal["missing", "damaged"]) -> None:
        self.state = state
        cures = {
            "missing": f": publish it again from where it was made, or correct {VARIABLE}",
            "damaged": ", its bytes do not have the hash in its name: publish it again from where"
            " it was made, that replaces it",
        }
        super().__init__(f"{place.object_url(md5)} is {state}{cures[state]}")


def publish(store: Store, name: str, objects: Mapping[str, Content], read: bool = False) -> str:
    """Send those of ``dvc_hashes.objects_of`` that the store lacks, and return the last one's hash.

    Size and ETag decide whether an object is the same, and its bytes where those do not suffice.
    With ``read`` all bytes are read, which alone finds bytes that were damaged on the store's disk.
    A damaged object is replaced. ``name`` is for messages. Raise ``UserError`` where a file or the
    store cannot be used.
    """
    *parts, whole = objects

    def publish_one(md5: str) -> None:
        content, key = objects[md5], store.place.object_key(md5)
        label = str(content) if isinstance(content, Path) else name
        with clear_errors(store.place, f"publish {label} as {store.place.url(key)}"):
            if not _holds(store, md5, size_of(content), read):
                send(store, key, content, md5.removesuffix(FOLDER), label)

    # Large files are sent one by one: each uses all connections, and only the parts of one file are
    # in memory. The last object comes after all others, so that a list states what is there.
    small = [md5 for md5 in parts if size_of(objects[md5]) <= store.part_bytes]
    large = [md5 for md5 in parts if size_of(objects[md5]) > store.part_bytes]
    for _ in track(in_parallel(publish_one, small), len(small), f"publish {name}", "files"):
        pass
    for md5 in [*large, whole]:
        publish_one(md5)
    return whole


def _holds(store: Store, md5: str, size: int, read: bool) -> bool:
    key, plain = store.place.object_key(md5), md5.removesuffix(FOLDER)
    try:
        found = store.client.head_object(Bucket=store.place.bucket, Key=key)
    except ClientError as error:
        if is_absent(error):
            return False
        raise
    if found["ContentLength"] != size:
        return False
    # The ETag is the MD5, except of objects that were sent in parts, and in encrypted stores.
    etag = found["ETag"].strip('"')
    if not read and (etag == plain or "-" in etag):
        return True
    return receive(store, key, "verify", lambda _block: None) == plain


def read_object(
    store: Store, md5: str, take: Callable[[bytes], object], label: str = "read"
) -> None:
    """Pass an object's bytes to ``take`` in order.

    At the end, raise ``FaultyObject`` where they do not have the hash. Raise ``UserError`` where
    the store cannot be read.
    """
    key = store.place.object_key(md5)
    with clear_errors(store.place, f"read {store.place.url(key)}"):
        try:
            found = receive(store, key, label, take)
        except ClientError as error:
            if is_absent(error):
                raise FaultyObject(store.place, md5, "missing") from error
            raise
    if found != md5.removesuffix(FOLDER):
        raise FaultyObject(store.place, md5, "damaged")


def read_bytes(store: Store, md5: str) -> bytes:
    """Return a small object's bytes, verified. Raise the errors of ``read_object``."""
    content = bytearray()
    read_object(store, md5, content.extend)
    return bytes(content)


def read_list(store: Store, md5: str) -> dict[str, str]:
    """Return the hashes of a published folder's files by path. Raise the errors of
    ``read_object``.
    """
    try:
        return parse_list(read_bytes(store, md5))
    except ValueError as error:
        raise FaultyObject(store.place, md5, "damaged") from error


def verify(store: Store, md5: str) -> tuple[State, str]:
    """Read an object and return its state, and the SHA-256 of the bytes that were read.

    Raise ``UserError`` where the store cannot be read.
    """
    sha256 = hashlib.sha256()
    try:
        read_object(store, md5, sha256.update, "verify")
    except FaultyObject as error:
        return error.state, sha256.hexdigest()
    return "ok", sha256.hexdigest()


def fetch(store: Store, md5: str, target: Path) -> None:
    """Write a published file or folder to ``target``, which is created complete and verified or not
    at all.

    Raise the errors of ``read_object``, and ``UserError`` where ``target`` cannot be written, or
    the disk is full.
    """
    files = read_list(store, md5) if md5.endswith(FOLDER) else {"": md5}

    def fetch_one(name: str) -> None:
        path = temporary / name if name else temporary
        path.parent.mkdir(parents=True, exist_ok=True)
        # Some of boto3's network errors are OSErrors. ``read_object`` explains them, so only errors
        # of the local disk are left for ``atomic_path``.
        with path.open("wb") as file:
            read_object(store, files[name], file.write, f"fetch {path.name}")

    with atomic_path(target) as temporary:
        if md5.endswith(FOLDER):
            temporary.mkdir()
        for _ in track(in_parallel(fetch_one, files), len(files), f"fetch {target.name}", "files"):
            pass
