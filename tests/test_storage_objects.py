"""Publishing and fetching single files: content-addressed, verified at both ends, resumed after
cuts, safe among several.
"""

import base64
import hashlib
import os
import subprocess
import sys
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echodistill.core.errors import UserError
from echodistill.storage import transfer
from echodistill.storage.client import Store, open_store
from echodistill.storage.metadata import decode_metadata, encode_metadata
from echodistill.storage.objects import publish_file
from echodistill.storage.transfer import DamagedObject, fetch_file, remove_abandoned
from tests.faulty_proxy import Proxy
from tests.storage_fixtures import PART, keys_in, metadata_of, overwrite, uploads_in, write

LARGE = 12 * 2**20
PUBLISH = """
import sys
from pathlib import Path
from echodistill.storage.client import open_store
from echodistill.storage.objects import publish_file
from echodistill.storage.place import place_from_environment
store = open_store(place_from_environment(), part_bytes=5 * 2**20)
publish_file(store, "models", Path(sys.argv[1]), {"run-id": "killed"})
"""


def assert_comes_back(store: Store, key: str, path: Path) -> None:
    target = path.with_name("back")
    fetch_file(store, key, target)
    assert target.read_bytes() == path.read_bytes()
    target.unlink()


@pytest.mark.parametrize("size", [0, 1000, PART, PART + 1, LARGE])
def test_a_file_comes_back_and_is_sent_once(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    path = write(tmp_path / "a.bin", size)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = publish_file(store, "models", path, {})
    assert key == f"{store.place.prefix}/models/{digest[:2]}/{digest}"
    assert_comes_back(store, key, path)
    assert publish_file(proxied, "models", path, {}) == key
    assert [line.split()[0] for line, _ in proxy.seen] == ["HEAD"], (
        "what is there must be neither sent again nor read"
    )


@pytest.mark.parametrize(("size", "parts"), [(1000, ""), (LARGE, "-3")])
def test_every_byte_is_sent_with_its_sha256(
    store: Store, tmp_path: Path, size: int, parts: str
) -> None:
    """The store compares it with what arrives: its answer has the hash, or that of all parts."""
    content = write(tmp_path / "a.bin", size).read_bytes()
    key = publish_file(store, "models", tmp_path / "a.bin", {})
    head = store.client.head_object(Bucket=store.place.bucket, Key=key, ChecksumMode="ENABLED")
    digests = [
        hashlib.sha256(content[start : start + PART]).digest() for start in range(0, size, PART)
    ]
    whole = hashlib.sha256(b"".join(digests)).digest() if parts else digests[0]
    assert head["ChecksumSHA256"] == base64.b64encode(whole).decode() + parts


def test_metadata_comes_back(store: Store, tmp_path: Path) -> None:
    said = {"run-id": "b5f0", "stage": "train", "note": " 5 % Rauschen,  größer\n=?utf-8?"}
    for size in (10, PART + 1):
        key = publish_file(store, "checkpoints", write(tmp_path / "a", size), said)
        assert metadata_of(store, key) == said
    assert metadata_of(store, key[:-1] + "g") is None


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,4})?", fullmatch=True),
        st.text(max_size=30),
        max_size=4,
    )
)
def test_metadata_is_ascii_on_the_wire(said: dict[str, str]) -> None:
    wire = encode_metadata(said)
    assert all(
        value.isascii() and value.isprintable() and value == value.strip()
        for value in wire.values()
    )
    assert decode_metadata(wire) == said


@pytest.mark.parametrize("said", [{"Run_id": "x"}, {"a": "x" * 2048}])
def test_metadata_that_s3_would_mangle_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        encode_metadata(said)


def test_a_missing_object_and_a_foreign_key_are_told(store: Store, tmp_path: Path) -> None:
    for key, message in (
        (store.place.key("models", "ab" * 32), "publish it again"),
        ("team/x", "is not a key"),
    ):
        with pytest.raises(UserError, match=message):
            fetch_file(store, key, tmp_path / "x")
    with pytest.raises(ValueError, match="none of the kinds"):
        store.place.key("other", "ab" * 32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_damaged_object_is_found_and_publishing_replaces_it(
    store: Store, tmp_path: Path, size: int
) -> None:
    path = write(tmp_path / "a.bin", size)
    key = publish_file(store, "models", path, {})
    damaged = bytearray(path.read_bytes())
    damaged[size // 2] ^= 1
    overwrite(store, key, bytes(damaged))
    with pytest.raises(DamagedObject, match="publish it again"):
        fetch_file(store, key, tmp_path / "back")
    assert list(tmp_path.iterdir()) == [path]
    assert publish_file(store, "models", path, {}) == key
    assert_comes_back(store, key, path)


def test_a_killed_upload_leaves_no_object_and_its_parts_are_removed(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.bin", LARGE)
    proxy.faults = [("PUT .*partNumber=3", "hang")]
    url = f"s3://{store.place.bucket}/{store.place.prefix}"
    environment = os.environ | {"ECHODISTILL_S3": url, "AWS_ENDPOINT_URL_S3": proxy.endpoint}
    killed = subprocess.Popen(
        [sys.executable, "-c", PUBLISH, str(path)], env=environment, cwd=Path(__file__).parents[1]
    )
    try:
        assert proxy.hung.wait(60)
    finally:
        killed.kill()
        killed.wait()
    (left,) = uploads_in(store)
    assert keys_in(store) == []
    assert_comes_back(store, publish_file(proxied, "models", path, {}), path)
    remove_abandoned(store)
    assert uploads_in(store) == [left], "it may still be somebody's"
    monkeypatch.setattr(transfer, "ABANDONED", timedelta(seconds=-60))
    remove_abandoned(store)
    assert uploads_in(store) == []


def test_an_upload_that_fails_leaves_no_parts(
    proxied: Store, proxy: Proxy, store: Store, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.bin", LARGE)
    proxy.faults = [("PUT .*partNumber=2", "503")] * 6
    with pytest.raises(UserError, match=r"cannot publish .*a\.bin"):
        publish_file(proxied, "models", path, {})
    assert keys_in(store) == uploads_in(store) == []


@pytest.mark.parametrize(("size", "request_line"), [(1000, "PUT "), (LARGE, r"POST .*uploadId=")])
def test_who_publishes_the_same_bytes_meanwhile_does_no_harm(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path, size: int, request_line: str
) -> None:
    path = write(tmp_path / "a.bin", size)
    proxy.hooks = [
        (request_line, lambda: publish_file(store, "models", path, {"run-id": "the other"}))
    ]
    key = publish_file(proxied, "models", path, {"run-id": "this one"})
    assert proxy.hooks == []
    assert keys_in(store) == [key]
    assert metadata_of(store, key) in ({"run-id": "the other"}, {"run-id": "this one"})
    assert_comes_back(store, key, path)
    assert uploads_in(store) == []


def test_many_publishers_at_once_agree(store: Store, tmp_path: Path) -> None:
    paths = [write(tmp_path / "small", 1000), write(tmp_path / "large", PART + 1)]
    gate, failures = threading.Barrier(4), []

    def publish() -> None:
        mine = open_store(store.place, part_bytes=PART)
        gate.wait()
        try:
            for path in paths:
                publish_file(mine, "models", path, {})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(keys_in(store)) == 2
    for path in paths:
        assert_comes_back(store, publish_file(store, "models", path, {}), path)


@pytest.mark.parametrize("fault", ["500", "503", "reset"])
def test_passing_faults_are_retried(
    proxied: Store, proxy: Proxy, tmp_path: Path, fault: str
) -> None:
    path = write(tmp_path / "a.bin", PART + 1)
    proxy.faults = [
        ("HEAD", fault),
        ("PUT", fault),
        ("PUT", fault),
        ("POST .*uploadId", fault),
        ("GET .*models/", fault),
    ]
    key = publish_file(proxied, "models", path, {})
    assert_comes_back(proxied, key, path)
    assert proxy.faults == []


@pytest.mark.parametrize(
    ("size", "request_line"), [(1000, "PUT "), (PART + 1, r"POST .*uploadId=")]
)
def test_an_answer_lost_after_the_deed_is_no_failure(
    proxied: Store, proxy: Proxy, tmp_path: Path, size: int, request_line: str
) -> None:
    path = write(tmp_path / "a.bin", size)
    proxy.faults = [(request_line, "lost")]
    assert_comes_back(proxied, publish_file(proxied, "models", path, {}), path)
    assert proxy.faults == []


def test_only_the_part_of_a_download_that_was_cut_is_fetched_again(
    proxied: Store, proxy: Proxy, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.bin", LARGE)
    key = publish_file(proxied, "models", path, {})
    proxy.seen.clear()
    proxy.faults = [("GET", "cut"), ("GET", "cut")]
    assert_comes_back(proxied, key, path)
    assert [status for line, status in proxy.seen if line.startswith("GET")] == [206] * 5


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_bit_that_flips_on_the_way_or_in_the_store_is_found(
    proxied: Store, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    path = write(tmp_path / "a.bin", size)
    key = publish_file(proxied, "models", path, {})
    proxy.faults = [("GET", "flip")]
    with pytest.raises(DamagedObject, match=rf"{key} is damaged"):
        fetch_file(proxied, key, tmp_path / "back")
    assert list(tmp_path.iterdir()) == [path]
    assert_comes_back(proxied, key, path)


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_bit_that_flips_on_the_way_to_the_store_is_refused_there(
    proxied: Store, proxy: Proxy, store: Store, tmp_path: Path, size: int
) -> None:
    path = write(tmp_path / "a.bin", size)
    proxy.faults = [("PUT", "flip")] * 9
    with pytest.raises(UserError, match=r"cannot publish .*a\.bin"):
        publish_file(proxied, "models", path, {})
    assert keys_in(store) == uploads_in(store) == []


def test_a_download_that_is_always_cut_is_told_and_leaves_nothing(
    proxied: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.bin", 1)
    key = publish_file(proxied, "models", path, {})
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    proxy.faults = [("GET", "cut")] * 20
    with pytest.raises(UserError, match="cannot be reached"):
        fetch_file(proxied, key, tmp_path / "back")
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_local_disk_is_told_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    """/dev/full is a disk without space: the temporary file is made a link to it."""
    path = write(tmp_path / "a.bin", 100_000)
    key = publish_file(store, "models", path, {})
    target = tmp_path / "out" / "back"
    with pytest.MonkeyPatch.context() as patch:
        plain = Path.open
        patch.setattr(
            Path,
            "open",
            lambda self, *rest: plain(Path("/dev/full") if self.suffix == ".tmp" else self, *rest),
        )
        with pytest.raises(UserError, match=r"No space left on device\. Free space"):
            fetch_file(store, key, target)
    assert list(target.parent.iterdir()) == []


def test_a_file_that_changes_while_it_is_published_is_refused(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path
) -> None:
    for size in (1000, LARGE):
        path = write(tmp_path / "a.bin", size)
        proxy.hooks = [("HEAD", partial(write, path, size, seed=1))]
        with pytest.raises(UserError, match="changed while it was published"):
            publish_file(proxied, "models", path, {})
    assert keys_in(store) == []


def test_a_missing_file_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.bin cannot be read"):
        publish_file(store, "models", tmp_path / "nothing.bin", {})
