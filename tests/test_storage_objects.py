"""Publishing and fetching single files: content-addressed, verified at both ends, resumed after
cuts, safe among several.
"""

import hashlib
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echodistill.errors import UserError
from echodistill.storage import multipart
from echodistill.storage.client import Store, open_store
from echodistill.storage.digests import digest_file, part_bytes_for
from echodistill.storage.download import DamagedObject, fetch_file
from echodistill.storage.metadata import decode_metadata, encode_metadata
from echodistill.storage.objects import publish_file
from tests.faulty_proxy import Proxy
from tests.storage_fixtures import PART, keys_in, metadata_of, overwrite, uploads_in, write

LARGE = 12 * 2**20
PUBLISH = """
import sys
from pathlib import Path
from echodistill.storage.client import open_store
from echodistill.storage.objects import publish_file
from echodistill.storage.place import place_from_environment
from echodistill.storage import client
client.TRANSFERS = 1
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


def test_the_server_holds_the_checksums_we_expect(store: Store, tmp_path: Path) -> None:
    for size in (1000, LARGE):
        path = write(tmp_path / "a.bin", size)
        key = publish_file(store, "models", path, {})
        head = store.client.head_object(Bucket=store.place.bucket, Key=key, ChecksumMode="ENABLED")
        assert head["ChecksumSHA256"] == digest_file(path, PART).checksum
    assert digest_file(path, PART).checksum.endswith("-3")


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


@given(st.integers(0, 5 * 2**40))
def test_a_file_is_never_cut_into_more_parts_than_s3_takes(size: int) -> None:
    part = part_bytes_for(size, PART)
    assert part >= PART
    assert -(-size // part) <= 10_000


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


def test_a_killed_upload_goes_on_with_the_parts_that_are_there(
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
        assert proxy.hung.wait(30)
    finally:
        killed.kill()
        killed.wait()
    assert [status for line, status in proxy.seen if "partNumber" in line] == [200, 200]
    assert len(uploads_in(store)) == 1
    assert keys_in(store) == []
    proxy.seen.clear()
    monkeypatch.setattr(multipart, "IDLE_S", 0.0)
    key = publish_file(proxied, "models", path, {})
    assert [line for line, _ in proxy.seen if "partNumber" in line] == [
        next(line for line, _ in proxy.seen if "partNumber=3" in line)
    ]
    assert proxy.count("POST .*uploads") == 0
    assert_comes_back(store, key, path)
    assert uploads_in(store) == []


def start_upload(store: Store, key: str, parts: list[bytes]) -> str:
    where = {"Bucket": store.place.bucket, "Key": key}
    upload_id = store.client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")[
        "UploadId"
    ]
    for number, part in enumerate(parts, 1):
        store.client.upload_part(
            **where, UploadId=upload_id, PartNumber=number, Body=part, ChecksumAlgorithm="SHA256"
        )
    return str(upload_id)


@pytest.mark.parametrize("part", [b"x" * PART, b"short" * 10])
def test_an_upload_that_does_not_fit_is_abandoned(
    store: Store,
    proxied: Store,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: bytes,
) -> None:
    monkeypatch.setattr(multipart, "IDLE_S", 0.0)
    path = write(tmp_path / "a.bin", LARGE)
    key = store.place.key("models", digest_file(path, PART).sha256)
    start_upload(store, key, [part])
    assert publish_file(proxied, "models", path, {}) == key
    assert proxy.count("PUT .*partNumber") == 3
    assert_comes_back(store, key, path)
    assert uploads_in(store) == []


def test_an_upload_that_another_publisher_feeds_is_left_to_it(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.bin", LARGE)
    content = path.read_bytes()
    key = store.place.key("models", digest_file(path, PART).sha256)
    upload_id = start_upload(store, key, [content[:PART]])
    monkeypatch.setattr(multipart, "IDLE_S", 60.0)

    def another_part_comes(seconds: float) -> None:
        where = {"Bucket": store.place.bucket, "Key": key, "UploadId": upload_id}
        store.client.upload_part(
            **where, PartNumber=2, Body=content[PART : 2 * PART], ChecksumAlgorithm="SHA256"
        )

    monkeypatch.setattr(multipart.time, "sleep", another_part_comes)
    publish_file(proxied, "models", path, {})
    assert proxy.count("PUT .*partNumber") == 3
    assert proxy.count(f"PUT .*{upload_id}") == 0
    assert_comes_back(store, key, path)


@pytest.mark.parametrize(("size", "request_line"), [(1000, "PUT "), (LARGE, r"POST .*uploadId=")])
def test_the_loser_of_a_race_keeps_what_the_winner_wrote(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path, size: int, request_line: str
) -> None:
    path = write(tmp_path / "a.bin", size)
    key = store.place.key("models", digest_file(path, PART).sha256)
    where = {"Bucket": store.place.bucket, "Key": key, "Metadata": {"run-id": "winner"}}
    proxy.hooks = [
        (
            request_line,
            lambda: store.client.put_object(
                **where, Body=path.read_bytes(), ChecksumAlgorithm="SHA256"
            ),
        )
    ]
    assert publish_file(proxied, "models", path, {"run-id": "loser"}) == key
    assert proxy.hooks == []
    assert metadata_of(store, key) == {"run-id": "winner"}
    assert_comes_back(store, key, path)
    assert uploads_in(store) == []


def test_many_publishers_at_once_agree(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "IDLE_S", 1.5)
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


def test_a_cut_download_goes_on_at_its_place(proxied: Store, proxy: Proxy, tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", LARGE)
    key = publish_file(proxied, "models", path, {})
    proxy.seen.clear()
    proxy.faults = [("GET", "cut"), ("GET", "cut")]
    assert_comes_back(proxied, key, path)
    assert [status for _, status in proxy.seen] == [200, 206, 206]


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
