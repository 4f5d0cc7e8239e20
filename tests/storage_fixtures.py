"""Fixtures of the storage tests: one SeaweedFS a session, a prefix of its own for each test, a
proxy that fails on purpose.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from botocore.loaders import create_loader

from echodistill.storage.client import Store, open_store
from echodistill.storage.dvc_hashes import objects_of
from echodistill.storage.objects import publish, read_list
from echodistill.storage.place import Place, parse_place
from tests.faulty_proxy import Proxy, faulty_proxy
from tests.seaweed import Seaweed, seaweed

# one for all tests: each bucket takes seven volumes of SeaweedFS
BUCKET = "echodistill-tests"
LOADER = create_loader()
PART = 5 * 2**20


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("weed")) as running:
        keys = {
            "aws_access_key_id": running.access_key,
            "aws_secret_access_key": running.secret_key,
        }
        boto3.client(
            "s3", endpoint_url=running.endpoint, region_name="us-east-1", **keys
        ).create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture
def place(weed: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    """A prefix of the test's own; the environment has the credentials for it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in weed.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    # reading the service descriptions is most of what a client costs
    monkeypatch.setattr("botocore.loaders.create_loader", lambda search_path=None: LOADER)
    prefix = "team/" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
    return parse_place(f"s3://{BUCKET}/{prefix}", weed.endpoint)


@pytest.fixture
def store(place: Place) -> Store:
    return open_store(place, part_bytes=PART)


@pytest.fixture
def proxy(weed: Seaweed) -> Iterator[Proxy]:
    with faulty_proxy(weed.endpoint) as running:
        yield running


@pytest.fixture
def proxied(place: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The same bucket through the proxy; waits between attempts are cut short."""
    monkeypatch.setattr(
        "botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.01
    )
    return open_store(replace(place, endpoint=proxy.endpoint), part_bytes=PART)


def write(path: Path, size: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def keys_in(store: Store) -> list[str]:
    return [
        row["Key"]
        for row in store.client.list_objects_v2(
            Bucket=store.place.bucket, Prefix=store.place.prefix
        ).get("Contents", [])
    ]


def uploads_in(store: Store) -> list[str]:
    found = store.client.list_multipart_uploads(
        Bucket=store.place.bucket, Prefix=store.place.prefix
    )
    return [row["UploadId"] for row in found.get("Uploads", [])]


def overwrite(store: Store, key: str, content: bytes) -> None:
    """What a careless other client does."""
    boto3.client("s3").put_object(Bucket=store.place.bucket, Key=key, Body=content)


def send_path(store: Store, path: Path, read: bool = False) -> str:
    """Publish a file or folder; DVC's hash of it."""
    return publish(store, path.name, objects_of(path), read)


def object_in(store: Store, md5: str, name: str) -> str:
    """The key of a file of a published folder."""
    return store.place.object_key(read_list(store, md5)[name])
