"""Folders: one hash stands for all files, the same files have the same one, DVC reads what is sent,
and what is no longer as it was is named.
"""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echodistill.storage.client import Store
from echodistill.storage.dvc_hashes import dvc_md5, list_bytes, list_md5, parse_list
from echodistill.storage.objects import FaultyObject, fetch, publish, read_list, verify
from tests.faulty_proxy import Proxy
from tests.storage_fixtures import PART, object_in, overwrite, send_path, write

SIZES = {"a.bin": 100, "deep/er/b.bin": 200, "deep/ä c.bin": 0, "large.bin": PART + 10}
HASHES = st.dictionaries(
    st.text("aä ", min_size=1, max_size=6),
    st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}"),
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
    md5 = send_path(store, folder)
    assert md5 == dvc_md5(folder)
    fetch(store, md5, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)
    assert read_list(store, md5) == {name: dvc_md5(folder / name) for name in sorted(SIZES)}


def test_the_same_files_have_the_same_hash_and_are_not_sent_again(
    store: Store, proxied: Store, proxy: Proxy, folder: Path, tmp_path: Path
) -> None:
    md5 = send_path(store, folder)
    folder.rename(tmp_path / "elsewhere")
    assert send_path(proxied, tmp_path / "elsewhere") == md5
    assert {line.split()[0] for line, _ in proxy.seen} == {"HEAD"}
    write(tmp_path / "elsewhere" / "a.bin", 100, seed=99)
    assert send_path(store, tmp_path / "elsewhere") != md5


def test_the_list_comes_last(proxied: Store, proxy: Proxy, folder: Path) -> None:
    send_path(proxied, folder)
    sent = [line for line, _ in proxy.seen if line.startswith(("PUT", "POST"))]
    assert [line.endswith(".dir") for line in sent] == [False] * (len(sent) - 1) + [True]


@settings(max_examples=30)
@given(HASHES, st.randoms())
def test_a_list_is_deterministic_and_read_back(
    hashes: dict[str, str], order: random.Random
) -> None:
    shuffled = dict(order.sample([*hashes.items()], len(hashes)))
    assert list_bytes(shuffled) == list_bytes(hashes)
    assert parse_list(list_bytes(shuffled)) == hashes


@pytest.mark.parametrize("path", ["../a", "/etc/a", "a/../../b", "", "a\\..\\b"])
def test_a_list_cannot_write_outside_its_folder(store: Store, tmp_path: Path, path: str) -> None:
    content = list_bytes({path: "ab" * 16})
    with pytest.raises(ValueError, match="leads out of the folder"):
        parse_list(content)
    md5 = publish(store, "planted", {list_md5(content): content})
    with pytest.raises(FaultyObject):
        fetch(store, md5, tmp_path / "back")


@pytest.mark.parametrize("content", [b"", b"[1]", b"3", b'[{"relpath": "a"}]', b"\xff"])
def test_what_is_no_list_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_list(content)


def test_a_folder_with_a_damaged_object_does_not_appear(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    md5 = send_path(store, folder)
    overwrite(store, object_in(store, md5, "a.bin"), b"x" * SIZES["a.bin"])
    with pytest.raises(FaultyObject):
        fetch(store, md5, tmp_path / "back")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("read", [False, True])
def test_publishing_again_replaces_what_is_missing_or_damaged(
    store: Store, proxied: Store, proxy: Proxy, folder: Path, read: bool
) -> None:
    md5 = send_path(store, folder)
    keys = {name: object_in(store, md5, name) for name in SIZES}
    overwrite(store, keys["a.bin"], b"x" * SIZES["a.bin"])
    overwrite(store, keys["large.bin"], b"short")
    store.client.delete_object(Bucket=store.place.bucket, Key=keys["deep/er/b.bin"])
    states = {name: verify(store, dvc_md5(folder / name) or "")[0] for name in SIZES}
    assert states == {
        "a.bin": "damaged",
        "deep/er/b.bin": "missing",
        "deep/ä c.bin": "ok",
        "large.bin": "damaged",
    }
    overwrite(store, store.place.object_key(md5), json.dumps([]).encode())
    assert verify(store, md5)[0] == "damaged"
    send_path(proxied, folder, read)
    assert {verify(store, one)[0] for one in [md5, *read_list(store, md5).values()]} == {"ok"}
    proxy.seen.clear()
    send_path(proxied, folder, read)
    assert not [line for line, _ in proxy.seen if line.startswith(("PUT", "POST"))]
