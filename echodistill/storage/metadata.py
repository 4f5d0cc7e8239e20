"""Encode an object's origin (run id, stage, commit) as S3 user metadata: header names and ASCII
values.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Blanks are encoded too: HTTP strips them at the ends, and signatures fold those in between.
PLAIN = "-_.~/:+,;@()"
MOST_BYTES = 2048


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the values with all characters but plain ASCII percent-encoded.

    Raise ``ValueError`` for a name with anything but lower-case letters, digits and hyphens, or
    where all of it exceeds S3's 2 KiB.
    """
    for name in metadata:
        if not NAME.fullmatch(name):
            raise ValueError(f"metadata name {name!r}: use lower-case letters, digits and hyphens")
    values = {name: quote(value, safe=PLAIN) for name, value in metadata.items()}
    if sum(len(name) + len(value) for name, value in values.items()) > MOST_BYTES:
        raise ValueError(f"metadata {sorted(metadata)} takes more than {MOST_BYTES} bytes")
    return values


def decode_metadata(values: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata that ``encode_metadata`` encoded."""
    return {name.lower(): unquote(value) for name, value in values.items()}
