"""Describe where the shared store is: a bucket, a prefix in it and the endpoint that serves it.

Nothing here contacts the store.
"""

import os
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from echodistill.core.errors import UserError

VARIABLE = "ECHODISTILL_S3"
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
DVC = "dvc"
"""Folder of DVC's remote below a place."""
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PREFIX = re.compile(r"[A-Za-z0-9!_.*'()=-]+(/[A-Za-z0-9!_.*'()=-]+)*")


@dataclass(frozen=True)
class Place:
    """A bucket and prefix at an endpoint."""

    bucket: str
    prefix: str
    """Prefix without slashes at its ends; empty for the bucket itself."""
    endpoint: str | None
    """Address ``http(s)://host[:port]``; ``None`` for AWS, or for the profile's endpoint."""

    def at(self, folder: str) -> "Place":
        """Return the place that is ``folder`` below this one."""
        return replace(self, prefix=self.below(folder))

    def object_key(self, md5: str) -> str:
        """Return the key of the content with this hash, where DVC would look in a remote here."""
        return self.below(f"files/md5/{md5[:2]}/{md5[2:]}")

    def object_url(self, md5: str) -> str:
        return self.url(self.object_key(md5))

    def below(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    @property
    def server(self) -> str:
        """Return the server's name for messages."""
        return self.endpoint or "AWS"


def parse_place(url: str, endpoint: str | None = None) -> Place:
    """Return the place that ``s3://BUCKET/PREFIX`` names.

    Raise ``UserError`` that states what is wrong and never repeats what may be a secret.
    """
    if "@" in url:
        cure = (
            "set it to s3://BUCKET/PREFIX, and credentials in AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY"
        )
        raise UserError(f"{VARIABLE} holds an '@', as if there were credentials in it: {cure}")
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if scheme != "s3" or not BUCKET.fullmatch(bucket):
        raise UserError(f"{VARIABLE}={url!r} is not a place in S3: set it to s3://BUCKET/PREFIX")
    if prefix and (not PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
        raise UserError(
            f"{VARIABLE}={url!r}: the prefix may hold letters, digits, - _ . and single slashes"
        )
    return Place(bucket, prefix, _checked(endpoint))


def _checked(endpoint: str | None) -> str | None:
    if not endpoint:
        return None
    names = " or ".join(ENDPOINT_VARIABLES)
    if "@" in endpoint:
        raise UserError(f"{names} holds an '@': give no credentials there but http(s)://HOST:PORT")
    try:
        parts = urlsplit(endpoint)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise UserError(
            f"the S3 endpoint {endpoint!r} is no URL: set {names} to http(s)://HOST:PORT"
        )
    return endpoint.rstrip("/")


def place_from_environment() -> Place | None:
    """Return the place that ``ECHODISTILL_S3`` and the standard endpoint variables name.

    Return ``None`` where there is no shared store. Raise ``UserError`` for a value that is not
    valid.
    """
    url = os.environ.get(VARIABLE, "").strip()
    if not url:
        return None
    return parse_place(url, endpoint_from_environment())


def endpoint_from_environment() -> str | None:
    """Return the endpoint that the standard variables name; ``None`` for AWS, or for the profile's
    endpoint.
    """
    return next((value for name in ENDPOINT_VARIABLES if (value := os.environ.get(name))), None)
