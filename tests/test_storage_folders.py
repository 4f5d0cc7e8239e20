"""Folders: one key stands for all files, the same files give the same key, and what is no longer as
it was is named.
"""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echodistill.core.errors import UserError
from echodistill.storage.client import Store
from echodistill.storage.folders import (
    Entry,
    fetch_folder,
    manifest_bytes,
    parse_manifest,
    publish_folder,
    read_manifest,
    verify_folder,
)
from echodistill.storage.transfer import DamagedObject
from tests.faulty_proxy import Proxy
from tests.storage_fixtures import PART, keys_in, metadata_of, overwrite, write

SIZES = {"a.bin": 100, "deep/er/b.bin": 200, "deep/ä c.bin": 0, "large.bin": PART + 10}
ENTRIES = st.lists(
    st.builds(
        lambda path, sha256, size: Entry(path, size, sha256, f"p/models/{sha256[:2]}/{sha256}"),
        st.from_regex(r"[a-zä ]{1,6}(/[a-z.]{1,4}x)?", fullmatch=True).filter(
            lambda path: path.strip() == path
        ),
        st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        st.integers(0, 2**50),
    ),
    unique_by=lambda entry: entry.path,
    max_size=5,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (name, size) in enumerate(SIZES.items()):
        write(tmp_path / "made" / name, size, seed)
    return tmp_path / "made"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_comes_back(store: Store, folder: Path, tmp_path: Path) -> None:
    key = publish_folder(store, "reports", folder, {"run-id": "r1"})
    assert key.startswith(f"{store.place.prefix}/reports/")
    assert key.endswith(".manifest.json")
    fetch_folder(store, key, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)
    assert {entry.path: entry.size for entry in read_manifest(store, key)} == SIZES
    assert all(metadata_of(store, one) == {"run-id": "r1"} for one in keys_in(store))


def test_the_same_files_have_the_same_key_and_are_not_sent_again(
    store: Store, proxied: Store, proxy: Proxy, folder: Path, tmp_path: Path
) -> None:
    key = publish_folder(store, "reports", folder, {})
    folder.rename(tmp_path / "elsewhere")
    assert publish_folder(proxied, "reports", tmp_path / "elsewhere", {"run-id": "r2"}) == key
    assert {line.split()[0] for line, _ in proxy.seen} == {"HEAD"}
    write(tmp_path / "elsewhere" / "a.bin", 100, seed=99)
    assert publish_folder(store, "reports", tmp_path / "elsewhere", {}) != key


def test_the_manifest_comes_last(proxied: Store, proxy: Proxy, folder: Path) -> None:
    publish_folder(proxied, "reports", folder, {})
    sent = [line for line, _ in proxy.seen if line.startswith(("PUT", "POST"))]
    assert [line.endswith(".manifest.json") for line in sent] == [False] * (len(sent) - 1) + [True]


@settings(max_examples=30)
@given(ENTRIES, st.randoms())
def test_a_manifest_is_deterministic_and_read_back(
    entries: list[Entry], order: random.Random
) -> None:
    shuffled = order.sample(entries, len(entries))
    assert manifest_bytes(shuffled) == manifest_bytes(entries)
    assert parse_manifest(manifest_bytes(shuffled), "m") == sorted(
        entries, key=lambda entry: entry.path
    )


def test_a_manifest_of_an_earlier_version_is_read() -> None:
    entry = Entry("a", 1, "ab" * 32, f"p/models/ab/{'ab' * 32}")
    rows = json.loads(manifest_bytes([entry]))["files"]
    assert parse_manifest(json.dumps({"files": [rows[0] | {"checksum": "x="}]}).encode(), "m") == [
        entry
    ]


@pytest.mark.parametrize("path", ["../a", "/etc/a", "a/../../b", "", "a\\..\\b"])
def test_a_manifest_cannot_write_outside_its_folder(path: str) -> None:
    entry = Entry(path, 1, "ab" * 32, f"p/models/ab/{'ab' * 32}")
    with pytest.raises(UserError, match="leads out of the folder"):
        parse_manifest(manifest_bytes([entry]), "m")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"files": [1]}', b'{"files": [{"path": "a"}]}', b"\xff"]
)
def test_what_is_no_manifest_is_told(content: bytes) -> None:
    with pytest.raises(UserError, match="m is not a manifest"):
        parse_manifest(content, "m")


def test_a_manifest_whose_key_belies_the_hash_is_refused() -> None:
    entry = Entry("a", 1, "ab" * 32, f"p/models/cd/{'cd' * 32}")
    with pytest.raises(UserError, match="not that of its hash"):
        parse_manifest(manifest_bytes([entry]), "m")


def test_an_empty_folder_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no file to publish"):
        publish_folder(store, "reports", tmp_path, {})


def test_a_folder_with_a_damaged_object_does_not_appear(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    key = publish_folder(store, "reports", folder, {})
    entry = read_manifest(store, key)[0]
    overwrite(store, entry.key, b"x" * entry.size)
    with pytest.raises(DamagedObject):
        fetch_folder(store, key, tmp_path / "back")
    assert list(tmp_path.iterdir()) == [folder]


def test_verifying_names_what_is_missing_or_damaged(
    store: Store, proxied: Store, proxy: Proxy, folder: Path
) -> None:
    key = publish_folder(store, "models", folder, {})
    states = {state.path: state.state for state in verify_folder(proxied, key)}
    assert states == {".": "ok"} | dict.fromkeys(SIZES, "ok")
    assert proxy.count("GET") == 1, "only the manifest need be read, the large object neither"
    keys = {entry.path: entry.key for entry in read_manifest(store, key)}
    overwrite(store, keys["a.bin"], b"x" * 100)
    overwrite(store, keys["large.bin"], b"short")
    store.client.delete_object(Bucket=store.place.bucket, Key=keys["deep/er/b.bin"])
    rows = verify_folder(store, key)
    assert [(row.path, row.state) for row in rows] == [
        (".", "ok"),
        ("a.bin", "damaged"),
        ("deep/er/b.bin", "missing"),
        ("deep/ä c.bin", "ok"),
        ("large.bin", "damaged"),
    ]
    assert [row.key for row in rows[1:]] == [keys[row.path] for row in rows[1:]]
    overwrite(store, key, json.dumps({"files": []}).encode())
    assert [(row.path, row.state) for row in verify_folder(store, key)] == [(".", "damaged")]
    store.client.delete_object(Bucket=store.place.bucket, Key=key)
    assert [(row.path, row.state) for row in verify_folder(store, key)] == [(".", "missing")]


def test_reading_everything_can_be_asked_for(
    store: Store, proxied: Store, proxy: Proxy, folder: Path
) -> None:
    key = publish_folder(store, "models", folder, {})
    assert {row.state for row in verify_folder(proxied, key, read=True)} == {"ok"}
    read = {line.partition("?")[0] for line, _ in proxy.seen if line.startswith("GET")}
    assert len(read) == 1 + len(SIZES)
