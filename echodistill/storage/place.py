"""Describe where the shared store is: a bucket, a prefix in it and the endpoint that serves it.

Nothing here contacts the store.
"""

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from echodistill.core.errors import UserError

VARIABLE = "ECHODISTILL_S3"
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
KINDS = (
    "datasets",
    "references",
    "checkpoints",
    "answers",
    "reports",
    "models",
    "locks",
    "inputs",
    "stage-requests",
)

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PREFIX = re.compile(r"[A-Za-z0-9!_.*'()=-]+(/[A-Za-z0-9!_.*'()=-]+)*")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Place:
    """A bucket and prefix at an endpoint."""

    bucket: str
    prefix: str
    """Prefix without slashes at its ends; empty for the bucket itself."""
    endpoint: str | None
    """Address ``http(s)://host[:port]``; ``None`` for AWS, or for the profile's endpoint."""

    def key(self, kind: str, sha256: str, suffix: str = "") -> str:
        """Return the key ``PREFIX/KIND/ab/abcd…SUFFIX`` of the content with this hash.

        Raise ``ValueError`` for an unknown kind or a string that is not a hash.
        """
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of the kinds {', '.join(KINDS)}")
        if not SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a sha256")
        return self.below(f"{kind}/{sha256[:2]}/{sha256}{suffix}")

    def below(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    @property
    def server(self) -> str:
        """Return the server's name for messages."""
        return self.endpoint or "AWS"


def sha256_in(key: str) -> str:
    """Return the SHA-256 that a key contains. Raise ``UserError`` where it contains none."""
    name = key.rsplit("/", 1)[-1].split(".", 1)[0]
    if not SHA256.fullmatch(name):
        raise UserError(
            f"{key!r} is not a key of this project: its last part must be a sha256. Use a key that"
            " a publishing run printed"
        )
    return name


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
