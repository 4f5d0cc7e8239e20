"""Open the S3 client, and check before any work that a place can be written and read."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from echodistill.core.errors import UserError
from echodistill.storage.faults import clear_errors
from echodistill.storage.place import Place, place_from_environment

Item = TypeVar("Item")
Result = TypeVar("Result")
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
# The waits between attempts are 0 to 1, 2, 4, 8 and 16 s: longer than a store takes to restart.
ATTEMPTS = 6
TRANSFERS = 8
PART_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Store:
    """A place and the client that accesses it. Threads may share it."""

    place: Place
    client: Any
    part_bytes: int = PART_BYTES
    """Size in bytes of the parts in which larger files are sent. S3 requires at least 5 MiB."""

    def at(self, folder: str) -> "Store":
        """Return the store at ``folder`` below this one."""
        return replace(self, place=self.place.at(folder))


def open_store(place: Place, attempts: int = ATTEMPTS, part_bytes: int = PART_BYTES) -> Store:
    """Create the client without contacting the store.

    Credentials, region and profile are found by boto3's standard chain. Requests that fail by a 5xx
    status, throttling, a timeout or a reset are sent again after jittered exponential waits.
    """
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=2 * TRANSFERS,
        retries={"mode": "standard", "total_max_attempts": attempts},
        # Every upload has its SHA-256 explicitly, and every download is hashed here; older stores
        # support no other checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if place.endpoint else None,
    )
    with clear_errors(place, "use S3"):
        session = boto3.Session()
        region = session.region_name or "us-east-1"
        try:
            client = session.client(
                "s3", endpoint_url=place.endpoint, region_name=region, config=config
            )
        except ValueError as error:
            raise UserError(
                f"the S3 endpoint {place.server} is no URL: set AWS_ENDPOINT_URL_S3 to http(s)://HOST:PORT"
            ) from error
    return Store(place, client, part_bytes)


def checked_place() -> Place | None:
    """Return the team's place after a check that it works, or ``None`` without ``ECHODISTILL_S3``.

    Raise ``UserError`` where it does not work.
    """
    place = place_from_environment()
    if place is not None:
        check(place)
    return place


def check(place: Place) -> None:
    """Raise one ``UserError`` with the cure where a run could not publish to ``place``.

    The check is fast where all is well. It lists, then writes, reads and deletes a small object.
    That finds wrong secrets, missing buckets and rights, and full or read-only stores.
    """
    store = open_store(place, attempts=3)
    client, bucket = store.client, place.bucket
    # The listing is first, because some stores create a missing bucket when an object is written.
    # It is a listing, because the answer to HEAD has no error code.
    with clear_errors(place, f"list {place.url(place.prefix)}"):
        client.list_objects_v2(Bucket=bucket, Prefix=place.prefix, MaxKeys=1)
    key, content = place.below(f".probe/{secrets.token_hex(16)}"), secrets.token_bytes(1024)
    try:
        with clear_errors(place, f"write to {place.url(place.prefix)}"):
            client.put_object(Bucket=bucket, Key=key, Body=content, ChecksumAlgorithm="SHA256")
        with clear_errors(place, f"read from {place.url(place.prefix)}"):
            found = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        if found != content:
            raise UserError(
                f"{place.server} gives back other bytes than it was given: look at its log"
            )
        with clear_errors(place, f"delete in {place.url(place.prefix)}"):
            client.delete_object(Bucket=bucket, Key=key)
    except UserError:
        with suppress(ClientError, BotoCoreError):
            client.delete_object(Bucket=bucket, Key=key)
        raise


def rows_below(store: Store, prefix: str) -> list[dict[str, Any]]:
    """Return S3's rows of all objects whose keys begin with ``prefix``.

    Raise ``UserError`` where the store cannot be used.
    """
    with clear_errors(store.place, f"list {store.place.url(prefix)}"):
        pages = store.client.get_paginator("list_objects_v2").paginate(
            Bucket=store.place.bucket, Prefix=prefix
        )
        return [row for page in pages for row in page.get("Contents", [])]


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map ``function`` over ``items`` in a few threads, for requests that wait on the network.

    After the first exception no further item is started.
    """
    with ThreadPoolExecutor(TRANSFERS) as pool:
        try:
            yield from pool.map(function, items)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
