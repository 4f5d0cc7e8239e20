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

from echodistill.core.errors import UserError
from echodistill.storage import transfer
from echodistill.storage.client import Store, open_store
from echodistill.storage.objects import FaultyObject, fetch, publish
from echodistill.storage.transfer import remove_abandoned
from tests.faulty_proxy import Proxy
from tests.storage_fixtures import PART, keys_in, overwrite, send_path, uploads_in, write

LARGE = 12 * 2**20
PUBLISH = """
import sys
from pathlib import Path
from echodistill.storage.client import open_store
from echodistill.storage.place import place_from_environment
from tests.storage_fixtures import send_path
store = open_store(place_from_environment(), part_bytes=5 * 2**20)
send_path(store, Path(sys.argv[1]))
"""


def assert_comes_back(store: Store, md5: str, path: Path) -> None:
    target = path.with_name("back")
    fetch(store, md5, target)
    assert target.read_bytes() == path.read_bytes()
    target.unlink()


@pytest.mark.parametrize("size", [0, 1000, PART, PART + 1, LARGE])
def test_a_file_comes_back_and_is_sent_once(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    path = write(tmp_path / "a.bin", size)
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    assert send_path(store, path) == digest
    assert keys_in(store) == [f"{store.place.prefix}/files/md5/{digest[:2]}/{digest[2:]}"]
    assert_comes_back(store, digest, path)
    assert send_path(proxied, path) == digest
    assert [line.split()[0] for line, _ in proxy.seen] == ["HEAD"], (
        "what is there must be neither sent again nor read"
    )


@pytest.mark.parametrize(("size", "parts"), [(1000, ""), (LARGE, "-3")])
def test_every_byte_is_sent_with_its_sha256(
    store: Store, tmp_path: Path, size: int, parts: str
) -> None:
    """The store compares it with what arrives: its answer has the hash, or that of all parts."""
    content = write(tmp_path / "a.bin", size).read_bytes()
    key = store.place.object_key(send_path(store, tmp_path / "a.bin"))
    head = store.client.head_object(Bucket=store.place.bucket, Key=key, ChecksumMode="ENABLED")
    digests = [
        hashlib.sha256(content[start : start + PART]).digest() for start in range(0, size, PART)
    ]
    whole = hashlib.sha256(b"".join(digests)).digest() if parts else digests[0]
    assert head["ChecksumSHA256"] == base64.b64encode(whole).decode() + parts


def test_a_missing_object_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FaultyObject, match=r"is missing: publish it again.*ECHODISTILL_S3"):
        fetch(store, "ab" * 16, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_damaged_object_is_found_and_publishing_replaces_it(
    store: Store, tmp_path: Path, size: int
) -> None:
    path = write(tmp_path / "a.bin", size)
    md5 = send_path(store, path)
    damaged = bytearray(path.read_bytes())
    damaged[size // 2] ^= 1
    overwrite(store, store.place.object_key(md5), bytes(damaged))
    with pytest.raises(FaultyObject, match="publish it again"):
        fetch(store, md5, tmp_path / "back")
    assert list(tmp_path.iterdir()) == [path]
    assert send_path(store, path) == md5
    assert_comes_back(store, md5, path)


def test_damage_that_only_the_bytes_show_is_found_by_reading(store: Store, tmp_path: Path) -> None:
    """Sent in parts, so that the ETag tells nothing."""
    path = write(tmp_path / "a.bin", LARGE)
    md5 = send_path(store, path)
    other = write(tmp_path / "other", LARGE, seed=1)
    store.client.upload_file(str(other), Bucket=store.place.bucket, Key=store.place.object_key(md5))
    send_path(store, path)
    with pytest.raises(FaultyObject, match="is damaged"):
        fetch(store, md5, tmp_path / "back")
    send_path(store, path, read=True)
    assert_comes_back(store, md5, path)


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
    assert_comes_back(store, send_path(proxied, path), path)
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
        send_path(proxied, path)
    assert keys_in(store) == uploads_in(store) == []


@pytest.mark.parametrize(("size", "request_line"), [(1000, "PUT "), (LARGE, r"POST .*uploadId=")])
def test_who_publishes_the_same_bytes_meanwhile_does_no_harm(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path, size: int, request_line: str
) -> None:
    path = write(tmp_path / "a.bin", size)
    proxy.hooks = [(request_line, lambda: send_path(store, path))]
    md5 = send_path(proxied, path)
    assert proxy.hooks == []
    assert len(keys_in(store)) == 1
    assert_comes_back(store, md5, path)
    assert uploads_in(store) == []


def test_many_publishers_at_once_agree(store: Store, tmp_path: Path) -> None:
    paths = [write(tmp_path / "small", 1000), write(tmp_path / "large", PART + 1)]
    gate, failures = threading.Barrier(4), []

    def publish() -> None:
        mine = open_store(store.place, part_bytes=PART)
        gate.wait()
        try:
            for path in paths:
                send_path(mine, path)
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
        assert_comes_back(store, send_path(store, path), path)


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
        ("GET .*files/", fault),
    ]
    md5 = send_path(proxied, path)
    assert_comes_back(proxied, md5, path)
    assert proxy.faults == []


@pytest.mark.parametrize(
    ("size", "request_line"), [(1000, "PUT "), (PART + 1, r"POST .*uploadId=")]
)
def test_an_answer_lost_after_the_deed_is_no_failure(
    proxied: Store, proxy: Proxy, tmp_path: Path, size: int, request_line: str
) -> None:
    path = write(tmp_path / "a.bin", size)
    proxy.faults = [(request_line, "lost")]
    assert_comes_back(proxied, send_path(proxied, path), path)
    assert proxy.faults == []


def test_only_the_part_of_a_download_that_was_cut_is_fetched_again(
    proxied: Store, proxy: Proxy, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.bin", LARGE)
    md5 = send_path(proxied, path)
    proxy.seen.clear()
    proxy.faults = [("GET", "cut"), ("GET", "cut")]
    assert_comes_back(proxied, md5, path)
    assert [status for line, status in proxy.seen if line.startswith("GET")] == [206] * 5


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_bit_that_flips_on_the_way_or_in_the_store_is_found(
    proxied: Store, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    path = write(tmp_path / "a.bin", size)
    md5 = send_path(proxied, path)
    proxy.faults = [("GET", "flip")]
    with pytest.raises(FaultyObject, match=rf"{proxied.place.object_key(md5)} is damaged"):
        fetch(proxied, md5, tmp_path / "back")
    assert list(tmp_path.iterdir()) == [path]
    assert_comes_back(proxied, md5, path)


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_bit_that_flips_on_the_way_to_the_store_is_refused_there(
    proxied: Store, proxy: Proxy, store: Store, tmp_path: Path, size: int
) -> None:
    path = write(tmp_path / "a.bin", size)
    proxy.faults = [("PUT", "flip")] * 9
    with pytest.raises(UserError, match=r"cannot publish .*a\.bin"):
        send_path(proxied, path)
    assert keys_in(store) == uploads_in(store) == []


def test_a_download_that_is_always_cut_is_told_and_leaves_nothing(
    proxied: Store, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.bin", 1)
    md5 = send_path(proxied, path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    proxy.faults = [("GET", "cut")] * 20
    with pytest.raises(UserError, match="cannot be reached"):
        fetch(proxied, md5, tmp_path / "back")
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_local_disk_is_told_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    """/dev/full is a disk without space: the temporary file is made a link to it."""
    path = write(tmp_path / "a.bin", 100_000)
    md5 = send_path(store, path)
    target = tmp_path / "out" / "back"
    with pytest.MonkeyPatch.context() as patch:
        plain = Path.open
        patch.setattr(
            Path,
            "open",
            lambda self, *rest: plain(Path("/dev/full") if self.suffix == ".tmp" else self, *rest),
        )
        with pytest.raises(UserError, match=r"No space left on device\. Free space"):
            fetch(store, md5, target)
    assert list(target.parent.iterdir()) == []


def test_a_file_that_changes_while_it_is_published_is_refused(
    store: Store, proxied: Store, proxy: Proxy, tmp_path: Path
) -> None:
    for size in (1000, LARGE):
        path = write(tmp_path / "a.bin", size)
        proxy.hooks = [("HEAD", partial(write, path, size, seed=1))]
        with pytest.raises(UserError, match="changed while it was published"):
            send_path(proxied, path)
    assert keys_in(store) == []


def test_a_file_that_is_gone_is_told(store: Store, tmp_path: Path) -> None:
    gone = tmp_path / "nothing.bin"
    for attempt in (lambda: send_path(store, gone), lambda: publish(store, "x", {"ab" * 16: gone})):
        with pytest.raises(UserError, match=r"nothing\.bin cannot be read"):
            attempt()
