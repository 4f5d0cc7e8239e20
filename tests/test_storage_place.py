"""Where the store is, and what is said before any work when it cannot be used: one sentence, the
cure in it, no secret.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from echodistill.core.errors import UserError
from echodistill.storage.client import Store, check, open_store
from echodistill.storage.place import Place, parse_place, place_from_environment
from tests.faulty_proxy import Proxy
from tests.seaweed import Seaweed, free_ports
from tests.storage_fixtures import keys_in, send_path, write


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://data", "data", ""),
        ("s3://my.data-1/", "my.data-1", ""),
        ("s3://data/team/a/", "data", "team/a"),
        ("s3://data//a", "data", "a"),
    ],
)
def test_a_place_is_read_from_its_url(url: str, bucket: str, prefix: str) -> None:
    assert parse_place(url) == Place(bucket, prefix, None)


@pytest.mark.parametrize(
    ("url", "endpoint", "message"),
    [
        ("http://data/a", None, "set it to s3://BUCKET/PREFIX"),
        ("data/a", None, "set it to s3://BUCKET/PREFIX"),
        ("s3://", None, "set it to s3://BUCKET/PREFIX"),
        ("s3://Data_1/a", None, "set it to s3://BUCKET/PREFIX"),
        ("s3://data/a//b", None, "single slashes"),
        ("s3://data/a/../b", None, "the prefix may hold"),
        ("s3://data/ä", None, "the prefix may hold"),
        ("s3://KEY:hush@data/a", None, "ECHODISTILL_S3 holds an '@'"),
        ("s3://data/a", "localhost:8333", "set AWS_ENDPOINT_URL_S3"),
        ("s3://data/a", "http://localhost:port", "set AWS_ENDPOINT_URL_S3"),
        (
            "s3://data/a",
            "http://KEY:hush@localhost",
            "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL holds an '@'",
        ),
    ],
)
def test_a_bad_url_is_one_clear_error(url: str, endpoint: str | None, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parse_place(url, endpoint)
    assert "hush" not in str(caught.value)


def test_the_environment_names_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ECHODISTILL_S3", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    assert place_from_environment() is None
    monkeypatch.setenv("ECHODISTILL_S3", "s3://data/a")
    assert place_from_environment() == Place("data", "a", None)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all:1/")
    assert place_from_environment() == Place("data", "a", "http://all:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3:1")
    assert place_from_environment() == Place("data", "a", "http://s3:1")


@pytest.mark.parametrize(("prefix", "start"), [("", ""), ("a/b", "a/b/")])
def test_an_object_is_where_dvc_looks(prefix: str, start: str) -> None:
    place = Place("data", prefix, None)
    assert place.at("dvc").object_key("ab" + "0" * 30) == f"{start}dvc/files/md5/ab/{'0' * 30}"
    assert place.at("dvc").object_url("abc.dir") == f"s3://data/{start}dvc/files/md5/ab/c.dir"


def test_a_good_place_passes_and_keeps_no_probe(place: Place, store: Store) -> None:
    check(place)
    assert keys_in(store) == []


def test_the_region_may_be_left_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    check(place)


def no_credentials(weed: Seaweed) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weed: {"AWS_SECRET_ACCESS_KEY": "hush" * 8},
            "the secret does not belong to the access key.*set AWS_ACCESS_KEY_ID and AWS_SECRET",
        ),
        (
            lambda weed: {"AWS_ACCESS_KEY_ID": "nobody"},
            "does not know the access key.*set AWS_ACCESS_KEY_ID",
        ),
        (no_credentials, "there are no S3 credentials: set AWS_ACCESS_KEY_ID"),
        (lambda weed: {"AWS_PROFILE": "nobody"}, "correct AWS_PROFILE"),
        (
            lambda weed: {
                "AWS_ACCESS_KEY_ID": weed.reader_key,
                "AWS_SECRET_ACCESS_KEY": weed.reader_secret,
            },
            "cannot write to .*do not permit it.*have the rights granted",
        ),
    ],
)
def test_wrong_credentials_are_told(
    weed: Seaweed,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Seaweed], dict[str, str]],
    message: str,
) -> None:
    for name, value in change(weed).items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    with pytest.raises(UserError, match=message) as caught:
        check(place)
    for secret in (
        "hush",
        weed.secret_key,
        weed.reader_secret,
        os.environ.get("AWS_SECRET_ACCESS_KEY", "hush"),
    ):
        assert secret not in str(caught.value)


def test_a_missing_bucket_is_told_and_not_made(place: Place, store: Store) -> None:
    with pytest.raises(
        UserError, match=r"there is no bucket 'nowhere'.*create it, or correct ECHODISTILL_S3"
    ):
        check(replace(place, bucket="nowhere"))
    assert "nowhere" not in [row["Name"] for row in store.client.list_buckets()["Buckets"]]


def test_an_endpoint_that_is_down_is_told_soon(place: Place) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be reached.*services up.*AWS_ENDPOINT_URL_S3"):
        check(replace(place, endpoint=f"http://127.0.0.1:{free_ports(1)[0]}"))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("fault", "message"), [("507", "is full.*free space"), ("500", "it is full, read-only")]
)
def test_a_full_store_is_told(
    place: Place, proxied: Store, proxy: Proxy, store: Store, fault: str, message: str
) -> None:
    proxy.faults = [("PUT", fault)] * 9
    with pytest.raises(UserError, match=message):
        check(proxied.place)
    assert keys_in(store) == []


def test_a_store_that_changes_bytes_is_told(proxied: Store, proxy: Proxy, store: Store) -> None:
    proxy.hooks = [
        (
            "GET .*probe",
            lambda: [
                store.client.put_object(Bucket=store.place.bucket, Key=key, Body=b"x")
                for key in keys_in(store)
            ],
        )
    ]
    with pytest.raises(UserError, match="gives back other bytes"):
        check(proxied.place)
    assert keys_in(store) == []


def test_faults_that_last_are_told_after_a_few_attempts(
    proxied: Store, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.faults = [("PUT", "503")] * 20
    with pytest.raises(UserError, match=r"cannot publish .*a\.bin as s3://.*503"):
        send_path(proxied, write(tmp_path / "a.bin", 10))
    assert 20 - len(proxy.faults) == 6


def test_attempts_wait_with_jitter(place: Place) -> None:
    """botocore's standard mode waits a random part of 1, 2, 4 … s; the legacy mode, its default,
    does not retry as much.
    """
    config = open_store(place).client.meta.config
    assert config.retries["mode"] == "standard"
    assert config.s3["addressing_style"] == "path"
    assert (config.connect_timeout, config.read_timeout) == (5, 60)
