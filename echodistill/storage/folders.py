"""Publish a folder file by file, with a manifest that is content-addressed itself.

The manifest's key identifies the whole folder.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Literal

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.progress import track
from echodistill.storage.client import Store, in_parallel
from echodistill.storage.faults import clear_errors
from echodistill.storage.objects import holds, look, publish_as, publish_file, remote_sha256
from echodistill.storage.place import sha256_in
from echodistill.storage.transfer import DamagedObject, fetch_file, local_sha256, read_object

SUFFIX = ".manifest.json"
State = Literal["ok", "missing", "damaged"]


class NoManifest(UserError):
    """An object is intact but is not the manifest of a published folder."""


@dataclass(frozen=True)
class Entry:
    """One file of a published folder."""

    path: str
    """Path below the folder, with forward slashes."""
    size: int
    """Size in bytes."""
    sha256: str
    key: str


@dataclass(frozen=True)
class ObjectState:
    """Whether an object that a manifest names still exists unchanged."""

    path: str
    """Path below the folder; ``.`` for the manifest itself."""
    key: str
    state: State


def manifest_bytes(entries: list[Entry]) -> bytes:
    """Return a manifest's bytes, which do not depend on the order of ``entries``."""
    rows = [asdict(entry) for entry in sorted(entries, key=lambda entry: entry.path)]
    return (
        json.dumps({"files": rows}, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
    ).encode()


def parse_manifest(content: bytes, name: str) -> list[Entry]:
    """Return the entries of a manifest.

    Raise ``NoManifest`` that names ``name`` where the content is not a manifest, or has a path
    outside the folder.
    """
    try:
        names = [field.name for field in fields(Entry)]
        # Fields are taken by name: manifests of earlier versions have more of them.
        rows = json.loads(content)["files"]
        entries = [Entry(**{name: row[name] for name in names}) for row in rows]
        for entry in entries:
            path = PurePosixPath(entry.path)
            if path.is_absolute() or ".." in path.parts or "\\" in entry.path or not path.parts:
                raise ValueError(f"path {entry.path!r} leads out of the folder")
            if sha256_in(entry.key) != entry.sha256:
                raise ValueError(f"the key of {entry.path!r} is not that of its hash")
    except (ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        raise NoManifest(
            f"{name} is not a manifest of a published folder ({error}): give the key that"
            " publishing it printed"
        ) from error
    return entries


def publish_folder(store: Store, kind: str, folder: Path, metadata: Mapping[str, str]) -> str:
    """Publish every file below ``folder`` (links followed), then the manifest, and return its key.

    The manifest is sent last, so every object that an existing manifest names exists. Raise
    ``UserError`` where there is no file or the store cannot be used.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise UserError(f"{folder} holds no file to publish: name a folder that a stage has made")

    def publish(path: Path) -> Entry:
        key = publish_file(store, kind, path, metadata)
        name = path.relative_to(folder).as_posix()
        return Entry(name, path.stat().st_size, sha256_in(key), key)

    # Large files are sent one by one: each uses all connections, and only the parts of one file are
    # in memory.
    small = [path for path in files if path.stat().st_size <= store.part_bytes]
    large = [path for path in files if path.stat().st_size > store.part_bytes]
    entries = list(
        track(in_parallel(publish, small), len(small), f"publish {folder.name}", "files")
    )
    entries += [publish(path) for path in large]
    with tempfile.TemporaryDirectory() as scratch:
        manifest = Path(scratch) / "manifest.json"
        manifest.write_bytes(manifest_bytes(entries))
        sha256 = local_sha256(manifest)
        key = store.place.key(kind, sha256, SUFFIX)
        publish_as(store, key, manifest, sha256, metadata)
    return key


def read_manifest(store: Store, key: str) -> list[Entry]:
    """Return the entries of a published folder.

    Raise ``DamagedObject`` where the manifest is damaged, and ``UserError`` where it cannot be
    read.
    """
    return parse_manifest(read_object(store, key), store.place.url(key))


def fetch_folder(store: Store, key: str, folder: Path) -> None:
    """Write a published folder to ``folder``, which is created complete and verified or not at all.

    Raise the errors of ``fetch_file``.
    """
    entries = read_manifest(store, key)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        fetched = in_parallel(
            lambda entry: fetch_file(store, entry.key, temporary / entry.path), entries
        )
        for _ in track(fetched, len(entries), f"fetch {folder.name}", "files"):
            pass


def verify_folder(store: Store, key: str, read: bool = False) -> list[ObjectState]:
    """Return the states of the manifest and of each object that it names, in the order of paths.

    Size and metadata decide, and the bytes are read where those do not suffice. With ``read`` all
    bytes are read, which alone finds bytes that were damaged on the store's disk. Raise
    ``UserError`` where the store cannot be used.
    """
    try:
        with clear_errors(store.place, f"verify {store.place.url(key)}"):
            there = look(store, key) is not None
        entries = read_manifest(store, key) if there else []
    except DamagedObject:
        return [ObjectState(".", key, "damaged")]
    if not there:
        return [ObjectState(".", key, "missing")]
    states = track(
        in_parallel(lambda entry: _state(store, entry, read), entries),
        len(entries),
        "verify",
        "objects",
    )
    return [ObjectState(".", key, "ok"), *states]


def verify_file(store: Store, key: str) -> State:
    """Read a published file and return its state. Raise ``UserError`` where the store cannot be
    used.
    """
    with clear_errors(store.place, f"verify {store.place.url(key)}"):
        if look(store, key) is None:
            return "missing"
        return "ok" if remote_sha256(store, key) == sha256_in(key) else "damaged"


def _state(store: Store, entry: Entry, read: bool) -> ObjectState:
    with clear_errors(store.place, f"verify {store.place.url(entry.key)}"):
        present = look(store, entry.key)
        if present is None:
            return ObjectState(entry.path, entry.key, "missing")
        same = holds(store, entry.key, present, entry.size, entry.sha256, read)
    return ObjectState(entry.path, entry.key, "ok" if same else "damaged")
